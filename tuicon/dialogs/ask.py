"""Dialogs that ask one thing: yes or no, a text, one of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import EngineError

_CSS = """
{name} {{ align: center middle; }}
{name} > .dialog {{
    width: auto; min-width: 40; max-width: 90%; height: auto; max-height: 90%;
    border: round $primary; background: $surface; padding: 1 2;
}}
{name} .keys {{ color: $text-muted; margin-top: 1; }}
{name} Input, {name} OptionList, {name} #prompt-check {{ width: 60; max-width: 100%; }}
"""


class Confirm(ModalScreen[bool]):
    """Asks whether to go on; says exactly what will happen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]
    DEFAULT_CSS = (
        _CSS.format(name="Confirm") + "Confirm > .dialog { border: round $error; } Confirm Label { max-width: 100%; }"
    )

    def __init__(self, question: str, consequences: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._consequences = consequences

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Please confirm"
            yield Label(Text(self._question, style="bold"))
            for line in self._consequences:
                yield Label(Text(f"  {line}"))
            yield Static("y yes   n no", classes="keys")

    def action_answer(self, answer: bool) -> None:
        """Answer."""
        self.dismiss(answer)


class Prompt(ModalScreen[str | None]):
    """Asks for a text; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel")]
    DEFAULT_CSS = _CSS.format(name="Prompt")

    def __init__(
        self, title: str, value: str = "", placeholder: str = "", check: Callable[[str], str] | None = None
    ) -> None:
        """Make the dialog.

        Args:
            title: What is asked.
            value: What stands there at first.
            placeholder: What is shown while nothing does.
            check: Returns what is understood, shown while it is typed, or raises an EngineError.
        """
        super().__init__()
        self._check = check
        self._title = title
        self._value = value
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            yield Input(self._value, placeholder=self._placeholder)
            if self._check:
                yield Static(id="prompt-check")
            yield Static("enter take   esc cancel", classes="keys")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check while it is typed."""
        if self._check:
            self._is_fine(event.value)

    def _is_fine(self, text: str) -> bool:
        if not self._check:
            return True
        colors = self.app.theme_variables
        line = self.query_one("#prompt-check", Static)
        try:
            line.update(Text(f"→ {self._check(text.strip())}" if text.strip() else "", colors["success"]))
        except EngineError as error:
            line.update(Text(str(error), colors["error"]))
            return False
        return bool(text.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer, or go on showing what is wrong."""
        if self._is_fine(event.value):
            self.dismiss(event.value.strip())

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)


class Choose(ModalScreen[str | None]):
    """Asks for one of several; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "cancel"),
        Binding("j", "down", "down", show=False),
        Binding("k", "up", "up", show=False),
    ]
    DEFAULT_CSS = _CSS.format(name="Choose")

    def __init__(self, title: str, options: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title = title
        self._options = options

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            yield OptionList(*(Option(Text(label), id=key) for key, label in self._options))
            yield Static("enter take   esc cancel", classes="keys")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answer."""
        self.dismiss(event.option_id)

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)

    def action_down(self) -> None:
        """Go down."""
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        """Go up."""
        self.query_one(OptionList).action_cursor_up()


class Help(ModalScreen[None]):
    """Shows all keys, generated from the commands."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "close", "close")]
    DEFAULT_CSS = _CSS.format(name="Help") + "Help > .dialog { width: 76; }"

    def __init__(self, groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        super().__init__()
        self._groups = groups

    def compose(self) -> ComposeResult:
        """Lay out."""
        text = Text()
        for title, keys in self._groups:
            text.append(f"{title}\n", "bold")
            for key, meaning in keys:
                text.append(f"  {key:<16}", self.app.theme_variables["primary"])
                text.append(f"{meaning}\n")
            text.append("\n")
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "Keys"
            yield Static(text)
            yield Static("esc close", classes="keys")

    def action_close(self) -> None:
        """Close."""
        self.dismiss(None)
