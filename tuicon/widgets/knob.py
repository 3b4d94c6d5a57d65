"""A slider for one limit in one line, with the use now on the same scale."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tuicon.model import tuning
from tuicon.model.tuning import Tunable, Value

_UNITS = ".,-%kmgKMGsu"


class Knob(Widget, can_focus=True):
    """Speaks by Changed; shows what it is told is in force."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "step(-1)", "less", show=False),
        Binding("l,right", "step(1)", "more", show=False),
        Binding("H,shift+left", "step(-5)", "much less", show=False),
        Binding("L,shift+right", "step(5)", "much more", show=False),
        Binding("x", "unlimit", "no limit", show=False),
        Binding("enter", "take", "take what was typed", show=False),
        Binding("backspace", "erase", "erase", show=False),
        Binding("escape", "forget", "forget what was typed", show=False),
    ]
    DEFAULT_CSS = """
    Knob { height: 1; padding: 0 1; }
    Knob:focus { background: $primary 25%; }
    """
    value: reactive[Value] = reactive(None)
    used: reactive[float | None] = reactive(None)
    typed: reactive[str] = reactive("")
    problem: reactive[str] = reactive("")
    note: reactive[str] = reactive("")

    class Changed(Message):
        """The user wants another limit; None for no limit."""

        def __init__(self, knob: Knob, value: Value) -> None:
            self.knob = knob
            self.value = value
            super().__init__()

    class Typed(Message):
        """What was typed so far would be this value."""

        def __init__(self, knob: Knob, value: Value) -> None:
            self.knob = knob
            self.value = value
            super().__init__()

    def __init__(self, tunable: Tunable, *, is_first: bool = False) -> None:
        super().__init__(id=f"knob-{tunable.id}")
        self.tunable = tunable
        self._is_first = is_first

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave keys to the screen when nothing is typed."""
        del parameters
        return bool(self.typed) if action in ("take", "erase", "forget") else True

    def action_step(self, steps: int) -> None:
        """Move the limit."""
        self.typed = ""
        if self.tunable.unit == "list":
            self.problem = "type a list such as 0-2,5"
            return
        self.ask(tuning.stepped(self.tunable, self.value, steps, self.used or 0.0))

    def action_unlimit(self) -> None:
        """Take the limit away."""
        self.ask(None)

    def on_key(self, event: events.Key) -> None:
        """Take digits and units."""
        character = event.character or ""
        begins = character.isdigit() or (character == "-" and self.tunable.field == "memory_swap")
        if begins or (self.typed and character and character in _UNITS):
            event.stop()
            event.prevent_default()
            self.typed += character

    def watch_typed(self) -> None:
        """Show what would come of it."""
        if not self.typed:
            return
        self.problem = ""
        try:
            self.post_message(self.Typed(self, self._parsed(self.typed)))
        except ValueError:
            return  # it may become a value yet

    def action_erase(self) -> None:
        """Take back a digit."""
        self.typed = self.typed[:-1]

    def action_forget(self) -> None:
        """Forget what was typed."""
        self.typed = ""

    def action_take(self) -> None:
        """Take what was typed as the limit."""
        text, self.typed = self.typed, ""
        try:
            self.ask(self._parsed(text))
        except ValueError as error:
            self.problem = str(error)

    def _parsed(self, text: str) -> Value:
        """Return the value of a text; 0 takes away what cannot be 0."""
        takes_away = text.strip("0") == "" and self.tunable.low > 0
        return None if takes_away else tuning.parse_value(self.tunable, text)

    def on_blur(self) -> None:
        """Forget what was typed."""
        self.typed = ""

    def ask(self, value: Value) -> None:
        """Ask for another limit, unless this host has none of the kind."""
        self.problem = self.tunable.why_not
        if value != self.value and not self.problem:
            self.value = value
            self.post_message(self.Changed(self, value))

    # -- drawing -----------------------------------------------------------------------------------

    def render(self) -> Text:
        """Draw group, label, value, and the scale with the use and the limit on it."""
        variables = self.app.theme_variables
        muted = variables["muted"]
        is_off = bool(self.tunable.why_not)
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        line.append(f"{self.tunable.group if self._is_first else '':<8}", "bold" if not is_off else muted)
        line.append(f"{self.tunable.label:<11}", muted if is_off else "")
        if is_off:
            line.append(self.tunable.why_not, f"italic {muted}")
            return line
        limit = f"{self.typed}▏" if self.typed else tuning.text_of(self.tunable, self.value)
        line.append(f"{limit:<15} ", muted if self.value is None and not self.typed else f"bold {variables['warning']}")
        if self.problem:
            line.append(f"✗ {self.problem}", variables["error"])
        else:
            self._draw_scale(line, max(8, self.size.width - line.cell_len - 23))
        return line

    def _draw_scale(self, line: Text, width: int) -> None:
        variables = self.app.theme_variables
        muted, style = variables["muted"], f"bold {variables[self.tunable.line or 'warning']}"
        if self.tunable.unit in ("switch", "list"):
            line.append("l on, h off" if self.tunable.unit == "switch" else "type a list such as 0-2,5", muted)
            return
        used_at = round(tuning.place_of(self.tunable, self.used) * (width - 1)) if self.used else 0
        limit_at = -1
        if isinstance(self.value, float | int):
            limit_at = round(tuning.place_of(self.tunable, self.value) * (width - 1)) if self.value >= 0 else width - 1
        for place in range(width):
            if place == limit_at:
                line.append("┃", style)
            elif place < used_at:
                line.append("━", variables["primary"])
            else:
                line.append("─", muted)
        if self.used is not None:
            line.append(f"  uses {tuning.text_of(self.tunable, self.used)}", muted)
        else:
            line.append(f"  {self.note}", muted)
