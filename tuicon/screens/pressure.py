"""Who waits for what on this host, and who is in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from tuicon.backend import Backend
from tuicon.model import pressure, rows
from tuicon.model.pressure import Host, Sufferer
from tuicon.model.snapshot import Snapshot
from tuicon.screens.group_watching import GroupWatching
from tuicon.widgets.table import RecordTable


class PressureScreen(GroupWatching):
    """Lists the containers that wait most, with what is in their way."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "back"),
        Binding("t", "retune", "retune"),
        Binding("c", "group", "its group"),
        Binding("w", "culprit", "who is in the way"),
        Binding("slash", "filter", "find"),
    ]

    def __init__(
        self, backend: Backend, snapshot: Callable[[], Snapshot], retune: Callable[[str], None],
        show_group: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(backend, snapshot)
        self._retune = retune
        self._show_group = show_group
        self._listed: tuple[Sufferer, ...] = ()

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield Static(classes="top", id="pressure-host")
        yield RecordTable(id="pressure-rows", empty="looking…")
        yield Static(classes="facts", id="pressure-facts")
        yield Input(placeholder="filter: words, !not; enter keeps it, esc drops it")
        yield Footer(show_command_palette=False, compact=True)

    def show_rows(self) -> None:
        """Show who waits most, first."""
        if not self.is_mounted or self.reading is None or not self.has_rates:
            return
        host = self._snapshot().host
        self._listed = pressure.sufferers(
            self.found, self.containers, Host(host.cpus, host.memory_total, self.reading.pressure)
        )
        columns = pressure.columns_for(self.size.width)
        shown = [
            row
            for row in pressure.pressure_rows(self._listed, columns)
            if not self.pattern or rows.matches(row, self.pattern)
        ]
        table = self.query_one(RecordTable)
        table.empty = "no container runs"
        table.show(columns, shown)
        table.border_title = f"pressure {len(shown)}/{len(self._listed)}" if self.pattern else f"pressure {len(shown)}"
        self._show_host()
        self.show_facts()

    def _show_host(self) -> None:
        variables = self.app.theme_variables
        text = Text("host, in % of the last 10 s, 60 s, 300 s", style="bold")
        found = self.reading.pressure if self.reading else None
        for name, numbers, style in pressure.host_lines(found) if found else ():
            colour = {"bad": variables["error"], "warn": variables["warning"]}.get(style, "")
            text.append(f"\n{name:<8}{numbers}", f"not bold {colour}")
        reason = self.error or (found.reason if found else "")
        if reason:
            text.append(f"\n{reason}", f"not bold {variables['warning']}")
        self.query_one("#pressure-host", Static).update(text)

    @property
    def _selected(self) -> Sufferer | None:
        key = self.query_one(RecordTable).cursor_key
        return next((one for one in self._listed if one.use.group.path == key), None)

    def facts_of(self, path: str) -> tuple[tuple[str, str], ...]:
        """Return all pressures of the container, and why."""
        one = self._selected
        return pressure.facts(one) if one and one.use.group.path == path else ()

    def on_record_table_chosen(self) -> None:
        """Go to the container's limits."""
        self.action_retune()

    def action_retune(self) -> None:
        """Go to the container's limits; another engine's is shown as a group."""
        one = self._selected
        if one is None:
            return
        if one.use.group.is_ours:
            self._retune(one.use.group.container_id)
        else:
            self.notify(f"{one.use.group.name} is not a container of this engine: it can only be looked at", timeout=4)
            self._show_group(one.use.group.path)

    def action_group(self) -> None:
        """Show the container in the tree of groups."""
        if self._selected:
            self._show_group(self._selected.use.group.path)

    def action_culprit(self) -> None:
        """Show in the tree what is in the way."""
        one = self._selected
        if one and one.causes:
            self._show_group(one.causes[0].path)
        else:
            self.notify("Nothing is known to be in its way", timeout=3)
