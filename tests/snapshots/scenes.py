"""The scenes behind the snapshot tests and the pictures: `python -m tests.snapshots.scenes DIRECTORY [NAME…]` draws them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Input

from engine.model.transfer import Phase
from engine.model.usage import InterfaceCounters
from tests.fake_groups import some_events
from tests.fake_networks import with_networks
from tests.fake_tuning import with_changes
from tests.fakes import NOW, FakeBackend, eight, with_images, with_volumes
from tuicon.app import Console
from tuicon.config import Config
from tuicon.messages import SnapshotTaken
from tuicon.model.snapshot import HostTotals, Snapshot
from tuicon.model.traffic import Flow, HostLink, Meter, readings_of
from tuicon.model.transfers import LayerProgress, State, TransferProgress
from tuicon.screens.browser import LayerBrowser
from tuicon.screens.detail import Detail
from tuicon.screens.group_watching import GroupWatching
from tuicon.screens.tuning import TuningScreen
from tuicon.widgets.file_table import FileTable
from tuicon.widgets.log_view import LogView

Step = Callable[[Pilot[int]], Awaitable[None]]
_SECONDS = 110
_HOST = HostTotals(37.5, 5 << 30, 16 << 30, 1.25, 4)
_LINKS = {
    link.name: link
    for link in (
        HostLink("eth0", ("192.0.2.10/24", "2001:db8::10/64"), InterfaceCounters("eth0", 8 << 30, 3 << 30, 9_214_003, 4_100_212), Flow(2.1e6, 7.4e5)),
        HostLink("tuicon0", ("10.88.0.1/16",), InterfaceCounters("tuicon0", 3 << 30, 7 << 30, 4_000_100, 8_900_500), Flow(7.1e5, 2.0e6)),
        HostLink("tu4be0c71d22", ("10.89.1.1/24",), InterfaceCounters("tu4be0c71d22", 90 << 20, 40 << 20, 80_100, 61_033), Flow(1.2e4, 9.1e3)),
        HostLink("tu9c1f0e7a55", ("10.89.2.1/24",)),
    )
}  # fmt: skip


class StillFeed:
    """Stands in for the feed: what is seen does not depend on the clock or this host."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class SceneConsole(Console):
    """The console with a feed that stands still."""

    def __init__(self, backend: FakeBackend, theme: str) -> None:
        super().__init__(backend, Config(theme))
        self.fake = backend
        self.feed = StillFeed()  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture: how to get there."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "tuicon-dark"
    backend: Callable[[], FakeBackend] = eight
    tab: str = "logs"
    transfers: tuple[TransferProgress, ...] = ()

    def app(self) -> SceneConsole:
        """Return the console of the scene; times of day are the same wherever it is drawn."""
        os.environ["TZ"] = "UTC"
        time.tzset()
        return SceneConsole(self.backend(), self.theme)

    async def play(self, pilot: Pilot[int]) -> None:
        """Bring the console to the scene."""
        app = pilot.app
        assert isinstance(app, SceneConsole)
        if app.fake.missing:
            await pilot.pause()
            return
        while not app.main.is_mounted:
            await pilot.pause(0.01)
        app.main.transfers.list = lambda: self.transfers  # type: ignore[method-assign]
        await _show(pilot, app)
        app.main.query_one(Detail).tab = self.tab
        for key in self.keys:
            await pilot.press(key)
            await _read(pilot)
            await app.workers.wait_for_complete()  # what a key asked for is there before the next
        app.main.show_transfers()
        if isinstance(app.screen, TuningScreen):
            _stop_clock(app.screen)
        for box in app.screen.query(Input):
            box.cursor_blink = False
        await pilot.wait_for_scheduled_animations()
        await _settle_log(pilot, app.main.query_one("#logs", LogView))
        await _stand_still(pilot)


async def _show(pilot: Pilot[int], app: SceneConsole) -> None:
    backend = app.fake
    running = [container for container in backend.items if container.status.is_alive]
    meter, usages, flows = Meter(), {}, {}
    for tick in range(_SECONDS):
        usages = {container.id: backend.usage(container, tick) for container in running}
        app.main._history.add(usages)
        flows = meter.flows(readings_of(usages))
    snapshot = Snapshot(
        NOW + timedelta(seconds=_SECONDS), backend.containers.list(), usages if running else {}, backend.images.list(),
        backend.networks.list(), backend.volumes.list(), _HOST,
        tuple(some_events(backend.items[0].id, NOW + timedelta(seconds=_SECONDS)) if backend.items else ()),
        flows=flows, links=_LINKS, uplink="eth0",
    )  # fmt: skip
    app.main.post_message(SnapshotTaken(snapshot))
    while app.main.snapshot is not snapshot:
        await pilot.pause(0.01)
    if not backend.items:
        app._welcome()
        return
    log = app.main.query_one("#logs", LogView)
    while log.count < backend.log_lines:
        await pilot.pause(0.02)
    assert app.main.query_one(ContentSwitcher) is not None


async def _settle_log(pilot: Pilot[int], log: LogView) -> None:
    """Have the log's scroll bar where its text is: it may be drawn before the last lines count."""
    await pilot.pause()
    bar = log.vertical_scrollbar
    bar.window_virtual_size, bar.window_size = log.virtual_size.height, log.scrollable_content_region.height
    bar.position = log.scroll_offset.y
    bar.refresh()


async def _stand_still(pilot: Pilot[int]) -> None:
    """Wait until nothing has moved on the screen for a while."""
    before = ""
    while (now := pilot.app.export_screenshot()) != before:
        before = now
        await pilot.pause(0.2)


async def _read(pilot: Pilot[int]) -> None:
    """Wait until what the screen reads is there."""
    await pilot.pause()
    screen = pilot.app.screen
    while isinstance(screen, TuningScreen) and not screen.is_settled:
        await pilot.pause(0.02)
    while isinstance(screen, GroupWatching) and not any(use.cpu_percent for use in screen.found.values()):
        await pilot.pause(0.02)
    while isinstance(screen, LayerBrowser) and not (screen.query_one("#files", FileTable).rows and screen.table.rows):
        await pilot.pause(0.02)


def _nobody() -> FakeBackend:
    return FakeBackend(missing=("Containers need root: namespaces, mounts and cgroups. Start it with: sudo tuicon",))


def _stop_clock(pane: TuningScreen) -> None:
    """Have a trial always end in 24 seconds."""
    pane.clock = lambda: pane._trial_ends - 24
    pane._show_note()


def _tuned() -> FakeBackend:
    return with_changes(eight())


def _without_pressure() -> FakeBackend:
    backend = eight()
    backend.groups.measures_groups = False
    return backend


INSIDE = ("2", "enter")


_MIB = 1 << 20
_LAYERS = (
    LayerProgress("9b18e9b68314", Phase.EXISTS, 29 * _MIB, 29 * _MIB),
    LayerProgress("a1d0c7532777", Phase.DOWNLOADING, 61 * _MIB, 148 * _MIB, 11.3 * _MIB),
    LayerProgress("3c7d0c9f1b0e", Phase.UNPACKING, 30 * _MIB, 31 * _MIB),
    LayerProgress("7f2a64d8be57", Phase.VERIFYING, 8 * _MIB, 8 * _MIB),
    LayerProgress("0ec8b1a3f942", Phase.RETRYING, 2 * _MIB, 17 * _MIB, 0.0, "registry.example.com cut the connection"),
    LayerProgress("5d20c808ce19", Phase.WAITING, 0, 4 * _MIB),
)
_TRANSFERS = (
    TransferProgress(
        "3", "pull", "registry.example.com/shop/web:2.5.0", State.RUNNING, "", 9.0, _LAYERS, 101 * _MIB, 208 * _MIB,
        11.3 * _MIB,
    ),
    TransferProgress("2", "push", "registry.example.com/shop/worker:2.4.0", State.DONE, "done", 4.0),
    TransferProgress(
        "1", "pull", "ghcr.io/acme/private:1", State.FAILED,
        "ghcr.io denies access to acme/private (log in: tuicon login ghcr.io)", 1.0,
    ),
)  # fmt: skip


SCENES = (
    Scene("main-160", (160, 44)),
    Scene("main-120", (120, 40)),
    Scene("main-80", (80, 24)),
    Scene("graphs-160", (160, 44), tab="graphs"),
    Scene("graphs-80", (80, 24), tab="graphs"),
    Scene("limits-120", (120, 40), tab="limits"),
    Scene("retune-120", (120, 42), keys=("t",), backend=_tuned),
    Scene("retune-80", (80, 24), keys=("t",), backend=_tuned),
    Scene("retune-160", (160, 50), keys=("t", "j", "j", "j", "j", "j", "w"), backend=_tuned),
    Scene("retune-trial-80", (80, 24), keys=("t", "t", "h", "h"), backend=_tuned),
    Scene("retune-many-80", (80, 24), keys=("space", "space", "t", *"cpus -50%, memory -20%", "enter")),
    Scene("help-120", (120, 44), keys=("question_mark",)),
    Scene("remove-80", (80, 24), keys=("d",)),
    Scene("scan-120", (120, 30), keys=("2", "v")),
    Scene("scan-80", (80, 24), keys=("2", "v")),
    Scene("first-80", (80, 24), backend=FakeBackend),
    Scene("not-root-80", (80, 24), backend=_nobody),
    Scene("layers-160", (160, 50), keys=(*INSIDE, "tab", "f")),
    Scene("layers-80", (80, 24), keys=(*INSIDE, "tab", "f", "c", "j", "j")),
    Scene("advice-120", (120, 40), keys=(*INSIDE, "tab", "left_square_bracket")),
    Scene("high-contrast-120", (120, 40), theme="tuicon-high-contrast", tab="graphs"),
    Scene("images-160", (160, 50), keys=("2", "j"), backend=with_images, transfers=_TRANSFERS),
    Scene("images-80", (80, 24), keys=("2", "j"), backend=with_images),
    Scene("image-history-120", (120, 40), keys=("2",), backend=with_images, tab="history"),
    Scene("transfers-120", (120, 36), keys=("b",), backend=with_images, transfers=_TRANSFERS),
    Scene("transfers-80", (80, 24), keys=("b",), backend=with_images, transfers=_TRANSFERS),
    Scene("pull-80", (80, 24), keys=("2", "p", *"shop/Web:1"), backend=with_images),
    Scene("search-120", (120, 36), keys=("2", "f", *"nginx", "enter", "enter"), backend=with_images),
    Scene("prune-80", (80, 24), keys=("2", "D", "a"), backend=with_images),
    Scene("run-80", (80, 24), keys=("2", "n"), backend=with_images),
    Scene("volumes-160", (160, 50), keys=("4",), backend=with_volumes),
    Scene("volumes-80", (80, 24), keys=("4",), backend=with_volumes),
    Scene("volume-files-120", (120, 30), keys=("4", "enter", "s", "j"), backend=with_volumes),
    Scene("volume-files-80", (80, 24), keys=("4", "enter", "enter"), backend=with_volumes),
    Scene("volume-prune-80", (80, 24), keys=("4", "D", "a"), backend=with_volumes),
    Scene("topology-160", (160, 50), keys=("3", "j", "j", "j"), backend=with_networks),
    Scene("topology-80", (80, 24), keys=("3", "j", "j", "j"), backend=with_networks),
    Scene("all-networks-160", (160, 50), keys=("3", "a", "z"), backend=with_networks),
    Scene("members-80", (80, 24), keys=("3", "j", "j", "j"), backend=with_networks, tab="members"),
    Scene("counters-120", (120, 30), keys=("3", "j", "j", "j", "z"), backend=with_networks, tab="counters"),
    Scene("rules-120", (120, 30), keys=("3", "z"), backend=with_networks, tab="rules"),
    Scene("connect-80", (80, 24), keys=("3", "j", "j", "j", "c"), backend=with_networks),
    Scene("reach-80", (80, 24), keys=("3", "j", "j", "j", "r", *"worker:81", "enter"), backend=with_networks),
    Scene(
        "reached-160", (160, 50), keys=("3", "j", "j", "j", "r", *"worker:81", "enter", "escape"), backend=with_networks
    ),
    Scene("network-80", (80, 24), keys=("3", "n", *"shop", "tab", *"vxlan", "enter"), backend=with_networks),
    Scene("pressure-160", (160, 50), keys=("P", "j")),
    Scene("pressure-80", (80, 24), keys=("P",)),
    Scene("pressure-v1-120", (120, 36), keys=("P",), backend=_without_pressure),
    Scene("cgroups-160", (160, 50), keys=("c", *"jjj")),
    Scene("cgroups-80", (80, 24), keys=("c", *"jj")),
    Scene("why-80", (80, 24), keys=("w",)),
    Scene("marks-160", (160, 50), keys=("enter", *("comma",) * 4), tab="graphs"),
    Scene("marks-80", (80, 24), keys=("enter", *("comma",) * 4), tab="graphs"),
    Scene("light-120", (120, 40), theme="tuicon-light", tab="graphs"),
)


async def _draw(scene: Scene, directory: Path) -> None:
    app = scene.app()
    async with app.run_test(size=scene.size) as pilot:
        await scene.play(pilot)
        directory.joinpath(f"{scene.name}.svg").write_text(app.export_screenshot(title="tuicon"))


def main() -> None:
    """Draw all scenes."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for scene in (scene for scene in SCENES if not sys.argv[2:] or scene.name in sys.argv[2:]):
        asyncio.run(_draw(scene, directory))
        print(directory / f"{scene.name}.svg")


if __name__ == "__main__":
    main()
