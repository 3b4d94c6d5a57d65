"""Counters are readings of the kernel; usage is what two readings say about the time between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading of a container's kernel counters.

    Attributes:
        taken_ns: time.monotonic_ns() of the reading.
        cpu_ns: CPU time used, nanoseconds; cpu_user_ns and cpu_system_ns are its parts.
        periods: Enforcement periods of the CPU quota that have elapsed; throttled_periods of them hit it.
        throttled_ns: Time for which tasks were held back, nanoseconds.
        memory_bytes: Memory in use without reclaimable file cache (usage minus inactive_file), bytes.
        memory_cache_bytes: File cache, bytes.
        memory_limit_bytes: The limit in force, None when there is none.
        memory_peak_bytes: Highest use, None where the kernel does not say.
        oom_kills: Processes killed for lack of memory since the start.
        pids: Tasks now; pids_limit is None when unlimited.
        read_bytes, write_bytes, read_ops, write_ops: Block I/O over all devices.
        rx_bytes, tx_bytes: Network traffic of the container over all its interfaces but lo; 0 with network host.
    """

    taken_ns: int
    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    memory_bytes: int = 0
    memory_cache_bytes: int = 0
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    oom_kills: int = 0
    pids: int = 0
    pids_limit: int | None = None
    read_bytes: int = 0
    write_bytes: int = 0
    read_ops: int = 0
    write_ops: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Rates over the time between two readings, and the newer reading itself.

    Attributes:
        counters: The newer reading.
        interval: Seconds between the readings; 0.0 when there was only one, and then all rates are 0.0.
        cpu_percent: 100 is one core fully used.
        throttled_percent: Share of the quota's periods that hit it, 0..100.
        read_rate, write_rate: Block I/O, bytes per second.
        read_ops_rate, write_ops_rate: Block I/O, operations per second.
        rx_rate, tx_rate: Network, bytes per second.
    """

    counters: Counters
    interval: float = 0.0
    cpu_percent: float = 0.0
    throttled_percent: float = 0.0
    read_rate: float = 0.0
    write_rate: float = 0.0
    read_ops_rate: float = 0.0
    write_ops_rate: float = 0.0
    rx_rate: float = 0.0
    tx_rate: float = 0.0

    @property
    def memory_percent(self) -> float:
        """Memory in use as a share of the limit, 0..100; 0.0 without a limit."""
        limit = self.counters.memory_limit_bytes
        return 100.0 * self.counters.memory_bytes / limit if limit else 0.0


def usage_between(older: Counters | None, newer: Counters) -> Usage:
    """Return the rates between two readings.

    A counter that went backwards (the container was restarted) counts as 0.
    """
    interval = (newer.taken_ns - older.taken_ns) / 1e9 if older else 0.0
    if older is None or interval <= 0:
        return Usage(newer)

    def per_second(name: str) -> float:
        difference: int = getattr(newer, name) - getattr(older, name)
        return max(0, difference) / interval

    periods = newer.periods - older.periods
    throttled = newer.throttled_periods - older.throttled_periods
    return Usage(
        counters=newer,
        interval=interval,
        cpu_percent=per_second("cpu_ns") / 1e9 * 100,
        throttled_percent=100.0 * max(0, throttled) / periods if periods > 0 else 0.0,
        read_rate=per_second("read_bytes"),
        write_rate=per_second("write_bytes"),
        read_ops_rate=per_second("read_ops"),
        write_ops_rate=per_second("write_ops"),
        rx_rate=per_second("rx_bytes"),
        tx_rate=per_second("tx_bytes"),
    )
