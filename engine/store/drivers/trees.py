"""btrfs and vfs: a container has a directory with all of its files, made from a snapshot or by copying the layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from engine.linux import btrfs, files
from engine.store.drivers import compare
from engine.store.drivers.compare import Change
from engine.store.drivers.extract import extracted
from engine.store.drivers.merge import merge, open_all
from engine.store.paths import Paths

ROOTFS = "rootfs"
TREE = "tree"


class Copies:
    """vfs: plain copies, for file systems that can do nothing else; extents are shared where there is a way."""

    name = "vfs"
    familiar_name = "vfs"
    differs = staticmethod(compare.differs_from_copy)

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def refusal(self, place: Path) -> str:
        """Return "": every file system will do."""
        del place
        return ""

    def create(self, directory: Path, layers: tuple[Path, ...]) -> None:
        """Copy all layers, the lowest first."""
        root = directory / ROOTFS
        root.mkdir(mode=0o755)
        for layer in reversed(layers):
            _merge(layer, root)

    def settings(self, directory: Path, layers: tuple[Path, ...]) -> dict[str, Any]:
        """Return the directory with the files."""
        del layers
        return {"rootfs": str(directory / ROOTFS), "maps_owners": True}

    def changes(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Change]:
        """Yield where the container's files differ from the image's."""
        with ExitStack() as stack:
            *below, root = open_all((*self.base(layers), directory / ROOTFS), stack)
            yield from compare.changes(below, root, self.differs, is_whole=True)

    @contextmanager
    def upper(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Path]:
        """Give a copy of what has been changed, in overlay form; it goes afterwards."""
        with extracted(self._paths, self.changes(directory, layers), directory / ROOTFS) as upper:
            yield upper

    def base(self, layers: tuple[Path, ...]) -> tuple[Path, ...]:
        """Return the directories that together are the image, top first."""
        return layers

    def occupied(self, directory: Path, layers: tuple[Path, ...]) -> int:
        """Return the bytes of all files."""
        from engine.store.check import size_of

        del layers
        return size_of(directory)


class Snapshots(Copies):
    """btrfs: each layer has a subvolume with all files up to it, and a container has a snapshot of the topmost."""

    name = "btrfs"
    familiar_name = "btrfs"
    differs = staticmethod(compare.differs_from_snapshot)

    def refusal(self, place: Path) -> str:
        """Return whether the file system of an empty directory is no btrfs."""
        with ExitStack() as stack:
            (fd,) = open_all((place,), stack)
            try:
                btrfs.create(fd, TREE)
                btrfs.delete(fd, TREE)
            except OSError as error:
                return f"subvolumes cannot be made there: {error.strerror}"
        return ""

    def create(self, directory: Path, layers: tuple[Path, ...]) -> None:
        """Make a snapshot of the image, whose subvolumes are made first where they are missing."""
        missing = [index for index, layer in enumerate(layers) if not _tree_of(layer).exists()]
        for index in reversed(missing):
            self._make_tree(layers[index], layers[index + 1] if index + 1 < len(layers) else None)
        _subvolume(directory, ROOTFS, _tree_of(layers[0]) if layers else None)

    def _make_tree(self, layer: Path, below: Path | None) -> None:
        home = layer.parent
        with files.FileLock(self._paths.lock(f"layer-{home.name}")), self._paths.staged(TREE) as staged:
            if not _tree_of(layer).exists():
                _subvolume(staged, TREE, _tree_of(below) if below else None)
                _merge(layer, staged / TREE)
                staged.joinpath(TREE).rename(_tree_of(layer))

    def base(self, layers: tuple[Path, ...]) -> tuple[Path, ...]:
        """Return the image's subvolume."""
        return (_tree_of(layers[0]),) if layers else ()

    def occupied(self, directory: Path, layers: tuple[Path, ...]) -> int:
        """Return the bytes of the files that the container does not share with its image."""
        from engine.store.check import size_of

        try:
            changed = sum(change.size for change in self.changes(directory, layers))
            return changed + sum(size_of(path) for path in directory.iterdir() if path.name != ROOTFS)
        except FileNotFoundError:
            return 0  # the container was removed meanwhile


def _tree_of(layer: Path) -> Path:
    return layer.with_name(TREE)


def _subvolume(directory: Path, name: str, source: Path | None) -> None:
    """Make a subvolume, as a snapshot of another one if that is given."""
    with ExitStack() as stack:
        (parent,) = open_all((directory,), stack)
        if source is None:
            btrfs.create(parent, name)
        else:
            btrfs.snapshot(open_all((source,), stack)[0], parent, name)


def _merge(layer: Path, target: Path) -> None:
    with ExitStack() as stack:
        merge(*open_all((layer, target), stack))
