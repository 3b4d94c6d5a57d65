"""Capabilities by name and number (capabilities(7))."""

from __future__ import annotations

import os

from engine.linux import syscalls

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""The names without CAP_, at the index that is their number."""

DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
"""What docker gives a container by default."""


_available: tuple[str, ...] = ()


def mask_of(names: list[str]) -> int:
    """Return the bit mask of names with or without CAP_; unknown ones are left out, as runc does."""
    mask = 0
    for name in names:
        short = name.removeprefix("CAP_")
        if short in NAMES:
            mask |= 1 << NAMES.index(short)
    return mask


def last() -> int:
    """Return the number of the last capability that the kernel knows."""
    fd = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 16))
    finally:
        os.close(fd)


def available() -> tuple[str, ...]:
    """Return the names that this process may give to others: those in its bounding set, read once."""
    global _available  # noqa: PLW0603 - the set does not grow, and nobody here drops from it
    if not _available:
        with open("/proc/self/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"CapBnd:"))
        mask = int(line.split()[1], 16)
        _available = tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
    return _available


def drop_bounding(keep: int, last_capability: int) -> None:
    """Drop all capabilities but those in `keep` from the bounding set."""
    for number in range(last_capability + 1):
        if not keep >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)


def raise_ambient(mask: int) -> None:
    """Make the ambient set exactly `mask`."""
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if mask >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)
