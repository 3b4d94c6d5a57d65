"""The control groups of the whole host, read in one pass (kernel: admin-guide/cgroup-v2, cgroup-v1).

On version 1 a group is a directory in several hierarchies; those of the same path are one group here. What is counted is
read each time; limits, which hardly change, of a fifth of the groups each time.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator

from engine.linux import psi
from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import UNIFIED
from engine.linux.procfs import CLOCK_TICKS
from engine.model.groups import ROOT, GroupFile, GroupLimits, GroupReading, HostGroup

_CONTROLLERS_V1 = ("cpu", "cpuacct", "memory", "blkio", "pids")
_LIMITS_EVERY = 5
_UNLIMITED_V1 = 1 << 60
_LARGEST = 64 << 10
_PAGE = 4000
_MOST_GROUPS = 20_000


class Tree:
    """Reads all groups; limits of groups that stay are remembered between two readings."""

    def __init__(self) -> None:
        hierarchy = layout.detect()
        self._version = hierarchy.version
        wanted = (UNIFIED,) if self._version == 2 else _CONTROLLERS_V1
        self._mounts = {name: hierarchy.mounts[name] for name in wanted if name in hierarchy.mounts}
        self._limits: dict[str, GroupLimits] = {}
        self._turn = 0

    def read(self) -> GroupReading:
        """Return all groups now, each before those below it; one that goes meanwhile may be missing."""
        self._turn += 1
        known, self._limits = self._limits, {}
        found = []
        for number, (path, names) in enumerate(self._paths(), self._turn):
            limits = known.get(path) if number % _LIMITS_EVERY else None
            self._limits[path] = limits or self._limits_of(path, names)
            found.append(self._group(path, names, self._limits[path]))
        measured = any(group.cpu_pressure for group in found if group.path != ROOT)
        pressure = psi.of_host(of_groups=measured or (self._version == 2 and len(found) == 1))
        return GroupReading(time.monotonic_ns(), self._version, tuple(found), pressure)

    def _paths(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each group's path and the controllers that have it, each before those below it, by name."""
        directories = dict.fromkeys(self._mounts.values())
        names_of = {mount: frozenset(name for name, at in self._mounts.items() if at == mount) for mount in directories}
        waiting = [(ROOT, tuple(directories))]
        for _ in range(_MOST_GROUPS):
            if not waiting:
                return
            path, mounts = waiting.pop()
            yield path, frozenset().union(*(names_of[mount] for mount in mounts))
            below: dict[str, list[str]] = {}
            for mount in mounts:
                for name in _children(f"{mount}{path}"):
                    below.setdefault(name, []).append(mount)
            start = "" if path == ROOT else path
            waiting += [(f"{start}/{name}", tuple(below[name])) for name in sorted(below, reverse=True)]

    def _text(self, controller: str, path: str, names: frozenset[str], name: str) -> str:
        key = UNIFIED if self._version == 2 else controller
        return _read(f"{self._mounts[key]}{path}/{name}") if key in names else ""

    def _group(self, path: str, names: frozenset[str], limits: GroupLimits) -> HostGroup:
        def text(controller: str, name: str) -> str:
            return self._text(controller, path, names, name)

        if path == ROOT:
            return self._root(text)
        if self._version == 1:
            tasks = _number(text("pids", "pids.current")) if "pids" in names else len(self.pids(path))
            return HostGroup(
                path, tasks=tasks, cpu_ns=_number(text("cpuacct", "cpuacct.usage")),
                memory_bytes=_number(text("memory", "memory.usage_in_bytes")), limits=limits,
                devices=_devices_v1(text("blkio", "blkio.throttle.io_service_bytes_recursive")),
                throttled_ns=_flat(text("cpu", "cpu.stat")).get("throttled_time", 0) if limits.cpus else 0,
            )  # fmt: skip
        cpu = _flat(text("cpu", "cpu.stat"))
        return HostGroup(
            path, tasks=_number(text("pids", "pids.current")), cpu_ns=cpu.get("usage_usec", 0) * 1000,
            memory_bytes=_number(text("memory", "memory.current")), devices=_devices_v2(text("io", "io.stat")), limits=limits,
            cpu_pressure=psi.parse(text("cpu", "cpu.pressure")), memory_pressure=psi.parse(text("memory", "memory.pressure")),
            io_pressure=psi.parse(text("io", "io.pressure")), throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        )  # fmt: skip

    def _root(self, text: Callable[[str, str], str]) -> HostGroup:
        """Return the root, which has few files of its own: the host's counters stand for it."""
        memory = {name: int(value.split()[0]) * 1024 for name, _, value in
            (line.partition(":") for line in _read("/proc/meminfo").splitlines())}  # fmt: skip
        ticks = _read("/proc/stat").partition("\n")[0].split()[1:9]
        used = sum(int(ticks[place]) for place in (0, 1, 2, 5, 6))  # without idle, iowait and stolen (proc_stat(5))
        tasks = _read("/proc/loadavg").split()[3].partition("/")[2]
        on_v1 = self._version == 1
        devices = _devices_v1(text("blkio", "blkio.throttle.io_service_bytes_recursive")) if on_v1 else ()
        return HostGroup(
            ROOT, tasks=_number(tasks), cpu_ns=used * 10**9 // CLOCK_TICKS, devices=devices or _devices_v2(text("io", "io.stat")),
            memory_bytes=memory.get("MemTotal", 0) - memory.get("MemAvailable", 0), cpu_pressure=psi.of("cpu"),
            memory_pressure=psi.of("memory"), io_pressure=psi.of("io"),
        )  # fmt: skip

    def _limits_of(self, path: str, names: frozenset[str]) -> GroupLimits:
        if path == ROOT:
            return GroupLimits()

        def text(controller: str, name: str) -> str:
            return self._text(controller, path, names, name)

        if self._version == 1:
            quota, period = text("cpu", "cpu.cfs_quota_us"), text("cpu", "cpu.cfs_period_us")
            memory = _limit(text("memory", "memory.limit_in_bytes"))
            weights = _limit(text("cpu", "cpu.shares")), _limit(text("blkio", "blkio.bfq.weight"))
            return GroupLimits(_cpus(quota, period), memory, None, _limit(text("pids", "pids.max")), *weights)
        quota, _, period = text("cpu", "cpu.max").partition(" ")
        io_weight = text("io", "io.weight").splitlines()[:1]
        return GroupLimits(
            _cpus(quota, period), _limit(text("memory", "memory.max")), _limit(text("memory", "memory.high")),
            _limit(text("pids", "pids.max")), _limit(text("cpu", "cpu.weight")),
            _limit(io_weight[0].removeprefix("default ")) if io_weight else None,
        )  # fmt: skip

    def files(self, path: str) -> tuple[GroupFile, ...]:
        """Return the readable interface files of a group with what is in them.

        Raises:
            FileNotFoundError: There is no such group.
        """
        hierarchy = layout.detect()
        found: list[GroupFile] = []
        for mount in dict.fromkeys(hierarchy.mounts.values()):
            controller = ",".join(name for name, at in hierarchy.mounts.items() if at == mount and name != UNIFIED)
            found += _files_of(_below(mount, path), controller)
        if not found:
            raise FileNotFoundError(2, "there is no such control group", path)
        return tuple(found)

    def pids(self, path: str) -> list[int]:
        """Return the processes in a group, without those of groups below it, over all hierarchies."""
        found: set[int] = set()
        for mount in dict.fromkeys(self._mounts.values()):
            found.update(int(word) for word in _read(f"{_below(mount, path)}/cgroup.procs", 1 << 20).split())
        return sorted(found)


def _below(mount: str, path: str) -> str:
    """Return a group's directory.

    Raises:
        FileNotFoundError: The path leads out of the hierarchy.
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts or "\0" in path:
        raise FileNotFoundError(2, "there is no such control group", path)
    return "/".join((mount, *parts))


def _files_of(directory: str, controller: str) -> Iterator[GroupFile]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & stat.S_IRUSR:
            yield GroupFile(controller, name, _read(path, _LARGEST))


def _children(directory: str) -> list[str]:
    """Return the names of the groups directly below; most have none, which their link count tells for little."""
    try:
        if os.stat(directory).st_nlink == 2:
            return []
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read(path: str, largest: int = 4096) -> str:
    """Return a file's text without the line end; empty when it is not there or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        data = part = os.read(fd, largest)
        while part and _PAGE <= len(data) < largest:  # shorter ones come whole
            part = os.read(fd, largest - len(data))
            data += part
    except OSError:
        return ""
    finally:
        os.close(fd)
    return data.decode(errors="replace").strip()


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _limit(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) < _UNLIMITED_V1 else None


def _cpus(quota: str, period: str) -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _flat(text: str) -> dict[str, int]:
    pairs = (line.partition(" ") for line in text.splitlines())
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


def _devices_v1(text: str) -> tuple[tuple[str, int, int], ...]:
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in ("Read", "Write") and words[2].isdigit():
            found.setdefault(words[0], [0, 0])[words[1] == "Write"] += int(words[2])
    return tuple((device, read, written) for device, (read, written) in found.items() if read or written)


def _devices_v2(text: str) -> tuple[tuple[str, int, int], ...]:
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        read, written = int(values.get("rbytes", 0)), int(values.get("wbytes", 0))
        if read or written:
            found.append((device, read, written))
    return tuple(found)
