"""The tabs of a network: the picture, members, counters and rules."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widget import Widget

from engine.model.container import Container
from engine.model.network import Network
from tuicon.model import network_tables as tables
from tuicon.model.members import members_of
from tuicon.model.snapshot import Snapshot
from tuicon.model.topology import Line, Mark, picture
from tuicon.widgets.table import RecordTable
from tuicon.widgets.topology import Topology

TABS = ("topology", "members", "counters", "rules", "inspect")
_ROOMY = 14


class NetworkTabs:
    """Fills the widgets that the detail shows for a network.

    Attributes:
        shows_all: Whether the picture has all networks.
        mark: Where the last test of reachability stopped.
    """

    def __init__(self, detail: Widget) -> None:
        self._detail = detail
        self._network: Network | None = None
        self._snapshot = Snapshot()
        self.shows_all = False
        self.mark: Mark | None = None

    @staticmethod
    def compose() -> ComposeResult:
        """Lay out."""
        yield Topology(id="topology")
        yield RecordTable(id="members", empty="no container is in it")
        yield RecordTable(id="counters", empty="nothing is counted")
        yield RecordTable(id="rules", empty="no rules concern it")

    def show(self, key: str, snapshot: Snapshot, tab: str | None) -> None:
        """Show a network by its id, in the tab that is seen."""
        network = next((one for one in snapshot.networks if one.id == key), None)
        if network != self._network:
            self._table("rules").show((), ())
            self.mark = None
        self._network, self._snapshot = network, snapshot
        if tab == "topology":
            self._detail.query_one(Topology).show(self._picture)
        elif network is not None and tab == "members":
            table = self._table("members")
            columns = tables.member_columns(table.size.width or 60)
            table.show(columns, tables.member_rows(members_of(network, snapshot), columns))
        elif network is not None and tab == "counters":
            self._table("counters").show(tables.COUNTER_COLUMNS, tables.counter_rows(network, snapshot))

    def show_rules(self, key: str, lines: tuple[str, ...]) -> None:
        """Show the rules of a network, unless another one is shown by now."""
        if self._network is not None and self._network.id == key:
            self._table("rules").show(*tables.rule_rows(lines))

    def member(self, tab: str | None) -> tuple[str, Container | None]:
        """Return the member under the cursor: the network's name, and the container."""
        key = self._table("members").cursor_key if tab == "members" else self._detail.query_one(Topology).cursor_key
        network, _, container_id = key.partition("/")
        return network, self._snapshot.container(container_id)

    def redraw(self) -> None:
        """Draw the picture anew."""
        self._detail.query_one(Topology).show(self._picture)

    def _picture(self, width: int, height: int) -> tuple[Line, ...]:
        networks = self._snapshot.networks if self.shows_all else (self._network,) if self._network else ()
        if not networks:
            return ()
        return picture(networks, self._snapshot, width, is_roomy=height >= _ROOMY, mark=self.mark)

    def _table(self, name: str) -> RecordTable:
        return self._detail.query_one(f"#{name}", RecordTable)
