"""Subvolumes of btrfs, and extents that files share: ioctls of linux/btrfs.h, and FICLONE (ioctl_ficlone(2))."""

from __future__ import annotations

import fcntl
import os
import struct

_SNAPSHOT, _CREATE, _DESTROY = 0x50009401, 0x5000940E, 0x5000940F
_CLONE = 0x40049409


def create(directory_fd: int, name: str) -> None:
    """Make an empty subvolume in a directory.

    Raises:
        OSError: ENOTTY where the file system is no btrfs.
    """
    _call(directory_fd, _CREATE, 0, name)


def snapshot(source_fd: int, directory_fd: int, name: str) -> None:
    """Make a writable snapshot of the subvolume `source_fd` in a directory."""
    _call(directory_fd, _SNAPSHOT, source_fd, name)


def delete(directory_fd: int, name: str) -> None:
    """Delete a subvolume with everything in it; the space comes back a little later.

    Raises:
        OSError: ENOTEMPTY when it has subvolumes of its own, EINVAL when it is none.
    """
    _call(directory_fd, _DESTROY, 0, name)


def _call(directory_fd: int, command: int, fd: int, name: str) -> None:
    arguments = bytearray(struct.pack("=q4088s", fd, os.fsencode(name)))  # bytes may have no more than 1024
    fcntl.ioctl(directory_fd, command, arguments)


def clone(source_fd: int, target_fd: int) -> bool:
    """Have an empty file share the extents of another one; return False where the file system cannot do that."""
    try:
        fcntl.ioctl(target_fd, _CLONE, source_fd)
    except OSError:
        return False
    return True
