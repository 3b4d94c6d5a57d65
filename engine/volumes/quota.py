"""How many bytes a volume's files may occupy, held by the file system."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from engine.errors import CopyFailed, InvalidArgument, NotSupported
from engine.linux import inside, quota
from engine.model.volume import Volume
from engine.volumes.replicate import opened_directory

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Parse docker's sizes, "512m", "1.5G", "1024", to bytes; factors are powers of 1024.

    Raises:
        InvalidArgument: It is no size, or nothing.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " ")) if found else 0
    if not size:
        raise InvalidArgument(f"invalid volume size {text!r}: bytes, or a number with k, m, g or t")
    return size


def set_size(volume: Volume, directory: Path, size: int) -> None:
    """Limit the files of a volume, those that are there already too.

    Args:
        volume: The volume.
        directory: Its files, or those that shall take their place.
        size: Bytes; 0 for no limit.

    Raises:
        InvalidArgument: The size is negative, or more than any file system has.
        NotSupported: The file system has no quotas, or they are off.
        CopyFailed: The files that are there are too many to be counted as the volume's.
    """
    if not 0 <= size < 1 << 62:
        raise InvalidArgument(f"invalid volume size {size}: from 0 to some exabytes")
    with opened_directory(directory) as directory_fd:
        try:
            quota.limit(directory_fd, size)
        except quota.Unsupported as error:
            raise NotSupported(f"volume {volume.name} cannot have a size: {error}") from error
        except OSError as error:
            raise NotSupported(f"volume {volume.name} cannot have a size: {error.strerror}") from error
        try:
            project = quota.project_of(directory_fd)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            return  # btrfs counts by subvolume
        if project:
            _count(volume, directory_fd, project)


def _count(volume: Volume, root_fd: int, project: int) -> None:
    """Count everything in a project that is not in it yet; what is made meanwhile is in that of its directory."""
    waiting = [""]
    while waiting:
        path = waiting.pop()
        try:
            directory_fd = inside.open_beneath(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # it was removed meanwhile
        try:
            inner = [name for name in os.listdir(directory_fd) if _count_one(volume, directory_fd, name, project)]  # noqa: PTH208 - a descriptor
            waiting += [f"{path}/{name}" if path else name for name in inner]
        finally:
            os.close(directory_fd)


def _count_one(volume: Volume, directory_fd: int, name: str, project: int) -> bool:
    """Count one file; return whether it is a directory."""
    try:
        item_fd = inside.open_item(directory_fd, name)
    except FileNotFoundError:
        return False  # it was removed meanwhile
    try:
        kind = stat.S_IFMT(os.fstat(item_fd).st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            return False  # links and nodes occupy next to nothing
        fd = inside.reopen(item_fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if quota.project_of(fd) != project:
                quota.set_project(fd, project)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno == errno.EDQUOT:
            raise CopyFailed(f"the files of volume {volume.name} occupy more than its size") from error
        raise
    finally:
        os.close(item_fd)
    return kind == stat.S_IFDIR
