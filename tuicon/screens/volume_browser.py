"""Looks into a volume: one directory at a time, with views and copies of its files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer, Input

from engine.errors import EngineError
from engine.model.contents import FileEntry
from tuicon.backend import Backend
from tuicon.commands.volumes import FILES, files_help
from tuicon.dialogs.ask import Help, Prompt
from tuicon.dialogs.document import Document
from tuicon.model import filetree, rows, units, volumes
from tuicon.model.text import printable
from tuicon.widgets.table import RecordTable

_ORDERS = ("name", "size", "time")
_MOST_VIEWED = 1 << 20


class VolumeBrowser(Screen[None]):
    """Owns the directory, the order and the filter; reads in threads, for a directory may have a million files."""

    DEFAULT_CSS = """
    VolumeBrowser RecordTable { height: 1fr; border: round $primary; border-title-color: $text;
        border-subtitle-color: $text-warning; }
    VolumeBrowser #filter { border: none; height: 1; background: $panel; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                command.keys, f"command('{command.id}')", command.title, show=command.in_footer, id=command.id,
                priority=command.id == "filter",
            )
            for command in FILES
        ),
        Binding("escape", "back", "back", show=False),
    ]  # fmt: skip
    path: reactive[str] = reactive("/", init=False)
    order: reactive[str] = reactive("name", init=False)
    pattern: reactive[str] = reactive("", init=False)

    def __init__(self, backend: Backend, volume: str, name: str, keys: dict[str, str]) -> None:
        super().__init__()
        self._backend = backend
        self._volume = volume
        self._called = name
        self._keys = keys
        self._entries: tuple[FileEntry, ...] = ()
        self._sizes: dict[str, int | None] = {}
        self._stop = threading.Event()
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield RecordTable(id="volume-files", empty="reading the volume")
        yield Input(id="filter", placeholder="filter: words, !not; enter keeps it, esc drops it")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin at the top."""
        self.query_one("#filter", Input).display = False
        self.table.focus()
        self.watch_path("/")

    def on_unmount(self) -> None:
        """Let a measurement end."""
        self._stop.set()

    @property
    def table(self) -> RecordTable:
        """The files."""
        return self.query_one("#volume-files", RecordTable)

    @property
    def entry(self) -> FileEntry | None:
        """The file under the cursor."""
        key = self.table.cursor_key
        return next((entry for entry in self._entries if entry.path == key), None)

    # -- reading, in threads -----------------------------------------------------------------------

    def _ask(self, question: Callable[[], object], answer: Callable[..., object]) -> None:
        """Ask the engine and have the answer shown; called in a thread."""
        try:
            found = question()
        except (EngineError, OSError) as error:
            self.app.call_from_thread(self._tell, str(error), is_error=True)
            return
        if self.is_attached:
            self.app.call_from_thread(answer, found)

    def _tell(self, text: str, *, is_error: bool = False) -> None:
        self.notify(printable(text), severity="error" if is_error else "information", timeout=8)

    @work(thread=True, exclusive=True, group="directory", exit_on_error=False)
    def _read(self, path: str) -> None:
        self._ask(lambda: (path, self._backend.volumes.files(self._volume, path)), self._take)

    def _take(self, found: tuple[str, tuple[FileEntry, ...]]) -> None:
        if found[0] == self.path:
            self._entries = found[1]
            self.table.empty = "the directory is empty"
            self._show()
            self.table.cursor_key = (
                self._wanted if self._wanted in {row.key for row in self.table.rows} else self.table.cursor_key
            )
            self._wanted = ""

    @work(thread=True, exclusive=True, group="sizes", exit_on_error=False)
    def _measure(self, paths: list[str]) -> None:
        for path in paths:
            if self._stop.is_set():
                return
            self._ask(
                lambda path=path: (path, self._backend.volumes.measure(self._volume, path, stop=self._stop).size),  # type: ignore[misc]
                self._take_size,
            )

    def _take_size(self, found: tuple[str, int]) -> None:
        self._sizes[found[0]] = found[1]
        self._show()

    @work(thread=True, exit_on_error=False)
    def _view(self, entry: FileEntry) -> None:
        def read() -> str:
            with self._backend.volumes.open(self._volume, entry.path) as file:
                data = file.read(_MOST_VIEWED + 1)
            more = f"\n\n… the first {units.size(_MOST_VIEWED)} of it" if len(data) > _MOST_VIEWED else ""
            return filetree.content_text(data[:_MOST_VIEWED]) + more

        self._ask(read, lambda text: self.app.push_screen(Document(printable(entry.path), text)))

    # -- what is seen ------------------------------------------------------------------------------

    def watch_path(self, path: str) -> None:
        """Show another directory."""
        self.table.border_title = Content(printable(f"volume {self._called}: {path}"))
        self.pattern = ""
        self._read(path)

    def watch_order(self) -> None:
        """Sort anew."""
        self._show()

    def watch_pattern(self) -> None:
        """Filter anew."""
        self._show()

    def on_resize(self) -> None:
        """Choose the columns anew."""
        self._show()

    def _show(self) -> None:
        columns = volumes.file_columns(self.table.size.width)
        found = volumes.file_rows(volumes.sorted_files(self._entries, self._sizes, self.order), self._sizes, columns)
        shown = [row for row in found if rows.matches(row, self.pattern)] if self.pattern else found
        self.table.show(columns, shown)
        words = [f"{len(shown)} of {len(found)}" if self.pattern else f"{len(found)} here"]
        words += [f"by {self.order}"] if self.order != "name" else []
        words += [f"/{self.pattern}"] if self.pattern else []
        self.table.border_subtitle = Content(printable(", ".join(words)))

    # -- commands ----------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the keys to the filter while one is typed."""
        return not (action == "command" and parameters == ("filter",) and isinstance(self.focused, Input))

    def action_command(self, command_id: str) -> None:
        """Do a command, from a key."""
        getattr(self, f"do_{command_id}")()

    def on_record_table_chosen(self) -> None:
        """Go into the directory, or view the file."""
        entry = self.entry
        if entry is not None and entry.kind == "d":
            self.path = entry.path
        else:
            self.do_files_view()

    def action_back(self) -> None:
        """Go back a level: filter, directory above, volumes."""
        if self.query_one("#filter", Input).display:
            self.pattern = ""
            self._close_filter()
        elif self.pattern:
            self.pattern = ""
        else:
            self.do_files_up()

    def do_files_up(self) -> None:
        """Go to the directory above, at the top back to the volumes."""
        if self.path == "/":
            self.dismiss()
            return
        self._wanted = self.path
        self.path = self.path.rpartition("/")[0] or "/"

    def do_files_leave(self) -> None:
        """Go back to the volumes."""
        self.dismiss()

    def do_files_view(self) -> None:
        """View the file under the cursor."""
        entry = self.entry
        if entry is not None and entry.kind in "-l":
            self._view(entry)
        else:
            self.notify("There is nothing to view here", severity="warning", timeout=3)

    def do_files_measure(self) -> None:
        """Measure the directories that are seen."""
        self._measure([entry.path for entry in self._entries if entry.kind == "d"])

    def do_files_extract(self) -> None:
        """Ask where to, and copy the file or directory to the host."""
        entry = self.entry
        if entry is None:
            return

        def extract(target: str | None) -> None:
            if target:
                self._extract(entry.path, target)

        place = Path.cwd() / printable(entry.path.rpartition("/")[2])
        self.app.push_screen(Prompt(f"Extract {printable(entry.path)} to", str(place)), extract)

    @work(thread=True, exit_on_error=False)
    def _extract(self, path: str, target: str) -> None:
        def extract() -> str:
            copied = self._backend.volumes.copy_out(self._volume, path, target)
            left = f"; {'; '.join(copied.warnings[:2])}" if copied.warnings else ""
            return f"Extracted {filetree.summary(copied.size, copied.entries)} to {target}{left}"

        self._ask(extract, self._tell)

    def do_sort(self) -> None:
        """Sort by name, size or time."""
        self.order = _ORDERS[(_ORDERS.index(self.order) + 1) % len(_ORDERS)]

    def do_help(self) -> None:
        """Show all keys."""
        self.app.push_screen(Help(files_help(self._keys)))

    def do_filter(self) -> None:
        """Ask for a filter."""
        box = self.query_one("#filter", Input)
        box.value, box.display = self.pattern, True
        self.set_focus(box)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.display:
            self.pattern = event.value

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.set_focus(self.table)
