"""Verbs on what is in an image: its packages, its bill of materials, its known vulnerabilities."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.model.packages import Database, Package, ScanResult, Severity, Vulnerability
from tuicon.cli import output
from tuicon.cli.failure import Usage, complain
from tuicon.model import units
from tuicon.model.text import printable
from tuicon.model.vulnerabilities import counted, main_name

if TYPE_CHECKING:
    from engine.api import Engine

_SUMMARY_WIDTH = 60
_LICENCE_WIDTH = 30


def packages(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image packages."""
    inventory = engine.images.packages(arguments.image)
    for warning in inventory.warnings:
        complain(warning)
    found = [package for package in inventory.packages if arguments.kind in ("", package.kind)]
    if arguments.json:
        output.as_json(found)
        return 0
    records = [_package_record(package, whole=arguments.no_trunc) for package in found]
    if arguments.format:
        output.formatted(arguments.format, records)
        return 0
    keys = ("Kind", "Name", "Version", "Source", "License", "Layer", "Path")
    output.table([key.upper() for key in keys], [[record[key] for key in keys] for record in records])
    return 0


def _package_record(package: Package, *, whole: bool) -> dict[str, str]:
    licence = ", ".join(package.licenses)
    layer = package.layer if whole else package.layer.removeprefix("sha256:")[:12]
    return {
        "Kind": package.kind, "Name": package.name, "Version": package.version, "Architecture": package.architecture,
        "Source": package.source, "SourceVersion": package.source_version, "Supplier": package.supplier,
        "License": licence if whole or len(licence) <= _LICENCE_WIDTH else f"{licence[: _LICENCE_WIDTH - 1]}…",
        "Layer": layer, "Path": package.path, "Owner": package.owner, "PURL": package.purl,
    }  # fmt: skip


def sbom(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon sbom."""
    _write(
        arguments.output,
        json.dumps(engine.images.sbom(arguments.image, arguments.format), indent=2, ensure_ascii=False),
    )
    return 0


def scan(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon scan."""
    wishes = [bool(arguments.source), arguments.lists, bool(arguments.remove), bool(arguments.image)]
    if sum(wishes) != 1:
        raise Usage("scan: give an image, or one of --import, --list and --remove")
    if arguments.source:
        return _import(engine, arguments)
    if arguments.lists:
        return _list(engine, arguments)
    if arguments.remove:
        engine.images.advisories.remove(arguments.remove)
        return 0
    if arguments.scanner != "tuicon":
        return _hand_over(engine, arguments)
    return _scan(engine, arguments)


def _severity(text: str) -> Severity:
    try:
        return Severity[text.strip().upper()]
    except KeyError:
        names = ", ".join(severity.name.lower() for severity in reversed(Severity))
        raise Usage(f"scan: unknown severity {text!r}: {names} are known") from None


def _severities(text: str) -> set[Severity]:
    return {_severity(word) for word in text.split(",")}


def _scan(engine: Engine, arguments: argparse.Namespace) -> int:
    wanted = _severities(arguments.severity) if arguments.severity else set(Severity)
    limit = _severity(arguments.fail_on) if arguments.fail_on else None
    rules = engine.images.advisories.ignore_rules(arguments.ignore_file) if arguments.ignore_file else ()
    result = engine.images.scan(arguments.image, ignoring=rules)
    shown = [
        item
        for item in result.vulnerabilities
        if item.severity in wanted and (item.fixed_in or not arguments.only_fixed)
    ]
    for warning in result.warnings:
        complain(printable(warning))
    if arguments.format == "table":
        _print_table(result, shown, arguments.output)
    else:
        from tuicon.cli.sarif import document

        found = _document(result, shown) if arguments.format == "json" else document(result, shown)
        _write(arguments.output, json.dumps(output.plain(found), indent=2, ensure_ascii=False))
    return int(limit is not None and any(item.severity >= limit for item in shown))


def _print_table(result: ScanResult, shown: Sequence[Vulnerability], target: Path | None) -> None:
    if target:
        raise Usage("scan: -o wants --format json or sarif")
    rows = [
        [item.severity.name, main_name(item), item.package.name, item.package.version, item.fixed_in or "-",
            item.summary[:_SUMMARY_WIDTH]]
        for item in shown
    ]  # fmt: skip
    if rows:
        output.table(("SEVERITY", "VULNERABILITY", "PACKAGE", "VERSION", "FIXED IN", "SUMMARY"), rows)
        print()
    print(f"{len(result.inventory.packages)} packages, {counted(shown)}")
    if result.ignored:
        print(
            f"{len(result.ignored)} ignored: {', '.join(sorted({main_name(item.vulnerability) for item in result.ignored}))}"
        )
    now = datetime.now(UTC)
    print(f"Advisories: {', '.join(f'{item.name} ({_age(item, now)})' for item in result.databases)}")


def _age(database: Database, now: datetime) -> str:
    return f"from {units.ago(database.modified_at or database.imported_at, now)} ago"


def _document(result: ScanResult, shown: Sequence[Vulnerability]) -> dict[str, Any]:
    return {
        "image": result.inventory.reference, "id": result.inventory.image_id,
        "distribution": result.inventory.distribution, "packages": len(result.inventory.packages),
        "counts": {severity.name.lower(): number for severity, number in Counter(item.severity for item in shown).items()},
        "vulnerabilities": [_record(item) for item in shown],
        "ignored": [
            {**_record(item.vulnerability), "reason": item.reason, "until": str(item.until or "")} for item in result.ignored
        ],
        "databases": result.databases, "warnings": result.warnings,
    }  # fmt: skip


def _record(item: Vulnerability) -> dict[str, Any]:
    return {
        "id": item.id, "aliases": item.aliases, "severity": item.severity.name.lower(), "score": item.score,
        "package": item.package, "fixed_in": item.fixed_in, "summary": item.summary, "url": item.url,
        "database": item.database,
    }  # fmt: skip


def _import(engine: Engine, arguments: argparse.Namespace) -> int:
    is_seen = sys.stderr.isatty()

    def progress(count: int) -> None:
        if is_seen:
            print(f"\r{count} advisories", end="", file=sys.stderr, flush=True)

    found = engine.images.advisories.import_from(arguments.source, arguments.name, progress=progress)
    if is_seen:
        print(f"\r{'':40}\r", end="", file=sys.stderr)
    if found.skipped:
        complain(f"{found.skipped} files were no advisories in the OSV format")
    print(f"Imported {found.advisories} advisories of {', '.join(found.ecosystems)} as {found.name}")
    return 0


def _list(engine: Engine, arguments: argparse.Namespace) -> int:
    found = engine.images.advisories.list()
    if arguments.format == "json":
        output.as_json(found)
        return 0
    now = datetime.now(UTC)
    rows = [
        (
            item.name, ", ".join(item.ecosystems), str(item.advisories), f"{units.ago(item.imported_at, now)} ago",
            f"{units.ago(item.modified_at, now)} ago" if item.modified_at else "-", units.size(item.size),
        )
        for item in found
    ]  # fmt: skip
    output.table(("NAME", "ECOSYSTEMS", "ADVISORIES", "IMPORTED", "NEWEST ADVISORY", "SIZE"), rows)
    return 0


def _hand_over(engine: Engine, arguments: argparse.Namespace) -> int:
    """Give the image to trivy or grype as an archive; what they print and how they end is theirs."""
    program = shutil.which(arguments.scanner)
    if program is None:
        raise Usage(f"scan: the scanner {arguments.scanner} is not installed")
    if arguments.ignore_file or arguments.output:
        raise Usage(f"scan: {arguments.scanner} has its own ignore file and output; see its manual")
    build = _trivy if arguments.scanner == "trivy" else _grype
    with tempfile.TemporaryDirectory(prefix="tuicon-scan-") as directory:
        archive = f"{directory}/image.tar"
        engine.images.save((arguments.image,), Path(archive))
        return subprocess.run([program, *build(archive, arguments)], check=False).returncode


def _trivy(archive: str, arguments: argparse.Namespace) -> list[str]:
    command = ["image", "--input", archive, "--format", arguments.format]
    levels = {level for level in Severity if level is not Severity.NEGLIGIBLE}  # which trivy does not have
    if arguments.severity:
        levels &= _severities(arguments.severity)
    if arguments.fail_on:
        levels = {level for level in levels if level >= _severity(arguments.fail_on)}
        command += ["--exit-code", "1"]
    command += ["--severity", ",".join(level.name for level in sorted(levels))]
    return [*command, *(["--ignore-unfixed"] if arguments.only_fixed else [])]


def _grype(archive: str, arguments: argparse.Namespace) -> list[str]:
    if arguments.severity:
        raise Usage("scan: grype cannot select by --severity; use --fail-on")
    command = [f"docker-archive:{archive}", "-o", arguments.format]
    if arguments.fail_on:
        command += ["--fail-on", _severity(arguments.fail_on).name.lower()]
    return [*command, *(["--only-fixed"] if arguments.only_fixed else [])]


def _write(target: Path | None, text: str) -> None:
    if target is None:
        print(text)
        return
    try:
        target.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Usage(f"cannot write {target}: {error.strerror}") from error
