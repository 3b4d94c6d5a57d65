"""What is in an image: its known vulnerabilities, and its packages."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from engine.errors import EngineError
from engine.model.packages import Inventory, Package, ScanResult, Vulnerability
from tuicon.backend import Backend
from tuicon.model import rows, vulnerabilities
from tuicon.model.rows import Column, Row
from tuicon.widgets.table import RecordTable

_MOST_WARNINGS = 3


class ScanScreen(Screen[None]):
    """Shows the result of a scan; without databases of advisories, the packages and how to get some."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "back"),
        Binding("tab,p", "switch", "vulnerabilities/packages", priority=True),
        Binding("f", "only_fixed", "only fixable"),
        Binding("slash", "filter", "find"),
        Binding("y", "copy", "copy name"),
    ]
    DEFAULT_CSS = """
    ScanScreen #scan-title { height: auto; max-height: 6; padding: 0 1; background: $panel; }
    ScanScreen RecordTable { height: 1fr; border: round $primary; border-subtitle-color: $text-warning; }
    ScanScreen #scan-facts { height: auto; max-height: 10; padding: 0 1; border: round $foreground 25%; }
    ScanScreen #scan-filter { border: none; height: 1; background: $panel; padding: 0 1; display: none; }
    """
    shows_packages: reactive[bool] = reactive(default=False, init=False)
    only_fixed: reactive[bool] = reactive(default=False, init=False)
    pattern: reactive[str] = reactive("", init=False)

    def __init__(self, backend: Backend, image_id: str, name: str) -> None:
        super().__init__()
        self._backend = backend
        self._image_id = image_id
        self._image_name = name
        self._inventory: Inventory | None = None
        self._found: tuple[Vulnerability, ...] = ()
        self._note = "reading its files…"
        self._warnings: tuple[str, ...] = ()
        self._by_key: dict[str, Vulnerability | Package] = {}

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield Static(id="scan-title")
        yield RecordTable(id="scan-rows", empty="nothing to show")
        yield Static(id="scan-facts")
        yield Input(id="scan-filter", placeholder="filter: words, !not; enter keeps it, esc drops it")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to scan."""
        self.query_one(RecordTable).focus()
        self._show()
        self._scan()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _scan(self) -> None:
        """Scan; an image that cannot be judged still has packages."""
        images = self._backend.images
        try:
            result = images.scan(self._image_id)
        except (EngineError, OSError) as error:
            note = f"{error}; {error.hint}" if isinstance(error, EngineError) and error.hint else str(error)
            try:
                inventory = images.packages(self._image_id)
            except (EngineError, OSError) as second:
                self.app.call_from_thread(self._take_failure, str(second))
            else:
                self.app.call_from_thread(self._take_packages, inventory, note)
        else:
            self.app.call_from_thread(self._take, result)

    def _take(self, result: ScanResult) -> None:
        self._inventory, self._found = result.inventory, result.vulnerabilities
        self._warnings = result.warnings
        names = ", ".join(database.name for database in result.databases)
        self._note = f"{len(result.inventory.packages)} packages, {vulnerabilities.counted(self._found)} (by {names})"
        self._show()

    def _take_packages(self, inventory: Inventory, note: str) -> None:
        self._inventory, self._warnings = inventory, inventory.warnings
        self._note = f"{len(inventory.packages)} packages; {note}"
        self.shows_packages = True
        self._show()

    def _take_failure(self, note: str) -> None:
        self._note = note
        self._show()

    # -- what is seen ------------------------------------------------------------------------------

    def _rows(self) -> tuple[tuple[Column, ...], tuple[Row, ...]]:
        width = self.size.width
        packages = self._inventory.packages if self._inventory else ()
        if self.shows_packages:
            columns = vulnerabilities.package_columns(width)
            self._by_key = {vulnerabilities.key_of(item): item for item in packages}
            return columns, vulnerabilities.package_rows(packages, columns)
        columns = vulnerabilities.vulnerability_columns(width)
        shown = [item for item in self._found if item.fixed_in or not self.only_fixed]
        self._by_key = {vulnerabilities.key_of(item): item for item in shown}
        return columns, vulnerabilities.vulnerability_rows(shown, columns)

    def _show(self) -> None:
        if not self.is_mounted:
            return
        title = Text(f"{self._image_name}\n", style="bold", overflow="fold")
        title.append(self._note, "not bold")
        for warning in self._warnings[:_MOST_WARNINGS]:
            title.append(f"\n! {warning}", f"not bold {self.app.theme_variables['warning']}")
        if len(self._warnings) > _MOST_WARNINGS:
            title.append(f"\n! and {len(self._warnings) - _MOST_WARNINGS} more", "not bold")
        self.query_one("#scan-title", Static).update(title)
        table = self.query_one(RecordTable)
        columns, found = self._rows()
        shown = tuple(row for row in found if not self.pattern or rows.matches(row, self.pattern))
        table.show(columns, shown)
        count = f"{len(shown)}/{len(found)}" if len(shown) != len(found) else str(len(found))
        table.border_title = f"{'packages' if self.shows_packages else 'vulnerabilities'} {count}"
        marks = [
            *(["fixable"] if self.only_fixed and not self.shows_packages else []),
            *([f"/{self.pattern}"] if self.pattern else []),
        ]
        table.border_subtitle = " ".join(marks)
        self._show_facts()

    def _selected(self) -> Vulnerability | Package | None:
        return self._by_key.get(self.query_one(RecordTable).cursor_key)

    def _show_facts(self) -> None:
        item = self._selected()
        box = self.query_one("#scan-facts", Static)
        box.display = item is not None
        if item is None:
            return
        package_facts, facts_of = vulnerabilities.package_facts, vulnerabilities.vulnerability_facts
        facts = package_facts(item) if isinstance(item, Package) else facts_of(item)
        text = Text(overflow="ellipsis", no_wrap=True)
        for number, (word, fact) in enumerate(facts):
            text.append(f"{word:<11}" if number else f"{word}  ", f"bold {self.app.theme_variables['primary']}")
            text.append(f"{fact}\n" if number < len(facts) - 1 else fact)
        box.update(text)

    def on_resize(self) -> None:
        """Take the columns that fit."""
        self._show()

    def on_record_table_highlighted(self) -> None:
        """Show what the cursor is on."""
        self._show_facts()

    def watch_shows_packages(self) -> None:
        """Show the other list, from its top."""
        self._show()
        self.query_one(RecordTable).action_first()

    def watch_only_fixed(self) -> None:
        """Show what can be mended, or all."""
        self._show()

    def watch_pattern(self) -> None:
        """Filter anew."""
        self._show()

    # -- keys --------------------------------------------------------------------------------------

    def action_switch(self) -> None:
        """Go from the vulnerabilities to the packages, or back."""
        self.shows_packages = not self.shows_packages

    def action_only_fixed(self) -> None:
        """Show only what a newer version fixes, or all."""
        self.only_fixed = not self.only_fixed

    def action_filter(self) -> None:
        """Ask for a filter."""
        box = self.query_one("#scan-filter", Input)
        box.value = self.pattern
        box.display = True
        self.set_focus(box)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.display:
            self.pattern = event.value

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#scan-filter", Input).display = False
        self.query_one(RecordTable).focus()

    def action_copy(self) -> None:
        """Copy the name, through the terminal (OSC 52)."""
        item = self._selected()
        if item:
            name = item.purl if isinstance(item, Package) else vulnerabilities.main_name(item)
            self.app.copy_to_clipboard(name)
            self.notify(f"Copied {name}", timeout=2)

    def action_back(self) -> None:
        """Go back a level: the filter, then the screen."""
        if self.query_one("#scan-filter", Input).display or self.pattern:
            self.pattern = ""
            self._close_filter()
        else:
            self.dismiss(None)
