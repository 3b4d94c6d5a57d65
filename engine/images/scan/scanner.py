"""Matches the packages of an image against the databases of advisories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime

from engine.errors import InvalidArgument
from engine.images.scan import database, ecosystems, ignore
from engine.images.scan.advisories import Affected, Content
from engine.images.scan.database import Reader
from engine.images.scan.match import match
from engine.images.scan.severity import rate
from engine.images.scan.versions import Incomparable
from engine.model.packages import IgnoreRule, Inventory, Package, ScanResult, Severity, Vulnerability
from engine.model.value import replace
from engine.store.paths import Paths

_MOST_WARNINGS = 50


def scan(paths: Paths, inventory: Inventory, rules: Sequence[IgnoreRule] = ()) -> ScanResult:
    """Return the known vulnerabilities of the packages of an image.

    Packages of a language that the distribution installed are judged by the distribution's advisories alone.

    Raises:
        InvalidArgument: No database was imported yet.
    """
    files = database.files(paths)
    if not files:
        raise InvalidArgument(
            "there is no database of advisories yet",
            hint="import one: tuicon scan --import all.zip, as osv.dev offers it",
        )
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(Reader(path))) for path in files]
        scanner = _Scanner(readers, inventory)
        found = tuple(sorted(scanner.run(), key=_order))
    left, ignored, ended = ignore.apply(rules, found, datetime.now(UTC).date())
    warnings = (*inventory.warnings, *scanner.warnings, *ended)
    return ScanResult(inventory, left, ignored, tuple(reader.about for reader in readers), warnings)


def _order(item: Vulnerability) -> tuple[object, ...]:
    package = item.package
    return (-item.severity, -(item.score or 0.0), package.name, package.version, item.id, package.path, package.purl)


class _Scanner:
    """Asks for each name and version once, however many packages are built from it."""

    def __init__(self, readers: list[Reader], inventory: Inventory) -> None:
        self.warnings: list[str] = []
        self._readers = sorted(
            readers, key=lambda reader: reader.about.modified_at or reader.about.imported_at, reverse=True
        )
        self._inventory = inventory
        self._fits = ecosystems.release_fits(inventory.distribution)

    def run(self) -> Iterator[Vulnerability]:
        """Yield what is vulnerable."""
        groups: dict[tuple[str, tuple[str, ...], str], list[Package]] = defaultdict(list)
        for package in self._inventory.packages:
            ecosystem = ecosystems.ecosystem_of(package, self._inventory.distribution)
            version = ecosystems.version_of(package)
            if ecosystem and version and not package.owner:
                groups[ecosystem, ecosystems.names_of(package, ecosystem), version].append(package)
        self._warn_of_gaps({ecosystem for ecosystem, _, _ in groups})
        for (ecosystem, names, version), packages in groups.items():
            for item in _merged(self._found(ecosystem, names, version)):
                yield from (replace(item, package=package) for package in packages)

    def _warn_of_gaps(self, wanted: set[str]) -> None:
        """Say what no database knows: finding nothing there means nothing."""
        distribution = self._inventory.distribution
        for kind in sorted(
            {package.kind for package in self._inventory.packages if package.kind in ("deb", "apk", "rpm")}
        ):
            package = next(package for package in self._inventory.packages if package.kind == kind)
            if not ecosystems.ecosystem_of(package, distribution):
                self._warn(f"the advisories of {distribution.id or 'this distribution'} are not known")
        unknown = []
        for ecosystem in sorted(wanted):
            known = [name for reader in self._readers for name in reader.releases(ecosystem)]
            if not any(map(self._fits, known)):
                unknown.append(distribution.name if known and distribution.name else ecosystem)
        if unknown:
            self._warn(f"no database has advisories of {', '.join(unknown)}")

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS and text not in self.warnings:
            self.warnings.append(text)

    def _found(self, ecosystem: str, names: tuple[str, ...], version: str) -> Iterator[Vulnerability]:
        """Yield what the advisories say; where several databases have one, the newest database's counts."""
        decided: set[str] = set()
        for reader in self._readers:
            rows = [
                row for name in names for row in reader.affected(name, ecosystem, self._fits) if row.id not in decided
            ]
            decided |= {row.id for row in rows}
            hits: set[str] = set()
            for row in rows:
                try:
                    hit = match(row.affected, ecosystem, version)
                except Incomparable as error:
                    self._warn(f"{names[0]}: {row.id}: {error}")
                    continue
                if hit and row.id not in hits:
                    hits.add(row.id)
                    yield self._vulnerability(reader.advisory(row.number), row.affected, hit.fixed_in, reader.name)

    def _vulnerability(self, content: Content, affected: Affected, fixed_in: str, known_by: str) -> Vulnerability:
        others = tuple(dict.fromkeys([*content.aliases, *content.upstream]))
        severity, score = _rated(content, affected)
        if severity is Severity.UNKNOWN:
            severity, score = self._borrowed(others)
        aliases = sorted((name for name in others if name != content.id), key=lambda name: (not _is_cve(name), name))
        return Vulnerability(
            content.id, tuple(aliases), _NOBODY, severity, fixed_in, score, content.summary, content.url, known_by
        )

    def _borrowed(self, names: tuple[str, ...]) -> tuple[Severity, float | None]:
        """Return the severity that the databases give to the same thing under another name, the worst of them."""
        rated = [_rated(content, None) for reader in self._readers for content in reader.named(names)]
        return max(rated, key=lambda item: (item[0], item[1] or 0.0), default=(Severity.UNKNOWN, None))


_NOBODY = Package("", "", "")


def _rated(content: Content, affected: Affected | None) -> tuple[Severity, float | None]:
    ratings = (affected.ratings if affected else []) or content.ratings
    word = (affected.word if affected else "") or content.word
    return rate([(item.type, item.score) for item in ratings], word)


def _is_cve(name: str) -> bool:
    return name.startswith("CVE-")


def _merged(found: Iterator[Vulnerability]) -> tuple[Vulnerability, ...]:
    """Return vulnerabilities with those left out that others name already, as a GHSA and a PYSEC do one CVE.

    An advisory for several CVEs is left out when each of them is there on its own.
    """
    kept: dict[str, Vulnerability] = {}
    by_cve: dict[str, list[str]] = {}
    for item in sorted(found, key=lambda item: (len(_cves(item)), -item.severity, item.id)):
        cves = _cves(item)
        if not cves or not all(cve in by_cve for cve in cves):
            kept[item.id] = item
            for cve in cves:
                by_cve.setdefault(cve, []).append(item.id)
            continue
        for twin in {name for cve in cves for name in by_cve[cve]}:
            kept[twin] = _joined(kept[twin], item, is_same=len(cves) == 1)
    return tuple(kept.values())


def _joined(first: Vulnerability, second: Vulnerability, *, is_same: bool) -> Vulnerability:
    """Return an advisory with what another one knows of the same thing."""
    more = (second.id, *second.aliases) if is_same else (second.id,)
    names = sorted({*first.aliases, *more} - {first.id}, key=lambda name: (not _is_cve(name), name))
    is_rated = first.severity is not Severity.UNKNOWN
    return replace(
        first, aliases=tuple(names), fixed_in=first.fixed_in or second.fixed_in,
        severity=first.severity if is_rated else second.severity, score=first.score if is_rated else second.score,
        summary=first.summary or second.summary,
    )  # fmt: skip


def _cves(item: Vulnerability) -> tuple[str, ...]:
    return tuple(name for name in item.names if _is_cve(name))
