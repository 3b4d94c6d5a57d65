"""How much a directory may hold: project quotas of ext4 and xfs, quota groups of btrfs.

Sources: quotactl(2), quotactl_fd(2), linux/quota.h, linux/dqblk_xfs.h, linux/fs.h (FS_IOC_FSSETXATTR), linux/btrfs.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from engine.linux import syscalls

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_INHERITS = 0x200
_QGROUP_LIMIT = 0x8030942B
_PROJECT = 2
_SET, _GET, _XFS_STATE = 0x800008, 0x800007, 0x5805
_ENFORCED = 1 << 5
_BLOCK_LIMITS = 1
_BLOCK = 1024
_DQBLK = struct.Struct("=8QI4x")
_NO_LIMIT = (1 << 64) - 1


class Unsupported(Exception):
    """There is no quota to set; str() says why, in half a sentence."""


def limit(directory_fd: int, size: int) -> None:
    """Limit what a directory may hold with all that is below it.

    Files that were in it before are counted only once they have its project (`project_of`, `set_project`).

    Args:
        directory_fd: The directory, opened for reading; on btrfs a subvolume.
        size: Bytes; 0 for no limit.

    Raises:
        Unsupported: The file system has no quota, or it is not switched on.
    """
    try:
        _limit_subvolume(directory_fd, size)
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.ENOENT):
            raise Unsupported("quotas of this btrfs are off (btrfs quota enable switches them on)") from error
        if error.errno != errno.ENOTTY:
            raise
    else:
        return
    _limit_project(directory_fd, size)


def _limit_subvolume(directory_fd: int, size: int) -> None:
    arguments = struct.pack("=6Q", 0, 1, size or _NO_LIMIT, 0, 0, 0)
    fcntl.ioctl(directory_fd, _QGROUP_LIMIT, arguments)


def _limit_project(directory_fd: int, size: int) -> None:
    if not _is_enforced(directory_fd):
        raise Unsupported(
            "this file system has no project quota in force (ext4 made with -O quota,project or xfs, mounted with prjquota)"
        )
    project = project_of(directory_fd)
    if not project:
        project = _free_project(directory_fd)
        set_project(directory_fd, project)
    blocks = -(-size // _BLOCK)
    values = bytearray(_DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS))
    syscalls.quotactl_fd(directory_fd, _SET << 8 | _PROJECT, project, values)


def _is_enforced(directory_fd: int) -> bool:
    state = bytearray(256)  # struct fs_quota_stat: version, flags, …
    try:
        syscalls.quotactl_fd(directory_fd, _XFS_STATE << 8 | _PROJECT, 0, state)
    except OSError:
        return False
    return bool(struct.unpack_from("@bH", state)[1] & _ENFORCED)


def project_of(directory_fd: int) -> int:
    """Return the project of a directory, 0 for none.

    Raises:
        OSError: ENOTTY where the file system has no projects.
    """
    found: int = struct.unpack("=5I8x", fcntl.ioctl(directory_fd, _GET_ATTRIBUTES, bytes(28)))[3]
    return found


def set_project(fd: int, project: int) -> None:
    """Count a file or a directory in a project; what is made in a directory later is counted in its project."""
    flags, extent, _, _, shared = struct.unpack("=5I8x", fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(28)))
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        flags |= _INHERITS
    fcntl.ioctl(fd, _SET_ATTRIBUTES, struct.pack("=5I8x", flags, extent, 0, project, shared))


def _free_project(directory_fd: int) -> int:
    """Return a project that nothing on the file system has."""
    while True:
        project = int.from_bytes(os.urandom(4), "little") | 1 << 31
        values = bytearray(_DQBLK.size)
        try:
            syscalls.quotactl_fd(directory_fd, _GET << 8 | _PROJECT, project & 0xFFFFFFFE, values)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
        if not any(values[:64]):
            return project & 0xFFFFFFFE
