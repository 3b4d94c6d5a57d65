"""Shows what changes of several containers' limits would do, and asks whether to make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.model.limits import Preview
from tuicon.model.changes import difference
from tuicon.model.text import printable

TRIAL = 60.0


class Previews(ModalScreen[float | None]):
    """Answers with the seconds of a trial, 0.0 for good, or None; what would be refused cannot be chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(0.0)", "yes"),
        Binding("t", f"answer({TRIAL})", "try"),
        Binding("n,escape,q", "cancel", "no"),
    ]
    DEFAULT_CSS = """
    Previews { align: center middle; }
    Previews > .dialog {
        width: auto; min-width: 50; max-width: 95%; height: auto; max-height: 90%;
        border: round $primary; background: $surface; padding: 1 2;
    }
    Previews VerticalScroll { width: auto; max-width: 100%; height: auto; max-height: 70vh; }
    Previews Static { width: auto; max-width: 100%; }
    Previews .keys { color: $text-muted; margin-top: 1; }
    """

    def __init__(self, title: str, previews: Sequence[Preview], shortage: str) -> None:
        super().__init__()
        self._title = title
        self._previews = previews
        self._shortage = shortage

    @property
    def is_possible(self) -> bool:
        """Whether nothing stands against it."""
        return not self._shortage and not any(preview.refusal for preview in self._previews)

    def compose(self) -> ComposeResult:
        """Lay out."""
        colors = self.app.theme_variables
        width = max((len(preview.name) for preview in self._previews), default=0)
        text = Text()
        for preview in self._previews:
            text.append(f"{preview.name:<{width}}  ", "bold")
            text.append(difference(preview.before, preview.after) or "stays as it is", colors["primary"])
            if preview.effective is not None:
                share = 100 * preview.effective.cpu_share
                text.append(f"  CPU share {share:.0f}%", colors["muted"])
            if preview.refusal:
                text.append(f"\n{'':<{width}}  ✗ {printable(preview.refusal)}", colors["error"])
            text.append("\n")
        if self._shortage:
            text.append(f"\n✗ {self._shortage}", colors["error"])
        text.rstrip()
        keys = f"y apply   t try for {TRIAL:g} s   n no" if self.is_possible else "n back: nothing can be changed so"
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            with VerticalScroll():
                yield Static(text)
            yield Static(keys, classes="keys")

    def action_answer(self, seconds: float) -> None:
        """Answer."""
        if self.is_possible:
            self.dismiss(seconds)

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)
