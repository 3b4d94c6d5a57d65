"""A test of reachability: what to reach, then the hops as they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.errors import EngineError
from engine.model.reach import Reach
from tuicon.dialogs.form import Field, FieldError, Form
from tuicon.model.reach import Target, steps_text, target_of, verdict


class ReachForm(Form[Target]):
    """Asks what to reach, tests it as often as it is asked, and stays open; `last` has what was found last."""

    KEYS: ClassVar[str] = "enter test   esc close; the hop where it stops is marked in the picture"
    DEFAULT_CSS = """
    ReachForm > .dialog { width: 100; }
    ReachForm #reach-steps { height: auto; max-height: 16; margin-top: 1; }
    ReachForm #reach-steps > Static { height: auto; }
    """

    def __init__(self, source: str, names: tuple[str, ...], test: Callable[[str, int], Reach]) -> None:
        """Make the dialog.

        Args:
            source: The container from which is tested.
            names: What is offered while the target is typed.
            test: Finds out how far packets to a target and port get; called in a thread.
        """
        hint = "a container, host, a name or an address, with :port for TCP"
        super().__init__(f"What does {source} reach?", (Field("target", "Target", hint, words=names),))
        self._test = test
        self._asked: Target | None = None
        self.last: Reach | None = None

    def after_fields(self) -> ComposeResult:
        """Lay out what is found."""
        with VerticalScroll(id="reach-steps", can_focus=False):
            yield Static(Text("Each hop on the way is tried: name, interfaces, bridge, route, rules, ARP, ping, TCP."))

    def answer_of(self, values: Mapping[str, str]) -> Target:
        """Return the target."""
        try:
            return target_of(values["target"])
        except ValueError as error:
            raise FieldError("target", str(error)) from None

    def take(self, answer: Target) -> None:
        """Test, and stay."""
        self._asked = answer
        self._show(Text(f"… {answer.text}", self.app.theme_variables["muted"]))
        self._run_test(answer)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _run_test(self, target: Target) -> None:
        try:
            found: Reach | str = self._test(target.name, target.port)
        except (EngineError, OSError) as error:
            found = str(error)
        self.app.call_from_thread(self._take_result, target, found)

    def _take_result(self, target: Target, found: Reach | str) -> None:
        if not self.is_attached or target is not self._asked:
            return
        colors = self.app.theme_variables
        if isinstance(found, str):
            self.refuse(FieldError("target", found))
            self._show(Text(""))
            return
        self.last = found
        text = steps_text(found, colors)
        text.append("\n" + verdict(found), f"bold {colors['success' if found.is_reached else 'error']}")
        self._show(text)

    def _show(self, text: Text) -> None:
        self.query_one("#reach-steps > Static", Static).update(text)

    def action_cancel(self) -> None:
        """Close."""
        self.dismiss(None)
