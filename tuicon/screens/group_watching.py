"""What the screens that look at the host's control groups have in common: readings as they come, a filter, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.text import Text
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.model.container import Container
from engine.model.groups import GroupReading
from tuicon.backend import Backend
from tuicon.feed import GroupFeed
from tuicon.messages import GroupsRead
from tuicon.model import groups
from tuicon.model.groups import Use
from tuicon.model.snapshot import Snapshot
from tuicon.widgets.table import RecordTable


class GroupWatching(Screen[None]):
    """A screen with a table of groups and what is known of the one under the cursor.

    Subclasses show rows in `show_rows` and give `facts_of` a row.
    """

    DEFAULT_CSS = """
    GroupWatching .top { height: auto; max-height: 6; padding: 0 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }
    GroupWatching RecordTable { height: 1fr; border: round $primary; border-subtitle-color: $text-warning; }
    GroupWatching .facts { height: 8; padding: 0 1; border: round $foreground 25%; text-wrap: nowrap; text-overflow: ellipsis; }
    GroupWatching Input { border: none; height: 1; background: $panel; padding: 0 1; display: none; }
    """

    def __init__(self, backend: Backend, snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._backend = backend
        self._snapshot = snapshot
        self.reading: GroupReading | None = None
        self.found: Mapping[str, Use] = {}
        self.has_rates = False
        self.pattern = ""
        self.error = ""
        self._feed = GroupFeed(backend, self._deliver)

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one(RecordTable).focus()
        self._feed.start()

    def on_unmount(self) -> None:
        """Read no more."""
        self._feed.stop()

    def _deliver(self, reading: GroupReading | None, error: str) -> None:
        self.post_message(GroupsRead(reading, error))

    def on_groups_read(self, message: GroupsRead) -> None:
        """Show what was read."""
        self.error = message.error
        if message.reading is not None:
            self.found = groups.uses(self.reading, message.reading)
            self.reading, self.has_rates = message.reading, self.reading is not None
        self.show_rows()

    def on_resize(self) -> None:
        """Take the columns that fit."""
        self.show_rows()

    def on_record_table_highlighted(self) -> None:
        """Show what the cursor is on."""
        self.show_facts()

    @property
    def containers(self) -> dict[str, Container]:
        """Our containers by id."""
        return {container.id: container for container in self._snapshot().containers}

    def show_rows(self) -> None:
        """Show the groups."""
        raise NotImplementedError

    def facts_of(self, path: str) -> tuple[tuple[str, str], ...]:
        """Return what is known of the group under the cursor."""
        raise NotImplementedError

    def show_facts(self) -> None:
        """Show what is known of the group under the cursor."""
        text = Text()
        facts = self.facts_of(self.query_one(RecordTable).cursor_key)
        for number, (word, fact) in enumerate(facts):
            text.append(f"{word:<11}", f"bold {self.app.theme_variables['primary']}")
            text.append(f"{fact}\n" if number < len(facts) - 1 else fact)
        self.query_one(".facts", Static).update(text)

    def action_filter(self) -> None:
        """Ask for a filter."""
        box = self.query_one(Input)
        box.value = self.pattern
        box.display = True
        self.set_focus(box)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.display:
            self.pattern = event.value
            self.show_rows()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one(Input).display = False
        self.query_one(RecordTable).focus()

    def action_back(self) -> None:
        """Go back a level: the filter, then the screen."""
        if self.query_one(Input).display or self.pattern:
            self.pattern = ""
            self._close_filter()
            self.show_rows()
        else:
            self.dismiss(None)
