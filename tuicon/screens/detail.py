"""The right side: what is known of the selected object, in tabs."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Grid, Vertical
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from engine.errors import EngineError
from engine.model.container import Container, LogEntry, Process
from engine.model.image import Image
from engine.model.transfer import HistoryStep
from engine.model.usage import Usage
from tuicon.backend import Backend
from tuicon.model import causes, images, tuning, units, volumes
from tuicon.model.history import History
from tuicon.model.ports import ports_text
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.snapshot import Snapshot
from tuicon.screens import network_detail
from tuicon.widgets.cause_strip import CauseStrip, Graphs
from tuicon.widgets.chart import Chart
from tuicon.widgets.document import DocumentView
from tuicon.widgets.log_view import LogView
from tuicon.widgets.plot import Series
from tuicon.widgets.table import RecordTable

TABS = {
    "containers": ("logs", "graphs", "limits", "processes", "inspect"),
    "images": ("info", "history", "usage", "inspect"),
    "volumes": ("info", "inspect"),
    "networks": network_detail.TABS,
}
_TAIL = 2000
_SOME_BEFORE = timedelta(seconds=30)
_PROCESS_COLUMNS = (
    Column("pid", "PID", 7, "right"), Column("cpid", "IN", 5, "right"), Column("user", "USER", 9), Column("state", "S", 1),
    Column("cpu", "TIME", 8, "right"), Column("memory", "RSS", 8, "right"), Column("command", "COMMAND", None),
)  # fmt: skip


class Detail(Vertical):
    """Shows the selected object; the screen tells it what that is."""

    DEFAULT_CSS = """
    Detail { border: round $foreground 25%; border-title-color: $text; border-subtitle-color: $text-warning; }
    Detail:focus-within { border: round $primary; }
    Detail #tabs { height: 1; }
    Detail ContentSwitcher { height: 1fr; }
    Detail #graphs Grid { grid-size: 2 2; height: 1fr; }
    Detail #graphs Chart { height: 1fr; }
    Detail #limits { padding: 1 2; }
    """
    tab: reactive[str] = reactive("logs")
    volume_sizes: reactive[volumes.Sizes] = reactive({}, init=False)

    def __init__(self, backend: Backend, history: History) -> None:
        super().__init__(id="detail")
        self._backend = backend
        self._history = history
        self._pane = "containers"
        self._key = ""
        self._is_alive = False
        self._snapshot = Snapshot()
        self._incoming: deque[LogEntry] = deque()
        self._stop_logs = threading.Event()
        self._moment: datetime | None = None
        self._steps: tuple[str, tuple[HistoryStep, ...]] | None = None
        self.networks = network_detail.NetworkTabs(self)

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield Static("", id="tabs")
        with ContentSwitcher(initial="logs"):
            yield LogView(id="logs")
            with Graphs(id="graphs"):
                with Grid():
                    yield from _graph(Chart("CPU", "%", id="chart-cpu"))
                    yield from _graph(Chart("Memory", "B", id="chart-memory"))
                    yield from _graph(Chart("Disk", "B/s", id="chart-io"), "second")
                    yield from _graph(Chart("Network", "B/s", id="chart-net"), "second")
                yield Static("", id="mark")
            yield Static("", id="limits")
            yield RecordTable(id="processes", empty="no processes")
            for name in ("info", "history", "usage", "inspect"):
                yield DocumentView(id=name)
            yield from self.networks.compose()

    def on_mount(self) -> None:
        """Begin to take what the log reader brings."""
        for name in ("info", "history", "usage"):
            self.query_one(f"#{name}", DocumentView).wrap = True
        self.set_interval(0.1, self._drain)
        self.set_interval(2.0, self._refresh_tab)
        self._show_tabs()

    def on_unmount(self) -> None:
        """Let the log reader end."""
        self._stop_logs.set()

    @property
    def tabs(self) -> tuple[str, ...]:
        """The tabs of the kind of object that is shown."""
        return TABS[self._pane]

    def step_tab(self, by: int) -> None:
        """Go to another tab."""
        tabs = self.tabs
        place = tabs.index(self.tab) if self.tab in tabs else 0
        self.tab = tabs[(place + by) % len(tabs)]

    def watch_tab(self) -> None:
        """Show the tab."""
        if self.is_mounted:
            self._show_tabs()
            self._refresh_tab()

    def watch_volume_sizes(self) -> None:
        """Show what was measured."""
        if self._pane == "volumes":
            self._refresh_tab()

    def _show_tabs(self) -> None:
        current = self.tab if self.tab in self.tabs else self.tabs[0]
        self.query_one(ContentSwitcher).current = current
        variables = self.app.theme_variables
        line = Text(" ", no_wrap=True, overflow="ellipsis")
        for name in self.tabs:
            style = f"bold {variables['primary']} underline" if name == current else ""
            line.append(name, style)
            line.append("  ")
        self.query_one("#tabs", Static).update(line)

    def focus_content(self) -> None:
        """Put the focus on what the tab shows."""
        current = self.query_one(ContentSwitcher).visible_content
        if current is not None and current.can_focus:
            current.focus()

    def show(self, pane: str, key: str, snapshot: Snapshot) -> None:
        """Show an object.

        Args:
            pane: The list that it is from.
            key: Its key there; empty for none.
            snapshot: The newest snapshot.
        """
        container = snapshot.container(key) if pane == "containers" else None
        is_other = (pane, key) != (self._pane, self._key)
        has_started = container is not None and container.status.is_alive and not self._is_alive
        self._pane, self._key, self._snapshot = pane, key, snapshot
        self._is_alive = container is not None and container.status.is_alive
        if is_other:
            self._show_tabs()
            self.border_title = self._title(container)
        if is_other or has_started:
            self._follow_logs(container)
            self._refresh_tab()
        if container is not None:
            self._show_usage(container, snapshot.usages.get(container.id))
        if pane == "networks":
            self.networks.show(key, snapshot, self.query_one(ContentSwitcher).current)

    @property
    def member(self) -> tuple[str, Container | None]:
        """The member of a network that the cursor is on: the network's name, and the container."""
        return self.networks.member(self.query_one(ContentSwitcher).current)

    def _title(self, container: Container | None) -> str:
        if container is not None:
            ports = ports_text(container.ports)
            return f"{container.name}  {ports}" if ports else container.name
        image = self._image
        if image is not None:
            return images.name_of(image)
        if self._pane == "networks":
            return next((one.name for one in self._snapshot.networks if one.id == self._key), "")
        return self._key[:19] if self._key else ""

    def show_log_at(self, moment: datetime) -> None:
        """Go to the log, at a moment."""
        log = self.query_one("#logs", LogView)
        container = self._snapshot.container(self._key)
        if container is not None and log.oldest and log.oldest > moment and log.count >= _TAIL:
            self._follow_logs(container, moment - _SOME_BEFORE)
        self._moment = None if log.go_to(moment) else moment
        log.timestamps = True
        self.tab = "logs"
        self.focus_content()

    def _follow_logs(self, container: Container | None, since: datetime | None = None) -> None:
        self._moment = None
        self._stop_logs.set()
        self._incoming.clear()
        self.query_one("#logs", LogView).clear()
        if container is not None:
            self._stop_logs, self._incoming = threading.Event(), deque()
            read = partial(_read_logs, self._backend, container.id, since, self._stop_logs, self._incoming)
            threading.Thread(target=read, name="logs", daemon=True).start()

    def _drain(self) -> None:
        if self._incoming:
            entries = []
            while self._incoming:
                entries.append(self._incoming.popleft())
            self.query_one("#logs", LogView).append(entries)
            if self._moment and self.query_one("#logs", LogView).go_to(self._moment):
                self._moment = None  # until then it may still come
        view = self.query_one("#logs", LogView)
        summary = view.search_summary if self.tab == "logs" and self._pane == "containers" else ""
        if summary != self.border_subtitle:  # setting it draws the border again
            self.border_subtitle = summary

    def _show_usage(self, container: Container, usage: Usage | None) -> None:
        if self.query_one(ContentSwitcher).current == "graphs":
            self._show_graphs(container)
        elif self.query_one(ContentSwitcher).current == "limits":
            self.query_one("#limits", Static).update(self._limits_text(container, usage))

    def _show_graphs(self, container: Container) -> None:
        limits, series = container.limits, partial(self._history.series, container.id)
        cpus = limits.effective_cpus
        self.query_one("#chart-cpu", Chart).update_series(
            [Series("cpu", series("cpu"))], limit=cpus * 100 if cpus else None
        )
        memory = float(limits.memory) if limits.memory else None
        self.query_one("#chart-memory", Chart).update_series(
            [Series("memory", series("memory"), "success")], limit=memory
        )
        rate = min((float(one.rate) for one in (*limits.device_read_bps, *limits.device_write_bps)), default=None)
        both = [Series("read", series("read"), "secondary"), Series("write", series("write"), "accent")]
        self.query_one("#chart-io", Chart).update_series(both, limit=rate)
        traffic = [Series("rx", series("rx"), "secondary"), Series("tx", series("tx"), "accent")]
        self.query_one("#chart-net", Chart).update_series(traffic)
        marks = causes.marks_of(self._snapshot.events, container.id)
        self.query_one(Graphs).show_marks(marks, self._snapshot.taken_at)

    def _limits_text(self, container: Container, usage: Usage | None) -> Text:
        disk = self._backend.disk()
        host = self._snapshot.host
        text = Text()
        muted = self.app.theme_variables["warning"]
        text.append(f"{'LIMIT':<18}{'IN FORCE':<18}{'USED NOW':<18}\n", "bold")
        for tunable in tuning.tunables(host.cpus, host.memory_total, tuning.disks_of(container.limits, disk)):
            limit, used = tuning.value_of(container.limits, tunable), tuning.used_of(tunable, usage)
            if limit is None and not tunable.is_main:
                continue
            text.append(f"{tunable.title:<18}")
            text.append(f"{tuning.text_of(tunable, limit):<18}", "" if limit is None else muted)
            text.append(f"{tuning.text_of(tunable, used) if usage and used is not None else '-':<18}\n")
        if usage:
            counters = usage.counters
            text.append(
                f"\nthrottled {usage.throttled_percent:.0f}% of periods, {counters.throttled_ns / 1e9:.1f}s in all\n"
            )
            peak = units.size(counters.memory_peak_bytes) if counters.memory_peak_bytes else "-"
            text.append(
                f"memory peak {peak}, file cache {units.size(counters.memory_cache_bytes)}, OOM kills {counters.oom_kills}\n"
            )
        text.append("\nt retunes these while the container runs, u takes the last change back", "dim")
        return text

    def _refresh_tab(self) -> None:
        current = self.query_one(ContentSwitcher).current
        if not self._key:
            for view in self.query(DocumentView):
                view.show_text("", "")
            return
        if current == "processes" and self._pane == "containers":
            self._load_processes(self._key)
        elif current == "inspect":
            self._load_inspect(self._pane, self._key)
        else:
            {"networks": self._refresh_network, "images": self._refresh_image, "volumes": self._refresh_volume,
                "containers": self._refresh_container}[self._pane]()  # fmt: skip

    def _refresh_network(self) -> None:
        current = self.query_one(ContentSwitcher).current
        self.networks.show(self._key, self._snapshot, current)
        if current == "rules":
            self._load_rules(self._key)

    def _refresh_image(self) -> None:
        self._show_image(self._image)

    def _refresh_volume(self) -> None:
        self._load_volume(self._key)

    def _refresh_container(self) -> None:
        container = self._snapshot.container(self._key)
        if container is not None:
            self._show_usage(container, self._snapshot.usages.get(self._key))

    @work(thread=True, exclusive=True, group="detail", exit_on_error=False)
    def _load_processes(self, key: str) -> None:
        try:
            found = self._backend.containers.top(key)
        except (EngineError, OSError):
            found = ()
        self.app.call_from_thread(self._show_processes, key, found)

    def _show_processes(self, key: str, found: tuple[Process, ...]) -> None:
        if key == self._key:
            self.query_one("#processes", RecordTable).show(
                _PROCESS_COLUMNS, [_process_row(process) for process in found]
            )

    @work(thread=True, exclusive=True, group="detail", exit_on_error=False)
    def _load_rules(self, key: str) -> None:
        try:
            found = self._backend.networks.nft_rules(key)
        except (EngineError, OSError) as error:
            found = (str(error),)
        self.app.call_from_thread(self.networks.show_rules, key, found)

    @property
    def _image(self) -> Image | None:
        if self._pane != "images":
            return None
        return next((image for image in self._snapshot.images if image.id == self._key), None)

    def _show_image(self, image: Image | None) -> None:
        if image is None:
            return
        now = self._snapshot.taken_at
        self.query_one("#info", DocumentView).show_text(image.id, images.info_text(image, now))
        if self._steps is None or self._steps[0] != image.id:
            self._load_history(image.id)
            return
        steps = self._steps[1]
        sizes = {step.layer: step.size for step in steps if step.layer}
        self.query_one("#history", DocumentView).show_text(image.id, images.history_text(steps, now))
        self.query_one("#usage", DocumentView).show_text(image.id, images.usage_text(image, self._snapshot, sizes))

    @work(thread=True, exclusive=True, group="detail", exit_on_error=False)
    def _load_history(self, image_id: str) -> None:
        try:
            found = self._backend.images.history(image_id)
        except (EngineError, OSError):
            return  # it has gone, or the next look may have more luck
        self.app.call_from_thread(self._take_history, image_id, found)

    def _take_history(self, image_id: str, found: tuple[HistoryStep, ...]) -> None:
        self._steps = (image_id, found)
        self._show_image(self._image)

    @work(thread=True, exclusive=True, group="detail", exit_on_error=False)
    def _load_volume(self, key: str) -> None:
        volume = next((volume for volume in self._snapshot.volumes if volume.name == key), None)
        if volume is None:
            return
        try:
            uses, snapshots = self._backend.volumes.uses(key), self._backend.volumes.snapshots(key)
        except (EngineError, OSError):
            return  # it has gone
        text = volumes.info_text(volume, uses, snapshots, self.volume_sizes.get(key), self._snapshot.taken_at)
        self.app.call_from_thread(self._show_text, "info", key, text)

    def _show_text(self, view: str, key: str, text: str) -> None:
        if key == self._key:
            self.query_one(f"#{view}", DocumentView).show_text(key, text)

    @work(thread=True, exclusive=True, group="detail", exit_on_error=False)
    def _load_inspect(self, pane: str, key: str) -> None:
        rooms: dict[str, Any] = {
            "containers": self._backend.containers, "images": self._backend.images, "networks": self._backend.networks,
            "volumes": self._backend.volumes,
        }  # fmt: skip
        try:
            text = json.dumps(rooms[pane].inspect(key), indent=2, ensure_ascii=False, default=str)
        except (EngineError, OSError) as error:
            text = str(error)
        self.app.call_from_thread(self._show_text, "inspect", key, text)


def _graph(chart: Chart, classes: str | None = None) -> Iterator[Widget]:
    """Yield a graph with the strip of marks below it."""
    with Vertical(classes=classes):
        yield chart
        yield CauseStrip()


def _read_logs(
    backend: Backend, container_id: str, since: datetime | None, stop: threading.Event, into: deque[LogEntry]
) -> None:
    """Bring a container's log until told to stop; what cannot be read is not shown."""
    try:
        tail = None if since else _TAIL
        for entry in backend.containers.logs(container_id, follow=True, since=since, tail=tail, stop=stop):
            if stop.is_set():
                return
            into.append(entry)
    except (EngineError, OSError):
        return


def _process_row(process: Process) -> Row:
    minutes, seconds = divmod(int(process.cpu_seconds), 60)
    cells = (
        Cell(str(process.pid)), Cell(str(process.container_pid), "muted"), Cell(process.user, "accent"), Cell(process.state),
        Cell(f"{minutes}:{seconds:02d}"), Cell(units.short_size(process.memory_bytes)), Cell(process.command),
    )  # fmt: skip
    return Row(str(process.pid), cells)
