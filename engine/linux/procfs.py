"""Processes as /proc shows them (proc(5))."""

from __future__ import annotations

import errno
import os
import time

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


def session_of(pid: int) -> int:
    """Return the id of a process's session; 0 when there is no such process."""
    try:
        return int(_stat_fields(pid)[3])
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0


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
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ProcessLookupError(errno.ESRCH, "it is being reaped") from error  # as older kernels say it
    if not is_same_process(pid, start):
        os.close(fd)
        raise ProcessLookupError(f"process {pid} has ended")
    return fd


class Stat:
    """Some fields of /proc/PID/stat; CPU time and start in clock ticks."""

    def __init__(self, name: str, fields: list[bytes]) -> None:
        self.name = name
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.cpu_ticks = int(fields[11]) + int(fields[12])
        self.start = int(fields[19])
        self.resident_pages = int(fields[21])


def stat_of(pid: int) -> Stat:
    """Return the fields of a process.

    Raises:
        FileNotFoundError: There is no such process.
    """
    fields = _stat_fields(pid)
    with open(f"/proc/{pid}/comm", "rb") as file:
        return Stat(file.read().decode(errors="replace").strip(), fields)


def status_of(pid: int) -> dict[str, str]:
    """Return the lines of /proc/PID/status."""
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = file.read().decode(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def command_line(pid: int) -> str:
    """Return the arguments of a process, joined by spaces; empty for a zombie."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(65536).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with.

    Raises:
        OSError: There is no such process, or it is somebody else's.
    """
    with open(f"/proc/{pid}/environ", "rb") as file:
        items = file.read(1 << 20).decode(errors="replace").split("\0")
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def login_uid() -> int | None:
    """Return the user who logged in and whom this process goes back to (proc_pid_loginuid(5)); None without audit."""
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def process_ids() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def default_interface() -> str:
    """Return the host's interface with the default route, IPv4's before IPv6's; empty when there is none."""
    found = []
    for name, family in (("route", 4), ("ipv6_route", 6)):
        try:
            with open(f"/proc/net/{name}") as file:
                routes = [_default_route(line.split(), family) for line in file]
        except FileNotFoundError:  # this kernel has no IPv6
            continue
        found += [route for route in routes if route]
    return min(found)[2] if found else ""


def _default_route(fields: list[str], family: int) -> tuple[int, int, str] | None:
    """Return (family, metric, interface) of a line of proc(5)'s route or ipv6_route; None when it leads elsewhere."""
    if family == 4 and fields[1:2] == ["00000000"] and fields[7] == "00000000":
        return family, int(fields[6]), fields[0]
    if family == 6 and len(fields) == 10 and fields[:2] == ["0" * 32, "00"] and fields[9] != "lo":
        return family, int(fields[5], 16), fields[9]
    return None


def boot_time() -> float:
    """Return when the host was booted, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def holder_of_port(protocol: str, port: int) -> str:
    """Return "process PID (NAME)" of a process of this network namespace that has a port; empty when none is found."""
    inodes = set()
    for suffix in ("", "6"):
        try:
            with open(f"/proc/net/{protocol}{suffix}", encoding="ascii") as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except OSError:
            continue
        inodes |= {f"socket:[{row[9]}]" for row in rows if int(row[1].rpartition(":")[2], 16) == port}
    for pid in process_ids() if inodes else ():
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{name}") in inodes for name in os.listdir(f"/proc/{pid}/fd")):
                return f"process {pid} ({stat_of(pid).name})"
        except OSError:
            continue
    return ""
