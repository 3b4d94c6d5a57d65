"""Reads a container's counters through file descriptors that stay open."""

from __future__ import annotations

import os
import time

from engine.linux.cgroup.layout import UNIFIED
from engine.model.usage import Counters

_UNLIMITED_V1 = 1 << 60
_FILES_V1 = {
    "cpu": ("cpuacct", "cpuacct.usage"), "cpu_user": ("cpuacct", "cpuacct.usage_user"),
    "cpu_stat": ("cpu", "cpu.stat"), "memory": ("memory", "memory.usage_in_bytes"),
    "memory_stat": ("memory", "memory.stat"), "memory_limit": ("memory", "memory.limit_in_bytes"),
    "memory_peak": ("memory", "memory.max_usage_in_bytes"), "oom": ("memory", "memory.oom_control"),
    "pids": ("pids", "pids.current"), "pids_limit": ("pids", "pids.max"),
    "io_bytes": ("blkio", "blkio.throttle.io_service_bytes_recursive"),
    "io_ops": ("blkio", "blkio.throttle.io_serviced_recursive"),
}  # fmt: skip
_FILES_V2 = {
    "cpu_stat": "cpu.stat", "memory": "memory.current", "memory_stat": "memory.stat", "memory_limit": "memory.max",
    "memory_peak": "memory.peak", "oom": "memory.events", "pids": "pids.current", "pids_limit": "pids.max",
    "io_stat": "io.stat",
}  # fmt: skip


class Reader:
    """The counters of one container; a file that this kernel lacks counts as 0."""

    def __init__(self, version: int, paths: dict[str, str], pid: int) -> None:
        self._version = version
        if version == 1:
            wanted = {key: f"{paths[name]}/{file}" for key, (name, file) in _FILES_V1.items() if name in paths}
        else:
            wanted = {key: f"{paths[UNIFIED]}/{file}" for key, file in _FILES_V2.items()}
        wanted["net"] = f"/proc/{pid}/net/dev"
        self._fds = {key: fd for key, path in wanted.items() if (fd := _open(path)) >= 0}

    def close(self) -> None:
        """Close all files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def read(self) -> Counters:
        """Return the counters now.

        Raises:
            ProcessLookupError: The group is gone.
        """
        try:
            values = self._cpu_v1() | self._io_v1() if self._version == 1 else self._cpu_v2() | self._io_v2()
            values |= self._memory()
            values |= self._network()
            pids, pids_limit = self._number("pids"), self._text("pids_limit")
        except OSError as error:
            raise ProcessLookupError("the cgroup is gone") from error
        if "pids" not in self._fds:
            raise ProcessLookupError("the cgroup is gone")
        limit = None if pids_limit in ("", "max") else int(pids_limit)
        return Counters(
            taken_ns=time.monotonic_ns(),
            pids=pids,
            pids_limit=limit,
            memory_limit_bytes=self._memory_limit(),
            memory_peak_bytes=self._number("memory_peak") if "memory_peak" in self._fds else None,
            **values,
        )

    def _text(self, key: str) -> str:
        fd = self._fds.get(key)
        if fd is None:
            return ""
        parts = [os.pread(fd, 8192, 0)]
        while len(parts[-1]) == 8192:
            parts.append(os.pread(fd, 8192, 8192 * len(parts)))
        return b"".join(parts).decode().strip()

    def _number(self, key: str) -> int:
        text = self._text(key)
        return int(text) if text.isdigit() else 0

    def _flat(self, key: str) -> dict[str, int]:
        found = {}
        for line in self._text(key).splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                found[name] = int(value)
        return found

    def _cpu_v1(self) -> dict[str, int]:
        stat = self._flat("cpu_stat")
        used, user = self._number("cpu"), self._number("cpu_user")
        return {
            "cpu_ns": used, "cpu_user_ns": user, "cpu_system_ns": max(0, used - user), "periods": stat.get("nr_periods", 0),
            "throttled_periods": stat.get("nr_throttled", 0), "throttled_ns": stat.get("throttled_time", 0),
        }  # fmt: skip

    def _cpu_v2(self) -> dict[str, int]:
        stat = self._flat("cpu_stat")
        return {
            "cpu_ns": stat.get("usage_usec", 0) * 1000, "cpu_user_ns": stat.get("user_usec", 0) * 1000,
            "cpu_system_ns": stat.get("system_usec", 0) * 1000, "periods": stat.get("nr_periods", 0),
            "throttled_periods": stat.get("nr_throttled", 0), "throttled_ns": stat.get("throttled_usec", 0) * 1000,
        }  # fmt: skip

    def _memory(self) -> dict[str, int]:
        stat = self._flat("memory_stat")
        prefix = "total_" if self._version == 1 else ""
        cache = stat.get("total_cache", 0) if self._version == 1 else stat.get("file", 0)
        used = self._number("memory") - stat.get(f"{prefix}inactive_file", 0)
        oom_kills = self._flat("oom").get("oom_kill", 0)
        return {"memory_bytes": max(0, used), "memory_cache_bytes": cache, "oom_kills": oom_kills}

    def _memory_limit(self) -> int | None:
        text = self._text("memory_limit")
        if not text.isdigit() or int(text) >= _UNLIMITED_V1:
            return None
        return int(text)

    def _io_v1(self) -> dict[str, int]:
        found = dict.fromkeys(("read_bytes", "write_bytes", "read_ops", "write_ops"), 0)
        for key, unit in (("io_bytes", "bytes"), ("io_ops", "ops")):
            for line in self._text(key).splitlines():
                words = line.split()
                if len(words) == 3 and words[1] in ("Read", "Write"):
                    found[f"{words[1].lower()}_{unit}"] += int(words[2])
        return found

    def _io_v2(self) -> dict[str, int]:
        found = dict.fromkeys(("read_bytes", "write_bytes", "read_ops", "write_ops"), 0)
        names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "read_ops", "wios": "write_ops"}
        for line in self._text("io_stat").splitlines():
            for item in line.split()[1:]:
                name, _, value = item.partition("=")
                if name in names:
                    found[names[name]] += int(value)
        return found

    def _network(self) -> dict[str, int]:
        received = sent = 0
        for line in self._text("net").splitlines():
            name, colon, rest = line.partition(":")
            words = rest.split()
            if colon and name.strip() != "lo" and len(words) >= 9:
                received += int(words[0])
                sent += int(words[8])
        return {"rx_bytes": received, "tx_bytes": sent}


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
