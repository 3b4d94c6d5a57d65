"""The main screen: lists at the left, detail at the right, the host on top."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Footer, Input

from engine.model.change import Copied
from engine.model.container import Container
from engine.model.image import Image
from engine.model.limits import LimitsChanged
from tuicon.backend import Backend
from tuicon.commands.registry import BY_ID, COMMANDS, Command, help_groups
from tuicon.dialogs.ask import Confirm, Help
from tuicon.messages import OperationFailed, OperationFinished, SnapshotTaken
from tuicon.model import images, rows, units, volumes
from tuicon.model.history import History
from tuicon.model.rows import Column, Row
from tuicon.model.snapshot import Snapshot
from tuicon.model.transfers import ending
from tuicon.screens import profiles
from tuicon.screens.cause_actions import CauseActions
from tuicon.screens.detail import Detail
from tuicon.screens.network_actions import NetworkActions
from tuicon.screens.tuning import TuningScreen
from tuicon.screens.volume_actions import VolumeActions
from tuicon.widgets.host_bar import HostBar
from tuicon.widgets.log_view import LogView
from tuicon.widgets.table import RecordTable
from tuicon.widgets.transfer_strip import TransferStrip

PANES = ("containers", "images", "networks", "volumes")


class MainScreen(CauseActions, NetworkActions, VolumeActions):
    """Owns the snapshot, the filter and the selection; binds them down, turns commands into operations."""

    CSS_PATH = "main.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                command.keys,
                f"command('{command.id}')",
                command.title,
                show=command.in_footer,
                id=command.id,
                priority=command.id == "filter",  # done before the next key is looked at, so a paste goes into the box
            )
            for command in COMMANDS
            if command.keys
        ),
        *(Binding(str(number), f"pane('{name}')", name, show=False) for number, name in enumerate(PANES, 1)),
        Binding("left_square_bracket", "tab(-1)", "previous tab", show=False),
        Binding("right_square_bracket", "tab(1)", "next tab", show=False),
        Binding("escape", "back", "back", show=False),
        Binding("tab", "next_pane(1)", "next pane", show=False, priority=True),
        Binding("shift+tab", "next_pane(-1)", "previous pane", show=False, priority=True),
    ]
    pane: reactive[str] = reactive("containers")
    snapshot: reactive[Snapshot] = reactive(Snapshot(), init=False)
    pattern: reactive[str] = reactive("", init=False)
    shows_all: reactive[bool] = reactive(default=True, init=False)
    sort_by: reactive[str] = reactive("", init=False)
    zoomed: reactive[bool] = reactive(default=False, init=False)

    def __init__(self, backend: Backend, keys: dict[str, str] | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.keys = keys or {}
        self._history = History()
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield HostBar(id="host")
        with Horizontal(id="body"):
            with Vertical(id="lists"):
                for number, name in enumerate(PANES, 1):
                    table = RecordTable(id=name, empty=f"no {name}")
                    table.border_title = f"{number} {name}"
                    yield table
            yield Detail(self.backend, self._history)
        yield Input(id="filter", placeholder="filter: words, !not; enter keeps it, esc drops it")
        yield TransferStrip(id="transfers")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin with the containers."""
        self.query_one("#filter", Input).display = False
        self.query_one("#containers", RecordTable).focus()
        self._mark_pane()

    # -- what is seen ------------------------------------------------------------------------------

    @property
    def table(self) -> RecordTable:
        """The list that is in use."""
        return self.query_one(f"#{self.pane}", RecordTable)

    @property
    def selected(self) -> str:  # type: ignore[override]
        """The key of the row under the cursor."""
        return self.table.cursor_key if self.is_mounted else ""

    @property
    def targets(self) -> tuple[Container, ...]:  # type: ignore[override]
        """The marked containers, else the one under the cursor."""
        if self.pane != "containers" or not self.is_mounted:
            return ()
        table = self.table
        wanted = table.marked or {table.cursor_key}
        return tuple(container for container in self.snapshot.containers if container.id in wanted)

    @property
    def chosen_images(self) -> tuple[Image, ...]:  # type: ignore[override]
        """The marked images, else the one under the cursor."""
        if self.pane != "images" or not self.is_mounted:
            return ()
        table = self.table
        wanted = table.marked or {table.cursor_key}
        return tuple(image for image in self.snapshot.images if image.id in wanted)

    def on_snapshot_taken(self, message: SnapshotTaken) -> None:
        """Take a new snapshot."""
        self._history.add(message.snapshot.usages)
        self._history.forget({container.id for container in message.snapshot.containers})
        self.snapshot = message.snapshot

    def watch_snapshot(self, snapshot: Snapshot) -> None:
        """Bind the snapshot down."""
        self.query_one(HostBar).snapshot = snapshot
        self._show_lists()
        self._jump()
        self._show_detail()
        for screen in self.app.screen_stack:
            if isinstance(screen, TuningScreen):
                screen.show_snapshot(snapshot)

    def watch_pattern(self) -> None:
        """Filter anew."""
        self._show_lists()

    def watch_shows_all(self) -> None:
        """Filter anew."""
        self._show_lists()

    def watch_sort_by(self) -> None:
        """Sort anew."""
        self._show_lists()

    def watch_zoomed(self, zoomed: bool) -> None:
        """Give the detail the whole screen."""
        self.set_class(zoomed, "-zoomed")

    def _show_lists(self) -> None:
        snapshot = self.snapshot
        table = self.query_one("#containers", RecordTable)
        columns = rows.container_columns(table.size.width or 60)
        self._fill("containers", columns, rows.container_rows(snapshot, self._history, columns))
        self._fill_images()
        self._fill("networks", rows.NETWORK_COLUMNS, rows.network_rows(snapshot))
        self.show_volumes()

    def _fill_images(self) -> None:
        columns = images.image_columns(self.query_one("#images", RecordTable).size.width or 60)
        self._fill("images", columns, images.image_rows(self.snapshot, columns, self.newer))

    def show_volumes(self) -> None:
        """Show the list of volumes anew; their sizes too while it is in use."""
        is_current = self.pane == "volumes"
        columns = volumes.volume_columns(is_current=is_current)
        self._fill("volumes", columns, volumes.volume_rows(self.snapshot, self.volume_sizes, is_current=is_current))
        self.query_one(Detail).volume_sizes = self.volume_sizes
        self.measure_volumes()

    def show_marks(self) -> None:
        """Show anew which images have newer ones."""
        self._fill_images()

    def go_to_container(self, container_id: str) -> None:
        """Put the cursor on a container, in its list."""
        self._wanted = container_id
        self._jump()

    def _jump(self) -> None:
        """Put the cursor on a container that was asked for, once it is there."""
        if self._wanted and self.snapshot.container(self._wanted):
            table = self.query_one("#containers", RecordTable)
            table.focus()
            table.cursor_key, self._wanted = self._wanted, ""

    def _fill(self, name: str, columns: tuple[Column, ...], found: tuple[Row, ...]) -> None:
        table = self.query_one(f"#{name}", RecordTable)
        shown = found
        if name == "containers" and not self.shows_all:
            alive = {container.id for container in self.snapshot.containers if container.status.is_alive}
            shown = tuple(row for row in shown if row.key in alive)
        if name == self.pane and self.pattern:
            shown = tuple(row for row in shown if rows.matches(row, self.pattern))
        if name == self.pane and self.sort_by:
            by_number = self.sort_by in ("cpu", "memory", "io", "net", "pids", "size", "members", "used")
            shown = rows.ordered(shown, columns, self.sort_by, is_reversed=by_number)
        table.sorted_by = self.sort_by if name == self.pane else ""
        table.show(columns, shown)
        count = f"{len(shown)}/{len(found)}" if len(shown) != len(found) else str(len(found))
        title = f"{PANES.index(name) + 1} {name} {count}"
        subtitle = f"/{self.pattern}" if name == self.pane and self.pattern else ""
        if (title, subtitle) != (table.border_title, table.border_subtitle):  # setting them draws the border again
            table.border_title, table.border_subtitle = title, Content(subtitle)

    def _show_detail(self) -> None:
        self.query_one(Detail).show(self.pane, self.selected, self.snapshot)

    def on_record_table_highlighted(self, event: RecordTable.Highlighted) -> None:
        """Show what the cursor is on."""
        if event.table.id == self.pane:
            self._show_detail()

    def on_record_table_chosen(self, event: RecordTable.Chosen) -> None:
        """Go into the detail, or into the image."""
        if event.table.id in ("images", "volumes"):
            self.run_command("layers" if event.table.id == "images" else "volume_files")
        elif event.table.id in PANES:
            self.query_one(Detail).focus_content()

    def on_record_table_header_clicked(self, event: RecordTable.HeaderClicked) -> None:
        """Sort by the column."""
        self.sort_by = "" if self.sort_by == event.column else event.column

    def on_descendant_focus(self) -> None:
        """A list that gets the focus is the one in use."""
        focused = self.focused
        if isinstance(focused, RecordTable) and focused.id in PANES and focused.id != self.pane:
            self.pane = focused.id
        self._mark_pane()

    def watch_pane(self) -> None:
        """Show what the list has."""
        if self.is_mounted:
            self.sort_by = ""
            self.pattern = ""
            self._mark_pane()
            self._show_lists()
            self._show_detail()
            self.refresh_bindings()

    def _mark_pane(self) -> None:
        for name in PANES:
            self.query_one(f"#{name}", RecordTable).set_class(name == self.pane, "-current")

    # -- commands ----------------------------------------------------------------------------------

    def reason(self, command: Command) -> str:
        """Return why a command cannot be done now; empty when it can."""
        if command.pane and command.pane != self.pane and not command.anywhere:
            return f"this is for {command.pane}"
        return command.available(self)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Dim in the footer what cannot be done now, and hide what belongs to another list."""
        if action != "command" or not parameters:
            return True
        command = BY_ID[str(parameters[0])]
        if command.id == "filter" and isinstance(self.focused, Input):
            return False
        return not command.pane or command.pane == self.pane

    def action_command(self, command_id: str) -> None:
        """Do a command, from a key."""
        self.run_command(command_id)

    def run_command(self, command_id: str) -> None:
        """Do a command, or say why it cannot be done."""
        command = BY_ID[command_id]
        why = self.reason(command)
        if why:
            self.notify(f"Cannot {command.title}: {why}", severity="warning", timeout=4)
            return
        getattr(self, f"do_{command_id}")()

    def action_pane(self, name: str) -> None:
        """Go to a list."""
        self.query_one(f"#{name}", RecordTable).focus()

    def action_next_pane(self, by: int) -> None:
        """Go to the next list, the detail after the last."""
        places = [*PANES, "detail"]
        focused = self.focused
        now = places.index(focused.id) if isinstance(focused, RecordTable) and focused.id in PANES else len(PANES)
        name = places[(now + by) % len(places)]
        if name == "detail":
            self.query_one(Detail).focus_content()
        else:
            self.action_pane(name)

    def action_tab(self, by: int) -> None:
        """Go to another tab of the detail."""
        self.query_one(Detail).step_tab(by)

    def action_back(self) -> None:
        """Go back a level: filter, search, marks, zoom, detail."""
        log = self.query_one("#logs", LogView)
        if self.query_one("#filter", Input).display:
            self._close_filter()
        elif log.search_summary and self.focused is log:
            log.search("")
        elif not isinstance(self.focused, RecordTable) or self.focused.id not in PANES:
            self.zoomed = False
            self.table.focus()
        elif self.pattern:
            self.pattern = ""
        elif self.table.marked:
            self.table.clear_marks()
        else:
            self.zoomed = False

    def do_filter(self) -> None:
        """Ask for a filter, or in a log for what to search."""
        box = self.query_one("#filter", Input)
        self._searches = self.focused if isinstance(self.focused, LogView) else None
        box.placeholder = "search: a regular expression" if self._searches else "filter: words, !not"
        box.value = "" if self._searches else self.pattern
        box.display = True
        self.set_focus(box)  # at once: what is typed next is for it

    _searches: LogView | None = None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.id == "filter" and event.input.display and self._searches is None:
            self.pattern = event.value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter, or search."""
        if event.input.id == "filter":
            if self._searches is None:
                self.pattern = event.value
            elif not self._searches.search(event.value) and event.value:
                self.notify(f"{event.value} is not in the log", severity="warning", timeout=3)
            self._close_filter()

    def _close_filter(self) -> None:
        target = self._searches or self.table
        self.query_one("#filter", Input).display = False
        self._searches = None
        self.set_focus(target)

    def do_logs(self) -> None:
        """Go to the log."""
        self._go_to("logs")

    def do_inspect(self) -> None:
        """Go to all that is known."""
        self._go_to("inspect")

    def _go_to(self, tab: str) -> None:
        detail = self.query_one(Detail)
        detail.tab = tab
        detail.focus_content()

    def do_sort(self) -> None:
        """Sort by the next column."""
        columns = {"containers": rows.container_columns(self.table.size.width), "images": images.image_columns(self.table.size.width),
            "networks": rows.NETWORK_COLUMNS, "volumes": volumes.volume_columns(is_current=True)}[self.pane]  # fmt: skip
        ids = ["", *(column.id for column in columns)]
        self.sort_by = ids[(ids.index(self.sort_by) + 1) % len(ids)] if self.sort_by in ids else ""

    def do_all(self) -> None:
        """Show running containers only, or all."""
        self.shows_all = not self.shows_all

    def do_zoom(self) -> None:
        """Give the detail the whole screen, or not."""
        self.zoomed = not self.zoomed
        if self.zoomed:
            self.query_one(Detail).focus_content()

    def do_help(self) -> None:
        """Show all keys."""
        self.app.push_screen(Help(help_groups(self.keys)))

    def do_palette(self) -> None:
        """Find a command."""
        self.app.action_command_palette()

    def do_quit(self) -> None:
        """Leave, after a question when something is being transferred."""
        lines = [ending(item) for item in self.transfers.list() if item.is_active]
        if not lines:
            self.app.exit(0)
            return
        self.app.push_screen(Confirm("Leave?", lines), lambda yes: self.app.exit(0) if yes else None)

    # -- retuning ----------------------------------------------------------------------------------

    def do_retune(self) -> None:
        """Open the tuning pane of the container; of several, ask by how much to change their limits."""
        alive = tuple(container for container in self.targets if container.status.is_alive)
        if len(alive) > 1:
            profiles.ask_relative(self, alive)
            return
        self.app.push_screen(TuningScreen(self.backend, alive[0], self.snapshot, self._history, self.retune, self.keys))

    def _tuning_of(self, container_id: str) -> TuningScreen | None:
        screens = (screen for screen in self.app.screen_stack if isinstance(screen, TuningScreen))
        return next((screen for screen in screens if screen.container_id == container_id), None)

    def on_operation_finished(self, message: OperationFinished) -> None:
        """Remember changes of limits, so that they can be taken back; drop the marks of what is done."""
        if isinstance(message.result, LimitsChanged):
            pane = self._tuning_of(message.key)
            if pane is not None:
                pane.took(message.title, message.result)
            elif message.title == "undo retune":
                self.notify("The limits are as they were", timeout=2)
        elif message.title.startswith("change the limits of ") and isinstance(message.result, tuple):
            self._retuned += [change.container_id for change in message.result]
            self.notify(f"{len(message.result)} containers have other limits, u takes back one after the other")
        elif message.title.startswith("run ") and isinstance(message.result, Container):
            self.go_to_container(message.result.id)
        elif isinstance(message.result, Copied):
            first, more = message.result.warnings[:1], len(message.result.warnings) - 1
            words = [f"Copied {units.size(message.result.size)}", *first, *([f"and {more} more"] if more > 0 else [])]
            self.notify("; ".join(words))
        else:
            self.took(message.result)

    def on_operation_failed(self, message: OperationFailed) -> None:
        """Say what went wrong; in the tuning pane, beside the knob."""
        message.prevent_default()
        if message.title == "retune":
            self._forget_retuned(message.key)
        pane = self._tuning_of(message.key)
        if pane is not None:
            pane.refused(message.error)
        else:
            super().on_operation_failed(message)
