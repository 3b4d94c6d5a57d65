"""A user's name and password for a registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static


@dataclass(frozen=True, slots=True)
class Login:
    """What was typed; the password is in no text of it."""

    registry: str
    user: str
    password: str = field(repr=False)


class LoginForm(ModalScreen[Login | None]):
    """Asks for registry, user and password; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel")]
    DEFAULT_CSS = """
    LoginForm { align: center middle; }
    LoginForm > .dialog { width: 64; max-width: 95%; height: auto; border: round $primary; background: $surface;
        padding: 0 2; }
    LoginForm Input { border: none; height: 1; background: $panel; padding: 0 1; }
    LoginForm Input:focus { border: none; background: $primary 25%; }
    LoginForm Label { color: $text-muted; }
    LoginForm .keys { color: $text-muted; margin-top: 1; }
    """

    def __init__(self, registry: str = "", accounts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._registry = registry
        self._accounts = accounts

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Log in to a registry"
            yield Label("Registry")
            yield Input(self._registry, placeholder="docker.io", id="login-registry")
            yield Label("User")
            yield Input(id="login-user")
            yield Label("Password or token")
            yield Input(password=True, id="login-password")
            known = f"Logged in: {', '.join(self._accounts)}" if self._accounts else "Logged in nowhere yet"
            yield Static(known, classes="keys")
            yield Static("enter next, log in   esc cancel", classes="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the next field; from the last one, answer."""
        if event.input.id != "login-password":
            self.focus_next()
            return
        values = {name: self.query_one(f"#login-{name}", Input).value for name in ("registry", "user", "password")}
        if not values["user"].strip() or not values["password"]:
            self.notify("A user and a password are needed", severity="warning")
            return
        self.dismiss(Login(values["registry"].strip() or "docker.io", values["user"].strip(), values["password"]))

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)
