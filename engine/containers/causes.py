"""Why a container ended: what the journal, the history, the log and the health checks say, put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from engine.containers import verdict
from engine.containers.history import History
from engine.containers.records import Known, Registry
from engine.errors import Conflict, EngineError, NotFound
from engine.model.container import LogEntry
from engine.model.death import Death, Evidence
from engine.model.event import Event
from engine.model.health import HealthResult
from engine.model.history import Sample
from engine.model.value import replace
from engine.store.journal import Journal

_CLOSE = timedelta(seconds=60)
_LINES, _TAIL = 20, 2000
_NOTABLE = 10.0
_SHORTEST_ID = 4


class Causes:
    """Judges ends of containers."""

    def __init__(
        self, journal: Journal, registry: Registry, history: History, logs: Callable[..., Iterator[LogEntry]]
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._history = history
        self._logs = logs

    def why(self, ref: str, at: datetime | None = None) -> Death:
        """Return why a container ended.

        Args:
            ref: The container.
            at: Its last end until then; None takes the newest.

        Raises:
            Conflict: It has not ended yet.
            NotFound: There is none, and the journal knows of none that was removed.
        """
        try:
            known = self._registry.known(self._registry.resolve(ref))
        except NotFound as error:
            return self._of_removed(ref, at, error)
        container_id = known.record.id
        events = tuple(event for event in self._journal.between(known.record.created_at) if event.id == container_id)
        end = self._end(known, events, at)
        if end is None:
            state = "runs and has not ended yet" if known.state else "was never started"
            raise Conflict(f"container {known.record.name} {state}")
        run, after = verdict.run_of(events, end)
        found = verdict.judge(end, run, known.record.stop_signal, container_id)
        told = _told(end, run, found, self._started(known, end))
        health = self._checks(known, told.started_at, end.time)
        evidence = (*told.evidence, *self._health(health), *self._use(container_id, told.started_at, end.time))
        return replace(
            told, name=known.record.name, evidence=tuple(sorted(evidence, key=lambda one: one.time)), health=health,
            last_lines=self._last_lines(container_id, told.started_at, end.time),
            decision=verdict.decision(known.record.spec, known.status, found, after),
        )  # fmt: skip

    def _of_removed(self, ref: str, at: datetime | None, error: NotFound) -> Death:
        """Return the end of a container that is gone, as far as the journal has it."""
        events = [event for event in self._journal.between() if event.type == "container"]
        ends = [
            event for event in events
            if event.action == "die" and (at is None or event.time <= at)
            and (event.name == ref or (len(ref) >= _SHORTEST_ID and event.id.startswith(ref)))
        ]  # fmt: skip
        if not ends:
            raise error
        run, _ = verdict.run_of(tuple(event for event in events if event.id == ends[-1].id), ends[-1])
        found = verdict.judge(ends[-1], run, "TERM", ends[-1].id)
        return replace(_told(ends[-1], run, found), decision="It is removed; its log went with it.")

    def _end(self, known: Known, events: tuple[Event, ...], at: datetime | None) -> Event | None:
        """Return the event of the end; that of one that nobody saw, or that the journal no longer has, is in the record."""
        ends = [event for event in events if event.action == "die" and (at is None or event.time <= at)]
        exit_record = known.exit or self._registry.exit(known.record.id)
        last_start = max((event.time for event in events if event.action == "start"), default=None)
        was_lost = bool(known.exit and ends and last_start and last_start > ends[-1].time)
        if exit_record is None or at or (ends and not was_lost):
            return ends[-1] if ends else None
        signal = {"signal": str(exit_record.signal)} if exit_record.signal else {}
        attributes = {"exitCode": str(exit_record.exit_code), "error": exit_record.error, **signal}
        return Event("", exit_record.finished_at, "container", "die", known.record.id, known.record.name, attributes)

    def _started(self, known: Known, end: Event) -> datetime | None:
        exit_record = known.exit
        return exit_record.started_at if exit_record and exit_record.finished_at <= end.time else None

    def _checks(self, known: Known, started: datetime | None, ended: datetime) -> tuple[HealthResult, ...]:
        found = self._registry.describe(known).health
        return tuple(
            one for one in (found.log if found else ())
            if (started is None or one.started_at >= started) and one.started_at <= ended
        )  # fmt: skip

    @staticmethod
    def _health(results: tuple[HealthResult, ...]) -> Iterator[Evidence]:
        """Yield the last check that failed, with what it said; one that the end itself cut off says nothing."""
        failed = [result for result in results if result.exit_code]
        failed = [result for result in failed if 0 < result.exit_code < 128] or failed
        if failed:
            said = failed[-1].output.strip().splitlines()
            text = f"a health check failed with exit code {failed[-1].exit_code}" + (f": {said[-1]}" if said else "")
            yield Evidence(failed[-1].finished_at, "health", text)

    def _use(self, container_id: str, started: datetime | None, ended: datetime) -> Iterator[Evidence]:
        """Yield what the last minute of its use shows: stalls, a quota that was hit, memory near its limit."""
        since = max(started or ended - _CLOSE, ended - _CLOSE)
        try:
            samples = self._history.samples(container_id, since, ended, step=1)
        except (EngineError, OSError):
            return
        if samples:
            yield from use(samples)

    def _last_lines(self, container_id: str, started: datetime | None, ended: datetime) -> tuple[LogEntry, ...]:
        """Return the last lines of the run; none where no log is kept."""
        wanted = {"since": started, "until": ended}
        try:
            found = deque(self._logs(container_id, **wanted, tail=_TAIL), _LINES)
            return tuple(found or deque(self._logs(container_id, **wanted), _LINES))
        except (EngineError, OSError):
            return ()


def _told(end: Event, run: tuple[Event, ...], found: verdict.Verdict, started: datetime | None = None) -> Death:
    """Return what the journal tells of an end."""
    began = next((event.time for event in run if event.action == "start"), started)
    return Death(
        end.id, end.name, found.kind, found.sentence, began, end.time, found.exit_code, found.signal, found.by, found.origin,
        found.out_of_memory, tuple(verdict.evidence(run)),
    )  # fmt: skip


def use(samples: tuple[Sample, ...]) -> Iterator[Evidence]:
    """Yield what samples show; pure."""
    time, seconds = samples[-1].time, len(samples)
    for resource in ("cpu", "memory", "io"):
        waited = sum(getattr(sample, f"{resource}_pressure") for sample in samples) / seconds
        if waited > _NOTABLE:
            text = f"in the last {seconds} s it waited for {resource} {waited:.0f} % of the time"
            yield Evidence(time, "pressure", text)
    throttled = sum(sample.throttled for sample in samples) / seconds
    if throttled > _NOTABLE:
        yield Evidence(
            time, "pressure", f"in the last {seconds} s it hit its CPU limit in {throttled:.0f} % of the periods"
        )
    first, last = samples[0].memory, samples[-1].memory_max
    if last > 2 * first and last - first > 16 << 20:
        growth = f"its memory grew from {round(first) >> 20} to {round(last) >> 20} MiB in the last {seconds} s"
        yield Evidence(time, "memory", growth)
