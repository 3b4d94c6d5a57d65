"""Loop devices: a file as a block device, gone with its last user. Source: loop(4), linux/loop.h."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

_GET_FREE, _CONFIGURE, _GET_STATUS = 0x4C82, 0x4C0A, 0x4C05
_READ_ONLY, _AUTOCLEAR = 1, 4
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_TRIES = 64


def attach(path: str, *, is_read_only: bool) -> int:
    """Return an fd of the loop device of a file: the one that it has, or a new one.

    The device frees itself when nobody has it open or mounted any more, so the fd is kept until it is mounted. Two
    devices of one file would be two file systems that do not know of each other; hence the lock on the file.

    Raises:
        OSError: The file cannot be opened, or there is no loop device to be had.
    """
    backing = os.open(path, (os.O_RDONLY if is_read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        fcntl.flock(backing, fcntl.LOCK_EX)
        found = _existing(os.fstat(backing))
        return found if found >= 0 else _new(backing, path, is_read_only=is_read_only)
    finally:
        os.close(backing)


def is_needed(path: str) -> bool:
    """Return whether what a file system lies on is a file, not a device."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _existing(wanted: os.stat_result) -> int:
    """Return an fd of the device that has all of a file, or -1."""
    for name in os.listdir("/sys/block"):
        if not name.startswith("loop") or not os.path.exists(f"/sys/block/{name}/loop"):
            continue
        try:
            device = os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            info = _INFO.unpack(fcntl.ioctl(device, _GET_STATUS, bytes(_INFO.size)))
        except OSError:  # it was freed meanwhile
            info = ()
        if info and info[:2] == (_kernel_device(wanted.st_dev), wanted.st_ino) and info[3:5] == (0, 0):
            return device
        os.close(device)
    return -1


def _new(backing: int, path: str, *, is_read_only: bool) -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = _AUTOCLEAR | (_READ_ONLY if is_read_only else 0)
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(path)[-63:], b"", b"", 0, 0)
        for _ in range(_TRIES):
            device = os.open(f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, struct.pack("=2I", backing, 0) + info + bytes(64))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # else somebody else was faster
                    raise
            else:
                return device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "there is no free loop device")


def _kernel_device(device: int) -> int:
    """Return a device's number as the kernel writes it (new_encode_dev in linux/kdev_t.h)."""
    minor = os.minor(device)
    return (minor & 0xFF) | os.major(device) << 8 | (minor & ~0xFF) << 12
