"""One line about the transfers that go on in the background."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from tuicon.model import transfers as model
from tuicon.model.transfers import TransferProgress

_BAR = 12


class TransferStrip(Static):
    """Shows the newest transfer and how many there are beside it; hidden when there is none."""

    DEFAULT_CSS = """
    TransferStrip { height: 1; background: $panel; padding: 0 1; display: none; }
    """

    def show(self, active: Sequence[TransferProgress], key: str) -> None:
        """Show transfers.

        Args:
            active: Those that go on, the newest first.
            key: What to press for all of them.
        """
        self.display = bool(active)
        if not active:
            return
        colors = self.app.theme_variables
        end = f"  {key} shows all {len(active)}" if len(active) > 1 else f"  {key} shows it"
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(model.bar(active[0].share, _BAR), colors["accent"])
        text = f" {model.summary(active[0])}"
        room = self.size.width - _BAR - len(end)
        line.append(text if len(text) <= room or room < _BAR else text[: room - 1] + "…")
        line.append(end, colors["primary"])
        self.update(line)
