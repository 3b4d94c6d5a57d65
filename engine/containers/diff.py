"""What a container changed: its upper directory beside its image, both read by descriptor.

A directory counts as changed when its own mode or owner is another, or when something in it changed; the times of
directories do not count. What the engine itself put into the root file system to mount on is left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from engine.errors import CopyFailed
from engine.linux import inside
from engine.model.change import Change
from engine.model.value import Value

_OWN_TARGETS = frozenset({"/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
_ABOVE_OWN_TARGETS = frozenset({"/etc"})
_OPAQUE = "trusted.overlay.opaque"
_DEEPEST = 256


class Found(Value, frozen=True):
    """A change, and where it is until the next one is asked for.

    Attributes:
        directory_fd: The upper directory that has it; a deletion is in none.
        name: Its name there.
    """

    change: Change
    directory_fd: int
    name: str


def changes(upper_fd: int, image_fd: int) -> Iterator[Found]:
    """Yield what changed, sorted, directories before what is in them.

    Args:
        upper_fd: The upper directory of an overlay.
        image_fd: The root below it; see `Views.image`.

    Raises:
        CopyFailed: The tree is too deep.
    """
    yield from _inside(upper_fd, image_fd, "")


def _inside(upper_fd: int, image_fd: int, path: str) -> Iterator[Found]:
    if path.count("/") > _DEEPEST:
        raise CopyFailed(f"{path[:200]} is nested deeper than {_DEEPEST} directories")
    names = set(_names(upper_fd))
    if image_fd >= 0 and _is_opaque(upper_fd):
        names.update(_names(image_fd))
    for name in sorted(names):
        yield from _compare(upper_fd, image_fd, name, f"{path}/{name}")


def _compare(upper_fd: int, image_fd: int, name: str, path: str) -> Iterator[Found]:
    above, below = _status(upper_fd, name), _status(image_fd, name)
    if above is None or _is_whiteout(above):
        if below is not None and not _is_whiteout(below):
            yield Found(Change("D", path), -1, name)
        return
    if below is None and path in _OWN_TARGETS and _is_empty(upper_fd, name, above):
        return
    found = Found(Change("A" if below is None else "C", path), upper_fd, name)
    if not stat.S_ISDIR(above.st_mode):
        yield found
        return
    inner = _directory(upper_fd, image_fd if below is not None and stat.S_ISDIR(below.st_mode) else -1, name, path)
    is_told = path not in _ABOVE_OWN_TARGETS if below is None else _differ(above, below)
    if is_told:
        yield found
    for one in inner:
        if not is_told:
            yield found
            is_told = True
        yield one


def _directory(upper_fd: int, image_fd: int, name: str, path: str) -> Iterator[Found]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    child_fd = below_fd = -1
    try:
        child_fd = os.open(name, flags, dir_fd=upper_fd)
        below_fd = os.open(name, flags, dir_fd=image_fd) if image_fd >= 0 else -1
        yield from _inside(child_fd, below_fd, path)
    except FileNotFoundError:
        return  # it was removed meanwhile
    finally:
        for fd in (child_fd, below_fd):
            if fd >= 0:
                os.close(fd)


def _names(directory_fd: int) -> list[str]:
    readable_fd = inside.reopen(directory_fd, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.listdir(readable_fd)  # noqa: PTH208 - a descriptor
    finally:
        os.close(readable_fd)


def _status(directory_fd: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False) if directory_fd >= 0 else None
    except FileNotFoundError:
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(directory_fd: int) -> bool:
    try:
        return os.getxattr(f"/proc/self/fd/{directory_fd}", _OPAQUE) == b"y"
    except OSError:
        return False


def _is_empty(directory_fd: int, name: str, status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return stat.S_ISREG(status.st_mode) and status.st_size == 0
    item_fd = inside.open_item(directory_fd, name)
    try:
        return not _names(item_fd)
    finally:
        os.close(item_fd)


def _differ(above: os.stat_result, below: os.stat_result) -> bool:
    return (above.st_mode, above.st_uid, above.st_gid) != (below.st_mode, below.st_uid, below.st_gid)
