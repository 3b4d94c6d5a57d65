"""Block devices for I/O limits: a device, or the disk below a path, as (major, minor) of the whole disk."""

from __future__ import annotations

import errno
import os
import stat

from engine.linux.cgroup.layout import CgroupError


def block_device(path: str) -> tuple[int, int]:
    """Return the numbers of the disk that `path` is, is on, or names as "MAJOR:MINOR".

    A partition stands for its whole disk, since limits apply to disks only.

    Raises:
        CgroupError: There is no such device.
    """
    major, colon, minor = path.partition(":")
    if colon and major.isdigit() and minor.isdigit():
        return whole_disk(int(major), int(minor))
    try:
        status = os.stat(path)
    except OSError as error:
        raise CgroupError(error.errno or errno.ENOENT, f"no such device: {path}") from error
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    if not stat.S_ISBLK(status.st_mode) and os.major(number) == 0:
        raise CgroupError(errno.ENOTBLK, f"{path} is not on a block device")
    return whole_disk(os.major(number), os.minor(number))


def whole_disk(major: int, minor: int) -> tuple[int, int]:
    """Return the disk that a partition belongs to, or the disk itself."""
    base = f"/sys/dev/block/{major}:{minor}"
    if not os.path.exists(base):
        raise CgroupError(errno.ENODEV, f"no such block device: {major}:{minor}")
    if not os.path.exists(f"{base}/partition"):
        return major, minor
    with open(f"{base}/../dev", encoding="ascii") as file:
        disk, _, number = file.read().strip().partition(":")
    return int(disk), int(number)


def disk_of(path: str) -> str:
    """Return the device file of the disk that a path is on, such as /dev/vda; empty when there is none."""
    try:
        major, minor = block_device(path)
        name = os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return ""
    return f"/dev/{name}"
