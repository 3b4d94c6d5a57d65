"""What a container has changed in its image: its files beside the image's layers, both named by descriptor."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec

from engine.model.value import Value
from engine.store.drivers.merge import is_opaque, is_whiteout, open_below

_OPAQUE_FILE = ".wh..wh..opq"  # fuse-overlayfs's mark beside the attribute
Differs = Callable[[os.stat_result, os.stat_result], bool]


class Change(Value, frozen=True):
    """A path that a container has changed.

    Attributes:
        kind: "A" added, "C" changed, "D" deleted, as docker's diff has them.
        path: From the container's root, such as "/etc/hosts".
        size: Bytes that the container's file occupies; 0 of a directory.
    """

    kind: str
    path: str
    size: int = 0


class _Known(msgspec.Struct):
    """What the layers show by one name: its status, and the directories that are merged under it, top first."""

    status: os.stat_result
    holders: list[int] = msgspec.field(default_factory=list)
    is_closed: bool = False


def changes(layers: list[int], root_fd: int, differs: Differs, *, is_whole: bool) -> Iterator[Change]:
    """Yield what differs, parents before what is in them, names sorted.

    Args:
        layers: The image's layers in overlay form, top first.
        root_fd: The container's files.
        differs: Tells whether a file that both have has been changed: (the image's, the container's).
        is_whole: Whether `root_fd` is all that the container has; else it is an upper directory in overlay form.
    """
    yield from _directory(layers, root_fd, "", differs, is_whole=is_whole)


def _directory(layers: list[int], root_fd: int, path: str, differs: Differs, *, is_whole: bool) -> Iterator[Change]:
    known, present = _merged(layers), set(os.listdir(root_fd))
    for name in sorted(present | known.keys() if is_whole else present):
        inner = f"{path}/{name}"
        if name == _OPAQUE_FILE:
            continue
        if name not in present:
            yield Change("D", inner)
            continue
        try:
            status = os.stat(name, dir_fd=root_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue  # the container runs, and has just removed it
        before = known.get(name)
        if is_whiteout(status):
            if before:
                yield Change("D", inner)
        elif stat.S_ISDIR(status.st_mode):
            yield from _subdirectory(layers, root_fd, name, inner, before, status, differs, is_whole=is_whole)
        elif before is None or differs(before.status, status):
            yield Change("C" if before else "A", inner, status.st_blocks * 512)


def _subdirectory(
    layers: list[int], root_fd: int, name: str, path: str, before: _Known | None, status: os.stat_result,
    differs: Differs, *, is_whole: bool,
) -> Iterator[Change]:  # fmt: skip
    own = Change("C" if before else "A", path)
    with ExitStack() as stack:
        try:
            inner_root = open_below(root_fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return
        stack.callback(os.close, inner_root)
        holders = [layers[index] for index in before.holders] if before else []
        below = _open_all(holders, name, stack)
        is_told = before is None or not is_whole or differs(before.status, status)
        if is_told:
            yield own
        inside = is_whole or is_opaque(inner_root)
        for change in _directory(below, inner_root, path, differs, is_whole=inside):
            if not is_told:
                yield own
                is_told = True
            yield change


def _open_all(holders: list[int], name: str, stack: ExitStack) -> list[int]:
    """Open the directories that are merged by a name, down to one that hides those below it."""
    opened: list[int] = []
    for holder in holders:
        opened.append(open_below(holder, name))
        stack.callback(os.close, opened[-1])
        if is_opaque(opened[-1]):
            break
    return opened


def _merged(layers: list[int]) -> dict[str, _Known]:
    """Return what the layers show in one directory."""
    found: dict[str, _Known] = {}
    for index, layer_fd in enumerate(layers):
        for name in os.listdir(layer_fd):  # noqa: PTH208 - a descriptor
            known = found.get(name)
            if known and known.is_closed:
                continue
            status = os.stat(name, dir_fd=layer_fd, follow_symlinks=False)
            is_directory = stat.S_ISDIR(status.st_mode)
            if known is None:
                known = found[name] = _Known(status)
            if is_directory:
                known.holders.append(index)
            known.is_closed = not is_directory
    return {name: known for name, known in found.items() if not is_whiteout(known.status)}


def differs_from_copy(before: os.stat_result, now: os.stat_result) -> bool:
    """Tell whether a file is no longer the copy it was; a directory's size and time say nothing."""
    if _attributes(before) != _attributes(now):
        return True
    is_directory = stat.S_ISDIR(now.st_mode)
    return not is_directory and (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)


def differs_from_snapshot(before: os.stat_result, now: os.stat_result) -> bool:
    """Tell whether a file has been changed since the snapshot, which keeps inode numbers and change times."""
    if stat.S_ISDIR(now.st_mode):
        return _attributes(before) != _attributes(now)
    return (before.st_ino, before.st_ctime_ns) != (now.st_ino, now.st_ctime_ns)


def _attributes(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
