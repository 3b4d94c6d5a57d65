"""overlay: the kernel's overlayfs over the layers, mounted in the container alone; and fuse-overlayfs, its stand-in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from engine.errors import NotSupported
from engine.linux import syscalls
from engine.store.drivers.compare import Change, changes
from engine.store.drivers.extract import extracted
from engine.store.drivers.merge import open_all
from engine.store.paths import Paths

_FUSE = Path("/dev/fuse")


class Overlay:
    """The kernel's overlayfs: a container has an upper directory for its changes."""

    name = "overlay"
    familiar_name = "overlay2"

    def refusal(self, place: Path) -> str:
        """Return why overlayfs does not work on the file system of an empty directory, "" when it does.

        It is tried by a mount that is attached nowhere: layers without whiteouts or attributes would lose deletions.
        """
        for name in ("lower/gone", "upper", "work"):
            place.joinpath(name).mkdir(parents=True)
        try:
            with ExitStack() as stack:
                fds = [os.open(place / name, os.O_PATH | os.O_CLOEXEC) for name in ("lower", "upper", "work")]
                for fd in fds:
                    stack.callback(os.close, fd)
                lower, upper, work = (f"/proc/self/fd/{fd}" for fd in fds)
                tree = syscalls.fsmount("overlay", {"lowerdir": lower, "upperdir": upper, "workdir": work})
                stack.callback(os.close, tree)
                os.rmdir("gone", dir_fd=tree)
                os.mkdir("gone", dir_fd=tree)  # needs a whiteout, and the mark of an opaque directory
        except OSError as error:
            return f"overlayfs does not work there: {error.strerror}"
        return ""

    def create(self, directory: Path, layers: tuple[Path, ...]) -> None:
        """Make the upper and the work directory."""
        del layers
        for name in ("upper", "work"):
            directory.joinpath(name).mkdir(mode=0o755)

    def settings(self, directory: Path, layers: tuple[Path, ...]) -> dict[str, Any]:
        """Return the directories that are mounted as one."""
        upper, work = str(directory / "upper"), str(directory / "work")
        return {"overlay": {"lower": [str(path) for path in layers], "upper": upper, "work": work}}

    def changes(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Change]:
        """Yield what the upper directory has and hides."""
        with ExitStack() as stack:
            *below, root = open_all((*layers, directory / "upper"), stack)
            yield from changes(below, root, lambda _before, _now: True, is_whole=False)

    @contextmanager
    def upper(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Path]:
        """Give the upper directory."""
        del layers
        yield directory / "upper"

    def occupied(self, directory: Path, layers: tuple[Path, ...]) -> int:
        """Return the bytes of all files: those of the image lie elsewhere."""
        from engine.store.check import size_of

        del layers
        return size_of(directory)


class FuseOverlay(Overlay):
    """fuse-overlayfs: the same directories, merged by a program that ends with the container's mounts."""

    name = "fuse-overlayfs"
    familiar_name = "fuse-overlayfs"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def refusal(self, place: Path) -> str:
        """Return whether the program or the kernel's half is missing."""
        del place
        if not _program():
            return "the program fuse-overlayfs is not installed"
        return "" if _FUSE.exists() else "this kernel has no /dev/fuse"

    def settings(self, directory: Path, layers: tuple[Path, ...]) -> dict[str, Any]:
        """Return the directories, and the program."""
        program = _program()
        if not program:
            raise NotSupported(
                "the program fuse-overlayfs, which mounts this state root's containers, is not installed"
            )
        found = super().settings(directory, layers)
        return {"overlay": {**found["overlay"], "program": program}}

    @contextmanager
    def upper(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Path]:
        """Give a copy of the upper directory without the program's own marks."""
        with extracted(self._paths, self.changes(directory, layers), directory / "upper") as upper:
            yield upper


def _program() -> str | None:
    return shutil.which("fuse-overlayfs")
