"""One pass over a container's counters as plain numbers, through file descriptors that stay open.

Used once a second for each container, by its monitor and by whoever watches all of them: what hardly changes between
two seconds is read each fourth time only, and places of values in the kernel's lists are learnt once.
"""

from __future__ import annotations

import fcntl
import os
import time

from engine.linux.cgroup.layout import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Values = dict[str, Any]
    Devices = tuple[tuple[str, int, int, int, int], ...]

SLOW_EVERY = 4
_HIGH = 1024  # the numbers below are left to those who wait with select(2)
_UNLIMITED_V1 = 1 << 60
_FILES_V1 = {
    "cpu": ("cpuacct", "cpuacct.usage"), "cpu_stat": ("cpu", "cpu.stat"), "memory": ("memory", "memory.usage_in_bytes"),
    "memory_stat": ("memory", "memory.stat"), "events": ("memory", "memory.oom_control"), "pids": ("pids", "pids.current"),
    "io_bytes": ("blkio", "blkio.throttle.io_service_bytes_recursive"),
    "io_ops": ("blkio", "blkio.throttle.io_serviced_recursive"),
    "cpu_user": ("cpuacct", "cpuacct.usage_user"), "memory_limit": ("memory", "memory.limit_in_bytes"),
    "memory_peak": ("memory", "memory.max_usage_in_bytes"), "failcnt": ("memory", "memory.failcnt"),
    "slab": ("memory", "memory.kmem.usage_in_bytes"), "sock": ("memory", "memory.kmem.tcp.usage_in_bytes"),
    "pids_limit": ("pids", "pids.max"),
}  # fmt: skip
_FILES_V2 = {
    "cpu_stat": "cpu.stat", "memory": "memory.current", "memory_stat": "memory.stat", "events": "memory.events",
    "pids": "pids.current", "io_stat": "io.stat", "cpu_pressure": "cpu.pressure", "memory_pressure": "memory.pressure",
    "io_pressure": "io.pressure", "memory_limit": "memory.max", "memory_peak": "memory.peak",
    "swap": "memory.swap.current", "pids_limit": "pids.max",
}  # fmt: skip
_STAT_V1 = (b"total_inactive_file", b"total_rss", b"total_cache", b"total_swap", b"total_pgfault", b"total_pgmajfault")
_STAT_V2 = (b"inactive_file", b"anon", b"file", b"pgfault", b"pgmajfault", b"slab", b"sock")
_CPU_V1 = (b"nr_periods", b"nr_throttled", b"throttled_time")
_CPU_V2 = (b"usage_usec", b"user_usec", b"system_usec", b"nr_periods", b"nr_throttled", b"throttled_usec")
_PRESSURES = ("cpu_pressure", "memory_pressure", "io_pressure")
_IO_V2 = {b"rbytes": 0, b"wbytes": 1, b"rios": 2, b"wios": 3}
_NO_LIMIT = (b"max", b"")
_places: dict[tuple[tuple[bytes, ...], int], list[int]] = {}


class Readings:
    """The counters of one container; a file that this kernel lacks counts as 0."""

    def __init__(self, version: int, paths: dict[str, str], pid: int) -> None:
        self._version = version
        if version == 1:
            wanted = {key: f"{paths[name]}/{file}" for key, (name, file) in _FILES_V1.items() if name in paths}
        else:
            wanted = {key: f"{paths[UNIFIED]}/{file}" for key, file in _FILES_V2.items()}
        wanted["net"] = f"/proc/{pid}/net/dev"
        self._fds = {key: fd for key, path in wanted.items() if (fd := _open(path)) >= 0}
        self._turn = os.urandom(1)[0]  # so that not all containers are read whole in the same second
        self._slow: Values = {}
        self._io: tuple[bytes, Values] = (b"", _totals(()))
        self._net: tuple[bytes, Values] = (b"", _traffic(b""))
        self._moved: dict[str, tuple[int, list[int]]] = {}

    def close(self) -> None:
        """Close all files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def read(self) -> Values:
        """Return the counters now: the fields of engine.model.usage.Counters, details as tuples.

        Raises:
            ProcessLookupError: The group is gone.
        """
        if "pids" not in self._fds:
            raise ProcessLookupError("the cgroup is gone")
        try:
            if self._turn % SLOW_EVERY == 0 or not self._slow:
                self._slow = self._read_slow()
            values = self._read_v1() if self._version == 1 else self._read_v2()
            self._turn += 1
            values["pids"] = self._number("pids")
        except OSError as error:
            raise ProcessLookupError("the cgroup is gone") from error
        values["taken_ns"] = time.monotonic_ns()
        return values | self._network()

    def _data(self, key: str) -> bytes:
        fd = self._fds.get(key)
        if fd is None:
            return b""
        data = os.pread(fd, 8192, 0)
        while len(data) and len(data) % 8192 == 0:
            more = os.pread(fd, 8192, len(data))
            if not more:
                break
            data += more
        return data

    def _number(self, key: str) -> int:
        fd = self._fds.get(key)
        return int(os.pread(fd, 32, 0) or 0) if fd is not None else 0

    def _flat(self, key: str, names: tuple[bytes, ...]) -> list[int]:
        """Return the values of some names of a flat keyed file, 0 for those that it lacks."""
        words = self._data(key).split()
        places = _places.get((names, len(words)))
        if places is None:
            places = [words.index(name) + 1 if name in words else -1 for name in names]
            _places[names, len(words)] = places
        return [int(words[place]) if place >= 0 else 0 for place in places]

    def _read_slow(self) -> Values:
        limit, pids_limit = self._data("memory_limit").strip(), self._data("pids_limit").strip()
        bytes_limit = None if limit in _NO_LIMIT or int(limit) >= _UNLIMITED_V1 else int(limit)
        found: Values = {
            "memory_limit_bytes": bytes_limit, "pids_limit": None if pids_limit in _NO_LIMIT else int(pids_limit),
            "memory_peak_bytes": self._number("memory_peak") if "memory_peak" in self._fds else None,
        }  # fmt: skip
        if self._version == 1:
            found |= {"limit_hits": self._number("failcnt"), "memory_slab_bytes": self._number("slab"),
                "memory_sock_bytes": self._number("sock"), "cpu_user_ns": self._number("cpu_user"),
                "oom_kills": self._flat("events", (b"oom_kill",))[0]}  # fmt: skip
        else:
            found["swap_bytes"] = self._number("swap")
        return found

    def _read_v1(self) -> Values:
        usage, used = self._number("cpu"), self._number("memory")
        user = min(usage, self._slow["cpu_user_ns"])  # counted by ticks, so it can be ahead of the whole
        inactive, anon, file, swap, faults, major = self._when_moved("memory_stat", used, _STAT_V1)
        periods, throttled, throttled_ns = self._when_moved("cpu_stat", usage, _CPU_V1)
        values: Values = {
            **self._slow, "cpu_ns": usage, "cpu_user_ns": user, "cpu_system_ns": usage - user,
            "periods": periods, "throttled_periods": throttled, "throttled_ns": throttled_ns,
            "memory_usage_bytes": used, "memory_bytes": max(0, used - inactive), "memory_cache_bytes": file,
            "memory_anon_bytes": anon, "swap_bytes": swap, "faults": faults, "major_faults": major,
        }  # fmt: skip
        return values | self._devices("io_bytes", self._devices_v1)

    def _when_moved(self, key: str, mark: int, names: tuple[bytes, ...]) -> list[int]:
        """Return values of a long file, which is read again when the number they move with has moved, or the turn comes."""
        known = self._moved.get(key)
        if known is None or known[0] != mark or self._turn % SLOW_EVERY == 0:
            known = self._moved[key] = (mark, self._flat(key, names))
        return known[1]

    def _devices(self, key: str, parse: Callable[[bytes], Devices]) -> Values:
        """Return block I/O; parsed when it has changed."""
        data = self._data(key)
        if data != self._io[0]:
            self._io = (data, _totals(parse(data)))
        return self._io[1]

    def _devices_v1(self, bytes_moved: bytes) -> Devices:
        found: dict[bytes, list[int]] = {}
        for data, place in ((bytes_moved, 0), (self._data("io_ops"), 2)):
            for line in data.splitlines():
                words = line.split()
                if len(words) == 3 and words[1] in (b"Read", b"Write"):
                    entry = found.setdefault(words[0], [0, 0, 0, 0])
                    entry[place + (words[1] == b"Write")] += int(words[2])
        return tuple((device.decode(), *values) for device, values in found.items())  # type: ignore[misc]

    def _read_v2(self) -> Values:
        used = self._number("memory")
        inactive, anon, file, faults, major, slab, sock = self._when_moved("memory_stat", used, _STAT_V2)
        usage, user, system, periods, throttled, throttled_us = self._flat("cpu_stat", _CPU_V2)
        high, hits, kills = self._flat("events", (b"high", b"max", b"oom_kill"))
        values: Values = {
            **self._slow, "cpu_ns": usage * 1000, "cpu_user_ns": user * 1000, "cpu_system_ns": system * 1000,
            "periods": periods, "throttled_periods": throttled, "throttled_ns": throttled_us * 1000,
            "memory_usage_bytes": used, "memory_bytes": max(0, used - inactive), "memory_cache_bytes": file,
            "memory_anon_bytes": anon, "memory_slab_bytes": slab, "memory_sock_bytes": sock, "faults": faults,
            "major_faults": major, "oom_kills": kills, "high_events": high, "limit_hits": hits,
        }  # fmt: skip
        for key in _PRESSURES:
            values[key] = _pressure(self._data(key))
        return values | self._devices("io_stat", self._devices_v2)

    @staticmethod
    def _devices_v2(data: bytes) -> Devices:
        found = []
        for line in data.splitlines():
            words = line.split()
            counts = [0, 0, 0, 0]
            for word in words[1:]:
                name, _, value = word.partition(b"=")
                place = _IO_V2.get(name)
                if place is not None:
                    counts[place] = int(value)
            if any(counts):
                found.append((words[0].decode(), *counts))
        return tuple(found)  # type: ignore[arg-type]

    def _network(self) -> Values:
        """Return what went over the interfaces; a container without processes has none."""
        try:
            data = self._data("net")
        except OSError:
            data = b""
        if data != self._net[0]:
            self._net = (data, _traffic(data))
        return self._net[1]


def _traffic(data: bytes) -> Values:
    received = sent = 0
    found = []
    for line in data.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        words = rest.split()
        if name.strip() != b"lo" and len(words) >= 12:
            received += int(words[0])
            sent += int(words[8])
            numbers = (words[0], words[8], words[1], words[9], words[2], words[10], words[3], words[11])
            found.append((name.strip().decode(errors="replace"), *(int(number) for number in numbers)))
    return {"rx_bytes": received, "tx_bytes": sent, "interfaces": tuple(found)}


def _totals(devices: Devices) -> Values:
    return {
        "read_bytes": sum(device[1] for device in devices), "write_bytes": sum(device[2] for device in devices),
        "read_ops": sum(device[3] for device in devices), "write_ops": sum(device[4] for device in devices),
        "devices": devices,
    }  # fmt: skip


def _pressure(data: bytes) -> tuple[float, float, float, int, float, float, float, int] | None:
    """Return some's and full's averages over 10, 60 and 300 s in percent, and totals in µs (kernel: accounting/psi)."""
    words = data.split()
    if len(words) < 5:
        return None
    some = [word.partition(b"=")[2] for word in words[1:5]]
    full = [word.partition(b"=")[2] for word in words[6:10]] if len(words) >= 10 else [b"0", b"0", b"0", b"0"]
    return (
        float(some[0]), float(some[1]), float(some[2]), int(some[3]),
        float(full[0]), float(full[1]), float(full[2]), int(full[3]),
    )  # fmt: skip


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:  # the limit of open files is lower
        return fd
    os.close(fd)
    return high
