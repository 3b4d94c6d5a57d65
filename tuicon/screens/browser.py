"""Looks inside an image: its layers at the left, their files, waste and advice at the right."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Input, Static

from engine.errors import EngineError
from engine.model.contents import Advice, Change, FileEntry, LayerSummary, Waste
from tuicon.backend import Backend, Contents
from tuicon.commands.browsing import BROWSING, browsing_help
from tuicon.dialogs.ask import Help, Prompt
from tuicon.dialogs.document import Document
from tuicon.model import filetree, inside, units
from tuicon.model.filetree import FileTree
from tuicon.model.rows import Column, Row
from tuicon.model.text import printable
from tuicon.widgets.file_table import FileTable
from tuicon.widgets.table import RecordTable

TABS = ("files", "waste", "advice")
_MOST_VIEWED = 1 << 20


class LayerBrowser(Screen[None]):
    """Owns which layer, tab, filter and folding; reads in threads, for an image may have a million files."""

    CSS_PATH = "browser.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                command.keys, f"command('{command.id}')", command.title, show=command.in_footer, id=command.id,
                priority=command.id == "filter",
            )
            for command in BROWSING
        ),
        Binding("left_square_bracket", "tab(-1)", "previous tab", show=False),
        Binding("right_square_bracket", "tab(1)", "next tab", show=False),
        Binding("escape", "back", "back", show=False),
        Binding("tab,shift+tab", "other_side", "other side", show=False, priority=True),
    ]  # fmt: skip
    number: reactive[int] = reactive(-1, init=False)
    is_of_layer: reactive[bool] = reactive(default=True, init=False)
    changed_only: reactive[bool] = reactive(default=False, init=False)
    by_size: reactive[bool] = reactive(default=False, init=False)
    pattern: reactive[str] = reactive("", init=False)
    tab: reactive[str] = reactive("files", init=False)

    def __init__(self, backend: Backend, image: str, name: str, keys: dict[str, str]) -> None:
        super().__init__()
        self._backend = backend
        self._image = image
        self._called = name
        self._keys = keys
        self._reading = threading.Lock()
        self._contents: Contents | None = None
        self._summaries: tuple[LayerSummary, ...] = ()
        self._tree = FileTree(())
        self._opened: set[str] | None = set()
        self._advice: tuple[Advice, ...] = ()

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield RecordTable(id="layers", empty="reading the image")
                yield Static("", id="about", markup=False)
            with Vertical(id="right"):
                yield Static("", id="tabs")
                with ContentSwitcher(initial="files"):
                    yield FileTable(id="files", empty="reading the layer")
                    with Vertical(id="waste"):
                        yield Static("", id="score")
                        yield RecordTable(id="wasted", empty="adding up")
                    with Vertical(id="advice"):
                        yield RecordTable(id="advices", empty="comparing files")
                        yield Static("", id="remedy", markup=False)
        yield Input(id="filter", placeholder="filter: words of paths, !not; enter keeps it, esc drops it")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one("#filter", Input).display = False
        self.query_one("#left").border_title = Content(printable(self._called))
        self.query_one("#layers", RecordTable).focus()
        self._show_tabs()
        self._read_image()

    # -- reading, in threads -----------------------------------------------------------------------

    def _ask(
        self, question: Callable[[Contents], object], answer: Callable[..., object], *, key: object = None
    ) -> None:
        """Ask the engine, one question after another, and have the answer shown; called in a thread."""
        with self._reading:
            if not self.is_attached or (key is not None and key != (self.number, self.is_of_layer)):
                return  # nobody waits for it any more
            try:
                self._contents = self._contents or self._backend.images.contents(self._image)
                found = question(self._contents)
            except (EngineError, OSError) as error:
                self.app.call_from_thread(self._tell, str(error), severity="error")
                return
        self.app.call_from_thread(answer, found)

    def _tell(self, text: str, severity: Literal["information", "error"] = "information") -> None:
        """Say something that may have a name of the image in it."""
        self.notify(printable(text), severity=severity, timeout=8, markup=False)

    @work(thread=True, exit_on_error=False)
    def _read_image(self) -> None:
        self._ask(lambda contents: contents.layers, self._show_layers)

    @work(thread=True, exit_on_error=False)
    def _read_tree(self, layer: int, *, is_of_layer: bool) -> None:
        since = layer - 1 if is_of_layer else None
        self._ask(lambda contents: FileTree(contents.tree(layer, since)), self._take_tree, key=(layer, is_of_layer))

    @work(thread=True, exit_on_error=False)
    def _read_waste(self) -> None:
        self._ask(lambda contents: contents.waste(), self._show_waste)

    @work(thread=True, exit_on_error=False)
    def _read_advice(self) -> None:
        self._ask(lambda contents: contents.advice(), self._show_advice)

    @work(thread=True, exit_on_error=False)
    def _read_file(self, entry: FileEntry) -> None:
        layer = entry.layer - 1 if entry.change is Change.REMOVED else self.number

        def read(contents: Contents) -> str:
            with contents.open(entry.path, layer=layer) as file:
                data = file.read(_MOST_VIEWED + 1)
            more = f"\n\n… the first {units.size(_MOST_VIEWED)} of it" if len(data) > _MOST_VIEWED else ""
            return filetree.content_text(data[:_MOST_VIEWED]) + more

        self._ask(read, lambda text: self.app.push_screen(Document(printable(entry.path), text)))

    # -- what is seen ------------------------------------------------------------------------------

    def _show_layers(self, layers: tuple[LayerSummary, ...]) -> None:
        self._summaries = layers
        table = self.query_one("#layers", RecordTable)
        table.empty = self.query_one(FileTable).empty = "the image has no layers"
        table.show(inside.LAYER_COLUMNS, inside.layer_rows(layers))
        table.refresh()
        if layers:
            table.cursor_key = str(len(layers) - 1)
            self.number = len(layers) - 1

    def watch_number(self, layer: int) -> None:
        """Show another layer."""
        self.query_one("#about", Static).update(inside.about(self._summaries[layer]))
        self._read_tree(layer, is_of_layer=self.is_of_layer)

    def watch_is_of_layer(self, is_of_layer: bool) -> None:
        """Mark other changes."""
        self._read_tree(self.number, is_of_layer=is_of_layer)

    def _take_tree(self, tree: FileTree) -> None:
        self._tree = tree
        self.query_one(FileTable).empty = "no file fits"
        self._show_files()

    def watch_changed_only(self, changed_only: bool) -> None:
        """Show fewer files, or all."""
        self._opened = None if changed_only else set()
        self._show_files()

    def watch_by_size(self) -> None:
        """Sort anew."""
        self._show_files()

    def watch_pattern(self) -> None:
        """Filter anew."""
        self._show_files()

    def _show_files(self) -> None:
        opened = None if self.pattern else self._opened  # what fits a filter is seen
        lines = self._tree.lines(
            opened=opened, pattern=self.pattern, changed_only=self.changed_only, by_size=self.by_size
        )
        self.query_one(FileTable).show_files(self._tree, lines, opened)
        words = [f"layer {self.number}" if self.is_of_layer else f"layer {self.number} since the lowest"]
        words += ["changed only"] if self.changed_only else []
        words += ["by size"] if self.by_size else []
        words += [f"/{self.pattern}"] if self.pattern else []
        self.query_one("#right").border_subtitle = Content(printable(", ".join(words)))

    def _show_waste(self, waste: Waste) -> None:
        self.query_one("#score", Static).update(Text(inside.score(waste)))
        self._fill("#wasted", "nothing is wasted", inside.WASTE_COLUMNS, inside.waste_rows(waste))

    def _show_advice(self, advice: tuple[Advice, ...]) -> None:
        self._advice = advice
        self._fill("#advices", "nothing to save", inside.ADVICE_COLUMNS, inside.advice_rows(advice))

    def _fill(self, name: str, empty: str, columns: tuple[Column, ...], found: tuple[Row, ...]) -> None:
        table = self.query_one(name, RecordTable)
        table.empty = empty
        table.show(columns, found)
        table.refresh()

    def watch_tab(self, tab: str) -> None:
        """Show another tab; what it has is read when it is first asked for."""
        self.query_one(ContentSwitcher).current = tab
        self._show_tabs()
        if tab == "waste" and not self.query_one("#wasted", RecordTable).rows:
            self._read_waste()
        elif tab == "advice" and not self._advice:
            self._read_advice()
        if self.focused is None or self.focused.id != "layers":
            self.table.focus()

    def _show_tabs(self) -> None:
        primary = self.app.theme_variables["primary"]
        line = Text(" ", no_wrap=True, overflow="ellipsis")
        for name in TABS:
            line.append(name, f"bold {primary} underline" if name == self.tab else "")
            line.append("  ")
        self.query_one("#tabs", Static).update(line)

    @property
    def table(self) -> RecordTable:
        """The table of the tab."""
        return self.query_one({"files": "#files", "waste": "#wasted", "advice": "#advices"}[self.tab], RecordTable)

    # -- messages ----------------------------------------------------------------------------------

    def on_record_table_highlighted(self, event: RecordTable.Highlighted) -> None:
        """Show what the cursor is on."""
        event.stop()
        if event.key != event.table.cursor_key:
            return  # it has moved on
        if event.table.id == "layers" and event.key:
            self.number = int(event.key)
        elif event.table.id == "advices" and event.key:
            self.query_one("#remedy", Static).update(inside.remedy(self._advice[int(event.key)]))

    def on_record_table_chosen(self, event: RecordTable.Chosen) -> None:
        """Go to the files; there fold a directory, or view a file."""
        event.stop()
        if event.table.id == "layers":
            self.table.focus()
        elif event.table.id == "wasted":
            self.pattern = event.key.removeprefix("/")
            self.tab = "files"
        elif isinstance(event.table, FileTable) and event.table.entry is not None:
            if event.table.entry.kind == "d":
                self._fold(event.table.entry.path)
            else:
                self.do_view()

    def on_record_table_header_clicked(self, event: RecordTable.HeaderClicked) -> None:
        """Sort by name or size."""
        event.stop()
        if event.table.id == "files" and event.column in ("size", "name"):
            self.by_size = event.column == "size"

    def _fold(self, path: str) -> None:
        opened = set(self._tree.directories()) if self._opened is None else self._opened
        self._opened = opened ^ {path}
        self._show_files()

    # -- commands ----------------------------------------------------------------------------------

    def action_command(self, command_id: str) -> None:
        """Do a command."""
        getattr(self, f"do_{command_id}")()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave keys to the box of the filter while it has the focus."""
        return not (action == "command" and parameters == ("filter",) and isinstance(self.focused, Input))

    def action_tab(self, by: int) -> None:
        """Go to another tab."""
        self.tab = TABS[(TABS.index(self.tab) + by) % len(TABS)]

    def action_other_side(self) -> None:
        """Go to the layers, or to what the tab shows."""
        layers = self.query_one("#layers", RecordTable)
        (self.table if self.focused is layers else layers).focus()

    def action_back(self) -> None:
        """Go back a level: filter, then the images."""
        if self.query_one("#filter", Input).display:
            self._close_filter()
        elif self.pattern:
            self.pattern = ""
        else:
            self.do_leave()

    def do_leave(self) -> None:
        """Go back to the images."""
        self.dismiss()

    def do_since(self) -> None:
        """Mark what this layer changed, or all that changed since the lowest."""
        self.is_of_layer = not self.is_of_layer

    def do_changed(self) -> None:
        """Show only what changed, or all."""
        self.changed_only = not self.changed_only

    def do_fold(self) -> None:
        """Fold or unfold everything."""
        self._opened = set() if self._opened is None or self._opened else None
        self._show_files()

    def do_sort(self) -> None:
        """Sort by size, or by name."""
        self.by_size = not self.by_size

    def do_view(self) -> None:
        """View the file under the cursor."""
        entry = self.query_one(FileTable).entry
        if self.tab == "files" and entry is not None and entry.kind in "-hl":
            self._read_file(entry)
        else:
            self.notify("There is nothing to view here", severity="warning", timeout=3)

    def do_extract(self) -> None:
        """Ask where to, and copy the file or directory out of the image."""
        entry = self.query_one(FileTable).entry
        if self.tab != "files" or entry is None:
            return

        def extract(target: str | None) -> None:
            if target:
                self._extract(entry, Path(target))

        place = Path.cwd() / printable(entry.path.rpartition("/")[2])
        self.app.push_screen(Prompt(f"Extract {printable(entry.path)} to", str(place)), extract)

    @work(thread=True, exit_on_error=False)
    def _extract(self, entry: FileEntry, target: Path) -> None:
        layer = entry.layer - 1 if entry.change is Change.REMOVED else self.number

        def extract(contents: Contents) -> str:
            done = contents.extract(entry.path, target, layer=layer)
            return f"Extracted {filetree.summary(done.size, done.files)} to {target}"

        self._ask(extract, self._tell)

    def do_help(self) -> None:
        """Show all keys."""
        self.app.push_screen(Help(browsing_help(self._keys)))

    def do_filter(self) -> None:
        """Ask for a filter."""
        self.tab = "files"
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
        self.set_focus(self.query_one(FileTable))
