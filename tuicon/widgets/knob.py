"""A slider for one limit, with the use now on the same scale."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tuicon.model import tuning
from tuicon.model.tuning import Tunable


class Knob(Widget, can_focus=True):
    """Speaks by Changed; shows what it is told is in force."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "step(-1)", "less"),
        Binding("l,right", "step(1)", "more"),
        Binding("H,shift+left", "step(-5)", "much less", show=False),
        Binding("L,shift+right", "step(5)", "much more", show=False),
        Binding("0", "type('0')", "no limit", show=False),
        Binding("x", "unlimit", "no limit"),
        Binding("enter", "take", "take what was typed", show=False),
        Binding("backspace", "erase", "erase", show=False),
    ]
    DEFAULT_CSS = """
    Knob { height: 2; padding: 0 1; }
    Knob:focus { background: $primary 20%; }
    """
    value: reactive[float | None] = reactive(None)
    used: reactive[float] = reactive(0.0)
    typed: reactive[str] = reactive("")

    class Changed(Message):
        """The user wants another limit; None for no limit."""

        def __init__(self, knob: Knob, value: float | None) -> None:
            self.knob = knob
            self.value = value
            super().__init__()

    class Refused(Message):
        """What was typed is no value."""

        def __init__(self, sentence: str) -> None:
            self.sentence = sentence
            super().__init__()

    def __init__(self, tunable: Tunable, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.tunable = tunable

    def action_step(self, steps: int) -> None:
        """Move the limit."""
        self._ask(tuning.stepped(self.tunable, self.value, steps, self.used))

    def action_unlimit(self) -> None:
        """Take the limit away."""
        self._ask(None)

    def action_type(self, character: str) -> None:
        """Take a digit; a lone 0 takes the limit away with enter."""
        self.typed += character

    def on_key(self, event: events.Key) -> None:
        """Take digits and units."""
        character = event.character or ""
        if character.isdigit() or (self.typed and character and character in ".kmgKMG"):
            event.stop()
            event.prevent_default()
            self.typed += character

    def action_erase(self) -> None:
        """Take back a digit."""
        self.typed = self.typed[:-1]

    def action_take(self) -> None:
        """Take what was typed as the limit."""
        text, self.typed = self.typed, ""
        if not text:
            return
        if text.strip("0") == "":
            self._ask(None)
            return
        try:
            self._ask(tuning.parse_value(self.tunable, text))
        except ValueError as error:
            self.post_message(self.Refused(str(error)))

    def on_blur(self) -> None:
        """Forget what was typed."""
        self.typed = ""

    def _ask(self, value: float | None) -> None:
        if value != self.value:
            self.value = value
            self.post_message(self.Changed(self, value))

    def render(self) -> Text:
        """Draw label, value, and the scale with the use and the limit on it."""
        variables = self.app.theme_variables
        muted, accent = variables["muted"], variables["primary"]
        used_text = tuning.text_of(self.tunable, self.used)
        limit = f"{self.typed}▏" if self.typed else tuning.text_of(self.tunable, self.value)
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{self.tunable.label:<11}", "bold")
        line.append(f"{limit:<14}", f"bold {variables['warning']}")
        line.append(f" uses {used_text}\n", muted)
        width = max(10, self.size.width - 2)
        used_at = (
            round(tuning.place_of(self.tunable, max(self.used, self.tunable.low)) * (width - 1)) if self.used else 0
        )
        limit_at = width - 1 if self.value is None else round(tuning.place_of(self.tunable, self.value) * (width - 1))
        for place in range(width):
            if place == limit_at and self.value is not None:
                line.append("┃", f"bold {variables['warning']}")
            elif place < used_at:
                line.append("━", accent)
            else:
                line.append("─", muted)
        return line
