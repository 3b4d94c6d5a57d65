"""What the commands do that look for causes: pressure, control groups, ends of containers."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from tuicon.messages import StallSeen
from tuicon.screens.detail import Detail
from tuicon.screens.groups import GroupsScreen
from tuicon.screens.image_actions import ImageActions
from tuicon.screens.pressure import PressureScreen
from tuicon.screens.why import WhyScreen
from tuicon.widgets.cause_strip import Graphs
from tuicon.widgets.table import RecordTable


class CauseActions(ImageActions):
    """A part of the main screen; its screens come back here for what is done with a container."""

    def do_why(self) -> None:
        """Say why the container ended."""
        self._explain(self.targets[0].id)

    def _explain(self, container_id: str, at: datetime | None = None) -> None:
        container = self.snapshot.container(container_id)
        if container:
            start = partial(self.backend.containers.start, container_id)
            screen = WhyScreen(
                self.backend, container_id, container.name, self._show_log,
                lambda _id: self.operate(f"start {container.name}", start, key=container_id), at,
            )  # fmt: skip
            self.app.push_screen(screen)

    def on_graphs_explanation_wanted(self, event: Graphs.ExplanationWanted) -> None:
        """Say why the run ended at a mark."""
        if self.targets:
            self._explain(self.targets[0].id, event.mark.time if event.mark else None)

    def on_graphs_chosen(self, event: Graphs.Chosen) -> None:
        """Go to the log at a mark."""
        self.query_one(Detail).show_log_at(event.mark.time)

    def on_stall_seen(self, message: StallSeen) -> None:
        """Tell of a container that waits, and of the host when it is short of memory."""
        container = self.snapshot.container(message.stall.container_id)
        if container:
            self.notify(
                f"{container.name} waits for {message.stall.resource}; P shows who is in the way",
                severity="warning",
                timeout=5,
            )
        elif not message.stall.container_id and message.stall.resource == "memory":
            self.notify("The host is short of memory; P shows who waits", severity="warning", timeout=5)

    def _show_log(self, container_id: str, moment: datetime) -> None:
        self._select(container_id)
        self.call_after_refresh(self.query_one(Detail).show_log_at, moment)

    def _select(self, container_id: str) -> None:
        """Put the cursor on a container, whatever list or filter is in use."""
        self.pane, self.pattern = "containers", ""
        if not any(row.key == container_id for row in self._containers_table.rows):
            self.shows_all = True
        self._containers_table.clear_marks()
        self._containers_table.cursor_key = container_id

    @property
    def _containers_table(self) -> RecordTable:
        return self.query_one("#containers", RecordTable)

    def _retune_one(self, container_id: str) -> None:
        self._select(container_id)
        self.run_command("retune")

    def do_pressure(self) -> None:
        """Show who waits for what."""
        snapshot = partial(getattr, self, "snapshot")
        self.app.push_screen(PressureScreen(self.backend, snapshot, self._retune_one, self._show_group))

    def do_groups(self) -> None:
        """Show all control groups."""
        self._show_group("")

    def _show_group(self, path: str) -> None:
        snapshot = partial(getattr, self, "snapshot")
        self.app.push_screen(GroupsScreen(self.backend, snapshot, self._retune_one, path))
