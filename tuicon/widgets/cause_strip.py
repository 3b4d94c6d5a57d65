"""What happened to a container, as marks on the time axis of the graph above."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from tuicon.model.causes import Mark, clock, column_of
from tuicon.model.snapshot import EPOCH

LEFT, RIGHT = 9, 2
"""Columns beside a Chart's axis: its border, the labels and the frame."""
_WORST = {"bad": 4, "warn": 3, "accent": 2, "ok": 1, "muted": 0}


class CauseStrip(Widget):
    """One line of marks; put it right below a graph of the same width.

    Args:
        left: Columns left of the graph's axis.
        right: Columns right of it.
    """

    DEFAULT_CSS = "CauseStrip { height: 1; }"

    class Clicked(Message):
        """A mark was clicked."""

        def __init__(self, mark: Mark) -> None:
            self.mark = mark
            super().__init__()

    def __init__(self, *, left: int = LEFT, right: int = RIGHT) -> None:
        super().__init__()
        self._left, self._right = left, right
        self._marks: tuple[Mark, ...] = ()
        self._selected: Mark | None = None
        self._now = EPOCH
        self._window = 120.0

    def show(self, marks: Sequence[Mark], selected: Mark | None, now: datetime, window: float = 120.0) -> None:
        """Show marks.

        Args:
            marks: Oldest first.
            selected: The one to stand out.
            now: What the right end of the axis stands for.
            window: Seconds that the axis shows.
        """
        shown = (tuple(marks), selected, now, window)
        if shown != (self._marks, self._selected, self._now, self._window):
            self._marks, self._selected, self._now, self._window = shown
            self.refresh()

    def _columns(self) -> dict[int, Mark]:
        """Return what stands in which column: the selected mark, else the worst."""
        width = self.size.width - self._left - self._right
        found: dict[int, Mark] = {}
        for mark in self._marks:
            column = column_of(mark.time, self._now, self._window, width)
            if column is None:
                continue
            before = found.get(column)
            if (
                before is None
                or mark == self._selected
                or (before != self._selected and _WORST[mark.style] >= _WORST[before.style])
            ):
                found[column] = mark
        return found

    def render(self) -> Text:
        """Draw the line."""
        variables = self.app.theme_variables
        colours = {
            "ok": variables["success"], "warn": variables["warning"], "bad": variables["error"], "accent": variables["accent"],
            "muted": variables["muted"],
        }  # fmt: skip
        found = self._columns()
        text = Text(" " * self._left, no_wrap=True)
        for column in range(max(0, self.size.width - self._left - self._right)):
            mark = found.get(column)
            if mark is None:
                text.append("╌", variables["muted"])
            else:
                text.append(mark.glyph, f"{'bold reverse ' if mark == self._selected else ''}{colours[mark.style]}")
        return text

    def on_click(self, event: events.Click) -> None:
        """Choose the mark under the mouse, or the one beside it."""
        found = self._columns()
        for by in (0, -1, 1):
            mark = found.get(event.x - self._left + by)
            if mark:
                self.post_message(self.Clicked(mark))
                return


class Graphs(Vertical, can_focus=True):
    """Graphs with strips below them, and a line about the mark that is selected."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("comma", "step(-1)", "earlier mark", show=False),
        Binding("full_stop", "step(1)", "later mark", show=False),
        Binding("enter", "choose", "log at that moment", show=False),
        Binding("w", "explain", "why it ended", show=False),
    ]
    DEFAULT_CSS = "Graphs #mark { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    class Chosen(Message):
        """A moment was chosen."""

        def __init__(self, mark: Mark) -> None:
            self.mark = mark
            super().__init__()

    class ExplanationWanted(Message):
        """Somebody asks why the run ended at a mark; None for the last one."""

        def __init__(self, mark: Mark | None) -> None:
            self.mark = mark
            super().__init__()

    _marks: tuple[Mark, ...] = ()
    _now = EPOCH
    _window = 120.0
    selected: Mark | None = None

    def show_marks(self, marks: Sequence[Mark], now: datetime, window: float = 120.0) -> None:
        """Show marks below all graphs; see CauseStrip.show."""
        self._marks, self._now, self._window = tuple(marks), now, window
        if self.selected not in self._marks:
            self.selected = None
        self._update()

    @property
    def _visible(self) -> list[Mark]:
        return [mark for mark in self._marks if column_of(mark.time, self._now, self._window, 2) is not None]

    def _update(self) -> None:
        for strip in self.query(CauseStrip):
            strip.show(self._marks, self.selected, self._now, self._window)
        self.query_one("#mark", Static).update(self._line())

    def _line(self) -> Text:
        variables, mark = self.app.theme_variables, self.selected
        if mark is None:
            count = len(self._visible)
            what = (
                "nothing happened meanwhile" if not count else f"{count} mark{'s' * (count != 1)}: , . moves over them"
            )
            return Text(what, variables["muted"])
        text = Text()
        text.append(f"{mark.glyph} {clock(mark.time)[:8]} ", f"bold {variables['primary']}")
        text.append(mark.title, "bold")
        text.append(f" {mark.detail}" if mark.detail else "")
        text.append("   enter log" + ("  w why" if mark.is_end else ""), variables["muted"])
        return text

    def action_step(self, by: int) -> None:
        """Select the next mark, or the one before."""
        visible = self._visible
        if not visible:
            return
        if self.selected in visible:
            place = min(max(visible.index(self.selected) + by, 0), len(visible) - 1)
        else:
            place = len(visible) - 1 if by < 0 else 0
        self.selected = visible[place]
        self._update()

    def action_choose(self) -> None:
        """Go to the log at the selected mark."""
        if self.selected:
            self.post_message(self.Chosen(self.selected))

    def action_explain(self) -> None:
        """Ask why the run ended."""
        mark = self.selected
        self.post_message(self.ExplanationWanted(mark if mark and mark.is_end else None))

    def on_cause_strip_clicked(self, event: CauseStrip.Clicked) -> None:
        """Select the mark; the same one again goes to the log."""
        event.stop()
        if event.mark == self.selected:
            self.action_choose()
        self.selected = event.mark
        self.focus()
        self._update()
