"""The graph of the tuning pane: use, limits as lines that can be dragged, peak, percentile, and pressure below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tuicon.model import curve
from tuicon.model.curve import WINDOWS, Window
from tuicon.widgets import chart, plot
from tuicon.widgets.plot import Series

_AXIS = 10
_BLOCKS = "▁▂▃▄▅▆▇█"
_FAR = 6.0
_Cell = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """A limit in the graph.

    Attributes:
        id: The knob's.
        text: Its label.
        value: In the graph's unit; None for no limit, which lies on the upper edge.
        color: A colour of the theme.
        is_chosen: Whether the keys move it.
    """

    id: str
    text: str
    value: float | None
    color: str
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """What the graph shows.

    Attributes:
        title: What is measured; summary: the numbers.
        unit: "%", "B", "B/s", "/s" or "".
        curves: The first is filled.
        lines: Limits.
        levels: (label, value) of what the use was: its peak, its 95th percentile.
        pressure: 0..100 for the strip below; None when the kernel does not say.
        pressure_name: What the strip is called.
        marks: Where changes were made, 0..1 of the window.
    """

    title: str = ""
    summary: str = ""
    unit: str = "%"
    curves: tuple[Series, ...] = ()
    lines: tuple[Line, ...] = ()
    levels: tuple[tuple[str, float], ...] = ()
    pressure: Sequence[float] | None = None
    pressure_name: str = ""
    marks: tuple[float, ...] = ()
    window: Window = WINDOWS[0]


class LimitGraph(Widget):
    """Draws what it is told; a line that is dragged with the mouse becomes a message."""

    DEFAULT_CSS = """
    LimitGraph { border: round $foreground 25%; border-title-color: $text; border-subtitle-color: $text-muted; }
    """

    class Dragged(Message):
        """The user drags a line; with `is_dropped` this is the last of these."""

        def __init__(self, line: str, value: float, *, is_dropped: bool) -> None:
            self.line = line
            self.value = value
            self.is_dropped = is_dropped
            super().__init__()

    class Pressed(Message):
        """The user has taken hold of a line."""

        def __init__(self, line: str) -> None:
            self.line = line
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.picture = Picture()
        self._top = 1.0
        self._held: str | None = None
        self._dragged: float | None = None
        self._drawn: list[Strip] = []
        self._drawn_at: Size | None = None

    def show(self, picture: Picture) -> None:
        """Show something else; while a line is dragged the scale stays."""
        self.picture = picture
        titles = (picture.title, picture.summary)
        if titles != (str(self.border_title or ""), str(self.border_subtitle or "")):
            self.border_title, self.border_subtitle = Content(titles[0]), Content(titles[1])
        if self._held is None:
            self._top = self._scale()
        self._drawn_at = None
        self.refresh()

    def notify_style_update(self) -> None:
        """Draw anew in other colours."""
        self._drawn_at = None
        super().notify_style_update()

    def _scale(self) -> float:
        """Return the top of the axis: limits far above the use do not flatten it, they lie on the upper edge."""
        smallest = chart.SMALLEST[self.picture.unit]
        used = [value for one in self.picture.curves for value in one.values if math.isfinite(value)]
        most = max([smallest, *used, *(value for _, value in self.picture.levels)])
        near = [line.value for line in self.picture.lines if line.value is not None and line.value <= most * _FAR]
        base = 2 if self.picture.unit.startswith("B") else 10
        return plot.scale_of([Series("", [most * 1.05])], max(near, default=None), smallest, base)

    # -- drawing -----------------------------------------------------------------------------------

    @property
    def _plot_height(self) -> int:
        return max(2, self.size.height - 2)

    @property
    def _plot_width(self) -> int:
        return max(8, self.size.width - _AXIS)

    def render_line(self, y: int) -> Strip:
        """Draw a row."""
        if self._drawn_at != self.size:
            self._drawn = [self._strip(cells) for cells in self._rows()]
            self._drawn_at = self.size
        return self._drawn[y] if y < len(self._drawn) else Strip.blank(self.size.width, self.rich_style)

    def text(self) -> str:
        """Return what is seen."""
        return "\n".join("".join(character for character, _ in cells) for cells in self._rows())

    def _rows(self) -> list[list[_Cell]]:
        width, height, muted = self._plot_width, self._plot_height, self._color("muted")
        cells: list[list[_Cell]] = [[(" ", "")] * width for _ in range(height)]
        for number, one in reversed(list(enumerate(self.picture.curves))):
            self._draw_curve(cells, one, is_filled=number == 0)
        self._draw_levels(cells)
        self._draw_lines(cells)
        ticks = self._ticks(height)
        sides = [f"{ticks.get(row, ''):>{_AXIS - 1}}{'┤' if row in ticks else '│'}" for row in range(height)]
        sides += [f"{self.picture.pressure_name:>{_AXIS - 1}}│", " " * (_AXIS - 1) + "└"]
        rows = [*cells, self._pressure_row(width), self._times_row(width)]
        return [[*((character, muted) for character in side), *row] for side, row in zip(sides, rows, strict=True)]

    def _strip(self, cells: Sequence[_Cell]) -> Strip:
        """Return a row, neighbours of one style in one piece."""
        segments, begin, base = [], 0, self.rich_style
        for place in range(1, len(cells) + 1):
            if place == len(cells) or cells[place][1] != cells[begin][1]:
                text = "".join(character for character, _ in cells[begin:place])
                segments.append(Segment(text, base + Style.parse(cells[begin][1])))
                begin = place
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _color(self, name: str) -> str:
        return self.app.theme_variables.get(name, "#888888")

    def _ticks(self, height: int) -> dict[int, str]:
        form = chart.FORMATS[self.picture.unit]
        parts = 4 if height >= 10 else 2
        return {
            curve.row_of(self._top * part / parts, self._top, height): form(self._top * part / parts)
            for part in range(parts + 1)
        }

    def _draw_curve(self, cells: list[list[_Cell]], one: Series, *, is_filled: bool) -> None:
        width, height = len(cells[0]), len(cells)
        columns = curve.spread(one.values, self.picture.window.slots, width * 2)
        color = self._color(one.color)
        for row, line in enumerate(curve.dots(columns, self._top, height, is_filled=is_filled)):
            for place, bits in enumerate(line):
                if bits:
                    cells[row][place] = (chr(0x2800 + bits), color)

    def _draw_levels(self, cells: list[list[_Cell]]) -> None:
        style, form = self._color("foreground"), chart.FORMATS[self.picture.unit]
        labels: dict[int, list[str]] = {}
        for name, value in self.picture.levels:
            labels.setdefault(curve.row_of(value, self._top, len(cells)), []).append(f"{name} {form(value)}")
        for row, found in labels.items():
            for place in range(0, len(cells[row]), 3):
                cells[row][place] = ("╌", style)
            _write(cells[row], 1, f" {', '.join(found)} ", style)

    def _draw_lines(self, cells: list[list[_Cell]]) -> None:
        taken: dict[int, int] = {}
        for line in sorted(self.picture.lines, key=lambda one: one.is_chosen):
            row = self._row_of(line, len(cells))
            color = self._color(line.color)
            is_off = line.value is None or line.value > self._top
            if line.is_chosen or not is_off:
                cells[row] = [("━" if line.is_chosen else "─", color)] * len(cells[row])
                taken.pop(row, None)
        for line in sorted(self.picture.lines, key=lambda one: not one.is_chosen):
            row = self._row_of(line, len(cells))
            arrow = "↑ " if line.value is None or line.value > self._top else ""
            label = f" {arrow}{line.text} "
            begin = len(cells[row]) - taken.get(row, 1) - len(label)
            style = f"bold {self._color(line.color)}" + (" reverse" if line.is_chosen else "")
            _write(cells[row], begin, label, style)
            taken[row] = taken.get(row, 1) + len(label) + 1

    def _row_of(self, line: Line, height: int) -> int:
        value = self._dragged if line.id == self._held and self._dragged is not None else line.value
        return 0 if value is None else curve.row_of(value, self._top, height)

    def _pressure_row(self, width: int) -> list[_Cell]:
        cells: list[_Cell] = [(" ", "")] * width
        if self.picture.pressure is None:
            _write(cells, 1, "this kernel does not measure it", self._color("muted"))
            return cells
        for place, value in enumerate(curve.spread(self.picture.pressure, self.picture.window.slots, width)):
            if math.isfinite(value):
                color = "error" if value >= 40 else "warning" if value >= 10 else "success" if value >= 1 else "muted"
                cells[place] = (_BLOCKS[min(7, int(value / 12.5))], self._color(color))
        return cells

    def _times_row(self, width: int) -> list[_Cell]:
        muted, window = self._color("muted"), self.picture.window
        cells = [("─", muted)] * width
        for label, place in ((f"{window.title} ago", 0), (window.half, width // 2), ("now", width - 3)):
            _write(cells, place, label, muted)
        for mark in self.picture.marks:
            cells[min(width - 1, int(mark * width))] = ("▲", f"bold {self._color('accent')}")
        return cells

    # -- the mouse ---------------------------------------------------------------------------------

    def _row_at(self, event: events.MouseEvent) -> int:
        return int(event.y) - (self.content_region.y - self.region.y)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the line under the pointer, or beside it."""
        row = self._row_at(event)
        near = [
            (abs(self._row_of(line, self._plot_height) - row), not line.is_chosen, line.id)
            for line in self.picture.lines
        ]
        found = min(near, default=(9, True, ""))
        if found[0] <= 1:
            self._held = found[2]
            self.capture_mouse()
            self.post_message(self.Pressed(self._held))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Move the line with the pointer."""
        if self._held is not None:
            self._dragged = curve.value_at(self._row_at(event), self._top, self._plot_height)
            self.post_message(self.Dragged(self._held, self._dragged, is_dropped=False))

    def on_mouse_up(self, _event: events.MouseUp) -> None:
        """Let go of the line."""
        if self._held is not None:
            held, value = self._held, self._dragged
            self._held = self._dragged = None
            self.release_mouse()
            if value is not None:
                self.post_message(self.Dragged(held, value, is_dropped=True))


def _write(cells: list[_Cell], begin: int, label: str, style: str) -> None:
    for place, character in enumerate(label, max(0, begin)):
        if place < len(cells):
            cells[place] = (character, style)
