"""Writes a container's changes in overlay form: what an upper directory would have if there were one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.linux import inside
from engine.store.drivers.compare import Change
from engine.store.drivers.merge import Copier, open_all
from engine.store.paths import Paths


@contextmanager
def extracted(paths: Paths, changes: Iterable[Change], source: Path) -> Iterator[Path]:
    """Give a directory that has a container's changes in overlay form; it goes afterwards.

    Args:
        paths: The state root.
        changes: The changes, parents before what is in them.
        source: Where what was added or changed lies.
    """
    with paths.staged("upper") as staged:
        upper = staged / "diff"
        upper.mkdir(mode=0o755)
        with ExitStack() as stack:
            _extract(changes, *open_all((source, upper), stack))
        yield upper


def _extract(changes: Iterable[Change], root: int, upper: int) -> None:
    copier = Copier(upper)
    directories = [""]
    for change in changes:
        parent, _, name = change.path.rpartition("/")
        source = inside.open_inside(root, parent or "/", os.O_PATH | os.O_DIRECTORY)
        target = inside.open_inside(upper, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            status = None if change.kind == "D" else os.stat(name, dir_fd=source, follow_symlinks=False)
            if status is None:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=target)
            elif stat.S_ISDIR(status.st_mode):
                os.mkdir(name, 0o700, dir_fd=target)
                directories.append(change.path)
            else:
                copier.entry(source, target, name, status, change.path)
        finally:
            os.close(source)
            os.close(target)
    for path in reversed(directories):  # last, for their times
        copier.attributes(root, upper, path)
