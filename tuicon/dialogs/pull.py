"""What to pull: a reference that is checked while it is typed, and a platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import EngineError

_PLATFORMS = (
    "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/s390x",
    "linux/riscv64",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PullWish:
    """What the user wants: a full reference, and a platform or "" for this machine's."""

    reference: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class PullAids:
    """What the form asks others.

    Attributes:
        check: Returns a reference in full, or raises an EngineError.
        check_platform: Raises an EngineError for a text that is no platform.
        platforms: Asks a registry for the platforms of a reference; called in a thread.
    """

    check: Callable[[str], str]
    check_platform: Callable[[str], None]
    platforms: Callable[[str], tuple[str, ...]]


class PullForm(ModalScreen[PullWish | None]):
    """Asks for a reference and a platform; None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel"),
        Binding("ctrl+l", "list_platforms", "platforms", priority=True),
    ]
    DEFAULT_CSS = """
    PullForm { align: center middle; }
    PullForm > .dialog { width: 76; max-width: 95%; height: auto; max-height: 95%; border: round $primary;
        background: $surface; padding: 0 2; }
    PullForm Input { border: none; height: 1; background: $panel; padding: 0 1; }
    PullForm Input:focus { border: none; background: $primary 25%; }
    PullForm Label { color: $text-muted; }
    PullForm #pull-check { height: auto; min-height: 2; }
    PullForm OptionList { height: auto; max-height: 8; border: none; padding: 0; background: $surface; }
    PullForm .keys { color: $text-muted; margin-top: 1; }
    """

    def __init__(self, aids: PullAids, recent: Sequence[str], reference: str = "") -> None:
        super().__init__()
        self._aids = aids
        self._recent = tuple(recent)
        self._reference = reference
        self._shows_platforms = False

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Pull an image"
            yield Label("Reference")
            known = SuggestFromList(self._recent, case_sensitive=True)
            yield Input(
                self._reference, placeholder="[registry/]name[:tag][@digest]", id="pull-reference", suggester=known
            )
            yield Static(id="pull-check")
            yield Label("Platform")
            yield Input(
                placeholder="this machine's", id="pull-platform",
                suggester=SuggestFromList(_PLATFORMS, case_sensitive=True),
            )  # fmt: skip
            yield Label("Recent", id="pull-list-title")
            yield OptionList(*(Option(Text(name), id=name) for name in self._recent), id="pull-list")
            yield Static("enter pull   tab next   ctrl-l platforms of it   esc cancel", classes="keys")

    def on_mount(self) -> None:
        """Say what is there."""
        self.query_one("#pull-list-title").display = self.query_one("#pull-list").display = bool(self._recent)
        self._show_check()

    def on_input_changed(self) -> None:
        """Check while it is typed."""
        self._show_check()

    def _show_check(self) -> None:
        text = self.query_one("#pull-reference", Input).value.strip()
        line = Text("")
        colors = self.app.theme_variables
        try:
            if text:
                line = Text(f"→ {self._aids.check(text)}", colors["success"])
            self._aids.check_platform(self.query_one("#pull-platform", Input).value.strip())
        except EngineError as error:
            line = Text(str(error), colors["error"])
        self.query_one("#pull-check", Static).update(line)

    def on_input_submitted(self) -> None:
        """Answer, or go on showing what is wrong."""
        platform = self.query_one("#pull-platform", Input).value.strip()
        try:
            reference = self._aids.check(self.query_one("#pull-reference", Input).value.strip())
            self._aids.check_platform(platform)
        except EngineError as error:
            self.query_one("#pull-check", Static).update(Text(str(error), self.app.theme_variables["error"]))
            return
        self.dismiss(PullWish(reference, platform))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it into its field, where it can be changed."""
        field = "#pull-platform" if self._shows_platforms else "#pull-reference"
        box = self.query_one(field, Input)
        box.value = event.option_id or ""
        box.focus()

    def action_list_platforms(self) -> None:
        """Ask the registry which platforms there are."""
        try:
            reference = self._aids.check(self.query_one("#pull-reference", Input).value.strip())
        except EngineError:
            return  # what is wrong with it is shown already
        self._title_list("Asking the registry…")
        self._load_platforms(reference)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _load_platforms(self, reference: str) -> None:
        try:
            found, problem = self._aids.platforms(reference), ""
        except (EngineError, OSError) as error:
            found, problem = (), str(error)
        self.app.call_from_thread(self._show_platforms, found, problem)

    def _show_platforms(self, found: tuple[str, ...], problem: str) -> None:
        if not self.is_attached:
            return
        self._title_list(problem or ("Platforms" if found else "It is an image of one platform"))
        if found:
            self._shows_platforms = True
            options = self.query_one(OptionList)
            options.clear_options()
            options.add_options([Option(Text(name), id=name) for name in found])
            options.highlighted = 0
            options.display = True
            options.focus()

    def _title_list(self, text: str) -> None:
        title = self.query_one("#pull-list-title", Label)
        title.display = True
        title.update(Text(text))

    def action_cancel(self) -> None:
        """Call it off."""
        self.dismiss(None)
