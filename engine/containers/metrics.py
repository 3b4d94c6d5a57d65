"""Counters and limits of containers as text for Prometheus; names follow cAdvisor's where it has one.

Sources: cAdvisor's docs/storage/prometheus.md; OpenMetrics 1.0; Prometheus' text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.containers.containers import Containers
from engine.model.container import Container
from engine.model.usage import Counters, Pressure
from engine.model.value import Value

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Reading = tuple[dict[str, str], float]
_PERIOD = 100_000


class Metric(Value, frozen=True):
    """One family of samples.

    Attributes:
        name: Without "_total", which a counter's samples get.
        kind: "counter" or "gauge".
        help: One sentence.
        read: Returns the samples of a container: more labels, and a value.
    """

    name: str
    kind: str
    help: str
    read: Callable[[Container, Counters], Iterable[Reading]]


def render(found: Iterable[tuple[Container, Counters | None]], *, openmetrics: bool) -> str:
    """Return the metrics of containers.

    Args:
        found: Containers, with their counters when they run.
        openmetrics: Whether in the newer format.
    """
    items = list(found)
    lines: list[str] = []
    for metric in METRICS:
        samples = [
            f"{metric.name}{'_total' * (metric.kind == 'counter')}{_labels(container, more)} {_number(value)}"
            for container, counters in items
            if counters is not None
            for more, value in metric.read(container, counters)
        ]
        _add(lines, metric.name, metric.kind, metric.help, samples, openmetrics=openmetrics)
    states = [
        f"tuicon_container_up{_labels(container, {})} {int(counters is not None)}" for container, counters in items
    ]
    _add(lines, "tuicon_container_up", "gauge", "Whether the container runs.", states, openmetrics=openmetrics)
    return "\n".join([*lines, *(["# EOF"] if openmetrics else [])]) + "\n"


class Metrics:
    """The metrics of all containers of a state root; its file descriptors stay open between two readings."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._sampler = containers.sampler()

    def text(self, *, openmetrics: bool) -> str:
        """Return the metrics now."""
        usages = self._sampler.sample()
        found = []
        for container in self._containers.list():
            usage = usages.get(container.id)
            found.append((container, usage.counters if usage else None))
        return render(found, openmetrics=openmetrics)

    @staticmethod
    def content_type(*, openmetrics: bool) -> str:
        """Return the media type of the text."""
        return OPENMETRICS if openmetrics else TEXT


def _add(lines: list[str], name: str, kind: str, text: str, samples: list[str], *, openmetrics: bool) -> None:
    full = name + "_total" * (kind == "counter" and not openmetrics)
    if samples:
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", *samples]


def _labels(container: Container, more: dict[str, str]) -> str:
    pairs = {"id": container.id, "name": container.name, "image": container.image, **more}
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _plain(read: Callable[[Counters], float | None]) -> Callable[[Container, Counters], Iterable[Reading]]:
    def samples(_container: Container, counters: Counters) -> Iterable[Reading]:
        value = read(counters)
        return [] if value is None else [({}, value)]

    return samples


def _limit(read: Callable[[Container], float | None]) -> Callable[[Container, Counters], Iterable[Reading]]:
    def samples(container: Container, _counters: Counters) -> Iterable[Reading]:
        value = read(container)
        return [] if value is None else [({}, value)]

    return samples


def _by_device(field: str) -> Callable[[Container, Counters], Iterable[Reading]]:
    return lambda _, counters: [({"device": device.device}, getattr(device, field)) for device in counters.devices]


def _by_interface(field: str) -> Callable[[Container, Counters], Iterable[Reading]]:
    return lambda _, counters: [({"interface": one.name}, getattr(one, field)) for one in counters.interfaces]


def _faults(_container: Container, counters: Counters) -> Iterable[Reading]:
    return [
        ({"failure_type": "pgfault", "scope": "container"}, counters.faults),
        ({"failure_type": "pgmajfault", "scope": "container"}, counters.major_faults),
    ]


def _stall(resource: str, part: str) -> Callable[[Counters], float | None]:
    def seconds(counters: Counters) -> float | None:
        pressure: Pressure | None = getattr(counters, f"{resource}_pressure")
        return None if pressure is None else getattr(pressure, f"{part}_total_us") / 1e6

    return seconds


def _quota(container: Container) -> float | None:
    cpus = container.limits.effective_cpus
    return None if cpus is None else round(cpus * (container.limits.cpu_period or _PERIOD))


def _rate_limits(field: str) -> Callable[[Container, Counters], Iterable[Reading]]:
    return lambda container, _: [({"device": rate.device}, rate.rate) for rate in getattr(container.limits, field)]


METRICS = (
    Metric("container_cpu_usage_seconds", "counter", "CPU time used.", _plain(lambda c: c.cpu_ns / 1e9)),
    Metric("container_cpu_user_seconds", "counter", "CPU time used by programs.", _plain(lambda c: c.cpu_user_ns / 1e9)),
    Metric("container_cpu_system_seconds", "counter", "CPU time used by the kernel.",
        _plain(lambda c: c.cpu_system_ns / 1e9)),
    Metric("container_cpu_cfs_periods", "counter", "Periods of the CPU quota.", _plain(lambda c: c.periods)),
    Metric("container_cpu_cfs_throttled_periods", "counter", "Periods that hit the quota.",
        _plain(lambda c: c.throttled_periods)),
    Metric("container_cpu_cfs_throttled_seconds", "counter", "Time held back by the quota.",
        _plain(lambda c: c.throttled_ns / 1e9)),
    Metric("container_memory_usage_bytes", "gauge", "Memory in use, with cache.", _plain(lambda c: c.memory_usage_bytes)),
    Metric("container_memory_working_set_bytes", "gauge", "Memory in use without reclaimable file cache.",
        _plain(lambda c: c.memory_bytes)),
    Metric("container_memory_rss", "gauge", "Anonymous memory in bytes.", _plain(lambda c: c.memory_anon_bytes)),
    Metric("container_memory_cache", "gauge", "File cache in bytes.", _plain(lambda c: c.memory_cache_bytes)),
    Metric("container_memory_kernel_usage", "gauge", "Kernel objects in bytes.", _plain(lambda c: c.memory_slab_bytes)),
    Metric("container_memory_swap", "gauge", "Memory swapped out in bytes.", _plain(lambda c: c.swap_bytes)),
    Metric("container_memory_max_usage_bytes", "gauge", "Highest memory use.", _plain(lambda c: c.memory_peak_bytes)),
    Metric("container_memory_failures", "counter", "Page faults.", _faults),
    Metric("container_memory_limit_hits", "counter", "Times that the memory limit was hit.", _plain(lambda c: c.limit_hits)),
    Metric("container_memory_high_events", "counter", "Times that memory.high was passed.", _plain(lambda c: c.high_events)),
    Metric("container_oom_events", "counter", "Processes killed for lack of memory.", _plain(lambda c: c.oom_kills)),
    Metric("container_threads", "gauge", "Tasks.", _plain(lambda c: c.pids)),
    Metric("container_fs_reads_bytes", "counter", "Bytes read from block devices.", _by_device("read_bytes")),
    Metric("container_fs_writes_bytes", "counter", "Bytes written to block devices.", _by_device("write_bytes")),
    Metric("container_fs_reads", "counter", "Reads from block devices.", _by_device("read_ops")),
    Metric("container_fs_writes", "counter", "Writes to block devices.", _by_device("write_ops")),
    *(Metric(f"container_network_{way}_{what}", "counter", f"Network: {what} {way}d.".replace("_", " "),
        _by_interface(f"{short}_{field}")) for way, short in (("receive", "rx"), ("transmit", "tx")) for what, field in
        (("bytes", "bytes"), ("packets", "packets"), ("errors", "errors"), ("packets_dropped", "dropped"))),
    *(Metric(f"container_pressure_{resource}_{word}_seconds", "counter", f"Time in which {who} waited for {resource}.",
        _plain(_stall(resource, part))) for resource in ("cpu", "memory", "io") for word, part, who in
        (("waiting", "some", "some task"), ("stalled", "full", "all tasks"))),
    Metric("container_spec_cpu_period", "gauge", "Period of the CPU quota in microseconds.",
        _limit(lambda c: None if _quota(c) is None else c.limits.cpu_period or _PERIOD)),
    Metric("container_spec_cpu_quota", "gauge", "CPU quota in microseconds.", _limit(_quota)),
    Metric("container_spec_cpu_shares", "gauge", "CPU weight.", _limit(lambda c: c.limits.cpu_shares or 1024)),
    Metric("container_spec_memory_limit_bytes", "gauge", "Memory limit; 0 for none.",
        _plain(lambda c: c.memory_limit_bytes or 0)),
    Metric("container_spec_memory_reservation_limit_bytes", "gauge", "Memory protected under pressure.",
        _limit(lambda c: c.limits.memory_reservation or 0)),
    Metric("container_threads_max", "gauge", "Limit of tasks; 0 for none.", _plain(lambda c: c.pids_limit or 0)),
    *(Metric(f"container_spec_{way}_bytes_per_second", "gauge", f"Limit of bytes {way} per second.",
        _rate_limits(f"device_{verb}_bps")) for way, verb in (("read", "read"), ("written", "write"))),
    Metric("container_start_time_seconds", "gauge", "When it started, in seconds since the epoch.",
        _limit(lambda c: c.started_at.timestamp() if c.started_at else None)),
)  # fmt: skip
