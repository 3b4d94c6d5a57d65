"""The console: themes, keymap, first screen, feed; nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.notifications import SeverityLevel

from tuicon import config as settings
from tuicon import locations, themes
from tuicon.backend import Backend
from tuicon.commands.browsing import BROWSING
from tuicon.commands.registry import BY_ID, COMMANDS, Command
from tuicon.commands.tuning import TUNING
from tuicon.commands.volumes import FILES
from tuicon.feed import Feed
from tuicon.messages import SnapshotTaken, StallSeen
from tuicon.model.snapshot import Snapshot
from tuicon.screens.first import Missing, Welcome
from tuicon.screens.main import MainScreen
from tuicon.widgets import plot


class CommandProvider(Provider):
    """Fills the palette from the registry."""

    def _commands(self) -> Iterator[Command]:
        return (command for command in COMMANDS if command.id != "palette")

    async def discover(self) -> Hits:
        """Offer everything."""
        for command in self._commands():
            yield DiscoveryHit(command.title, partial(self._run, command.id), help=command.help)

    async def search(self, query: str) -> Hits:
        """Offer what fits."""
        matcher = self.matcher(query)
        for command in self._commands():
            score = matcher.match(f"{command.title} {command.help}")
            if score > 0:
                title = matcher.highlight(command.title)
                yield Hit(score, title, partial(self._run, command.id), help=command.help)

    def _run(self, command_id: str) -> None:
        if isinstance(self.app, Console):
            self.app.main.run_command(command_id)


class Console(App[int]):
    """Wires the rooms together."""

    TITLE = "tuicon"
    COMMANDS: ClassVar = {CommandProvider}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "hint", show=False, priority=True)]

    def __init__(self, backend: Backend, config: settings.Config | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.config = config or settings.load(
            locations.config_directory(), set(BY_ID) | {command.id for command in (*BROWSING, *FILES, *TUNING)}
        )
        self.main = MainScreen(backend, self.config.keys)
        self.feed = Feed(backend, self._deliver, lambda stall: self.main.post_message(StallSeen(stall)))
        self._is_first = True
        found, self._problems = themes.load((*themes.directories(), locations.config_directory() / "themes"))
        for theme in found:
            self.register_theme(theme)
        self.theme = self.config.theme if self.config.theme in self.available_themes else "tuicon-dark"
        self.set_keymap(self.config.keys)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give themes that are not ours the variables that our styles use."""
        return {"muted": "#8a8f98"}

    def on_mount(self) -> None:
        """Show the main screen, or what is missing."""
        missing = self.backend.system.check_permissions()
        if missing:
            self.push_screen(Missing(missing))
            return
        self.push_screen(self.main)
        self.feed.start()
        for problem in (*self.config.problems, *self._problems):
            self.notify(problem, severity="warning", timeout=10)
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        """Load what the first key may need, once the first paint is out."""
        self.backend.warm()
        plot.warm()

    def on_unmount(self) -> None:
        """End the feed."""
        self.feed.stop()

    def _deliver(self, snapshot: Snapshot) -> None:
        """Hand a snapshot to the screen; called in the feed's thread."""
        self.main.post_message(SnapshotTaken(snapshot))
        if self._is_first and not snapshot.error:
            self._is_first = False
            if not snapshot.containers and not snapshot.images:
                self.call_later(self._welcome)

    def _welcome(self) -> None:
        self.push_screen(Welcome(), lambda yes: self.main.do_demo_up() if yes else None)

    def notify(
        self, message: str, *, title: str = "", severity: SeverityLevel = "information", timeout: float | None = None,
        markup: bool = False,
    ) -> None:  # fmt: skip
        """Show a toast; names and paths in it may look like markup, and are shown as they are."""
        del markup
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def action_hint(self) -> None:
        """Say how to leave."""
        self.notify("q leaves the console; containers go on", timeout=3)


def run_console(backend: Backend) -> int:
    """Run the console until the user leaves; return the exit code."""
    return Console(backend).run() or 0
