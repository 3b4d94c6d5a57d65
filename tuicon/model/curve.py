"""Curves in braille: windows of time, values spread over columns, dots in cells; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from engine.model.history import Sample
from engine.model.value import Value

_NAN = float("nan")
_LEFT, _RIGHT = (0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)  # from the lowest dot up


class Window(Value, frozen=True):
    """A stretch of time that a graph shows.

    Attributes:
        title: For people; half: the same for its middle.
        seconds: How long it is.
        step: Seconds of one value of the history that fits it.
        is_live: Whether it shows what the console has seen itself, second by second.
    """

    title: str
    half: str
    seconds: int
    step: int
    is_live: bool = False

    @property
    def slots(self) -> int:
        """How many values it has."""
        return self.seconds // self.step


WINDOWS = (
    Window("2 min", "1 min", 120, 1, is_live=True),
    Window("15 min", "8 min", 900, 1),
    Window("6 h", "3 h", 21600, 10),
    Window("14 d", "7 d", 1209600, 60),
)


def values_of(samples: Iterable[Sample], name: str) -> list[float]:
    """Return a quantity of samples; the CPU in percent of one core, as the live history has it."""
    factor = 100.0 if name.startswith("cpu") and not name.endswith("pressure") else 1.0
    return [getattr(sample, name) * factor for sample in samples]


def laid_out(samples: Iterable[Sample], name: str, window: Window, now: datetime) -> list[float]:
    """Return a quantity at equal distances over a window that ends now; NaN where nothing is known."""
    found = [_NAN] * window.slots
    begin = now - timedelta(seconds=window.seconds)
    chosen = list(samples)
    for sample, value in zip(chosen, values_of(chosen, name), strict=True):
        place = int((sample.time - begin).total_seconds() // window.step)
        if 0 <= place < window.slots:
            found[place] = value
    return found


def spread(values: Sequence[float], slots: int, columns: int) -> list[float]:
    """Return the newest `slots` values over so many columns: the highest of those that share one; NaN for gaps."""
    newest = list(values)[-slots:]
    padded = [_NAN] * (slots - len(newest)) + newest
    found = []
    for column in range(columns):
        begin = column * slots // columns
        part = padded[begin : max(begin + 1, (column + 1) * slots // columns)]
        known = [value for value in part if math.isfinite(value)]
        found.append(max(known) if known else _NAN)
    return found


def dots(columns: Sequence[float], top: float, height: int, *, is_filled: bool) -> list[list[int]]:
    """Return the dots of each cell, row by row from above: the area below a curve, or the curve alone.

    Args:
        columns: Two values a cell; NaN is a gap.
        top: The value at the upper edge, above 0.
        height: Rows.
        is_filled: Whether the area below the curve is filled.
    """
    found = [[0] * (len(columns) // 2) for _ in range(height)]
    before: int | None = None
    for place, value in enumerate(columns):
        if not math.isfinite(value):
            before = None
            continue
        level = min(max(0, math.ceil(value / top * height * 4)), height * 4)
        low = 0 if is_filled else max(0, min(level, before if before is not None else level) - 1)
        high = level if is_filled else max(level, before or 0, 1)
        for dot in range(low, high):
            found[height - 1 - dot // 4][place // 2] |= (_RIGHT if place % 2 else _LEFT)[dot % 4]
        before = level
    return found


def row_of(value: float, top: float, height: int) -> int:
    """Return the row, from above, in which a value lies."""
    return min(max(0, height - 1 - math.floor(value / top * height)), height - 1)


def value_at(row: float, top: float, height: int) -> float:
    """Return the value in the middle of a row."""
    return min(max(0.0, top * (height - row - 0.5) / height), top)
