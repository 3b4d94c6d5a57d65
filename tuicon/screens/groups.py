"""The control groups of the whole host as a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from engine.errors import EngineError
from engine.model.groups import ROOT
from tuicon.backend import Backend
from tuicon.dialogs.document import Document
from tuicon.model import groups
from tuicon.model.snapshot import Snapshot
from tuicon.screens.group_watching import GroupWatching
from tuicon.widgets.table import RecordTable

_SORTS = ("name", "cpu", "memory", "io", "pressure", "share")
_SORT_COLUMNS = {"share": "cpu_share"}


class GroupsScreen(GroupWatching):
    """Shows all groups with use, limits and shares; ours can be retuned, all can be looked into."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "back"),
        Binding("space,h,l,left,right", "fold", "fold", priority=True, key_display="space"),
        Binding("f", "fold_all", "fold all"),
        Binding("i", "inspect", "look into"),
        Binding("t", "retune", "retune"),
        Binding("o", "sort", "sort"),
        Binding("A", "idle", "idle ones"),
        Binding("slash", "filter", "find"),
    ]

    def __init__(
        self, backend: Backend, snapshot: Callable[[], Snapshot], retune: Callable[[str], None], path: str = ""
    ) -> None:
        super().__init__(backend, snapshot)
        self._retune = retune
        self._wanted = path
        self._folded: set[str] = set()
        self._sort_by = "name"
        self._hides_idle = True

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield Static(classes="top", id="groups-host")
        yield RecordTable(id="groups-rows", empty="looking…")
        yield Static(classes="facts", id="groups-facts")
        yield Input(placeholder="filter: words, !not; enter keeps it, esc drops it")
        yield Footer(show_command_palette=False, compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave letters to the filter while it is typed."""
        del parameters
        return not (action == "fold" and isinstance(self.focused, Input))

    def show_rows(self) -> None:
        """Show the tree."""
        if not self.is_mounted or self.reading is None:
            return
        columns = groups.columns_for(self.size.width - 2)
        shown = groups.tree_rows(
            self.found, columns, folded=self._folded, pattern=self.pattern, sort_by=self._sort_by,
            hides_idle=self._hides_idle, cpus=self._snapshot().host.cpus,
        )  # fmt: skip
        table = self.query_one(RecordTable)
        table.empty = "no group fits"
        table.sorted_by = _SORT_COLUMNS.get(self._sort_by, self._sort_by)
        table.show(columns, shown)
        if self._wanted in self.found:
            table.cursor_key, self._wanted = self._wanted, ""
        table.border_title = f"control groups {len(shown)}/{len(self.found)}"
        marks = (*(["running only"] if self._hides_idle else []), *([f"/{self.pattern}"] if self.pattern else []))
        table.border_subtitle = " ".join(marks)
        self._show_host()
        self.show_facts()

    def _show_host(self) -> None:
        reading, use = self.reading, self.found.get(ROOT)
        if reading is None or use is None:
            return
        owners = [one.group.owner for one in self.found.values() if one.group.kind == "container"]
        counts = ", ".join(f"{owners.count(name)} of {name or 'others'}" for name in sorted(set(owners)))
        text = Text()
        text.append(f"cgroup v{reading.version}, {len(self.found)} groups", "bold")
        text.append(f"; containers: {counts or 'none'}")
        reason = self.error or reading.pressure.reason
        if reason:
            text.append(f"\n{reason}", self.app.theme_variables["warning"])
        self.query_one("#groups-host", Static).update(text)

    def facts_of(self, path: str) -> tuple[tuple[str, str], ...]:
        """Return who the group is, what holds it, and what it waits for."""
        use = self.found.get(path)
        return groups.facts(use, {name: one.group for name, one in self.found.items()}) if use else ()

    @property
    def _selected(self) -> str:
        return self.query_one(RecordTable).cursor_key

    def action_fold(self) -> None:
        """Fold what is below the group, or unfold it."""
        if self._selected:
            self._folded ^= {self._selected}
            self.show_rows()

    def action_fold_all(self) -> None:
        """Fold all below the first level, or unfold everything."""
        parents = {use.group.parent for use in self.found.values()} - {"", ROOT}
        self._folded = set() if self._folded >= parents else parents
        self.show_rows()

    def action_sort(self) -> None:
        """Order groups beside each other by the next measure."""
        self._sort_by = _SORTS[(_SORTS.index(self._sort_by) + 1) % len(_SORTS)]
        self.show_rows()

    def action_idle(self) -> None:
        """Show groups without tasks too, or not."""
        self._hides_idle = not self._hides_idle
        self.show_rows()

    def action_retune(self) -> None:
        """Go to the container's limits."""
        use = self.found.get(self._selected)
        if use and use.group.is_ours:
            self._retune(use.group.container_id)
        elif use:
            self.notify(f"{use.group.name} is not a container of this engine: it can only be looked at", timeout=4)

    def on_record_table_chosen(self) -> None:
        """Look into the group."""
        self.action_inspect()

    def action_inspect(self) -> None:
        """Show all files and processes of the group."""
        if self._selected:
            self._load(self._selected)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _load(self, path: str) -> None:
        try:
            text = groups.detail_text(self._backend.groups.inspect(path))
        except (EngineError, OSError) as error:
            text = str(error)
        self.app.call_from_thread(self._show, path, text)

    def _show(self, path: str, text: str) -> None:
        if self.is_current:
            self.app.push_screen(Document(path, text))
