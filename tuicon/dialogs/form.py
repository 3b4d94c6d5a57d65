"""Forms: labelled fields below each other, what is wrong beside the field that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.model.value import Value

Answer = TypeVar("Answer")


class FieldError(ValueError):
    """What stands in a field makes no sense.

    Attributes:
        field: The field's name.
    """

    def __init__(self, field: str, sentence: str) -> None:
        self.field = field
        super().__init__(sentence)


class Field(Value, frozen=True):
    """A line of a form.

    Attributes:
        name: The key of its value.
        label: For people.
        placeholder: What is shown while it is empty.
        value: What stands there at first.
        words: What is offered while it is typed.
    """

    name: str
    label: str
    placeholder: str = ""
    value: str = ""
    words: tuple[str, ...] = ()


class Form(ModalScreen[Answer | None], Generic[Answer]):
    """Asks for what the fields are; None when it was called off. A subclass makes the answer out of their texts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel"),
        Binding("ctrl+s", "take", "take", priority=True),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]
    DEFAULT_CSS = """
    Form { align: center middle; }
    Form > .dialog { width: 76; max-width: 96%; height: auto; max-height: 96%; border: round $primary;
        background: $surface; padding: 0 1; }
    Form .fields { height: auto; max-height: 100%; }
    Form .field { height: 1; }
    Form .field > Label { width: 15; color: $text-muted; }
    Form .field > Input { width: 1fr; border: none; height: 1; background: $panel; padding: 0 1; }
    Form .field > Input:focus { border: none; background: $primary 25%; }
    Form .wrong { height: auto; color: $text-error; padding: 0 0 0 15; display: none; }
    Form .wrong.-shown { display: block; }
    Form .keys { color: $text-muted; margin-top: 1; }
    """
    KEYS: ClassVar[str] = "enter take   tab next   esc cancel"

    def __init__(self, title: str, fields: tuple[Field, ...], *, begins_with: str = "") -> None:
        """Make the form.

        Args:
            title: What is asked.
            fields: Its lines.
            begins_with: The field that has the focus at first; empty for the first one.
        """
        super().__init__()
        self._title = title
        self._fields = fields
        self._begins_with = begins_with or fields[0].name

    def answer_of(self, values: Mapping[str, str]) -> Answer:
        """Return what the fields ask for.

        Raises:
            FieldError: What stands in one makes no sense.
        """
        raise NotImplementedError

    def before_fields(self) -> ComposeResult:
        """Lay out what stands above the fields."""
        yield from ()

    def after_fields(self) -> ComposeResult:
        """Lay out what stands below the fields."""
        yield from ()

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content(self._title)
            yield from self.before_fields()
            with VerticalScroll(classes="fields", can_focus=False):
                for field in self._fields:
                    yield from _line_of(field)
            yield from self.after_fields()
            yield Static(self.KEYS, classes="keys")

    def on_mount(self) -> None:
        """Begin with what is not known yet."""
        self.field(self._begins_with).focus()

    def field(self, name: str) -> Input:
        """Return the box of a field."""
        return self.query_one(f"#field-{name}", Input)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Take back what was said of the field."""
        self._say(event.input.id or "", "")

    def on_input_submitted(self) -> None:
        """Answer, or say what is wrong."""
        self.action_take()

    def action_take(self) -> None:
        """Answer, or say what is wrong beside the field."""
        try:
            answer = self.answer_of(self.values)
        except FieldError as error:
            self.refuse(error)
        else:
            self.take(answer)

    @property
    def values(self) -> dict[str, str]:
        """What stands in the fields."""
        return {field.name: self.field(field.name).value.strip() for field in self._fields}

    def take(self, answer: Answer) -> None:
        """Hand over the answer."""
        self.dismiss(answer)

    def refuse(self, error: FieldError) -> None:
        """Say what is wrong beside the field."""
        for field in self._fields:
            self._say(f"field-{field.name}", str(error) if field.name == error.field else "")
        self.field(error.field).focus()

    def _say(self, field_id: str, sentence: str) -> None:
        for line in self.query(f"#{field_id}-wrong").results(Static):
            line.update(Text(sentence))
            line.set_class(bool(sentence), "-shown")

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)


def _line_of(field: Field) -> list[Widget]:
    words = SuggestFromList(field.words, case_sensitive=True) if field.words else None
    box = Input(field.value, placeholder=field.placeholder, id=f"field-{field.name}", suggester=words)
    return [
        Horizontal(Label(field.label), box, classes="field"),
        Static(id=f"field-{field.name}-wrong", classes="wrong"),
    ]
