"""A group's counters as plain numbers, for callers that speak of them as `runc events` does."""

from __future__ import annotations

from engine.linux.cgroup.layout import UNIFIED
from engine.linux.cgroup.values import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

_UNLIMITED = (1 << 64) - 1
_THROTTLING = {"periods": ("nr_periods", 1), "throttledPeriods": ("nr_throttled", 1)}
_OPERATIONS = (("rbytes", "Read", 0), ("wbytes", "Write", 0), ("rios", "Read", 1), ("wios", "Write", 1))


def statistics_of(group: Group) -> Document:
    """Return the counters of CPU, memory, processes and block devices; what the kernel does not count is 0.

    Times are in nanoseconds, sizes in bytes.
    """
    files = _Files(group)
    if group.version == 2:
        return {"cpu": _cpu_v2(files), "memory": _memory_v2(files), "pids": _pids(files), "blkio": _block_io_v2(files)}
    return {"cpu": _cpu_v1(files), "memory": _memory_v1(files), "pids": _pids(files), "blkio": _block_io_v1(files)}


class _Files:
    def __init__(self, group: Group) -> None:
        self._group = group

    def text(self, controller: str, name: str) -> str:
        directory = self._group.paths.get(UNIFIED if self._group.version == 2 else controller)
        try:
            return read(f"{directory}/{name}") if directory else ""
        except OSError:
            return ""

    def number(self, controller: str, name: str) -> int:
        text = self.text(controller, name)
        return int(text) if text.isdigit() else (_UNLIMITED if text == "max" else 0)

    def flat(self, controller: str, name: str) -> dict[str, int]:
        pairs = (line.partition(" ") for line in self.text(controller, name).splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}


def _cpu_v1(files: _Files) -> Document:
    stat = files.flat("cpu", "cpu.stat")
    per_cpu = [int(value) for value in files.text("cpuacct", "cpuacct.usage_percpu").split()]
    usage = {
        "total": files.number("cpuacct", "cpuacct.usage"), "percpu": per_cpu,
        "kernel": files.number("cpuacct", "cpuacct.usage_sys"), "user": files.number("cpuacct", "cpuacct.usage_user"),
    }  # fmt: skip
    return {"usage": usage, "throttling": _throttling(stat, "throttled_time", 1)}


def _cpu_v2(files: _Files) -> Document:
    stat = files.flat("cpu", "cpu.stat")
    names = {"total": "usage_usec", "kernel": "system_usec", "user": "user_usec"}
    usage = {name: stat.get(key, 0) * 1000 for name, key in names.items()}
    return {"usage": usage, "throttling": _throttling(stat, "throttled_usec", 1000)}


def _throttling(stat: dict[str, int], time: str, unit: int) -> Document:
    found = {name: stat.get(key, 0) * factor for name, (key, factor) in _THROTTLING.items()}
    return {**found, "throttledTime": stat.get(time, 0) * unit}


def _memory_v1(files: _Files) -> Document:
    def entry(prefix: str) -> Document:
        names = {
            "limit": "limit_in_bytes",
            "usage": "usage_in_bytes",
            "max": "max_usage_in_bytes",
            "failcnt": "failcnt",
        }
        return {name: files.number("memory", f"memory.{prefix}{file}") for name, file in names.items()}

    stat = files.flat("memory", "memory.stat")
    return {"cache": stat.get("cache", 0), "usage": entry(""), "swap": entry("memsw."), "kernel": entry("kmem."),
        "kernelTCP": entry("kmem.tcp."), "raw": stat}  # fmt: skip


def _memory_v2(files: _Files) -> Document:
    stat = files.flat("memory", "memory.stat")
    events = files.flat("memory", "memory.events")
    usage = {"limit": files.number("memory", "memory.max"), "usage": files.number("memory", "memory.current"),
        "max": files.number("memory", "memory.peak"), "failcnt": events.get("max", 0)}  # fmt: skip
    swap = {"limit": files.number("memory", "memory.swap.max"), "usage": files.number("memory", "memory.swap.current")}
    return {"cache": stat.get("file", 0), "usage": usage, "swap": swap, "raw": stat}


def _pids(files: _Files) -> Document:
    limit = files.number("pids", "pids.max")
    return {"current": files.number("pids", "pids.current"), "limit": 0 if limit == _UNLIMITED else limit}


def _block_io_v1(files: _Files) -> Document:
    def entries(name: str) -> list[Document]:
        lines = (line.replace(":", " ").split() for line in files.text("blkio", name).splitlines())
        return [{"major": int(words[0]), "minor": int(words[1]), "op": words[2], "value": int(words[3])} for words in
            lines if len(words) == 4]  # fmt: skip

    return {"ioServiceBytesRecursive": entries("blkio.throttle.io_service_bytes_recursive"),
        "ioServicedRecursive": entries("blkio.throttle.io_serviced_recursive")}  # fmt: skip


def _block_io_v2(files: _Files) -> Document:
    found: tuple[list[Document], list[Document]] = ([], [])
    for line in files.text("io", "io.stat").splitlines():
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        major, _, minor = device.partition(":")
        for key, operation, place in _OPERATIONS:
            if key in values:
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(values[key])}
                found[place].append(entry)
    return {"ioServiceBytesRecursive": found[0], "ioServicedRecursive": found[1]}
