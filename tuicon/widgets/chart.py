"""A live graph with axes and the limit as a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.text import Text
from textual.color import Color
from textual.widget import Widget

from tuicon.model import units
from tuicon.widgets import plot
from tuicon.widgets.plot import Rgb, Series

FORMATS: dict[str, Callable[[float], str]] = {
    "%": lambda value: f"{value:.0f}%",
    "B": units.short_size,
    "B/s": lambda value: f"{units.short_size(value)}/s",
    "/s": lambda value: f"{value:.0f}/s",
    "": lambda value: f"{value:.0f}",
}
SMALLEST = {"%": 10.0, "B": 1 << 20, "B/s": 1 << 10, "/s": 10.0, "": 4.0}


class Chart(Widget):
    """Draws series of one unit; the border carries the title and the numbers."""

    DEFAULT_CSS = """
    Chart { border: round $foreground 25%; border-title-color: $text; border-subtitle-color: $text-muted; }
    """

    def __init__(self, title: str, unit: str, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.border_title = title
        self._unit = unit
        self._series: tuple[Series, ...] = ()
        self._limit: float | None = None
        self._window = 120

    def measure(self, title: str, unit: str) -> None:
        """Show another quantity."""
        self.border_title, self._unit = title, unit

    def update_series(self, series: Sequence[Series], *, limit: float | None = None, window: int = 120) -> None:
        """Show values.

        Args:
            series: What to draw.
            limit: Where the kernel's limit is, in the unit; None when there is none.
            window: Samples that the axis shows.
        """
        self._series, self._limit, self._window = tuple(series), limit, window
        self.border_subtitle = self._summary()
        self.refresh()

    def _summary(self) -> str:
        form = FORMATS[self._unit]
        parts = []
        for one in self._series:
            finite = [value for value in one.values if math.isfinite(value)]
            if finite:
                name = f"{one.name} " if len(self._series) > 1 else ""
                parts.append(f"{name}{form(finite[-1])} (peak {form(max(finite))})")
        if self._limit is not None:
            parts.append(f"limit {form(self._limit)}")
        return " · ".join(parts)

    def render(self) -> Text:
        """Draw the graph."""
        width, height = self.size
        if width < plot.SMALLEST[0] or height < plot.SMALLEST[1]:
            return Text(self._summary(), overflow="ellipsis", no_wrap=True)
        base = 2 if self._unit.startswith("B") else 10
        top = plot.scale_of(self._series, self._limit, SMALLEST[self._unit], base)
        form = FORMATS[self._unit]
        steps = 4 if height >= 12 else 2
        ticks = [(top * step / steps, form(top * step / steps).rjust(7)) for step in range(steps + 1)]
        drawn = plot.draw(
            [(one, self._rgb(one.color)) for one in self._series],
            size=(width, height),
            top=top,
            window=self._window,
            limit=None if self._limit is None else (self._limit, self._rgb("warning")),
            ticks=ticks,
        )
        return Text.from_ansi(drawn.rstrip("\n"), no_wrap=True)

    def _rgb(self, name: str) -> Rgb:
        color = Color.parse(self.app.theme_variables.get(name, "#888888"))
        return (color.r, color.g, color.b)
