"""The only way to plotext: finite values inside the limits, and nothing else, reach it.

plotext 6.1 aborts the process on NaN in a line and eats memory on points far outside fixed limits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

Rgb = tuple[int, int, int]
SMALLEST = (24, 6)
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Series:
    """Values in time, oldest first, at equal distances; what is not finite is a gap."""

    name: str
    values: Sequence[float]
    color: str = "primary"


def segments_of(values: Sequence[float], top: float) -> list[tuple[list[float], list[float]]]:
    """Return the unbroken runs of finite values as (x, y), clamped to 0..top; x counts from the newest, 0."""
    runs: list[tuple[list[float], list[float]]] = []
    xs: list[float] = []
    ys: list[float] = []
    for place, value in enumerate(values):
        if math.isfinite(value):
            xs.append(float(place - len(values) + 1))
            ys.append(min(max(float(value), 0.0), top))
        elif xs:
            runs.append((xs, ys))
            xs, ys = [], []
    if xs:
        runs.append((xs, ys))
    return runs


def scale_of(series: Sequence[Series], limit: float | None, smallest: float, base: int = 10) -> float:
    """Return the top of the axis: a round number above all values and the limit.

    Args:
        series: What is drawn.
        limit: The limit's line, or None.
        smallest: The least that the axis shows.
        base: 10, or 2 for bytes, where round numbers are powers of two.
    """
    finite = [value for one in series for value in one.values if math.isfinite(value)]
    top = min(max([smallest, *finite, limit * 1.1 if limit and math.isfinite(limit) else 0.0]), 1e18)
    if base == 2:
        power = 2.0 ** math.floor(math.log2(top))
        return next(power * factor for factor in (1, 1.25, 1.5, 2) if power * factor >= top)
    step = 10.0 ** math.floor(math.log10(top))
    return next(step * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if step * factor >= top)


def draw(
    series: Sequence[tuple[Series, Rgb]],
    *,
    size: tuple[int, int],
    top: float,
    window: int,
    limit: tuple[float, Rgb] | None,
    ticks: Sequence[tuple[float, str]],
) -> str:
    """Return a chart as text with ANSI colours.

    Args:
        series: What to draw, with colours.
        size: Columns and rows.
        top: The top of the axis, above 0 and finite.
        window: How many samples the axis shows.
        limit: A horizontal line and its colour.
        ticks: Places and labels of the axis.
    """
    width, height = max(size[0], SMALLEST[0]), max(size[1], SMALLEST[1])
    if not (math.isfinite(top) and top > 0):
        top = 1.0
    with _lock:
        import plotext  # noqa: PLC0415 - its import takes a tenth of a second

        figure = plotext.figure
        figure.clear()
        figure.theme("colorless")
        figure.plot_size(width, height)
        figure.ruler("y").lim(0, top)
        figure.ruler("x").lim(-float(window), 0)
        figure.ruler("y").ticks([place for place, _ in ticks], [label for _, label in ticks])
        marks = [-window, -window // 2, 0]
        figure.ruler("x").ticks([float(mark) for mark in marks], [f"{-mark}s ago" if mark else "now" for mark in marks])
        if limit is not None and math.isfinite(limit[0]):
            height_of_limit = min(max(limit[0], 0.0), top)
            line = figure.signal(
                [-float(window), 0.0], [height_of_limit] * 2, marker=plotext.marker("braille", limit[1])
            )
            figure.draw(line.lines())
        for one, color in series:
            for xs, ys in segments_of(list(one.values)[-window:], top):
                marker = plotext.marker("braille", color)
                signal = figure.signal(xs, ys, marker=marker)
                figure.draw(signal.lines() if len(xs) > 1 else signal)
        return str(figure.build().string())


def warm() -> None:
    """Import plotext ahead of its first use; call it in a thread."""
    with _lock:
        import plotext  # noqa: F401, PLC0415 - only loaded
