"""A text, such as the JSON of inspect, with scrolling and search."""

from __future__ import annotations

from typing import ClassVar

from engine.model.container import LogEntry
from tuicon.model.snapshot import EPOCH
from tuicon.widgets.log_view import LogView


class DocumentView(LogView):
    """Shows one text at a time; keeps the place when the same text is shown again."""

    _follows: ClassVar[bool] = False
    _empty: ClassVar[str] = "nothing is selected"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._text = ""
        self._title = ""
        self.following = False

    def show_text(self, title: str, text: str) -> None:
        """Show a text; another title starts at its top."""
        if text == self._text and title == self._title:
            return
        offset = self.scroll_offset.y if title == self._title else 0
        self._title, self._text = title, text
        self.clear()
        self.append([LogEntry(EPOCH, "stdout", line) for line in text.splitlines()])
        self.scroll_to(y=offset, animate=False, force=True)
