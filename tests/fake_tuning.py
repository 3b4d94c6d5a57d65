"""Tuning and history of the tests' backend: limits in memory, a use that is the same in every run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict
from engine.model.event import Event
from engine.model.history import Advice, Effect, Sample
from engine.model.limits import Effective, Knob, Limits, LimitsChanged, OnTrial, Preview

if TYPE_CHECKING:
    from tests.fakes import FakeBackend

Wanted = Callable[[Limits], Limits]
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeTuning:
    """Does what it is asked to records in memory; a test says what is refused."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.stacks: dict[str, list[Limits]] = {}
        self.trials: dict[str, OnTrial] = {}
        self.why_not: dict[str, str] = {}
        self.gate: threading.Event | None = None

    def knobs(self) -> tuple[Knob, ...]:
        return tuple(Knob(field.name, "file", self.why_not.get(field.name, "")) for field in fields(Limits))

    def update(self, ref: str, change: Wanted, *, seconds: float = 0.0) -> LimitsChanged:
        return self.update_all({ref: change}, seconds=seconds)[0]

    def update_all(
        self, changes: Mapping[str, Wanted], *, how: str = "update", seconds: float = 0.0
    ) -> tuple[LimitsChanged, ...]:
        done = []
        for ref, change in changes.items():
            found = self._backend.containers.get(ref)
            before, after = found.limits, change(found.limits)
            self._backend.containers._do("update", found.name, after)
            if seconds:
                confirmed = self.trials[found.id].confirmed if found.id in self.trials else before
                self.trials[found.id] = OnTrial(START, seconds, confirmed, after)
            else:
                self.stacks.setdefault(found.id, []).append(before)
            self._set(found.id, before, after, "trial" if seconds else how)
            done.append(LimitsChanged(found.id, before, after, seconds))
            if self.gate:
                self.gate.wait(60)
        return tuple(done)

    def _set(self, container_id: str, before: Limits, after: Limits, how: str) -> None:
        self._backend.containers._change(container_id, limits=after)
        names = [field.name for field in fields(Limits) if getattr(before, field.name) != getattr(after, field.name)]
        moved = {name: f"{getattr(before, name)} -> {getattr(after, name)}" for name in names}
        name = self._backend.containers.get(container_id).name
        at = START + timedelta(seconds=60)
        self._backend.journal.append(
            Event("1:1", at, "container", "update", container_id, name, {**moved, "how": how, "by": "root"})
        )

    def step_down(
        self,
        ref: str,
        memory: int,
        within: float,
        *,
        watch: Callable[[int], object] = lambda _used: None,
        stop: threading.Event | None = None,
    ) -> LimitsChanged:
        self._backend.calls.append(("step_down", self._backend.containers.get(ref).name, memory, within))
        watch(memory + (32 << 20))
        if stop is not None and self.gate and not self.gate.is_set() and stop.wait(60):
            raise Conflict("lowering the memory limit was called off, the limits are as before")
        self._backend.failures.pop("update", None)
        return self.update(ref, lambda limits: replace(limits, memory=memory))

    def preview(self, ref: str, change: Wanted) -> Preview:
        return self.preview_all({ref: change})[0]

    def preview_all(self, changes: Mapping[str, Wanted]) -> tuple[Preview, ...]:
        found = []
        for ref, change in changes.items():
            container = self._backend.containers.get(ref)
            after = change(container.limits)
            cpus = min(after.effective_cpus or 4.0, 3.0)
            by = "this container" if cpus < 3 else "/game"
            shares = after.cpu_shares or 1024
            effective = Effective(cpus, after.memory, after.pids, shares / (shares + 3072), by, "this container", "")
            refusal = str(self._backend.failures.get("update", ""))
            found.append(Preview(container.id, container.name, container.limits, after, effective, refusal))
        return tuple(found)

    def shortage(self, previews: tuple[Preview, ...]) -> str:
        cores = sum(preview.after.effective_cpus or 0 for preview in previews)
        return f"the CPU limits come to {cores:g} CPUs, and this host has 4" if cores > 4 else ""

    def on_trial(self, ref: str) -> OnTrial | None:
        return self.trials.get(self._backend.containers.get(ref).id)

    def confirm(self, ref: str) -> LimitsChanged:
        container = self._backend.containers.get(ref)
        trial = self.trials.pop(container.id)
        self._backend.calls.append(("confirm", container.name))
        self.stacks.setdefault(container.id, []).append(trial.confirmed)
        self._set(container.id, trial.confirmed, trial.after, "confirm")
        return LimitsChanged(container.id, trial.confirmed, trial.after)

    def undo(self, ref: str) -> LimitsChanged:
        container = self._backend.containers.get(ref)
        self._backend.calls.append(("undo", container.name))
        trial = self.trials.pop(container.id, None)
        stack = self.stacks.get(container.id, [])
        if trial is None and not stack:
            raise Conflict(f"container {container.name} has no change to take back")
        before = trial.confirmed if trial else stack.pop()
        self._set(container.id, container.limits, before, "undo")
        return LimitsChanged(container.id, container.limits, before)


def a_sample(at: datetime, seconds: float, place: int) -> Sample:
    """Return a sample of a use that goes up and down."""
    wave = 0.5 + 0.5 * math.sin(place / 9)
    values: dict[str, Any] = dict.fromkeys((field.name for field in fields(Sample)), 0.0)
    values |= {
        "time": at, "seconds": seconds, "cpu": 0.1 + 0.35 * wave, "cpu_max": 0.15 + 0.35 * wave,
        "memory": (90 + 60 * wave) * (1 << 20), "memory_max": (95 + 60 * wave) * (1 << 20), "pids": 3.0, "pids_max": 4.0,
        "read": 2e6 * wave, "write": 1e6, "throttled": 30 * wave, "cpu_pressure": 45 * wave * wave,
    }  # fmt: skip
    return Sample(**values)


class FakeUseHistory:
    """A use that has gone on for a long time."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.effects: dict[str, Effect] = {}
        self.advice: Advice | None = None

    def samples(
        self, ref: str, since: datetime, until: datetime | None = None, step: int | None = None
    ) -> tuple[Sample, ...]:
        self._backend.calls.append(("samples", self._backend.containers.get(ref).name, step))
        wide = step or 1
        count = {1: 900, 10: 2160, 60: 3000}[wide] - 40
        begin = START + timedelta(seconds=110) - timedelta(seconds=count * wide)
        return tuple(a_sample(begin + timedelta(seconds=wide * place), wide, place) for place in range(count))

    def advise(self, ref: str, over: timedelta) -> Advice:
        container = self._backend.containers.get(ref)
        evidence = ("it was throttled in 31 % of the periods, so it needs more than its 0.5 CPUs",)
        return self.advice or Advice(
            container.id, container.name, 0.8, 11.2, "medium", 0.48, 0.5, 140 << 20, 152 << 20, 0.66, 192 << 20, evidence
        )  # fmt: skip

    def effect(self, ref: str, at: datetime) -> Effect | None:
        return self.effects.get(self._backend.containers.get(ref).name)


def with_changes(backend: FakeBackend) -> FakeBackend:
    """Give the container named gateway a history of changes and a third line in its graph of memory."""
    gateway = backend.containers.get("gateway")
    limits = replace(gateway.limits, memory_high=200 << 20, memory_reservation=64 << 20)
    backend.containers._change("gateway", limits=limits)
    why = "gateway gets more when it is busy: cpu of gateway is 93.2, > 80 for 60 s"
    made = (
        (900, {"cpus": "0.3 -> 0.4", "how": "autotune", "by": "root", "why": why}),
        (240, {"memory": "536870912 -> 268435456", "memory_high": "None -> 209715200", "how": "update", "by": "ada"}),
        (70, {"cpus": "0.4 -> 0.5", "how": "trial", "by": "ada", "seconds": "30"}),
        (52, {"cpus": "0.4 -> 0.5", "how": "confirm", "by": "ada"}),
    )
    end = START + timedelta(seconds=110)
    backend.journal = [
        Event("1:1", end - timedelta(seconds=ago), "container", "update", gateway.id, "gateway", dict(texts))
        for ago, texts in made
    ]
    backend.containers.history.effects["gateway"] = Effect(52.0, 0.40, 0.48, 61.0, 7.0, 44.0, 12.0)
    return backend
