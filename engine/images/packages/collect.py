"""Finds all packages of an image in one walk over its files; what cannot be read becomes a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from engine.images.packages import apk, distribution, dpkg, golang, java, npm, python, rpm
from engine.images.packages.purl import package_url
from engine.images.packages.tree import LINK, PROGRAM, Directory, Leaf, Tree, Unreadable
from engine.model.image import Image
from engine.model.packages import Inventory, Package
from engine.model.value import replace

_LARGEST_DATABASE = 192 << 20
_LARGEST_DOCUMENT = 32 << 20
_BEGINNING = 1 << 20
_MOST_PACKAGES = 200_000
_MOST_WARNINGS = 50
_ORDER = {kind: place for place, kind in enumerate(("deb", "apk", "rpm", "pypi", "npm", "golang", "maven"))}


def collect(image: Image, directories: Sequence[Path]) -> Inventory:
    """Return the packages of an image.

    Args:
        image: The image.
        directories: Its layers' directories, lowest first.
    """
    with Tree(directories) as tree:
        collector = _Collector(tree, image.diff_ids)
        collector.run()
    name = next(iter(image.references), image.id)
    return Inventory(image.id, name, collector.distribution, collector.sorted(), tuple(collector.warnings))


class _Collector:
    """Gathers packages; the owners of files are known before the files are met."""

    def __init__(self, tree: Tree, diff_ids: Sequence[str]) -> None:
        self.distribution = distribution.read(tree)
        self.warnings: list[str] = []
        self._tree = tree
        self._diff_ids = diff_ids
        self._owners: dict[str, str] = {}
        self._found: list[Package] = []
        self._budget = java.Budget()

    def run(self) -> None:
        """Read the databases, then every file that looks like a package's."""
        self._databases()
        for path, leaf in self._tree.files():
            if leaf.kind != LINK and len(self._found) < _MOST_PACKAGES:
                self._file(path, leaf)
        if len(self._found) >= _MOST_PACKAGES:
            self._warn("image", f"has more than {_MOST_PACKAGES} packages; the rest is left out")

    def sorted(self) -> tuple[Package, ...]:
        """Return the packages with their URLs, each once a path."""
        named = {replace(package, purl=package_url(package, self.distribution)) for package in self._found}
        return tuple(
            sorted(
                named, key=lambda item: (_ORDER[item.kind], item.name, item.version, item.path, item.purl, item.layer)
            )
        )

    def _warn(self, path: str, text: object) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(f"{_printable(path)} {text}")

    # -- the distribution's own ----------------------------------------------------------------------

    def _databases(self) -> None:
        for path in (dpkg.STATUS, *(f"{dpkg.STATUS_D}/{name}" for name in self._tree.names(dpkg.STATUS_D))):
            if not path.endswith(".md5sums"):
                self._database(path, lambda data: ((package, []) for package in dpkg.parse(_text(data))))
        for path in apk.PLACES:
            self._database(path, lambda data: apk.parse(_text(data)))
        for home in rpm.HOMES:
            self._database(f"{home}/{rpm.DATABASE}", rpm.parse)
            if self._tree.read_found(f"{home}/{rpm.DATABASE}-wal", 1, may_be_cut=True):
                self._warn(
                    f"{home}/{rpm.DATABASE}-wal", "has changes that are not in the database yet, and is not read"
                )
            for name, kind in rpm.OLD_DATABASES.items():
                if self._tree.find(f"{home}/{name}"):
                    self._warn(f"{home}/{name}", f"is an rpm database of the kind {kind}, which is not supported")

    def _database(self, path: str, parse: Callable[[bytes], Iterator[tuple[Package, list[str]]]]) -> None:
        """Read a database; each package comes from the lowest layer since which the database has this version."""
        found = self._tree.find(path)
        if found is None:
            return
        real, leaf = found
        if isinstance(leaf, Directory):
            return
        try:
            packages = list(islice(parse(self._tree.read(real, leaf.layer, _LARGEST_DATABASE)), _MOST_PACKAGES))
        except Unreadable as error:
            self._warn(path, error)
            return
        origin = {(item.name, item.version, item.architecture): leaf.layer for item, _ in packages}
        if leaf.layer:
            self._trace(real, leaf.layer, parse, origin)
        for item, paths in packages:
            layer = origin[item.name, item.version, item.architecture]
            self._add(item, real, layer)
            for installed in dpkg.files(self._tree, item) if item.kind == "deb" else paths:
                self._owners[installed] = item.name

    def _trace(
        self, path: str, top: int, parse: Callable[[bytes], Iterator[tuple[Package, list[str]]]],
        origin: dict[tuple[str, str, str], int],
    ) -> None:  # fmt: skip
        waiting = set(origin)
        for layer in range(top - 1, -1, -1):
            try:
                data = self._tree.read(path, layer, _LARGEST_DATABASE)
                waiting &= {(item.name, item.version, item.architecture) for item, _ in parse(data)}
            except Unreadable:
                continue  # this layer has none
            if not waiting:
                return
            origin |= dict.fromkeys(waiting, layer)

    def _add(self, package: Package, path: str, layer: int, owner: str = "") -> None:
        licenses = package.licenses
        if package.kind == "deb":
            licenses = dpkg.licenses(self._tree, package)
        self._found.append(
            replace(
                _clean(package), licenses=tuple(map(_printable, licenses)), path=f"/{_printable(path)}",
                layer=self._diff_ids[layer], owner=owner,
            )
        )  # fmt: skip

    # -- files of languages --------------------------------------------------------------------------

    def _file(self, path: str, leaf: Leaf) -> None:
        try:
            for package in self._packages_of(path, leaf):
                self._add(package, path, leaf.layer, owner=self._owners.get(path, ""))
        except Unreadable as error:
            self._warn(path, error)

    def _packages_of(self, path: str, leaf: Leaf) -> Iterator[Package]:
        name = path.rpartition("/")[2]
        if name == "package.json" and "node_modules/" in path:
            yield from _one(npm.parse_manifest(self._tree.read(path, leaf.layer, _LARGEST_DOCUMENT)))
        elif name == "package-lock.json":
            if not self._tree.names(f"{path.removesuffix(name)}node_modules"):
                yield from npm.parse_lock(self._tree.read(path, leaf.layer, _LARGEST_DOCUMENT))
        elif name in ("METADATA", "PKG-INFO") or name.endswith(".egg-info"):
            if python.is_metadata(path):
                data = self._tree.read(path, leaf.layer, _BEGINNING, may_be_cut=True)
                yield from _one(python.parse(_text(data)))
        elif name.endswith(java.SUFFIXES):
            with self._tree.open(path, leaf.layer) as file:
                yield from java.parse(file, name, self._budget)
        elif leaf.kind == PROGRAM:
            with self._tree.open(path, leaf.layer) as file:
                yield from golang.parse(file)


def _one(package: Package | None) -> tuple[Package, ...]:
    return (package,) if package else ()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _clean(package: Package) -> Package:
    """Return a package whose texts can be printed: they come from the image."""
    return replace(
        package, name=_printable(package.name), version=_printable(package.version),
        architecture=_printable(package.architecture), source=_printable(package.source),
        source_version=_printable(package.source_version), supplier=_printable(package.supplier),
    )  # fmt: skip


def _printable(text: str) -> str:
    clean = text.encode(errors="replace").decode()[:1000]
    return clean if clean.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in clean)
