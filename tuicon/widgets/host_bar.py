"""One line about the host."""

from __future__ import annotations

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from tuicon.model import units
from tuicon.model.snapshot import Snapshot
from tuicon.widgets.table import sparkline


class HostBar(Widget):
    """Shows the host's CPU, memory and load, and how many containers run."""

    DEFAULT_CSS = """
    HostBar { height: 1; background: $panel; padding: 0 1; }
    """
    snapshot: reactive[Snapshot] = reactive(Snapshot())

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._cpu: list[float] = []

    def watch_snapshot(self, snapshot: Snapshot) -> None:
        """Remember the CPU for the sparkline."""
        self._cpu = [*self._cpu[-15:], snapshot.host.cpu_percent]

    def render(self) -> Text:
        """Draw the line."""
        host = self.snapshot.host
        variables = self.app.theme_variables
        running = sum(container.status.is_alive for container in self.snapshot.containers)
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append("tuicon", f"bold {variables['primary']}")
        if self.snapshot.error:
            line.append(f"  {self.snapshot.error}", f"bold {variables['error']}")
            return line
        bars = sparkline(self._cpu, 8 if self.size.width < 100 else 16, 100)
        line.append(f"  ● {running}", variables["success"])
        line.append(f"/{len(self.snapshot.containers)}")
        line.append("  cpu ")
        line.append(bars, variables["accent"])
        line.append(f" {host.cpu_percent:.0f}%")
        line.append(f"  mem {units.short_size(host.memory_used)}/{units.short_size(host.memory_total)}")
        line.append(f"  load {host.load:.2f}/{host.cpus}")
        return line
