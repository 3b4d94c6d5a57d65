"""A form for a new container."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from engine.model.container import ContainerSpec
from engine.model.limits import Limits
from tuicon.model.units import parse_size


class RunForm(ModalScreen[ContainerSpec | None]):
    """Asks for image, name, command, environment and limits; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel"), Binding("ctrl+s", "take", "run")]
    DEFAULT_CSS = """
    RunForm { align: center middle; }
    RunForm > .dialog { width: 70; max-width: 95%; height: auto; max-height: 95%; border: round $primary;
        background: $surface; padding: 0 2; }
    RunForm Input { border: none; height: 1; background: $panel; }
    RunForm Input:focus { border: none; background: $primary 25%; }
    RunForm Label { color: $text-muted; }
    RunForm .keys { color: $text-muted; margin-top: 1; }
    """
    _FIELDS = (
        ("image", "Image", "pulled when it is not here"),
        ("name", "Name", "made up when empty"),
        ("command", "Command", "the image's own when empty"),
        ("env", "Environment", "NAME=VALUE …, quoted as in a shell"),
        ("cpus", "CPU limit", "cores, such as 0.5; none when empty"),
        ("memory", "Memory limit", "such as 256m; none when empty"),
        ("pids", "Process limit", "such as 100; none when empty"),
    )

    def __init__(self, image: str) -> None:
        super().__init__()
        self._image = image

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Run a container"
            for name, label, placeholder in self._FIELDS:
                yield Label(label)
                yield Input(self._image if name == "image" else "", placeholder=placeholder, id=f"run-{name}")
            yield Static("enter run   tab next   esc cancel", classes="keys")

    def on_mount(self) -> None:
        """Begin with what is not known yet."""
        if self._image:
            self.query_one("#run-name", Input).focus()

    def on_input_submitted(self) -> None:
        """Run."""
        self.action_take()

    def action_take(self) -> None:
        """Answer, or say what is wrong."""
        values = {name: self.query_one(f"#run-{name}", Input).value.strip() for name, _, _ in self._FIELDS}
        try:
            spec = spec_of(values)
        except ValueError as error:
            self.notify(str(error), severity="warning")
            return
        self.dismiss(spec)

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)


def spec_of(values: dict[str, str]) -> ContainerSpec:
    """Return the container that the fields ask for.

    Raises:
        ValueError: With the field that is wrong.
    """
    if not values["image"]:
        raise ValueError("An image is needed")
    words = {}
    for name in ("command", "env"):
        try:
            words[name] = tuple(shlex.split(values[name]))
        except ValueError as error:
            raise ValueError(f"The {name} is malformed: {error}") from None
    wrong = next((item for item in words["env"] if not item.partition("=")[0] or "=" not in item), None)
    if wrong is not None:
        raise ValueError(f"{wrong} is no NAME=VALUE")
    limits = Limits(
        cpus=_number(values["cpus"], "CPU limit"), memory=parse_size(values["memory"]) if values["memory"] else None,
        pids=int(_number(values["pids"], "process limit") or 0) or None,
    )  # fmt: skip
    command = words["command"] or None
    return ContainerSpec(
        values["image"], name=values["name"], command=command, env=words["env"], limits=limits, tty=command is None
    )


def _number(text: str, field: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"The {field} is no number: {text}") from None
