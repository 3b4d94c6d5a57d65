"""What the commands do: each `do_<id>` asks if it must, then has the engine do it in a thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.screen import Screen

from engine.errors import EngineError
from engine.model.container import Container, ExecSpec
from engine.model.status import Status
from tuicon import terminal
from tuicon.backend import Backend
from tuicon.commands.registry import COMMANDS, Command
from tuicon.dialogs.ask import Choose, Confirm, Prompt
from tuicon.messages import OperationFailed, OperationFinished
from tuicon.screens import profiles
from tuicon.screens.browser import LayerBrowser
from tuicon.screens.scan import ScanScreen

if TYPE_CHECKING:
    from tuicon.model.snapshot import Snapshot

_SIGNALS = (
    ("TERM", "TERM   ask it to end"), ("INT", "INT    as ctrl-c"), ("HUP", "HUP    often: read the settings anew"),
    ("QUIT", "QUIT   end with a core dump"), ("USR1", "USR1"), ("USR2", "USR2"), ("KILL", "KILL   end it at once"),
)  # fmt: skip
_SHELL = ("sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")


class Actions(Screen[None]):
    """Half of the main screen: the commands' doing. What it needs to see is in the other half."""

    backend: Backend
    keys: dict[str, str]
    snapshot: Snapshot
    pane: str
    pattern: str
    shows_all: bool
    targets: tuple[Container, ...]
    selected: str

    def __init__(self) -> None:
        super().__init__()
        self._asking = threading.Lock()
        self._waiting: dict[str, deque[tuple[str, Callable[[], object]]]] = {}
        self._retuned: list[str] = []

    def operate(self, title: str, call: Callable[[], object], *, key: str = "") -> None:
        """Have the engine do something in a thread; things with one object are done in the order they were asked for."""
        if not key:
            self._begin(deque([(title, call)]), "")
            return
        with self._asking:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.append((title, call))
                return
            waiting = self._waiting[key] = deque([(title, call)])
        self._begin(waiting, key)

    def _begin(self, waiting: deque[tuple[str, Callable[[], object]]], key: str) -> None:
        def work() -> None:
            while waiting:
                title, call = waiting.popleft()
                try:
                    result = call()
                except Exception as error:  # noqa: BLE001 - the console outlives every engine error
                    self.post_message(OperationFailed(title, error, key))
                else:
                    self.post_message(OperationFinished(title, result, key))
                with self._asking:
                    if not waiting:
                        self._waiting.pop(key, None)
                        return

        self.run_worker(work, thread=True, group="operations", exit_on_error=False)

    def on_operation_failed(self, message: OperationFailed) -> None:
        """Say what went wrong."""
        self.notify(message.sentence, title=f"{message.title} failed", severity="error", timeout=8)

    def _each(self, title: str, call: Callable[[str], object], fits: Callable[[Container], bool]) -> None:
        for container in self.targets:
            if fits(container):
                self.operate(f"{title} {container.name}", partial(call, container.id), key=container.id)

    def do_start(self) -> None:
        """Start."""
        self._each("start", self.backend.containers.start, lambda container: not container.status.is_alive)

    def do_stop(self) -> None:
        """Stop."""
        self._each("stop", self.backend.containers.stop, lambda container: container.status.is_alive)

    def do_restart(self) -> None:
        """Restart."""
        self._each("restart", self.backend.containers.restart, lambda _container: True)

    def do_pause(self) -> None:
        """Pause what runs, let go on what is paused."""
        self._each("unpause", self.backend.containers.unpause, lambda container: container.status is Status.PAUSED)
        self._each("pause", self.backend.containers.pause, lambda container: container.status is Status.RUNNING)

    def do_kill(self) -> None:
        """Send a chosen signal."""
        names = ", ".join(container.name for container in self.targets)

        def send(signal: str | None) -> None:
            if signal:
                call = partial(self.backend.containers.kill, signal=signal)
                self._each("kill", call, lambda container: container.status.is_alive)

        self.app.push_screen(Choose(f"Signal for {names}", _SIGNALS), send)

    def do_remove(self) -> None:
        """Remove what is selected, after a question that names what goes."""
        if self.pane == "containers":
            self._remove_containers(self.targets)
            return
        key, pane = self.selected, self.pane
        calls: dict[str, Callable[[], object]] = {
            "networks": partial(self.backend.networks.remove, key),
            "volumes": partial(self.backend.volumes.remove, key),
        }
        name = self._name_of(key)
        question = Confirm(f"Remove the {pane.removesuffix('s')} {name}?", ())
        self.app.push_screen(question, lambda yes: self.operate(f"remove {name}", calls[pane]) if yes else None)

    def _remove_containers(self, targets: tuple[Container, ...]) -> None:
        lines = []
        for container in targets:
            state = (
                f"runs ({container.status}), and will be killed" if container.status.is_alive else str(container.status)
            )
            lines.append(f"{container.name}: {state}")
        what = "this container" if len(targets) == 1 else f"these {len(targets)} containers"

        def remove(yes: bool | None) -> None:
            if yes:
                for container in targets:
                    call = partial(self.backend.containers.remove, container.id, force=True, volumes=True)
                    self.operate(f"remove {container.name}", call, key=container.id)

        lines.append("with their changes, logs and anonymous volumes")
        self.app.push_screen(Confirm(f"Remove {what}?", lines), remove)

    def _name_of(self, key: str) -> str:
        return next((network.name for network in self.snapshot.networks if network.id == key), key)

    def do_rename(self) -> None:
        """Ask for a name."""
        container = self.targets[0]

        def rename(name: str | None) -> None:
            if name and name != container.name:
                self.operate(f"rename {container.name}", partial(self.backend.containers.rename, container.id, name))

        self.app.push_screen(Prompt(f"New name for {container.name}", container.name), rename)

    def do_layers(self) -> None:
        """Look inside the image."""
        self.app.push_screen(LayerBrowser(self.backend, self.selected, self._name_of(self.selected), self.keys))

    def do_commit(self) -> None:
        """Ask for a name, and make an image."""
        container = self.targets[0]

        def commit(reference: str | None) -> None:
            if reference is not None:
                call = partial(self.backend.containers.commit, container.id, reference)
                self.operate(f"commit {container.name}", call, key=container.id)

        question = Prompt(f"Name of the image of {container.name}", placeholder="name:tag, or nothing")
        self.app.push_screen(question, commit)

    def do_copy_out(self) -> None:
        """Ask for both paths, and copy."""
        container = self.targets[0]

        def ask_target(path: str | None) -> None:
            if path:
                question = Prompt(f"Copy {path} to this path of the host", f"{Path.cwd()}/")
                self.app.push_screen(question, partial(copy, path))

        def copy(path: str, target: str | None) -> None:
            if target:
                call = partial(self.backend.containers.copy_out, container.id, path, target)
                self.operate(f"copy {container.name}:{path}", call, key=container.id)

        self.app.push_screen(Prompt(f"Path in {container.name} to copy", placeholder="/etc/hosts"), ask_target)

    def do_exec(self) -> None:
        """Hand the terminal to a shell in the container, and come back."""
        container = self.targets[0]
        spec = ExecSpec(_SHELL, tty=True, interactive=True, env=("TERM=xterm-256color",))
        try:
            with self.app.suspend():
                print(f"\x1b[2J\x1b[Htuicon: a shell in {container.name}; exit or ctrl-d comes back", flush=True)  # noqa: T201 - the terminal is ours to write to here
                session = self.backend.containers.exec(container.id, spec, size=terminal.size())
                if session is not None:
                    bridge = terminal.Bridge(session, has_tty=True, wants_stdin=True, detach_keys=b"")
                    try:
                        bridge.run()
                    finally:
                        session.close()
        except (EngineError, OSError) as error:
            self.post_message(OperationFailed(f"shell in {container.name}", error))
        self.refresh(layout=True)

    def retune(self, container_id: str, title: str, call: Callable[[], object]) -> None:
        """Move limits, and remember whose limits can be taken back."""
        if title == "retune":
            self._retuned.append(container_id)
        elif title == "undo retune":
            self._forget_retuned(container_id)
        self.operate(title, call, key=container_id)

    def _forget_retuned(self, container_id: str) -> None:
        if container_id in self._retuned:
            del self._retuned[len(self._retuned) - 1 - self._retuned[::-1].index(container_id)]

    def do_undo(self) -> None:
        """Take back the last change of limits that was made in this console."""
        if not self._retuned:
            self.notify("There is no change of limits to take back")
            return
        container_id = self._retuned.pop()
        self.operate("undo retune", partial(self.backend.containers.tuning.undo, container_id), key=container_id)

    def do_profile(self) -> None:
        """Choose a profile, and give containers its limits."""
        profiles.choose(self)

    def do_scan(self) -> None:
        """Open what is in the image."""
        self.app.push_screen(ScanScreen(self.backend, self.selected, self._name_of(self.selected)))

    def do_copy(self) -> None:
        """Copy the id, through the terminal (OSC 52)."""
        key = self.selected
        self.app.copy_to_clipboard(key)
        self.notify(f"Copied {key[:19]}", timeout=2)

    def do_demo_up(self) -> None:
        """Start the demo."""
        self.notify("Starting three demo containers")
        self.operate("demo up", self.backend.system.demo_up)

    def do_demo_down(self) -> None:
        """Remove the demo."""
        question = Confirm("Remove the demo's containers?", ("demo-cpu, demo-memory, demo-io",))
        self.app.push_screen(
            question, lambda yes: self.operate("demo down", self.backend.system.demo_down) if yes else None
        )

    def do_theme(self) -> None:
        """Choose a theme; it changes at once."""
        names = sorted(name for name in self.app.available_themes if name.startswith("tuicon-"))

        def take(name: str | None) -> None:
            if name:
                self.app.theme = name

        self.app.push_screen(Choose("Theme", [(name, name.removeprefix("tuicon-")) for name in names]), take)

    def do_actions(self) -> None:
        """Choose from what can be done with what is selected."""
        fitting = [command for command in COMMANDS if command.pane in ("", self.pane) and self.reason(command) == ""]
        options = [
            (command.id, f"{command.title:<14} {command.help}") for command in fitting if command.id != "actions"
        ]
        self.app.push_screen(Choose("Actions", options), lambda chosen: self.run_command(chosen) if chosen else None)

    def reason(self, command: Command) -> str:
        """Return why a command cannot be done now; empty when it can."""
        raise NotImplementedError

    def run_command(self, command_id: str) -> None:
        """Do a command."""
        raise NotImplementedError
