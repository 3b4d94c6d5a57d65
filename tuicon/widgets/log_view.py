"""A log that draws only the lines that are seen: follows, wraps, searches; hostile output cannot break the screen."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.model.container import LogEntry

_MOST_LINES = 20_000
_LONGEST = 4_000
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\^_]|[ -/]+[0-~])"
)
_CONTROLS = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029]|\x1b(?!\[[0-9;:]*m)")
_SGR = re.compile(r"\x1b\[[0-9;:]*m")


def clean(text: str) -> str:
    """Return text without control characters and escape sequences other than colours."""
    text = text.rstrip("\r\n")[:_LONGEST].expandtabs(8)
    last = text.rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", last))


class LogView(ScrollView, can_focus=True):
    """Shows log entries; scrolling up stops following, G goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("g,home", "first", "first", show=False),
        Binding("G,end", "last", "follow", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "page down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "page up", show=False),
        Binding("n", "next(1)", "next match", show=False),
        Binding("N", "next(-1)", "previous match", show=False),
        Binding("w", "toggle_wrap", "wrap", show=False),
        Binding("T", "toggle_times", "time stamps", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--stderr",
        "log--time",
        "log--match",
        "log--match-current",
        "log--empty",
    }
    DEFAULT_CSS = """
    LogView {
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        & > .log--stderr { color: $text-error; }
        & > .log--time { color: $muted; }
        & > .log--match { background: $warning 40%; }
        & > .log--match-current { background: $warning; color: $background; text-style: bold; }
        & > .log--empty { color: $muted; }
    }
    """
    _follows: ClassVar[bool] = True
    _empty: ClassVar[str] = "no output yet"
    wrap: reactive[bool] = reactive(default=False)
    timestamps: reactive[bool] = reactive(default=False)
    following: reactive[bool] = reactive(default=True)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._entries: deque[LogEntry] = deque(maxlen=_MOST_LINES)
        self._texts: deque[str] = deque(maxlen=_MOST_LINES)
        self._lines: list[tuple[int, int]] = []
        self._dropped = 0
        self._pattern: re.Pattern[str] | None = None
        self._match = -1
        self._widest = 0
        self._moment = -1

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    @property
    def search_summary(self) -> str:
        """What the search found, such as "3/17"; empty without a search."""
        if self._pattern is None:
            return ""
        found = self.matches()
        place = found.index(self._match) + 1 if self._match in found else 0
        return f"/{self._pattern.pattern} {place}/{len(found)}"

    def visible_text(self) -> str:
        """Return all text, for tests and copying."""
        return "\n".join(_SGR.sub("", text) for text in self._texts)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._texts.clear()
        self._lines = []
        self._match, self._widest, self._moment = -1, 0, -1
        self.following = self._follows
        self._resize()

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Add entries at the end."""
        if not entries:
            return
        overflow = len(self._entries) + len(entries) > _MOST_LINES
        for entry in entries:
            text = clean(entry.text)
            self._entries.append(entry)
            self._texts.append(text)
            self._widest = max(self._widest, len(text))
            if not overflow:
                self._lines.extend(self._lines_of(len(self._texts) - 1))
        if overflow:
            self._moment = -1
            self._lay_out()
        self._resize()

    @property
    def oldest(self) -> datetime | None:
        """The time of the first entry; None when there is none."""
        return self._entries[0].time if self._entries else None

    def go_to(self, moment: datetime) -> bool:
        """Mark the first entry from a moment on, or else the last, and stop following; return whether there is one from then on."""
        place = next((number for number, entry in enumerate(self._entries) if entry.time >= moment), None)
        self._moment = len(self._entries) - 1 if place is None else place
        self._show_place(self._moment)
        return place is not None

    def _text_width(self) -> int:
        return max(8, self.scrollable_content_region.width - self._stamp_width())

    def _stamp_width(self) -> int:
        return 13 if self.timestamps else 0

    def _lines_of(self, place: int) -> list[tuple[int, int]]:
        if not self.wrap:
            return [(place, 0)]
        length, width = len(_SGR.sub("", self._texts[place])), self._text_width()
        return [(place, start) for start in range(0, max(1, length), width)]

    def _lay_out(self) -> None:
        self._lines = [line for place in range(len(self._texts)) for line in self._lines_of(place)]

    def _resize(self) -> None:
        width = 1 if self.wrap else self._widest + self._stamp_width() + 1
        self.virtual_size = Size(width, max(1, len(self._lines)))
        if self.following:
            self.scroll_end(animate=False, force=True, x_axis=False)
        self.refresh()

    def on_resize(self) -> None:
        """Wrap anew."""
        if self.wrap:
            self._lay_out()
        self._resize()

    def watch_wrap(self) -> None:
        """Wrap anew."""
        self._lay_out()
        self._resize()

    def watch_timestamps(self) -> None:
        """Make room for the times."""
        self._lay_out()
        self._resize()

    def action_toggle_wrap(self) -> None:
        """Wrap long lines, or not."""
        self.wrap = not self.wrap

    def action_toggle_times(self) -> None:
        """Show times, or not."""
        self.timestamps = not self.timestamps

    def action_scroll(self, by: int) -> None:
        """Scroll by lines; up stops following."""
        if by < 0:
            self.following = False
        self.scroll_relative(y=by, animate=False, force=True)
        if by > 0 and self.scroll_offset.y + by >= self.max_scroll_y:
            self.following = True

    def action_page(self, direction: int) -> None:
        """Scroll by half a page."""
        self.action_scroll(direction * max(1, self.size.height // 2))

    def action_first(self) -> None:
        """Go to the first line."""
        self.following = False
        self.scroll_home(animate=False, force=True)

    def action_last(self) -> None:
        """Go to the end and follow."""
        self.following = True
        self.scroll_end(animate=False, force=True)

    def on_mouse_scroll_up(self) -> None:
        """Stop following."""
        self.following = False

    def search(self, pattern: str) -> int:
        """Highlight a pattern and go to its last match; return how many there are.

        A pattern that is no regular expression is searched for as it is.
        """
        if not pattern:
            self._pattern, self._match = None, -1
            self.refresh()
            return 0
        try:
            self._pattern = re.compile(pattern, re.IGNORECASE)
        except re.error:
            self._pattern = re.compile(re.escape(pattern), re.IGNORECASE)
        found = self.matches()
        self._match = found[-1] if found else -1
        self._show_match()
        return len(found)

    def matches(self) -> list[int]:
        """Return the places of the entries that fit the search."""
        if self._pattern is None:
            return []
        return [place for place, text in enumerate(self._texts) if self._pattern.search(_SGR.sub("", text))]

    def action_next(self, direction: int) -> None:
        """Go to the next match, or the one before."""
        found = self.matches()
        if not found:
            return
        if self._match in found:
            self._match = found[(found.index(self._match) + direction) % len(found)]
        else:
            self._match = found[-1]
        self._show_match()

    def _show_match(self) -> None:
        self._show_place(self._match)

    def _show_place(self, wanted: int) -> None:
        line = next((number for number, (place, _) in enumerate(self._lines) if place == wanted), None)
        if line is not None:
            self.following = False
            self.scroll_to(y=max(0, line - self.size.height // 2), animate=False, force=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width = self.size.width
        number = y + round(self.scroll_offset.y)
        if not self._lines and number == 0:
            style = self.get_component_rich_style("log--empty", partial=True)
            return self._strip([Segment(f" {self._empty}", style)], width)
        if number >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        place, start = self._lines[number]
        entry, text = self._entries[place], self._styled(place)
        left = start if self.wrap else round(self.scroll_offset.x)
        segments = []
        if self.timestamps:
            stamp = entry.time.astimezone().strftime("%H:%M:%S.%f")[:12] if start == 0 else ""
            segments.append(Segment(stamp.ljust(13), self.get_component_rich_style("log--time", partial=True)))
        part = text[left : left + self._text_width()]
        segments.extend(Segment(segment.text, segment.style) for segment in part.render(self.app.console, end=""))
        return self._strip(segments, width)

    def _styled(self, place: int) -> Text:
        """Parse the colours of one line; only lines that are seen get here."""
        text = Text.from_ansi(self._texts[place])
        if self._entries[place].stream == "stderr":
            text.stylize(self.get_component_rich_style("log--stderr", partial=True))
        if place == self._moment:
            text.stylize(self.get_component_rich_style("log--match"))
        if self._pattern is not None:
            name = "log--match-current" if place == self._match else "log--match"
            text.highlight_regex(self._pattern, self.get_component_rich_style(name))
        return text

    def _strip(self, segments: list[Segment], width: int) -> Strip:
        base = self.rich_style
        styled = [Segment(segment.text, base + (segment.style or Style())) for segment in segments]
        return Strip(styled).adjust_cell_length(width, base)
