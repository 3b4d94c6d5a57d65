"""A picture of networks, drawn by line; the cursor walks over the members."""

from __future__ import annotations

from collections.abc import Callable
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

from tuicon.model.topology import Line, keys_of

_STYLES = ("title", "ok", "warn", "bad", "muted", "accent")
Draw = Callable[[int, int], tuple[Line, ...]]


class Topology(ScrollView, can_focus=True):
    """Shows lines that are made for its size; speaks by Chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("g,home", "first", "first", show=False),
        Binding("G,end", "last", "last", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "page down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "page up", show=False),
        Binding("enter", "choose", "open", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "topology--cursor", "topology--cursor-blurred", "topology--empty", *(f"topology--{name}" for name in _STYLES),
    }  # fmt: skip
    DEFAULT_CSS = """
    Topology {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        scrollbar-gutter: stable;
        & > .topology--cursor { background: $primary 35%; }
        & > .topology--cursor-blurred { background: $foreground 12%; }
        & > .topology--empty { color: $muted; }
        & > .topology--title { text-style: bold; }
        & > .topology--ok { color: $text-success; }
        & > .topology--warn { color: $text-warning; }
        & > .topology--bad { color: $text-error; }
        & > .topology--muted { color: $muted; }
        & > .topology--accent { color: $text-accent; }
    }
    """
    cursor_key: reactive[str] = reactive("")

    class Chosen(Message):
        """A member was chosen with enter or a double click."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._draw: Draw = lambda _width, _height: ()
        self._lines: tuple[Line, ...] = ()
        self._keys: tuple[str, ...] = ()
        self._wanted = ""

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines as they are shown."""
        return self._lines

    def show(self, draw: Draw) -> None:
        """Show a picture.

        Args:
            draw: Returns its lines for a width and a height.
        """
        self._draw = draw
        self._lay_out()

    def go_to(self, key: str) -> None:
        """Put the cursor on a member, as soon as it is in the picture."""
        self._wanted = key
        self._go()

    def _go(self) -> None:
        if self._wanted in self._keys:
            self.cursor_key, self._wanted = self._wanted, ""

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width or self.size.width
        lines = self._draw(width, self.size.height) if width else ()
        if lines == self._lines:
            return
        place = self._place
        self._lines, self._keys = lines, keys_of(lines)
        self.virtual_size = Size(width, len(lines))
        if self.cursor_key not in self._keys:
            self.cursor_key = self._keys[min(max(place, 0), len(self._keys) - 1)] if self._keys else ""
        self._go()
        self.refresh()

    @property
    def _place(self) -> int:
        return self._keys.index(self.cursor_key) if self.cursor_key in self._keys else -1

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._lay_out()

    def watch_cursor_key(self, key: str) -> None:
        """Keep the member in sight, and with the first one what is above it."""
        numbers = [number for number, line in enumerate(self._lines) if line.key == key and key]
        if numbers and self.size.height:
            top = 0 if key == self._keys[0] else numbers[0]
            bottom = len(self._lines) if key == self._keys[-1] else numbers[-1] + 1
            height = min(bottom - top, self.size.height)
            region = Region(0, top if key != self._keys[-1] else bottom - height, 1, height)
            self.scroll_to_region(region, animate=False, force=True, y_axis=True, x_axis=False)
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        if self._keys:
            self.cursor_key = self._keys[min(max(self._place + by, 0), len(self._keys) - 1)]
        else:
            self.scroll_relative(y=by, animate=False, force=True)

    def action_page(self, direction: int) -> None:
        """Move by half a page."""
        self.action_move(direction * max(1, self.size.height // 2))

    def action_first(self) -> None:
        """Go to the first member."""
        self.action_move(-len(self._keys))

    def action_last(self) -> None:
        """Go to the last member."""
        self.action_move(len(self._keys))

    def action_choose(self) -> None:
        """Choose the member."""
        if self.cursor_key:
            self.post_message(self.Chosen(self.cursor_key))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the member under the mouse; twice chooses."""
        number = event.y + round(self.scroll_offset.y)
        key = self._lines[number].key if 0 <= number < len(self._lines) else ""
        if key:
            self.cursor_key = key
            if event.chain == 2:
                self.action_choose()

    def on_focus(self) -> None:
        """Show that the cursor is live."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that it is not."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        number = y + round(self.scroll_offset.y)
        base = self.rich_style
        if not self._lines and number == 0:
            style = self.get_component_rich_style("topology--empty", partial=True)
            return Strip([Segment(" no network is selected", base + style)]).adjust_cell_length(self.size.width, base)
        if number >= len(self._lines):
            return Strip.blank(self.size.width, base)
        line = self._lines[number]
        ground = Style()
        if line.key and line.key == self.cursor_key:
            name = "topology--cursor" if self.has_focus else "topology--cursor-blurred"
            ground = Style(bgcolor=self.get_component_rich_style(name).bgcolor)
        segments = [Segment(piece.text, base + self._style(piece.style) + ground) for piece in line.pieces]
        return Strip(segments).adjust_cell_length(self.size.width, base + ground).crop(0, self.size.width)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"topology--{name}", partial=True) if name in _STYLES else Style()
