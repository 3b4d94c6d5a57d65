"""`events`: a container's counters, once or again and again, as `runc events` writes them."""

from __future__ import annotations

import os
import time

from engine.linux.cgroup import statistics
from engine.linux.cgroup.group import Group
from engine.linux.light import json
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.show import write
from engine.sandbox.runtime.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def run_events(arguments: Arguments, _log: Log) -> int:
    """Write counters: once with --stats, else every --interval, and a line for each kill for lack of memory."""
    container = Container.named_by(arguments)
    if container.status() not in ("created", "running", "paused"):
        raise Fault(f"container {container.container_id} is not running")
    interval = _seconds(arguments.text("interval", "5s"))
    group = container.group
    if arguments.has("stats"):
        _write(container, "stats", statistics.statistics_of(group))
        return 0
    kills = group.oom_kills()
    pidfd = os.pidfd_open(container.pid)
    try:
        while container.pid:
            _write(container, "stats", statistics.statistics_of(group))
            _wait(pidfd, interval)
            kills = _report_kills(container, group, kills)
    finally:
        os.close(pidfd)
    return 0


def _report_kills(container: Container, group: Group, before: int) -> int:
    kills = max(before, group.oom_kills())
    for _ in range(kills - before):
        _write(container, "oom", None)
    return kills


def _wait(pidfd: int, seconds: float) -> None:
    """Wait for the end of a process, or so long."""
    import select

    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)


def _write(container: Container, kind: str, data: Document | None) -> None:
    event: Document = {"type": kind, "id": container.container_id}
    if data is not None:
        event["data"] = data
    write(json.dumps(event) + "\n")


def _seconds(text: str) -> float:
    digits = text.rstrip("hms")
    unit = text[len(digits) :] or "s"
    try:
        found = float(digits) * _UNITS[unit]
    except (ValueError, KeyError):
        raise Fault(f"--interval wants a time such as 5s: {text!r}") from None
    if found <= 0:
        raise Fault("--interval must be longer than zero")
    return found
