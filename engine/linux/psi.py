"""Pressure stall information: how long tasks waited for a resource (kernel: accounting/psi)."""

from __future__ import annotations

import fcntl
import os
import select

from engine.model.groups import HostPressure
from engine.model.usage import Pressure

RESOURCES = ("cpu", "memory", "io")
_DIRECTORY = "/proc/pressure"
_HIGH = 1024


def parse(text: str) -> Pressure | None:
    """Return what a pressure file says; None for an empty one."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values |= {f"{kind}_{name}": float(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    if "some_total" not in values:
        return None
    averages = [f"avg{seconds}" for seconds in (10, 60, 300)]
    some, full = ([values.get(f"{kind}_{name}", 0.0) for name in averages] for kind in ("some", "full"))
    return Pressure(
        some[0], some[1], some[2], int(values["some_total"]), full[0], full[1], full[2], int(values.get("full_total", 0))
    )  # fmt: skip


def of_host(*, of_groups: bool = False) -> HostPressure:
    """Return the pressure of the whole host.

    Args:
        of_groups: Whether the kernel tells it of control groups too, as the caller has seen.
    """
    found = [of(name) for name in RESOURCES]
    reason = ""
    if not any(found):
        reason = "this kernel does not measure pressure: it was built without PSI, or booted without psi=1"
    elif not of_groups:
        reason = "this kernel measures the pressure of groups on cgroup v2 only: throttling and use are shown for each"
    return HostPressure(found[0], found[1], found[2], of_groups, reason)


def of(resource: str) -> Pressure | None:
    """Return the pressure of the whole host on one resource; None where the kernel does not say."""
    try:
        fd = os.open(f"{_DIRECTORY}/{resource}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse(os.read(fd, 4096).decode())
    except OSError:  # EOPNOTSUPP: it is off
        return None
    finally:
        os.close(fd)


class Triggers:
    """Waits until tasks have waited long enough within a window, without looking in between (poll(2), POLLPRI).

    The kernel tells it at most once a window. Windows are two seconds, which needs no capability (since Linux 6.5; before,
    CAP_SYS_RESOURCE).
    """

    WINDOW_US = 2_000_000

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fds: dict[int, object] = {}

    def add(self, key: object, path: str, stall_us: int, *, full: bool = False) -> None:
        """Register a trigger.

        Args:
            key: What `wait` returns for it.
            path: The pressure file of a group, or of the host.
            stall_us: Microseconds of a window in which some task, or with `full` all of them, must have waited.
            full: See there.

        Raises:
            OSError: There is no such file, or the kernel refuses.
        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(fd, b"%s %d %d\0" % (b"full" if full else b"some", stall_us, self.WINDOW_US))
            kept = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)  # lower numbers are left to those who use select(2)
        finally:
            os.close(fd)
        self._fds[kept] = key
        self._poll.register(kept, select.POLLPRI)

    def registered(self) -> list[object]:
        """Return the keys of what is registered."""
        return list(self._fds.values())

    def wait(self, seconds: float) -> tuple[list[object], list[object]]:
        """Wait; return the keys of what has stalled, and of groups that are gone, whose triggers are dropped."""
        stalled, gone = [], []
        for fd, event in self._poll.poll(max(0.0, seconds) * 1000):
            if event & (select.POLLERR | select.POLLNVAL):
                gone.append(self._fds[fd])
                self._drop(fd)
            else:
                stalled.append(self._fds[fd])
        return stalled, gone

    def remove(self, key: object) -> None:
        """Drop the triggers of a key."""
        for fd in [fd for fd, known in self._fds.items() if known == key]:
            self._drop(fd)

    def close(self) -> None:
        """Drop all."""
        for fd in list(self._fds):
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._fds[fd]
        os.close(fd)


def host_file(resource: str) -> str:
    """Return the path of the host's own pressure file."""
    return f"{_DIRECTORY}/{resource}"
