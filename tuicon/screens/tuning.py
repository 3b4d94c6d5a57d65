"""The tuning pane: the limits of a running container, moved while its graph is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.timer import Timer

from engine.errors import Conflict, EngineError
from engine.model.limits import Limits, LimitsChanged, OnTrial, Preview
from engine.model.value import replace
from tuicon.commands.tuning import TUNING, tuning_help
from tuicon.dialogs.ask import Help
from tuicon.model import tuning
from tuicon.model.curve import WINDOWS
from tuicon.model.text import printable
from tuicon.model.tuning import Change, Value
from tuicon.screens.tuning_view import StepDown, TuningView
from tuicon.widgets.knob import Knob
from tuicon.widgets.limit_graph import LimitGraph

_SETTLES = 0.15
_STEPS_WITHIN = 60.0
_TIMES = (10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)


class TuningScreen(TuningView):
    """Each move is asked for at once, and what is in force is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(command.keys, f"command('{command.id}')", command.title, show=command.in_footer, id=command.id)
            for command in TUNING
        ),
        # before the knob has them: the keys that come next are for another knob
        Binding("j,down,tab", "next(1)", "next", show=False, priority=True),
        Binding("up,shift+tab", "next(-1)", "previous", show=False, priority=True),
        Binding("k", "previous", "previous", show=False, priority=True),
        Binding("enter", "keep", "keep what is on trial", show=False),
        Binding("escape", "back", "back", show=False),
    ]

    _timer: Timer | None = None

    # -- moving ------------------------------------------------------------------------------------

    def on_knob_changed(self, event: Knob.Changed) -> None:
        """Show what would be, wait for the fingers to rest, then ask."""
        self._want(event.knob, event.value)
        self._rest()

    def on_knob_typed(self, event: Knob.Typed) -> None:
        """Show what would be."""
        self._foresee(tuning.change_to(event.knob.tunable, event.value))

    def on_limit_graph_pressed(self, event: LimitGraph.Pressed) -> None:
        """Go to the knob whose line the mouse holds."""
        self.set_focus(self.query_one(f"#knob-{event.line}", Knob))

    def on_limit_graph_dragged(self, event: LimitGraph.Dragged) -> None:
        """Move the knob with its line; ask when the line is dropped."""
        knob = self.query_one(f"#knob-{event.line}", Knob)
        factor = 100.0 if knob.tunable.unit == "cores" else 1.0
        knob.value = tuning.rounded(knob.tunable, event.value / factor)
        self._want(knob, knob.value)
        if event.is_dropped:
            self._rest()

    def _want(self, knob: Knob, value: Value) -> None:
        self._wanted[knob.tunable.id] = value
        self._refused_memory, self._news = None, ""
        knob.problem = ""
        knob.note = tuning.part_of_host(knob.tunable, value, self._host.cpus)
        self._foresee(self._change(self._wanted))
        self._show_graph()

    def _rest(self) -> None:
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLES, self._ask)

    def _change(self, wanted: dict[str, Value]) -> Change:
        tunables = {tunable.id: tunable for tunable in self._tunables}
        changes = [tuning.change_to(tunables[name], value) for name, value in wanted.items()]

        def change(limits: Limits) -> Limits:
            for one in changes:
                limits = one(limits)
            return limits

        return change

    @work(thread=True, exclusive=True, group="preview", exit_on_error=False)
    def _foresee(self, change: Change) -> None:
        try:
            found = self._backend.containers.tuning.preview(self.container_id, change)
        except (EngineError, OSError):
            return
        self.app.call_from_thread(self._take_preview, found)

    def _take_preview(self, preview: Preview) -> None:
        self._preview = preview
        if self.is_laid_out:
            self._show_preview()

    def _ask(self) -> None:
        wanted, self._wanted = self._wanted, {}
        if wanted:
            self._asked |= wanted
            self._update(self._change(wanted))

    def _update(self, change: Change, *, is_trial: bool = False) -> None:
        seconds = self._trial_seconds if is_trial or self._is_trying or self._facts.trial else 0.0
        self._do("retune", partial(self._backend.containers.tuning.update, self.container_id, change, seconds=seconds))

    def _do(self, title: str, call: Callable[[], object]) -> None:
        self._in_flight += 1
        self._moves += 1
        self._operate(self.container_id, title, call)

    def took(self, title: str, result: object) -> None:
        """Show what an operation has done."""
        self._settle()
        if isinstance(result, LimitsChanged):
            for knob in self.query(Knob):
                knob.problem = ""
            self._step = None if title == "step down" else self._step
            self._news = "The limits are as they were" if title == "undo retune" else ""
            self._set_facts(replace(self._facts, limits=result.after, trial=self._trial_of(result)))
        self._show_limits()

    def _trial_of(self, result: LimitsChanged) -> OnTrial | None:
        """Return the trial that an operation has begun, or goes on with."""
        if not result.trial_seconds:
            return None
        confirmed = self._facts.trial.confirmed if self._facts.trial else result.before
        return OnTrial(self._now, result.trial_seconds, confirmed, result.after)

    def refused(self, error: Exception) -> None:
        """Show beside the knob why nothing has changed, and what can be done instead."""
        knobs = [knob for knob in self.query(Knob) if knob.tunable.id in self._asked]
        memory = self._asked.get("memory")
        self._settle()
        self._step = None
        hint = getattr(error, "hint", "")
        self._news = printable(f"{error}" + (f" ({hint})" if hint else ""))
        for knob in knobs:
            knob.problem = printable(str(error))
        if isinstance(error, Conflict) and isinstance(memory, float) and not self._facts.trial:
            self._refused_memory = int(memory)
        self._show_limits()

    def _settle(self) -> None:
        self._in_flight = max(0, self._in_flight - 1)
        self._moves += 1
        if not self._in_flight:
            self._asked = {}
            self._read()

    # -- commands ----------------------------------------------------------------------------------

    def action_command(self, command_id: str) -> None:
        """Do a command, from a key."""
        getattr(self, f"do_{command_id}")()

    def action_next(self, by: int) -> None:
        """Go to another knob."""
        knobs = list(self.query(Knob))
        self.set_focus(knobs[(knobs.index(self._knob) + by) % len(knobs)])  # at once: the next key is for it

    def action_previous(self) -> None:
        """Go to the knob before."""
        self.action_next(-1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave k to what is being typed: it is a unit, too."""
        del parameters
        is_typing = isinstance(self.focused, Knob) and bool(self.focused.typed)
        return action != "previous" or not is_typing

    def do_try(self) -> None:
        """Have the next changes on trial; begin the time of a trial anew."""
        if self._facts.trial:
            self._update(lambda limits: limits)
        else:
            self._is_trying = not self._is_trying
        self._show_note()

    def do_longer(self) -> None:
        """Give trials more time."""
        self._trial_seconds = next((time for time in _TIMES if time > self._trial_seconds), _TIMES[-1])
        self._show_note()

    def do_shorter(self) -> None:
        """Give trials less time."""
        self._trial_seconds = next((time for time in reversed(_TIMES) if time < self._trial_seconds), _TIMES[0])
        self._show_note()

    def action_keep(self) -> None:
        """Keep what is on trial."""
        self._ask()
        if self._facts.trial or (self._is_trying and self._in_flight):
            self._is_trying = False
            self._do("keep", partial(self._backend.containers.tuning.confirm, self.container_id))

    def do_undo(self) -> None:
        """Take back what is not asked for yet, or a trial, or the last change; in the order of the keys."""
        if self._wanted:
            self._wanted = {}
            self._show_limits()
            return
        self._is_trying = False
        self._do("undo retune", partial(self._backend.containers.tuning.undo, self.container_id))

    def do_undo_all(self) -> None:
        """Go back to the limits of when the pane was opened."""
        self._wanted, self._is_trying = {}, False
        if self._facts.limits == self._opened and not self._in_flight:
            self.notify("Nothing has changed since the pane was opened", timeout=3)
            return
        if self._facts.trial:
            self._do("undo retune", partial(self._backend.containers.tuning.undo, self.container_id))
        opened = self._opened
        self._do("retune", partial(self._backend.containers.tuning.update, self.container_id, lambda _limits: opened))

    def do_window(self) -> None:
        """Show another stretch of time."""
        self._window = WINDOWS[(WINDOWS.index(self._window) + 1) % len(WINDOWS)]
        self._show_graph()
        self._read()

    def do_take_advice(self) -> None:
        """Put the advice on trial."""
        change = tuning.advised(self._facts.advice) if self._facts.advice else None
        if change is None:
            self.notify("There is no advice yet: it takes a minute of history", severity="warning", timeout=4)
            return
        self._update(change, is_trial=True)

    def do_step_down(self) -> None:
        """Lower memory to what was refused, as the container gives it up."""
        wanted = self._refused_memory
        if wanted is None:
            self.notify("It is for a memory limit that was refused for the memory in use", timeout=4)
            return
        used = self._usage.counters.memory_usage_bytes if self._usage else wanted
        step = self._step = StepDown(wanted, used, used, threading.Event())
        self._refused_memory = None
        tuning_of = self._backend.containers.tuning
        watch = partial(setattr, step, "used")
        call = partial(tuning_of.step_down, self.container_id, wanted, _STEPS_WITHIN, watch=watch, stop=step.stop)
        self._do("step down", call)
        self._show_note()

    def do_high_first(self) -> None:
        """Set memory.high to what was refused as memory.max."""
        wanted = self._refused_memory
        if wanted is None or not self._can("high"):
            self.notify("It is for a memory limit that was refused, where the kernel has memory.high", timeout=4)
            return
        self._refused_memory = None
        self._want(self.query_one("#knob-high", Knob), float(wanted))
        self._ask()

    def do_older(self) -> None:
        """Show what the change before did."""
        self._choose(1)

    def do_newer_change(self) -> None:
        """Show what the change after did."""
        self._choose(-1)

    def _choose(self, by: int) -> None:
        self._chosen = min(max(0, self._chosen + by), max(0, len(self._facts.changes) - 1))
        self._show_limits()
        self._read()

    def do_help(self) -> None:
        """Show all keys."""
        self.app.push_screen(Help(tuning_help(self._keys)))

    def action_back(self) -> None:
        """Call off, take back a trial, or close."""
        if self._step is not None:
            self._step.stop.set()
        elif self._facts.trial or (self._is_trying and self._in_flight):
            self.do_undo()
        elif self._is_trying or self._refused_memory is not None:
            self._is_trying, self._refused_memory = False, None
            self._show_limits()
        else:
            self.do_leave()

    def do_leave(self) -> None:
        """Close; what was changed stays, and what is on trial goes on."""
        self._ask()
        self.dismiss(None)
