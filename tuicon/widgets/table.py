"""A table that draws only the lines that are seen; rows have keys, so cursor, marks and scroll survive a refresh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tuicon.model.rows import Cell, Column, Row

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = ("ok", "warn", "bad", "muted", "accent")
_SPARK_WIDTH = 8


def sparkline(values: Sequence[float], width: int, maximum: float | None) -> str:
    """Return values as bars, the newest at the right; a value that is not finite is a gap."""
    shown = list(values)[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    top = maximum or max(finite, default=0.0)
    bars = []
    for value in shown:
        if not math.isfinite(value):
            bars.append(" ")
        else:
            share = min(1.0, max(0.0, value / top)) if top else 0.0
            bars.append(_BARS[round(share * (len(_BARS) - 1))])
    return "".join(bars).rjust(width)


class RecordTable(ScrollView, can_focus=True):
    """Shows rows; speaks by Highlighted, Chosen and MarksChanged.

    Attributes:
        empty: What stands there when there are no rows.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("g,home", "first", "first", show=False),
        Binding("G,end", "last", "last", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "page down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "page up", show=False),
        Binding("enter", "choose", "open", show=False),
        Binding("space", "mark", "mark", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header", "table--cursor", "table--cursor-blurred", "table--empty", *(f"table--{name}" for name in _STYLES),
    }  # fmt: skip
    DEFAULT_CSS = """
    RecordTable {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .table--header { color: $muted; text-style: bold; }
        & > .table--cursor { background: $primary 35%; text-style: bold; }
        & > .table--cursor-blurred { background: $foreground 12%; }
        & > .table--empty { color: $muted; }
        & > .table--ok { color: $text-success; }
        & > .table--warn { color: $text-warning; }
        & > .table--bad { color: $text-error; }
        & > .table--muted { color: $muted; }
        & > .table--accent { color: $text-accent; }
    }
    """
    cursor_key: reactive[str] = reactive("")

    class Highlighted(Message):
        """The cursor is on another row."""

        def __init__(self, table: RecordTable, key: str) -> None:
            self.table = table
            self.key = key
            super().__init__()

        @property
        def control(self) -> RecordTable:
            """The table."""
            return self.table

    class Chosen(Message):
        """A row was chosen with enter or a double click."""

        def __init__(self, table: RecordTable, key: str) -> None:
            self.table = table
            self.key = key
            super().__init__()

    class HeaderClicked(Message):
        """A column's title was clicked."""

        def __init__(self, table: RecordTable, column: str) -> None:
            self.table = table
            self.column = column
            super().__init__()

    def __init__(self, *, id: str | None = None, empty: str = "nothing here", header: bool = True) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.marked: set[str] = set()
        self.sorted_by = ""
        self._columns: tuple[Column, ...] = ()
        self._rows: Sequence[Row] = ()
        self._places: dict[str, int] = {}
        self.empty = empty
        self._header = header

    @property
    def rows(self) -> Sequence[Row]:
        """The rows as they are shown."""
        return self._rows

    @property
    def cursor(self) -> int:
        """The place of the cursor's row; -1 in an empty table."""
        return self._places.get(self.cursor_key, -1)

    def show(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show rows; what has not changed is not drawn again."""
        new = tuple(rows)
        if new == self._rows and tuple(columns) == self._columns:
            return
        place = self.cursor
        self._columns, self._rows = tuple(columns), new
        self._places = {row.key: number for number, row in enumerate(new)}
        self.marked &= set(self._places)
        self.virtual_size = Size(self.size.width, len(new) + self._header)
        if self.cursor_key not in self._places:
            self.cursor_key = new[min(max(place, 0), len(new) - 1)].key if new else ""
        self.refresh()

    def watch_cursor_key(self, key: str) -> None:
        """Say where the cursor is, and keep it in sight."""
        self.post_message(self.Highlighted(self, key))
        place = self.cursor
        if place >= 0 and self.size.height:
            self.scroll_to_region(
                Region(0, place, 1, 1 + self._header), animate=False, force=True, y_axis=True, x_axis=False
            )
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if self._rows:
            self.cursor_key = self._rows[min(max(self.cursor + by, 0), len(self._rows) - 1)].key

    def action_page(self, direction: int) -> None:
        """Move by half a page."""
        self.action_move(direction * max(1, (self.size.height - 1) // 2))

    def action_first(self) -> None:
        """Go to the first row."""
        self.action_move(-len(self._rows))

    def action_last(self) -> None:
        """Go to the last row."""
        self.action_move(len(self._rows))

    def action_choose(self) -> None:
        """Choose the row."""
        if self.cursor_key:
            self.post_message(self.Chosen(self, self.cursor_key))

    def action_mark(self) -> None:
        """Mark the row, or unmark it, and go on to the next."""
        self.marked ^= {self.cursor_key} - {""}
        self.action_move(1)
        self.refresh()

    def clear_marks(self) -> None:
        """Unmark everything."""
        self.marked.clear()
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; twice chooses."""
        if self._header and event.y == 0:
            self._click_header(event.x)
            return
        place = event.y - self._header + round(self.scroll_offset.y)
        if 0 <= place < len(self._rows):
            self.cursor_key = self._rows[place].key
            if event.chain == 2:
                self.action_choose()

    def _click_header(self, x: int) -> None:
        start = 1
        for column, width in zip(self._columns, self._widths(), strict=True):
            if start <= x < start + width + 1:
                self.post_message(self.HeaderClicked(self, column.id))
                return
            start += width + 1

    def on_focus(self) -> None:
        """Show that the cursor is live."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that it is not."""
        self.refresh()

    def on_resize(self) -> None:
        """Fit the lines."""
        self.virtual_size = Size(self.size.width, len(self._rows) + self._header)

    def _widths(self) -> list[int]:
        width = self.scrollable_content_region.width or self.size.width
        fixed = sum(column.width or 0 for column in self._columns)
        gaps = len(self._columns) + 1
        flexible = sum(column.width is None for column in self._columns)
        left = max(4, (width - fixed - gaps) // flexible) if flexible else 0
        return [left if column.width is None else column.width for column in self._columns]

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width = self.size.width
        if self._header and y == 0:
            return self._line(self._titles(), width, self.get_component_rich_style("table--header", partial=True))
        place = y - self._header + round(self.scroll_offset.y)
        if not self._rows and place == 0:
            style = self.get_component_rich_style("table--empty", partial=True)
            return self._line([Segment(f" {self.empty}", style)], width, Style())
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[place]
        line_style = Style()
        if row.key == self.cursor_key:
            name = "table--cursor" if self.has_focus else "table--cursor-blurred"
            line_style = self.get_component_rich_style(name)
        mark = Segment("▌" if row.key in self.marked else " ", self._cell_style("accent"))
        segments = [mark]
        for cell, column, cell_width in zip(row.cells, self._columns, self._widths(), strict=False):
            segments.extend(self._cell(cell, column, cell_width))
            segments.append(Segment(" "))
        return self._line(segments, width, line_style)

    def _line(self, segments: list[Segment], width: int, style: Style) -> Strip:
        base = self.rich_style
        styled = [
            Segment(segment.text, base + (segment.style or Style()) + _only_ground(style)) for segment in segments
        ]
        return Strip(styled).adjust_cell_length(width, base + _only_ground(style)).crop(0, width)

    def _titles(self) -> list[Segment]:
        style = self.get_component_rich_style("table--header", partial=True)
        parts = [Segment(" ")]
        for column, width in zip(self._columns, self._widths(), strict=True):
            title = column.title + ("▾" if column.id == self.sorted_by else "")
            parts.append(Segment(_fit(title, width, column.align) + " ", style))
        return parts

    def _cell_style(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name}", partial=True) if name in _STYLES else Style()

    def _cell(self, cell: Cell, column: Column, width: int) -> list[Segment]:
        style = self._cell_style(cell.style)
        if not cell.spark or width < _SPARK_WIDTH + 4:
            return [Segment(_fit(cell.text, width, column.align), style)]
        bars = sparkline(cell.spark, min(_SPARK_WIDTH, width - len(cell.text) - 1), cell.maximum)
        text = _fit(cell.text, width - len(bars), "right")
        return [Segment(bars, self._cell_style(cell.style or "accent")), Segment(text, style)]


def _only_ground(style: Style) -> Style:
    return Style(bgcolor=style.bgcolor, bold=style.bold)


def _fit(text: str, width: int, align: str) -> str:
    clean = "".join(character if character.isprintable() else "·" for character in text)
    cut = clean if len(clean) <= width else clean[: max(0, width - 1)] + "…"
    return cut.rjust(width) if align == "right" else cut.ljust(width)
