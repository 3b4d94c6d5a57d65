"""The history of a container's use, as its monitor keeps it, and what follows from it."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value


class Sample(Value, frozen=True):
    """The use of one container in one step of time: means, but where it says otherwise.

    Attributes:
        time: The beginning of the step.
        seconds: How much of the step is known.
        cpu: Cores.
        throttled: Share of the CPU quota's periods that hit it, 0..100.
        memory, cache, swap: Bytes; memory without reclaimable file cache.
        read, write, rx, tx: Bytes per second, of block devices and of the network.
        read_ops, write_ops: Operations per second.
        cpu_pressure, memory_pressure, io_pressure: Share of the time in which some task waited, 0..100; memory_full and
            io_full: in which all did. 0 where the kernel does not say.
        cpu_max, memory_max, pids_max: The highest value of any second.
        oom_kills, high_events, limit_hits, major_faults: How many there were.
    """

    time: datetime
    seconds: float
    cpu: float
    throttled: float
    memory: float
    cache: float
    swap: float
    read: float
    write: float
    read_ops: float
    write_ops: float
    rx: float
    tx: float
    pids: float
    cpu_pressure: float
    memory_pressure: float
    io_pressure: float
    memory_full: float
    io_full: float
    cpu_max: float
    memory_max: float
    pids_max: float
    oom_kills: float
    high_events: float
    limit_hits: float
    major_faults: float


class Advice(Value, frozen=True):
    """What a container's history says about its limits.

    Attributes:
        coverage: Part of the time looked at that is known, 0..1; hours: how long that is.
        confidence: "none", "low", "medium" or "high".
        cpu_p95, cpu_peak: Cores; memory_p95, memory_peak: bytes.
        cpus, memory: The limits advised; None when there is no ground for any.
        evidence: Sentences about what was seen.
    """

    container_id: str
    name: str
    coverage: float
    hours: float
    confidence: str
    cpu_p95: float = 0.0
    cpu_peak: float = 0.0
    memory_p95: int = 0
    memory_peak: int = 0
    cpus: float | None = None
    memory: int | None = None
    evidence: tuple[str, ...] = ()


class Effect(Value, frozen=True):
    """What a change of limits did: the same time before and after it.

    Attributes:
        seconds: The length of each window.
    """

    seconds: float
    cpu_p95_before: float
    cpu_p95_after: float
    throttled_before: float
    throttled_after: float
    pressure_before: float
    pressure_after: float
