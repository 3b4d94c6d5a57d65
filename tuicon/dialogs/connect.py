"""Which container to put into a network, and what it asks there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from engine.model.container import Container
from engine.model.network import Attachment, Network
from engine.model.value import Value
from tuicon.dialogs.form import Field, FieldError, Form
from tuicon.dialogs.network import of_both_kinds
from tuicon.model.members import networks_of
from tuicon.model.rows import Cell, Column, Row, matches, status_cell
from tuicon.widgets.table import RecordTable

_COLUMNS = (Column("status", "STATUS", 10), Column("name", "CONTAINER", None), Column("in", "IS IN", 24))


class Connection(Value, frozen=True):
    """A container, and what it asks of the network."""

    container: Container
    attachment: Attachment


class ConnectForm(Form[Connection]):
    """Asks for a container, its address and its names; what is typed first finds the container."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "next", show=False, priority=True),
        Binding("up", "move(-1)", "previous", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    ConnectForm RecordTable { height: auto; min-height: 3; max-height: 12; margin-bottom: 1; }
    """
    KEYS: ClassVar[str] = "↑ ↓ container   enter connect   tab next   esc cancel"

    def __init__(self, network: Network, candidates: tuple[Container, ...]) -> None:
        subnets = " ".join(filter(None, (network.subnet, network.subnet6)))
        address = f"in {subnets}; any when empty" if subnets else "any when empty"
        super().__init__(f"Connect a container to {network.name}", (
            Field("find", "Find", "part of its name"), Field("address", "Address", address),
            Field("aliases", "More names", "NAME …, by which the others find it"),
        ))  # fmt: skip
        self._network = network
        self._candidates = candidates

    def before_fields(self) -> ComposeResult:
        """Lay out the containers."""
        yield RecordTable(empty="no such container", id="connect-containers")

    def on_mount(self) -> None:
        """Show the containers."""
        self._show("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits."""
        if event.input.id == "field-find":
            self._show(event.value)

    def _show(self, pattern: str) -> None:
        rows = [
            Row(one.id, (status_cell(one), Cell(one.name), Cell(", ".join(networks_of(one)), "muted")))
            for one in self._candidates
        ]
        found = [row for row in rows if matches(row, pattern)]
        table = self.query_one(RecordTable)
        table.show(_COLUMNS, found)
        table.styles.height = min(12, max(2, len(found) + 1), max(3, self.app.size.height - 13))

    def action_move(self, by: int) -> None:
        """Move the cursor over the containers."""
        self.query_one(RecordTable).action_move(by)

    def on_record_table_chosen(self) -> None:
        """Connect the container that was chosen."""
        self.action_take()

    def answer_of(self, values: Mapping[str, str]) -> Connection:
        """Return what is to be connected."""
        key = self.query_one(RecordTable).cursor_key
        container = next((one for one in self._candidates if one.id == key), None)
        if container is None:
            raise FieldError("find", "no container fits")
        addresses = of_both_kinds("address", values["address"], ipaddress.ip_address, "10.90.0.5")
        aliases = tuple(values["aliases"].replace(",", " ").split())
        return Connection(container, Attachment(self._network.name, addresses[4], "", aliases, addresses[6]))
