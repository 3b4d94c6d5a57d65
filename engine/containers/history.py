"""Reads the history that monitors write, and draws conclusions from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from engine.containers.records import Registry
from engine.errors import InvalidArgument
from engine.model.history import Advice, Effect, Sample
from engine.model.limits import Limits
from engine.sandbox import ring
from engine.sandbox.ring import percentile
from engine.store.paths import Paths

STEPS = tuple(step for step, _ in ring.RINGS)
_ENOUGH, _GOOD = 600.0, 6 * 3600.0
_FINEST_MEMORY = 16 << 20


class History:
    """The history of the containers of one state root."""

    def __init__(self, paths: Paths, registry: Registry) -> None:
        self._paths = paths
        self._registry = registry

    def samples(
        self, ref: str, since: datetime, until: datetime | None = None, step: int | None = None
    ) -> tuple[Sample, ...]:
        """Return the samples of a container, oldest first; those of a time at which it did not run are missing.

        Args:
            ref: The container.
            since: The beginning.
            until: The end; None is now.
            step: Seconds: 1 (kept for 15 minutes), 10 (6 hours) or 60 (14 days); None takes the finest that goes back
                far enough.

        Raises:
            InvalidArgument: There is no such resolution.
        """
        now, known = datetime.now(UTC), self._registry.record(self._registry.resolve(ref))
        step = step or finest(now - max(since, known.created_at))
        if step not in STEPS:
            raise InvalidArgument(f"the history has no resolution of {step} s: 1, 10 or 60")
        path = self._paths.container(known.id) / "history"
        found = ring.samples(str(path), step, int(since.timestamp()), int((until or now).timestamp()) + 1)
        return tuple(Sample(datetime.fromtimestamp(time, UTC), seconds, *values) for time, seconds, values in found)

    def advise(self, ref: str, over: timedelta, headroom: float = 0.15) -> Advice:
        """Return what a container's history says about its limits.

        Args:
            ref: The container.
            over: How far to look back.
            headroom: What to add to the use, 0.15 for 15 %.
        """
        known = self._registry.known(self._registry.resolve(ref))
        found = self.samples(known.record.id, datetime.now(UTC) - over)
        return advice(known.record.id, known.record.name, self._registry.limits(known), found, over, headroom)

    def effect(self, ref: str, at: datetime) -> Effect | None:
        """Return what a change at that time did, over equal windows before and after; None before there is enough."""
        now = datetime.now(UTC)
        window = min(now - at, timedelta(minutes=7))
        before = self.samples(ref, at - window, at, step=1)
        after = self.samples(ref, at + timedelta(seconds=1), at + window, step=1)
        if min(len(before), len(after)) < 2:
            return None
        return effect(before, after, window.total_seconds())


def finest(span: timedelta) -> int:
    """Return the finest resolution whose ring is long enough."""
    seconds = span.total_seconds()
    return next((step for step, count in ring.RINGS if step * count >= seconds), STEPS[-1])


def effect(before: tuple[Sample, ...], after: tuple[Sample, ...], seconds: float) -> Effect:
    """Compare two series of samples."""

    def of(found: tuple[Sample, ...]) -> tuple[float, float, float]:
        pressure = [max(sample.cpu_pressure, sample.memory_pressure, sample.io_pressure) for sample in found]
        throttled = sum(sample.throttled for sample in found) / len(found)
        return percentile((sample.cpu for sample in found), 0.95), throttled, sum(pressure) / len(found)

    cpu, throttled, pressure = of(before)
    cpu_after, throttled_after, pressure_after = of(after)
    return Effect(seconds, cpu, cpu_after, throttled, throttled_after, pressure, pressure_after)


def advice(
    container_id: str, name: str, limits: Limits, found: tuple[Sample, ...], over: timedelta, headroom: float
) -> Advice:
    """Draw the conclusion from samples; pure.

    CPU: the 95th percentile with headroom, since too little only slows down. Memory: the peak with headroom, since too
    little kills. Where a limit in force was hit, the use is not the need: then more than the limit is advised.
    """
    known = sum(sample.seconds for sample in found)
    coverage = min(1.0, known / over.total_seconds())
    confidence = _confidence(known, coverage)
    if confidence == "none":
        return Advice(container_id, name, coverage, known / 3600, confidence,
            evidence=(f"only {known:.0f} s are known: at least 60 are needed",))  # fmt: skip
    cpu_p95 = percentile((sample.cpu for sample in found), 0.95)
    memory_p95 = round(percentile((sample.memory_max for sample in found), 0.95))
    cpu_peak, memory_peak = max(sample.cpu_max for sample in found), round(max(sample.memory_max for sample in found))
    cpus, cpu_evidence = _cpu_advice(limits, found, cpu_p95, headroom)
    memory, memory_evidence = _memory_advice(limits, found, memory_peak, headroom)
    return Advice(
        container_id, name, coverage, known / 3600, confidence, cpu_p95, cpu_peak, memory_p95, memory_peak, cpus, memory,
        (*cpu_evidence, *memory_evidence),
    )  # fmt: skip


def _confidence(known: float, coverage: float) -> str:
    """Return how far samples can be trusted: by how long they are, and by how much of the time they cover."""
    if known < 60:
        return "none"
    if known >= _GOOD and coverage >= 0.8:
        return "high"
    return "medium" if known >= _ENOUGH and coverage >= 0.5 else "low"


def _cpu_advice(
    limits: Limits, found: tuple[Sample, ...], p95: float, headroom: float
) -> tuple[float, tuple[str, ...]]:
    wanted = max(0.05, round(p95 * (1 + headroom) + 0.005, 2))
    limit = limits.effective_cpus
    throttled = sum(sample.throttled * sample.seconds for sample in found) / sum(sample.seconds for sample in found)
    if limit is not None and throttled > 5:
        wanted = max(wanted, round(limit * (1 + max(headroom, throttled / 100)), 2))
        return wanted, (
            f"it was throttled in {throttled:.0f} % of the periods, so it needs more than its {limit:g} CPUs",
        )
    return wanted, ()


def _memory_advice(
    limits: Limits, found: tuple[Sample, ...], peak: int, headroom: float
) -> tuple[int, tuple[str, ...]]:
    wanted, evidence = peak * (1 + headroom), []
    kills, highs = sum(sample.oom_kills for sample in found), sum(sample.high_events for sample in found)
    if kills:
        evidence.append(f"{kills:.0f} processes were killed for lack of memory")
        wanted = max(wanted, (limits.memory or 0) * (1 + 2 * headroom))
    if highs:
        evidence.append(f"it passed memory.high {highs:.0f} times")
        wanted = max(wanted, (limits.memory_high or 0) * (1 + headroom))
    rounded = -(-int(wanted) // _FINEST_MEMORY) * _FINEST_MEMORY
    return max(rounded, _FINEST_MEMORY), tuple(evidence)
