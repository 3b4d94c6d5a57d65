"""The first screens: what is missing to run containers, or what to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

_CSS = """
{name} {{ align: center middle; }}
{name} > .dialog {{ width: 72; max-width: 96%; height: auto; border: round {color}; background: $surface; padding: 1 3; }}
"""


class Welcome(ModalScreen[bool]):
    """Offers the demo when there is nothing yet; answers whether to start it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,enter,y", "answer(True)", "start the demo"),
        Binding("escape,n,q", "answer(False)", "look around"),
    ]
    DEFAULT_CSS = _CSS.format(name="Welcome", color="$primary")

    def compose(self) -> ComposeResult:
        """Lay out."""
        primary = self.app.theme_variables["primary"]
        text = Text()
        text.append("There is no container and no image here yet.\n\n", "bold")
        text.append(
            "The demo needs no network: it makes an image from this host's own\nprograms and runs three containers on a bridge:\n\n"
        )
        for name, what in (
            ("demo-cpu", "computes, held to half a core"),
            ("demo-memory", "fills and frees memory below its limit of 96 MiB"),
            ("demo-io", "writes to the disk"),
        ):
            text.append(f"  {name:<13}", primary)
            text.append(f"{what}\n")
        text.append("\nWatch them, then press t to move their limits while they run.\n\n")
        text.append("enter", f"bold {primary}")
        text.append(" start the demo    ")
        text.append("esc", f"bold {primary}")
        text.append(" look around first")
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Welcome to tuicon"
            yield Static(text)

    def action_answer(self, answer: bool) -> None:
        """Answer."""
        self.dismiss(answer)


class Missing(Screen[None]):
    """Says what is missing to run containers, and how to get it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,escape,enter,ctrl+c", "quit", "quit")]
    DEFAULT_CSS = _CSS.format(name="Missing", color="$error")

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__()
        self._sentences = sentences

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "tuicon cannot run containers here"
            yield Static(Text("\n\n".join(self._sentences)))
            yield Static(Text("\nq quit"))

    def action_quit(self) -> None:
        """Leave."""
        self.app.exit(1)
