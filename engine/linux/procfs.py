"""Processes as /proc shows them (proc(5))."""

from __future__ import annotations

import os

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third (state) on."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(fd, 4096)
    finally:
        os.close(fd)
    return content[content.rindex(b")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when there is no such process."""
    try:
        return int(_stat_fields(pid)[19])
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None


def is_same_process(pid: int, start: int) -> bool:
    """Return whether the process that started then still lives (a zombie does not)."""
    if pid <= 0:
        return False
    try:
        fields = _stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    return int(fields[19]) == start and fields[0] not in (b"Z", b"X")


def open_process(pid: int, start: int) -> int:
    """Return a pidfd of the process that started then.

    Raises:
        ProcessLookupError: It has ended; its pid may be somebody else's by now.
    """
    fd = os.pidfd_open(pid)
    if not is_same_process(pid, start):
        os.close(fd)
        raise ProcessLookupError(f"process {pid} has ended")
    return fd
