"""What the tuning pane reads of the engine, in threads, and the picture it makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from engine.api import percentile
from engine.errors import EngineError
from engine.model.history import Advice, Effect, Sample
from engine.model.limits import Limits, OnTrial, Preview
from engine.model.value import Value as Record
from tuicon.backend import Backend
from tuicon.model import curve, tuning
from tuicon.model.changes import MadeChange, changes_of
from tuicon.model.curve import Window
from tuicon.model.tuning import Tunable, Value
from tuicon.widgets import chart
from tuicon.widgets.limit_graph import Line, Picture
from tuicon.widgets.plot import Series

_CHANGES_OF = timedelta(days=1)
_ADVISES_OVER = timedelta(days=1)
_UNITS = {"cores": "%", "B": "B", "B/s": "B/s", "ops/s": "/s", "tasks": ""}
_GRAPHS = {
    "cpu": ("CPU", "%", (("cpu", "primary"),)),
    "memory": ("Memory", "B", (("memory", "primary"),)),
    "pids": ("Tasks", "", (("pids", "primary"),)),
    "read": ("Disk read, write", "B/s", (("read", "primary"), ("write", "secondary"))),
    "write": ("Disk write, read", "B/s", (("write", "primary"), ("read", "secondary"))),
    "read_ops": ("Disk reads, writes", "/s", (("read_ops", "primary"), ("write_ops", "secondary"))),
    "write_ops": ("Disk writes, reads", "/s", (("write_ops", "primary"), ("read_ops", "secondary"))),
    "rx": ("Network in, out", "B/s", (("rx", "primary"), ("tx", "secondary"))),
    "tx": ("Network out, in", "B/s", (("tx", "primary"), ("rx", "secondary"))),
}
_PRESSURES = {"cpu": "cpu_pressure", "memory": "memory_pressure", "read": "io_pressure", "write": "io_pressure",
    "read_ops": "io_pressure", "write_ops": "io_pressure"}  # fmt: skip
_PEAKS = {"cpu": "cpu_max", "memory": "memory_max", "pids": "pids_max"}


class Facts(Record, frozen=True):
    """What the engine says of a container now.

    Attributes:
        limits: In force.
        effect: What the chosen change did; None when that is not known yet.
    """

    limits: Limits
    trial: OnTrial | None = None
    changes: tuple[MadeChange, ...] = ()
    effect: Effect | None = None
    advice: Advice | None = None
    preview: Preview | None = None


def read_facts(backend: Backend, container_id: str, chosen: int, now: datetime) -> Facts:
    """Return what the engine says; `chosen` counts changes from the newest, 0.

    Raises:
        EngineError: The container is gone.
    """
    room = backend.containers
    changes = changes_of(backend.events.list(now - _CHANGES_OF), container_id)
    effect = room.history.effect(container_id, changes[-1 - chosen].time) if chosen < len(changes) else None
    return Facts(
        room.get(container_id).limits, room.tuning.on_trial(container_id), changes, effect,
        room.history.advise(container_id, _ADVISES_OVER), room.tuning.preview(container_id, lambda limits: limits),
    )  # fmt: skip


def read_samples(backend: Backend, container_id: str, window: Window, now: datetime) -> tuple[Sample, ...]:
    """Return the samples of a window that ends now; none when they cannot be read."""
    since = now - timedelta(seconds=window.seconds)
    try:
        return backend.containers.history.samples(container_id, since, step=window.step)
    except (EngineError, OSError):
        return ()


class Seen(Record, frozen=True):
    """What the picture is made of.

    Attributes:
        live: Returns a quantity of what the console itself has seen.
        samples: Of the window; of the live one those that were there when the pane was opened.
        read_at: When they were read.
        known: How many live values there were then.
        has_pressure: Whether the kernel measures pressure; samples have zeros where it does not.
    """

    live: Callable[[str], Sequence[float]]
    samples: tuple[Sample, ...]
    read_at: datetime
    window: Window
    known: int = 0
    has_pressure: bool = True

    def series(self, name: str) -> list[float]:
        """Return a quantity at equal distances; NaN where nothing is known."""
        if name.endswith("pressure") and not self.has_pressure:
            return [math.nan] * self.window.slots
        earlier = curve.laid_out(self.samples, name, self.window, self.read_at)
        if not self.window.is_live:
            return earlier
        live, known = list(self.live(name)), min(self.known, len(earlier))
        if len(live) < self.window.slots:  # it begins where it began then
            both = zip(live, earlier[len(earlier) - known :], strict=False)
            live[:known] = [value if math.isfinite(value) else old for value, old in both]
        return [*earlier[: len(earlier) - known], *live][-self.window.slots :]


def picture_of(
    chosen: Tunable, values: Sequence[tuple[Tunable, Value]], seen: Seen, changes: Sequence[MadeChange], now: datetime
) -> Picture:
    """Return the graph of what the chosen knob limits, with every limit of that quantity as a line."""
    title, unit, curves = _GRAPHS[chosen.history]
    series = [Series(name.replace("_", " "), seen.series(name), color) for name, color in curves]
    factor = 100.0 if unit == "%" else 1.0
    lines = []
    for tunable, value in values:
        is_chosen = tunable.id == chosen.id
        number = value * factor if isinstance(value, float | int) and value >= 0 else None
        if tunable.history == chosen.history and tunable.line and (is_chosen or number is not None):
            text = f"{tunable.label} {tuning.text_of(tunable, value)}"
            lines.append(Line(tunable.id, text, number, tunable.line, is_chosen))
    known = [value for value in series[0].values if math.isfinite(value)]
    peak = _peak(known, chosen.history, seen)
    p95 = percentile(known, 0.95)
    name = _PRESSURES.get(chosen.history, "")
    pressure = seen.series(name) if name else []
    has_pressure = any(math.isfinite(value) for value in pressure)
    if not has_pressure and chosen.history == "cpu":
        name, pressure = "throttled", seen.series("throttled")
        has_pressure = True
    newest = [value for value in pressure if math.isfinite(value)][-1:]
    form = chart.FORMATS[unit]
    summary = (
        [f"now {form(known[-1])}", f"p95 {form(p95)}", f"peak {form(peak)}"] if known else ["nothing is known yet"]
    )
    if newest:
        summary.append(f"{name.replace('_', ' ')} {newest[0]:.0f}%")
    return Picture(
        title, " · ".join(summary), unit, tuple(series), tuple(lines),
        (("peak", peak), ("p95", p95)) if known else (), pressure if has_pressure else None,
        "throttled" if name == "throttled" else "pressure" if name else "", _marks(changes, seen, now), seen.window,
    )  # fmt: skip


def _peak(known: Sequence[float], name: str, seen: Seen) -> float:
    highest = curve.values_of(seen.samples, _PEAKS[name]) if name in _PEAKS and not seen.window.is_live else []
    return max([*known, *highest], default=0.0)


def _marks(changes: Sequence[MadeChange], seen: Seen, now: datetime) -> tuple[float, ...]:
    places = (1 - (now - change.time).total_seconds() / seen.window.seconds for change in changes)
    return tuple(place for place in places if 0 <= place <= 1)
