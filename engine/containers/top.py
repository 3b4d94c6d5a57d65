"""The processes of a container, as the host and the container see them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from engine.linux import inside, procfs
from engine.model.container import Process

_PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(pids: list[int], init_pid: int) -> tuple[Process, ...]:
    """Return the processes of a cgroup, oldest first; those that end meanwhile are left out."""
    users = _user_names(init_pid)
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found = []
    for pid in pids:
        try:
            found.append(_process(pid, users, booted))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tuple(sorted(found, key=lambda process: (process.started_at, process.container_pid)))


def _process(pid: int, users: dict[int, str], booted: float) -> Process:
    stat = procfs.stat_of(pid)
    status = procfs.status_of(pid)
    uid = int(status["Uid"].split()[1])
    command = procfs.command_line(pid) or f"[{stat.name}]"
    return Process(
        pid=pid,
        container_pid=int(status.get("NSpid", str(pid)).split()[-1]),
        parent_pid=stat.parent,
        user=users.get(uid, str(uid)),
        command=command,
        state=stat.state,
        cpu_seconds=stat.cpu_ticks / procfs.CLOCK_TICKS,
        memory_bytes=stat.resident_pages * _PAGE,
        started_at=datetime.fromtimestamp(booted + stat.start / procfs.CLOCK_TICKS, UTC),
    )


def _user_names(init_pid: int) -> dict[int, str]:
    """Return the names in the container's own passwd."""
    try:
        root = inside.open_root(f"/proc/{init_pid}/root")
    except OSError:
        return {}
    try:
        text = inside.read_text(root, "etc/passwd")
    except OSError:
        return {}
    finally:
        os.close(root)
    found: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[2].isdigit():
            found.setdefault(int(fields[2]), fields[0])
    return found
