"""Counters are readings of the kernel; usage is what two readings say about the time between them."""

from __future__ import annotations

from engine.model.value import Value


class Pressure(Value, frozen=True):
    """How long tasks waited for a resource (PSI): some of them, or all of them at once ("full").

    Attributes:
        some_avg10, some_avg60, some_avg300: Percent of the last 10, 60 and 300 seconds; full_… likewise.
        some_total_us, full_total_us: Microseconds since the group was made.
    """

    some_avg10: float = 0.0
    some_avg60: float = 0.0
    some_avg300: float = 0.0
    some_total_us: int = 0
    full_avg10: float = 0.0
    full_avg60: float = 0.0
    full_avg300: float = 0.0
    full_total_us: int = 0


class DeviceCounters(Value, frozen=True):
    """Block I/O of one device, which is named "MAJOR:MINOR"."""

    device: str
    read_bytes: int = 0
    write_bytes: int = 0
    read_ops: int = 0
    write_ops: int = 0


class InterfaceCounters(Value, frozen=True):
    """Traffic of one network interface, as the container sees it."""

    name: str
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_packets: int = 0
    tx_packets: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


class Counters(Value, frozen=True):
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
        memory_usage_bytes: Memory in use with file cache, as the limit counts it.
        memory_anon_bytes, memory_slab_bytes, memory_sock_bytes: Parts of it: anonymous pages, the kernel's objects (on
            v1 all kernel memory), network buffers. memory_cache_bytes is the fourth.
        swap_bytes: Memory swapped out.
        faults, major_faults: Page faults, and those that waited for a disk.
        high_events: How often memory.high was passed (v2); limit_hits: how often the memory limit was hit.
        devices, interfaces: The same by block device and network interface.
        cpu_pressure, memory_pressure, io_pressure: None where the kernel does not say (v1, or PSI is off).
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
    memory_usage_bytes: int = 0
    memory_anon_bytes: int = 0
    memory_slab_bytes: int = 0
    memory_sock_bytes: int = 0
    swap_bytes: int = 0
    faults: int = 0
    major_faults: int = 0
    high_events: int = 0
    limit_hits: int = 0
    devices: tuple[DeviceCounters, ...] = ()
    interfaces: tuple[InterfaceCounters, ...] = ()
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


class Usage(Value, frozen=True):
    """Rates over the time between two readings, and the newer reading itself.

    Attributes:
        counters: The newer reading.
        interval: Seconds between the readings; 0.0 when there was only one, and then all rates are 0.0.
        cpu_percent: 100 is one core fully used.
        throttled_percent: Share of the quota's periods that hit it, 0..100.
        read_rate, write_rate: Block I/O, bytes per second.
        read_ops_rate, write_ops_rate: Block I/O, operations per second.
        rx_rate, tx_rate: Network, bytes per second.
        fault_rate: Page faults that waited for a disk, per second.
        cpu_pressure, memory_pressure, io_pressure: Share of the time in which some task waited, 0..100.
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
    fault_rate: float = 0.0
    cpu_pressure: float = 0.0
    memory_pressure: float = 0.0
    io_pressure: float = 0.0

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

    def per_second(old: int, new: int) -> float:
        return (new - old) / interval if new > old else 0.0

    def pressure(old: Pressure | None, new: Pressure | None) -> float:
        if old is None or new is None:
            return 0.0
        return min(100.0, max(0, new.some_total_us - old.some_total_us) / interval / 1e4)

    periods = newer.periods - older.periods
    throttled = newer.throttled_periods - older.throttled_periods
    return Usage(
        counters=newer,
        interval=interval,
        cpu_percent=per_second(older.cpu_ns, newer.cpu_ns) / 1e9 * 100,
        throttled_percent=100.0 * max(0, throttled) / periods if periods > 0 else 0.0,
        read_rate=per_second(older.read_bytes, newer.read_bytes),
        write_rate=per_second(older.write_bytes, newer.write_bytes),
        read_ops_rate=per_second(older.read_ops, newer.read_ops),
        write_ops_rate=per_second(older.write_ops, newer.write_ops),
        rx_rate=per_second(older.rx_bytes, newer.rx_bytes),
        tx_rate=per_second(older.tx_bytes, newer.tx_bytes),
        fault_rate=per_second(older.major_faults, newer.major_faults),
        cpu_pressure=pressure(older.cpu_pressure, newer.cpu_pressure),
        memory_pressure=pressure(older.memory_pressure, newer.memory_pressure),
        io_pressure=pressure(older.io_pressure, newer.io_pressure),
    )
