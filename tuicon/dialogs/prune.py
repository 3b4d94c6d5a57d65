"""What a prune of images or volumes takes, before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.errors import EngineError
from engine.model.transfer import PrunePlan
from engine.model.volume import VolumePrunePlan
from tuicon.model import units
from tuicon.model.images import name_of
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.volumes import shown_name
from tuicon.widgets.table import RecordTable

Plan = PrunePlan | VolumePrunePlan


class Prune(ModalScreen[Any]):
    """Shows what would go and the bytes that frees; answers with the plan, None when it was called off."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q", "answer(False)", "no"),
        Binding("y", "answer(True)", "yes"),
        Binding("a", "other_kind", "all or dangling"),
    ]
    DEFAULT_CSS = """
    Prune { align: center middle; }
    Prune > .dialog { width: 90%; max-width: 100; height: 80%; max-height: 30; border: round $error;
        background: $surface; padding: 0 1; }
    Prune RecordTable { height: 1fr; }
    Prune .keys { color: $text-muted; margin-top: 1; }
    """

    NOUN = "image"
    KINDS = ("images without a name (dangling)", "all images that no container uses")
    SWITCH = "dangling, or all unused"
    COLUMNS: tuple[Column, ...] = (
        Column("name", "IMAGE", None), Column("size", "SIZE", 8, "right"), Column("reason", "WHY", 14),
    )  # fmt: skip

    def __init__(self, plan: Callable[[bool], Plan]) -> None:
        """Make the dialog.

        Args:
            plan: Returns what would go: the first of the two kinds, or with True the second; called in a thread.
        """
        super().__init__()
        self._make_plan = plan
        self._takes_unused = False
        self._plan: Plan | None = None

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"Prune {self.NOUN}s"
            yield Static(id="prune-what")
            yield RecordTable(empty="there is nothing to remove")
            yield Static(id="prune-total")
            yield Static(f"y remove these   a {self.SWITCH}   n cancel", classes="keys")

    def on_mount(self) -> None:
        """Look what would go."""
        self.query_one(RecordTable).focus()
        self._look()

    def _look(self) -> None:
        self.query_one("#prune-what", Static).update(Text(f"Takes {self.KINDS[self._takes_unused]}:"))
        self._plan = None
        self._load(self._takes_unused)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _load(self, takes_unused: bool) -> None:
        try:
            found: Plan | str = self._make_plan(takes_unused)
        except (EngineError, OSError) as error:
            found = str(error)
        self.app.call_from_thread(self._show, takes_unused, found)

    def _show(self, takes_unused: bool, found: Plan | str) -> None:
        if not self.is_attached or takes_unused != self._takes_unused:
            return
        if isinstance(found, str):
            self.query_one("#prune-total", Static).update(Text(found, self.app.theme_variables["error"]))
            return
        self._plan = found
        rows = self.rows(found)
        table = self.query_one(RecordTable)
        table.show(self.COLUMNS, rows)
        table.action_first()
        total = f"{len(rows)} {self.NOUN}{'s' * (len(rows) != 1)}; frees {units.size(found.size)} on the disk"
        self.query_one("#prune-total", Static).update(Text(total, "bold"))

    def rows(self, plan: Any) -> Sequence[Row]:  # noqa: ANN401 - each kind has a plan of its own
        """Return a row for each object of a plan."""
        return [
            Row(item.image.id, (Cell(name_of(item.image)), Cell(units.short_size(item.image.size)), Cell(item.reason, "muted")))
            for item in plan.images
        ]  # fmt: skip

    def action_other_kind(self) -> None:
        """Take dangling images only, or all that are not used."""
        self._takes_unused = not self._takes_unused
        self._look()

    def action_answer(self, answer: bool) -> None:
        """Answer."""
        if not answer:
            self.dismiss(None)
        elif self._plan is not None and self.query_one(RecordTable).rows:
            self.dismiss(self._plan)
        else:
            self.notify("There is nothing to remove")


class PruneVolumes(Prune):
    """The same for volumes."""

    NOUN = "volume"
    KINDS = ("anonymous volumes that no container uses", "all volumes that no container uses, those with a name too")
    SWITCH = "anonymous, or all unused"
    COLUMNS = (Column("name", "VOLUME", None), Column("size", "SIZE", 8, "right"), Column("kind", "KIND", 10))

    def rows(self, plan: Any) -> Sequence[Row]:  # noqa: ANN401 - see there
        """Return a row for each volume of a plan."""
        kinds = {True: "anonymous", False: "named"}
        return [
            Row(volume.name, (Cell(shown_name(volume)), Cell(units.short_size(volume.size or 0)), Cell(kinds[volume.anonymous], "muted")))
            for volume in plan.volumes
        ]  # fmt: skip
