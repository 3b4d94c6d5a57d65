"""The transfers, live: all of them above, the layers of one below."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tuicon.model import transfers as model
from tuicon.model.transfers import State, TransferProgress
from tuicon.transfers import Transfers
from tuicon.widgets.table import RecordTable

_EVERY = 0.2
_MOST_LISTED = 6


class TransferView(ModalScreen[None]):
    """Shows how far transfers are; closing it leaves them to the background."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,b,q", "close", "background"),
        Binding("c", "call_off", "call off"),
        Binding("r", "again", "again"),
        Binding("x", "drop", "drop ended"),
    ]
    DEFAULT_CSS = """
    TransferView { align: center middle; }
    TransferView > .dialog { width: 96%; max-width: 120; height: 90%; max-height: 34; border: round $primary;
        background: $surface; padding: 0 1; }
    TransferView #transfer-list { height: 2; }
    TransferView #transfer-total { height: auto; max-height: 5; margin: 1 0; }
    TransferView #transfer-layers { height: 1fr; }
    TransferView .keys { color: $text-muted; }
    """

    def __init__(self, transfers: Transfers, chosen: str = "") -> None:
        super().__init__()
        self._transfers = transfers
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Transfers"
            yield RecordTable(id="transfer-list", empty="nothing was pulled or pushed yet")
            yield Static(id="transfer-total")
            yield RecordTable(id="transfer-layers", empty="no layers are known yet")
            yield Static("esc b background   c call off   r again   x drop ended   tab layers", classes="keys")

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#transfer-list").focus()
        self._look()
        if self._chosen:
            self.query_one("#transfer-list", RecordTable).cursor_key = self._chosen
        self.set_interval(_EVERY, self._look)

    def on_resize(self) -> None:
        """Fit the columns."""
        self._look()

    def on_record_table_highlighted(self) -> None:
        """Show the layers of the other one."""
        self._look()

    def on_record_table_chosen(self) -> None:
        """Go to its layers."""
        self.query_one("#transfer-layers").focus()

    def _look(self) -> None:
        found = self._transfers.list()
        table = self.query_one("#transfer-list", RecordTable)
        columns = model.transfer_columns(table.size.width)
        table.show(columns, [model.transfer_row(item, columns) for item in found])
        height = min(max(len(found), 1), _MOST_LISTED) + 1
        if table.styles.height is None or table.styles.height.value != height:
            table.styles.height = height
        chosen = next((item for item in found if item.id == table.cursor_key), None)
        layers = self.query_one("#transfer-layers", RecordTable)
        columns = model.layer_columns(layers.size.width)
        layers.show(columns, [model.layer_row(layer, columns) for layer in chosen.layers] if chosen else [])
        self.query_one("#transfer-total", Static).update(self._total(chosen) if chosen else Text(""))

    def _total(self, transfer: TransferProgress) -> Text:
        colors = self.app.theme_variables
        color = {State.FAILED: "error", State.DONE: "success", State.STOPPING: "warning"}.get(transfer.state, "")
        line = Text(model.summary(transfer), f"bold {colors[color]}" if color else "bold")
        retrying = next((layer for layer in transfer.layers if layer.note), None)
        if transfer.is_active and retrying is not None:
            line.append(f"\n{retrying.layer} tries again: {retrying.note}", colors["warning"])
        if transfer.is_active:
            width = max(10, self.query_one("#transfer-total").size.width - 1)
            line.append(f"\n{model.bar(transfer.share, width)}", colors["accent"])
        return line

    @property
    def _selected(self) -> str:
        return self.query_one("#transfer-list", RecordTable).cursor_key

    def action_call_off(self) -> None:
        """Call it off; nothing of it stays."""
        chosen = next((item for item in self._transfers.list() if item.id == self._selected), None)
        if chosen is None or not chosen.is_active:
            self.notify("It has ended already", timeout=2)
        elif chosen.kind not in model.STOPPABLE:
            self.notify(f"A {chosen.kind} goes on to its end", timeout=3)
        self._transfers.stop(self._selected)
        self._look()

    def action_again(self) -> None:
        """Begin anew what has failed."""
        made = self._transfers.again(self._selected)
        if not made:
            self.notify("Only what has failed or was called off begins anew", timeout=3)
            return
        self._look()
        self.query_one("#transfer-list", RecordTable).cursor_key = made

    def action_drop(self) -> None:
        """Forget what has ended."""
        self._transfers.drop()
        self._look()

    def action_close(self) -> None:
        """Leave them to the background."""
        self.dismiss(None)
