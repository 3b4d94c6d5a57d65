"""What the tuning pane shows of a container: knobs, graph, what is in force, changes and their effect, advice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from engine.errors import EngineError
from engine.model.container import Container
from engine.model.limits import OnTrial, Preview
from engine.model.usage import Usage
from engine.model.value import replace
from tuicon.backend import Backend
from tuicon.model import tuning
from tuicon.model.changes import effect_sentence
from tuicon.model.curve import WINDOWS, Window
from tuicon.model.history import History
from tuicon.model.snapshot import Snapshot
from tuicon.model.text import printable
from tuicon.model.tuning import Value
from tuicon.screens import tuning_texts as texts
from tuicon.screens.tuning_facts import Facts, Seen, picture_of, read_facts, read_samples
from tuicon.widgets.knob import Knob
from tuicon.widgets.limit_graph import LimitGraph

_READS_EVERY = 5.0
Operate = Callable[[str, str, Callable[[], object]], None]


@dataclass(slots=True)
class StepDown:
    """A memory limit on its way down, step by step."""

    wanted: int
    began_at: int
    used: int
    stop: threading.Event


class TuningView(Screen[None]):
    """Half of the tuning pane: what is known and shown. What is asked for is in the other half."""

    CSS_PATH = "tuning.tcss"
    clock: Callable[[], float] = time.monotonic
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual declares it

    def __init__(
        self, backend: Backend, container: Container, snapshot: Snapshot, history: History, operate: Operate,
        keys: dict[str, str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.container_id = container.id
        self._called = container.name
        self._backend = backend
        self._host = host = snapshot.host
        self._now = snapshot.taken_at
        self._history = history
        self._operate = operate
        self._keys = keys
        self._opened = container.limits
        self._facts = Facts(container.limits)
        self._usage: Usage | None = snapshot.usages.get(container.id)
        self._wanted: dict[str, Value] = {}
        self._asked: dict[str, Value] = {}
        self._in_flight = 0
        self._moves = 0
        self._window = WINDOWS[0]
        self._seen = self._nothing_seen()
        self._preview: Preview | None = None
        self._is_trying = False
        self._trial_seconds = 30.0
        self._trial_ends = 0.0
        self._refused_memory: int | None = None
        self._step: StepDown | None = None
        self._news = ""
        self._chosen = 0
        self._shown: dict[str, Text] = {}
        disks = tuning.disks_of(container.limits, backend.disk())
        self._tunables = tuning.tunables(host.cpus, host.memory_total, disks, backend.containers.tuning.knobs())

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield LimitGraph(id="graph")
        with Horizontal(id="below"):
            with VerticalScroll(id="knobs", can_focus=False):
                group = ""
                for tunable in self._tunables:
                    yield Knob(tunable, is_first=tunable.group != group)
                    group = tunable.group
            with Vertical(id="side") as side:
                side.border_title = "Changes of the last day"
                yield Static("", id="changes")
                yield Static("", id="side-effect", classes="part")
                yield Static("", id="side-advice", classes="part")
        yield Static("", id="preview", classes="line")
        yield Static("", id="effect", classes="line")
        yield Static("", id="note", classes="line")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Show what is in force."""
        title = Content.assemble(
            f"Retune {printable(self._called)} ",
            (" h l H L step · 0-9 type · x none · mouse drags ", "dim"),
        )
        self.query_one("#knobs").border_title = title
        self._show_limits()
        self.query(Knob).first().focus()
        self.set_interval(_READS_EVERY, self._read)
        self.set_interval(0.25, self._tick)
        self._read()

    def on_unmount(self) -> None:
        """Call off what would go on for long."""
        if self._step is not None:
            self._step.stop.set()

    @property
    def is_laid_out(self) -> bool:
        """Whether there is something to show anything in: not yet when it opens, and no more when it closes."""
        return self.is_attached and bool(self.query("#note")) and bool(self.query(Knob))

    @property
    def is_settled(self) -> bool:
        """Whether nothing is asked of the engine or wanted of it, and what it says is shown."""
        is_read = self._facts.advice is not None and self._seen.window == self._window
        return is_read and not self._in_flight and not self._wanted

    # -- what is known -----------------------------------------------------------------------------

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show the use now; when somebody else has moved a limit, look."""
        self._usage, self._now = snapshot.usages.get(self.container_id), snapshot.taken_at
        if not self.is_laid_out:
            return
        container = snapshot.container(self.container_id)
        if (container is None or not container.status.is_alive) and self.is_current:
            self.notify(f"{self._called} does not run any more", severity="warning")
            self.dismiss(None)
        if container is None or not self.is_attached:
            return
        for knob in self.query(Knob):
            knob.used = tuning.used_of(knob.tunable, self._usage)
        if container.limits != self._facts.limits and not self._in_flight:
            self._read()
        self._show_graph()

    def _read(self) -> None:
        self._read_in_thread(self._moves, self._chosen, self._window, self._now)

    @work(thread=True, exclusive=True, group="facts", exit_on_error=False)
    def _read_in_thread(self, moves: int, chosen: int, window: Window, now: datetime) -> None:
        known = len(self._history.series(self.container_id, "cpu"))
        is_needed = not window.is_live or self._seen.window != window
        samples = read_samples(self._backend, self.container_id, window, now) if is_needed else ()
        has_pressure = self._usage is None or self._usage.counters.cpu_pressure is not None
        seen = Seen(self._live, samples, now, window, known, has_pressure) if is_needed else self._seen
        try:
            facts = read_facts(self._backend, self.container_id, chosen, now)
        except (EngineError, OSError):
            return  # the next snapshot will say that it is gone
        self.app.call_from_thread(self._take_facts, moves, facts, seen)

    def _take_facts(self, moves: int, facts: Facts, seen: Seen) -> None:
        if not self.is_laid_out or moves != self._moves:
            return  # a limit was moved meanwhile
        if seen.window == self._window:
            self._seen = seen
        self._set_facts(facts if self._step is None else replace(facts, trial=None))  # its steps are trials, too
        self._show_limits()

    def _set_facts(self, facts: Facts) -> None:
        """Take what is known now; a trial that is over is reported on."""
        before, self._facts = self._facts.trial, facts
        if facts.trial is not None:
            self._trial_ends = self.clock() + facts.trial.seconds_left
        elif before is not None:
            self._is_trying = False
            self._report(before, is_kept=facts.limits == before.after)

    @work(thread=True, exclusive=True, group="report", exit_on_error=False)
    def _report(self, trial: OnTrial, *, is_kept: bool) -> None:
        """Say what a trial did, once it is over."""
        try:
            effect = self._backend.containers.history.effect(self.container_id, trial.began)
        except (EngineError, OSError):
            effect = None
        end = "It is kept" if is_kept else "The trial is over, the limits are as before"
        self.app.call_from_thread(self._tell, f"{end}: {effect_sentence(effect)}" if effect else end)

    def _tell(self, news: str) -> None:
        self._news = news
        if self.is_laid_out:
            self._show_note()

    def _live(self, name: str) -> list[float]:
        return list(self._history.series(self.container_id, name))

    def _nothing_seen(self) -> Seen:
        return Seen(self._live, (), self._now, Window("", "", 120, 1, is_live=True))

    # -- what is shown -----------------------------------------------------------------------------

    @property
    def _knob(self) -> Knob:
        return self.focused if isinstance(self.focused, Knob) else self.query(Knob).first()

    def _show_limits(self) -> None:
        for knob in self.query(Knob):
            if knob.tunable.id not in self._wanted and knob.tunable.id not in self._asked:
                knob.value = tuning.value_of(self._facts.limits, knob.tunable)
            knob.used = tuning.used_of(knob.tunable, self._usage)
            knob.note = tuning.part_of_host(knob.tunable, knob.value, self._host.cpus)
        effect = texts.effect_text(self._facts, self._chosen, self._now, self._color)
        self._put("changes", texts.changes_text(self._facts.changes, self._chosen, self._now, self._color))
        self._put("effect", effect)
        self._put("side-effect", effect, grows=True)
        self._put("side-advice", texts.advice_text(self._facts.advice, self._color), grows=True)
        self._show_preview()
        self._show_note()
        self._show_graph()

    def _put(self, name: str, text: Text, *, grows: bool = False) -> None:
        """Show a text; one that is there already, or cannot change its height, costs no new layout."""
        if self._shown.get(name) != text:
            self._shown[name] = text
            self.query_one(f"#{name}", Static).update(text, layout=grows)

    def _color(self, name: str) -> str:
        return self.app.theme_variables.get(name, "#888888")

    def _show_graph(self) -> None:
        values = [(knob.tunable, knob.value) for knob in self.query(Knob)]
        picture = picture_of(self._knob.tunable, values, self._seen_now, self._facts.changes, self._now)
        self.query_one(LimitGraph).show(picture)

    @property
    def _seen_now(self) -> Seen:
        """What was seen in the window; nothing while another one is being read."""
        if self._seen.window == self._window or self._window.is_live:
            return self._seen
        return Seen(self._live, (), self._now, self._window)

    def _show_preview(self) -> None:
        is_wanted = bool(self._wanted or self._asked or self._knob.typed)
        preview = self._preview if is_wanted and self._preview else self._facts.preview
        self._put("preview", texts.preview_text(preview, self._knob.tunable.group, self._color, is_wanted=is_wanted))

    def _tick(self) -> None:
        if self.is_laid_out:
            self._show_note()

    def _show_note(self) -> None:
        left = self._trial_ends - self.clock()
        text: Text | None = None
        if self._step is not None:
            text = texts.step_text(self._step.began_at, self._step.used, self._step.wanted)
        elif self._facts.trial is not None:
            text = texts.trial_text(self._facts.trial, max(0.0, left))
            if left <= 0 and not self._in_flight:
                self._read()
        elif self._refused_memory is not None:
            text = texts.offer_text(self._refused_memory, can_be_high=self._can("high"))
        elif self._is_trying:
            text = Text(f"The next change is on trial for {self._trial_seconds:g} s · + - more or less time · t not so")
        self.query_one("#note").set_class(text is not None, "-urgent")
        if text is None:
            is_narrow = self.has_class("-narrow")
            text = (
                Text(self._news)
                if self._news
                else texts.advice_text(self._facts.advice if is_narrow else None, self._color)
            )
        self._put("note", text)

    def _can(self, name: str) -> bool:
        return any(tunable.id == name and not tunable.why_not for tunable in self._tunables)

    def on_descendant_focus(self) -> None:
        """Graph what the focused knob limits."""
        if self.is_laid_out:
            self._show_graph()
            self._show_preview()
