"""Look for images in a registry: names, then the tags of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from engine.errors import EngineError
from engine.model.transfer import SearchResult
from tuicon.model.rows import Cell, Column, Row
from tuicon.widgets.table import RecordTable

_WIDEST_NAME = 30
_TAGS = (Column("tag", "TAG", None),)


class Search(ModalScreen[str | None]):
    """Asks for a word, shows what fits, and its tags; answers with the reference to pull."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back"),
        Binding("slash", "term", "another word", show=False),
    ]
    DEFAULT_CSS = """
    Search { align: center middle; }
    Search > .dialog { width: 96%; max-width: 130; height: 92%; max-height: 40; border: round $primary;
        background: $surface; padding: 0 1; }
    Search Input { border: none; height: 1; background: $panel; padding: 0 1; }
    Search Input:focus { border: none; background: $primary 25%; }
    Search Label { color: $text-muted; }
    Search #search-found { height: 1fr; }
    Search RecordTable { border: round $foreground 25%; height: 1fr; border-title-color: $text-muted; }
    Search RecordTable:focus { border: round $primary; border-title-color: $text; }
    Search #search-names { width: 2fr; }
    Search #search-tags { width: 1fr; }
    Search #search-state { height: auto; max-height: 3; }
    Search .keys { color: $text-muted; }
    """

    def __init__(
        self, search: Callable[[str], tuple[SearchResult, ...]], tags: Callable[[str], tuple[str, ...]]
    ) -> None:
        """Make the dialog.

        Args:
            search: Asks a registry; called in a thread.
            tags: Returns the tags of a repository; called in a thread.
        """
        super().__init__()
        self._search = search
        self._tags = tags
        self._term = ""
        self._repository = ""

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Find an image"
            yield Label("Word on Docker Hub, or registry/word (registry/ for all that it has)")
            yield Input(placeholder="nginx, or 127.0.0.1:5000/", id="search-term")
            yield Static(id="search-state")
            with Horizontal(id="search-found"):
                for name, title in (("names", "images"), ("tags", "tags")):
                    table = RecordTable(id=f"search-{name}", empty="nothing yet")
                    table.border_title = title
                    yield table
            yield Static("enter search, tags, pull   / another word   tab next   esc back", classes="keys")

    def _say(self, text: str, color: str = "") -> None:
        self.query_one("#search-state", Static).update(Text(text, self.app.theme_variables[color] if color else ""))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask."""
        self._term = event.value.strip()
        if self._term:
            self._say(f"Looking for {self._term}…")
            self._load_names(self._term)

    @work(thread=True, exclusive=True, group="names", exit_on_error=False)
    def _load_names(self, term: str) -> None:
        try:
            found, problem = self._search(term), ""
        except (EngineError, OSError) as error:
            found, problem = (), str(error)
        self.app.call_from_thread(self._show_names, term, found, problem)

    def _show_names(self, term: str, found: tuple[SearchResult, ...], problem: str) -> None:
        if not self.is_attached or term != self._term:
            return
        if problem:
            self._say(problem, "error")
            return
        self._say(f"{len(found)} found" if found else f"There is nothing like {term}", "" if found else "warning")
        rows = [
            Row(item.name, (Cell(item.name, "ok" if item.is_official else ""), Cell(item.description, "muted"),
                Cell(str(item.stars) if item.stars else "", "muted", sort=float(item.stars))))
            for item in found
        ]  # fmt: skip
        table = self.query_one("#search-names", RecordTable)
        table.show(_columns(found), rows)
        self._show_tags("", (), "")
        if rows:
            table.focus()

    def on_record_table_chosen(self, event: RecordTable.Chosen) -> None:
        """Show the tags of a name; pull a tag."""
        if event.table.id == "search-tags":
            self.dismiss(f"{self._repository}:{event.key}")
            return
        self._repository = event.key
        self._say(f"Asking for the tags of {event.key}…")
        self._load_tags(event.key)

    @work(thread=True, exclusive=True, group="tags", exit_on_error=False)
    def _load_tags(self, repository: str) -> None:
        try:
            found, problem = self._tags(repository), ""
        except (EngineError, OSError) as error:
            found, problem = (), str(error)
        self.app.call_from_thread(self._show_tags, repository, found, problem)

    def _show_tags(self, repository: str, found: tuple[str, ...], problem: str) -> None:
        if not self.is_attached or (repository and repository != self._repository):
            return
        table = self.query_one("#search-tags", RecordTable)
        table.border_title = f"tags {len(found)}" if repository else "tags"
        first = sorted(found, key=lambda tag: tag != "latest")
        table.show(_TAGS, [Row(tag, (Cell(tag),)) for tag in first])
        if problem:
            self._say(problem, "error")
        elif repository:
            self._say(f"{repository} has {len(found)} tag{'s' * (len(found) != 1)}; enter pulls one")
            table.focus()

    def action_term(self) -> None:
        """Go to the word."""
        self.query_one("#search-term", Input).focus()

    def action_back(self) -> None:
        """Go from the tags to the names, from there to the word, from there out."""
        focused = self.focused
        if focused is not None and focused.id == "search-tags":
            self.query_one("#search-names").focus()
        elif focused is not None and focused.id == "search-names":
            self.action_term()
        else:
            self.dismiss(None)


def _columns(found: tuple[SearchResult, ...]) -> tuple[Column, ...]:
    """Return the columns for results; a plain catalogue has only names."""
    if not any(item.description for item in found):
        return (Column("name", "NAME", None),)
    width = min(max(len(item.name) for item in found), _WIDEST_NAME)
    return (Column("name", "NAME", width), Column("about", "ABOUT", None), Column("stars", "STARS", 6, "right"))
