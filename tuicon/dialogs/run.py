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
    """Asks for image, name, command and limits; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel"), Binding("ctrl+s", "take", "run")]
    DEFAULT_CSS = """
    RunForm { align: center middle; }
    RunForm > .dialog { width: 70; max-width: 95%; height: auto; max-height: 95%; border: round $primary;
        background: $surface; padding: 0 2; }
    RunForm Input { border: none; height: 1; background: $panel; }
    RunForm Label { color: $text-muted; }
    RunForm .keys { color: $text-muted; margin-top: 1; }
    """
    _FIELDS = (
        ("image", "Image", ""),
        ("name", "Name", "made up when empty"),
        ("command", "Command", "the image's own when empty"),
        ("cpus", "CPU limit", "cores, such as 0.5; none when empty"),
        ("memory", "Memory limit", "such as 256m; none when empty"),
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

    def on_input_submitted(self) -> None:
        """Run."""
        self.action_take()

    def action_take(self) -> None:
        """Answer, or say what is wrong."""
        values = {name: self.query_one(f"#run-{name}", Input).value.strip() for name, _, _ in self._FIELDS}
        try:
            limits = Limits(
                cpus=float(values["cpus"]) if values["cpus"] else None,
                memory=parse_size(values["memory"]) if values["memory"] else None,
            )
            command = tuple(shlex.split(values["command"])) or None
        except ValueError as error:
            self.notify(str(error), severity="warning")
            return
        if not values["image"]:
            self.notify("An image is needed", severity="warning")
            return
        self.dismiss(
            ContainerSpec(values["image"], name=values["name"], command=command, limits=limits, tty=command is None)
        )

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)
