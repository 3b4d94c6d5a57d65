"""Shows one text over the whole screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuicon.widgets.document import DocumentView


class Document(ModalScreen[None]):
    """A text with a title; what is in it cannot break the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,v", "close", "close")]
    DEFAULT_CSS = """
    Document > Vertical { border: round $primary; background: $surface; }
    Document DocumentView { height: 1fr; }
    Document .keys { color: $text-muted; height: 1; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical() as frame:
            frame.border_title = Content(self._title)
            yield DocumentView(id="document")
            yield Static("esc close   w wrap", classes="keys")

    def on_mount(self) -> None:
        """Show the text."""
        view = self.query_one(DocumentView)
        view.show_text(self._title, self._text)
        view.focus()

    def action_close(self) -> None:
        """Close."""
        self.dismiss()
