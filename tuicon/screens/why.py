"""Why a container ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from engine.errors import EngineError
from engine.model.death import Death
from tuicon.backend import Backend
from tuicon.model.causes import Line, account


class WhyScreen(Screen[None]):
    """Tells how a container ended, what came before, and what its restart policy made of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,w", "back", "back"),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("enter,l", "logs", "log at that moment"),
        Binding("s", "start", "start it"),
    ]
    DEFAULT_CSS = """
    WhyScreen VerticalScroll { border: round $primary; padding: 0 1; scrollbar-size-vertical: 1; }
    WhyScreen #why-text { height: auto; }
    """

    def __init__(
        self, backend: Backend, container_id: str, name: str, show_log: Callable[[str, datetime], None],
        start: Callable[[str], None], at: datetime | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._backend = backend
        self._container_id = container_id
        self._container_name = name
        self._show_log = show_log
        self._start = start
        self._at = at
        self.death: Death | None = None

    def compose(self) -> ComposeResult:
        """Lay out."""
        with VerticalScroll() as frame:
            frame.border_title = f"why did {self._container_name} end?"
            yield Static("looking…", id="why-text")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(VerticalScroll).focus()
        self._look()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _look(self) -> None:
        try:
            found = self._backend.containers.causes.why(self._container_id, self._at)
        except (EngineError, OSError) as error:
            self.app.call_from_thread(self._show, (Line("", str(error), "warn"),))
        else:
            self.app.call_from_thread(self._take, found)

    def _take(self, death: Death) -> None:
        self.death = death
        self._show(account(death))

    def _show(self, lines: tuple[Line, ...]) -> None:
        if not self.is_mounted:
            return
        variables = self.app.theme_variables
        colours = {
            "ok": variables["success"],
            "warn": variables["warning"],
            "bad": variables["error"],
            "muted": variables["muted"],
        }
        blocks: list[RenderableType] = []
        for number, line in enumerate(lines):
            style = colours.get(line.style, "")
            text = Text(line.text, f"bold {style}" if number == 0 else style)
            if not line.label:
                blocks.append(text)
                continue
            row = Table.grid(padding=(0, 1))
            row.add_column(width=13)
            row.add_column(ratio=1)
            row.add_row(Text(line.label, f"bold {variables['primary']}"), text)
            blocks.append(row)
        self.query_one("#why-text", Static).update(Group(*blocks))

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_logs(self) -> None:
        """Go to the log at the end of the run."""
        if self.death:
            moment, container_id = self.death.finished_at, self._container_id
            self.dismiss(None)
            self._show_log(container_id, moment)

    def action_start(self) -> None:
        """Start the container again."""
        self.dismiss(None)
        self._start(self._container_id)

    def action_back(self) -> None:
        """Go back."""
        self.dismiss(None)
