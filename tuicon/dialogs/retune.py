"""Retune: move the limits of a running container while watching its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Static

from engine.model.limits import Limits
from engine.model.usage import Usage
from tuicon.model import tuning
from tuicon.model.history import History
from tuicon.model.tuning import Tunable
from tuicon.widgets.chart import Chart
from tuicon.widgets.knob import Knob
from tuicon.widgets.plot import Series

_SETTLES = 0.15
_UNITS = {"cores": "%", "B": "B", "B/s": "B/s", "tasks": ""}


@dataclass(frozen=True, slots=True)
class Target:
    """The container that is retuned."""

    container_id: str
    name: str
    limits: Limits


class Retune(ModalScreen[None]):
    """Shows knobs over a graph; each move is asked for at once by ChangeWanted, and what is in force is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "close"),
        Binding("j,down,tab", "next(1)", "next", show=False),
        Binding("k,up,shift+tab", "next(-1)", "previous", show=False),
        Binding("u", "undo", "undo"),
        Binding("U", "undo_all", "undo all"),
    ]
    DEFAULT_CSS = """
    Retune { align: center middle; }
    Retune > .dialog {
        width: 96%; max-width: 120; height: 94%; max-height: 38;
        border: round $primary; background: $surface; padding: 0 1;
    }
    Retune Chart { height: 1fr; min-height: 6; }
    Retune .knobs { height: auto; }
    Retune .state { height: 1; color: $text-muted; }
    """

    class ChangeWanted(Message):
        """The user wants other limits."""

        def __init__(self, dialog: Retune, container_id: str, change: Callable[[Limits], Limits]) -> None:
            self.dialog = dialog
            self.container_id = container_id
            self.change = change
            super().__init__()

    def __init__(
        self, target: Target, knobs: tuple[Tunable, ...], disk: str, history: History, usage: Usage | None
    ) -> None:
        super().__init__()
        self._target = target
        self._tunables = knobs
        self._disk = disk
        self._history = history
        self._usage = usage
        self._limits = target.limits
        self._done: list[Limits] = []
        self._waiting: dict[str, float | None] = {}
        self._timer: Timer | None = None
        self._is_laid_out = False

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"Retune {self._target.name}"
            dialog.border_subtitle = "h l step · H L leap · 0-9 set · x no limit · u U undo · esc close"
            yield Horizontal(Chart("", "%", id="retune-chart"))
            with Vertical(classes="knobs"):
                for tunable in self._tunables:
                    yield Knob(tunable, id=f"knob-{tunable.id}")
            yield Static("", classes="state")

    def on_mount(self) -> None:
        """Show what is in force."""
        self._is_laid_out = True
        self._show_limits()
        self.query(Knob).first().focus()
        self.set_interval(1.0, self._show_chart)

    @property
    def container_id(self) -> str:
        """The container that is retuned."""
        return self._target.container_id

    def show_usage(self, usage: Usage | None) -> None:
        """Show the use now."""
        self._usage = usage
        if not self._is_laid_out:
            return
        for knob in self.query(Knob):
            knob.used = tuning.used_of(knob.tunable, usage)
        self._show_chart()

    def changed(self, before: Limits, after: Limits, *, is_undo: bool) -> None:
        """Show that the kernel has other limits."""
        if is_undo and self._done:
            self._done.pop()
        elif not is_undo:
            self._done.append(before)
        self._limits = after
        self._show_limits()

    def refused(self) -> None:
        """Show that nothing has changed."""
        self._show_limits()

    def _show_limits(self) -> None:
        for knob in self.query(Knob):
            if knob.tunable.id not in self._waiting:
                knob.value = tuning.value_of(self._limits, knob.tunable, self._disk)
        count = len(self._done)
        done = (
            f"{count} change{'s' if count > 1 else ''} in force, u takes back the last"
            if count
            else "nothing changed yet"
        )
        self.query_one(".state", Static).update(done)
        self.show_usage(self._usage)

    def _show_chart(self) -> None:
        knob = self.focused if isinstance(self.focused, Knob) else self.query(Knob).first()
        tunable = knob.tunable
        chart = self.query_one(Chart)
        chart.measure(tunable.label, _UNITS[tunable.unit])
        factor = 100.0 if tunable.unit == "cores" else 1.0
        limit = None if knob.value is None else knob.value * factor
        values = self._history.series(self._target.container_id, tunable.history)
        chart.update_series([Series(tunable.label.lower(), values)], limit=limit)

    def on_descendant_focus(self) -> None:
        """Graph what the focused knob limits."""
        self._show_chart()

    def on_knob_changed(self, event: Knob.Changed) -> None:
        """Wait for the fingers to rest, then ask."""
        self._waiting[event.knob.tunable.id] = event.value
        self._show_chart()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLES, self._ask)

    def on_knob_refused(self, event: Knob.Refused) -> None:
        """Say why."""
        self.notify(event.sentence, severity="warning")

    def _ask(self) -> None:
        wanted, self._waiting = self._waiting, {}
        tunables = {tunable.id: tunable for tunable in self._tunables}
        changes = [tuning.change_to(tunables[name], value, self._disk) for name, value in wanted.items()]

        def change(limits: Limits) -> Limits:
            for one in changes:
                limits = one(limits)
            return limits

        if changes:
            self.post_message(self.ChangeWanted(self, self._target.container_id, change))

    def action_undo(self) -> None:
        """Take back the last change."""
        if self._done:
            before = self._done[-1]
            self.post_message(self.UndoWanted(self, self._target.container_id, before))
        else:
            self.notify("Nothing to undo")

    def action_undo_all(self) -> None:
        """Take back all changes since the dialog was opened."""
        if self._done:
            before = self._done[0]
            del self._done[1:]
            self.post_message(self.UndoWanted(self, self._target.container_id, before))

    class UndoWanted(Message):
        """The user wants earlier limits back."""

        def __init__(self, dialog: Retune, container_id: str, limits: Limits) -> None:
            self.dialog = dialog
            self.container_id = container_id
            self.limits = limits
            super().__init__()

    def action_next(self, by: int) -> None:
        """Go to another knob."""
        knobs = list(self.query(Knob))
        place = knobs.index(self.focused) if isinstance(self.focused, Knob) else 0
        knobs[(place + by) % len(knobs)].focus()

    def action_close(self) -> None:
        """Close; what was changed stays."""
        self._ask()
        self.dismiss(None)
