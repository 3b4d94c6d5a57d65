"""What the commands about volumes do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.errors import EngineError
from engine.model.volume import Cloned, Synced, Volume, VolumePrunePlan, VolumeSnapshot, Way, Wishes
from tuicon.dialogs.ask import Choose, Confirm, Prompt
from tuicon.dialogs.document import Document
from tuicon.dialogs.prune import PruneVolumes
from tuicon.model import units
from tuicon.model.text import printable
from tuicon.model.volumes import shown_name
from tuicon.screens.image_actions import ImageActions
from tuicon.screens.volume_browser import VolumeBrowser

_LEAST_BETWEEN = 10.0
_RESTS = 20
"""How many times as long as a measurement took nothing is measured."""


_SYNCS = (
    ("update", "update     send what differs"),
    ("mirror", "mirror     and remove there what is not here"),
    ("look", "look       only show what a mirror would change"),
)
_ASKS_NOTHING = Way(("ssh", "-o", "BatchMode=yes"))
"""A question for a password would go to the terminal that the console draws on."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    target: str
    found: Synced


class VolumeActions(ImageActions):
    """The doing of what is asked of volumes; sizes are measured while their list is in use."""

    def __init__(self) -> None:
        super().__init__()
        self.volume_sizes: dict[str, int | None] = {}
        self._measures_from = 0.0
        self._stop_measuring = threading.Event()

    @property
    def chosen_volume(self) -> Volume | None:
        """The volume under the cursor, when their list is in use."""
        if self.pane != "volumes":
            return None
        return next((volume for volume in self.snapshot.volumes if volume.name == self.selected), None)

    # -- sizes -------------------------------------------------------------------------------------

    def measure_volumes(self) -> None:
        """Measure what the volumes occupy, unless that was done a little while ago."""
        names = [volume.name for volume in self.snapshot.volumes]
        is_due = time.monotonic() >= self._measures_from or not self.volume_sizes.keys() >= set(names)
        if self.pane == "volumes" and names and is_due:
            self._measures_from = float("inf")
            work = partial(self._measure, names)
            self.run_worker(work, thread=True, group="volume-sizes", exit_on_error=False)

    def _measure(self, names: list[str]) -> None:
        began = time.monotonic()
        found: dict[str, int | None] = {}
        for name in names:
            try:
                found[name] = self.backend.volumes.measure(name, stop=self._stop_measuring).size
            except (EngineError, OSError):
                found[name] = None  # it has gone, or its files are elsewhere
            if self._stop_measuring.is_set():
                return
        took = time.monotonic() - began
        self.app.call_from_thread(self._take_sizes, found, max(_LEAST_BETWEEN, _RESTS * took))

    def _take_sizes(self, found: dict[str, int | None], rest: float) -> None:
        self.volume_sizes = found
        self._measures_from = time.monotonic() + rest
        self.show_volumes()

    def show_volumes(self) -> None:
        """Show the list of volumes anew."""
        raise NotImplementedError

    def on_unmount(self) -> None:
        """Let a measurement end."""
        self._stop_measuring.set()

    # -- making and removing -----------------------------------------------------------------------

    def do_new(self) -> None:
        """Ask for a name and make a volume, or run a container."""
        if self.pane != "volumes":
            super().do_new()
            return

        def make(name: str | None) -> None:
            if name is not None:
                self._operate_on(
                    "", f"make the volume {name}".rstrip(), lambda: f"Made {self.backend.volumes.create(name).name}"
                )

        self.app.push_screen(
            Prompt("Name of the new volume", placeholder="name, or nothing for an anonymous one"), make
        )

    def do_remove(self) -> None:
        """Remove what is selected, after a question that names what goes and who uses it."""
        volume = self.chosen_volume
        if volume is None:
            super().do_remove()
            return

        def ask() -> None:
            try:
                snapshots = len(self.backend.volumes.snapshots(volume.name))
                users = [f"{use.container} uses it at {use.target}" for use in self.backend.volumes.uses(volume.name)]
            except EngineError:
                return  # it has gone
            self.app.call_from_thread(show, users, snapshots)

        def show(users: list[str], snapshots: int) -> None:
            size = self.volume_sizes.get(volume.name)
            lines = ["with all its files" + (f", {units.size(size)}" if size is not None else "")]
            lines += [f"and with its {snapshots} snapshot{'s' * (snapshots != 1)}"] if snapshots else []
            lines += [*users, "so it will be refused"] if users else []
            question = Confirm(f"Remove the volume {shown_name(volume)}?", lines)
            call = partial(self.backend.volumes.remove, volume.name)
            self.app.push_screen(
                question,
                lambda yes: self._operate_on(volume.name, f"remove {shown_name(volume)}", call) if yes else None,
            )

        self.run_worker(ask, thread=True, group="operations", exit_on_error=False)

    def do_volume_prune(self) -> None:
        """Show what would go, and remove it."""

        def plan(takes_named: bool) -> VolumePrunePlan:
            return self.backend.volumes.plan_prune(takes_named=takes_named)

        def prune(found: VolumePrunePlan | None) -> None:
            if found:
                self.operate("prune volumes", partial(self._prune_volumes, found))

        self.app.push_screen(PruneVolumes(plan), prune)

    def _prune_volumes(self, plan: VolumePrunePlan) -> str:
        gone = set(self.backend.volumes.prune(plan))
        freed = sum(volume.size or 0 for volume in plan.volumes if volume.name in gone)
        return f"{len(gone)} volume{'s' * (len(gone) != 1)} removed, {units.size(freed)} freed"

    # -- files -------------------------------------------------------------------------------------

    def do_volume_files(self) -> None:
        """Look into the volume."""
        volume = self.chosen_volume
        if volume is not None:
            self.app.push_screen(VolumeBrowser(self.backend, volume.name, shown_name(volume), self.keys))

    def do_volume_export(self) -> None:
        """Ask for a file, and write the volume into it."""
        self._ask_text("Export {} to the file", self._export, "{}.tar")

    def _export(self, volume: Volume, text: str) -> None:
        path = Path(text).expanduser().absolute()

        def start(is_sure: bool | None) -> None:
            if is_sure:
                call = partial(self.backend.volumes.export, volume.name, path)
                self._operate_on(volume.name, f"export {shown_name(volume)}", call)

        if path.exists():
            self.app.push_screen(Confirm(f"Write over {path}?", ()), start)
        else:
            start(is_sure=True)

    def do_volume_import(self) -> None:
        """Ask for an archive, and put its files into the volume."""
        self._ask_text("Import into {} from the file", self._import, placeholder="a tar archive, compressed or not")

    def _import(self, volume: Volume, text: str) -> None:
        path = Path(text).expanduser().absolute()
        options = (
            ("add", "add        what is there stays, files of the same name are replaced"),
            ("replace", "replace    what is there goes"),
        )

        def start(how: str | None) -> None:
            if how:
                call = partial(self.backend.volumes.import_, volume.name, path, replaces=how == "replace")
                self._operate_on(volume.name, f"import into {shown_name(volume)}", call)

        self.app.push_screen(Choose(f"Import into {shown_name(volume)}", options), start)

    # -- snapshots and clones ----------------------------------------------------------------------

    def do_volume_snapshot(self) -> None:
        """Ask for a name, and keep the files as they are."""

        def keep(volume: Volume, name: str) -> None:
            self._operate_on(
                volume.name,
                f"snapshot of {shown_name(volume)}",
                partial(self.backend.volumes.snapshot, volume.name, name),
            )

        self._ask_text("Name of the snapshot of {}", keep, placeholder="nothing takes the time", may_be_empty=True)

    def do_volume_restore(self) -> None:
        """Choose a snapshot, and bring its files back."""
        volume = self.chosen_volume
        if volume is None:
            return

        def look() -> None:
            try:
                found = self.backend.volumes.snapshots(volume.name)
            except EngineError:
                found = ()
            self.app.call_from_thread(self._choose_snapshot, volume, found)

        self.run_worker(look, thread=True, group="operations", exit_on_error=False)

    def _choose_snapshot(self, volume: Volume, found: tuple[VolumeSnapshot, ...]) -> None:
        if not found:
            self.notify(f"There is no snapshot of {shown_name(volume)}", severity="warning", timeout=4)
            return
        now = self.snapshot.taken_at
        options = [(one.name, f"{one.name:<28} {units.ago(one.created_at, now)} ago") for one in reversed(found)]

        def confirm(name: str | None) -> None:
            if name:
                question = Confirm(f"Restore {shown_name(volume)} as it was at {name}?", ("what is in it now goes",))
                call = partial(self.backend.volumes.restore, volume.name, name)
                self.app.push_screen(
                    question,
                    lambda yes: self._operate_on(volume.name, f"restore {shown_name(volume)}", call) if yes else None,
                )

        self.app.push_screen(Choose(f"Snapshot of {shown_name(volume)}", options), confirm)

    def do_volume_clone(self) -> None:
        """Ask for a name, and make a volume with the same files."""

        def clone(volume: Volume, name: str) -> None:
            self._operate_on(
                volume.name, f"clone {shown_name(volume)}", partial(self.backend.volumes.clone, volume.name, name)
            )

        self._ask_text("Name of the clone of {}", clone, "{}-clone")

    def do_volume_resize(self) -> None:
        """Ask how much the volume may hold, and have the file system hold it to that."""

        def resize(volume: Volume, text: str) -> None:
            try:
                size = units.parse_size(text)
            except ValueError as error:
                self.notify(str(error), severity="error")
                return
            call = partial(self.backend.volumes.resize, volume.name, size)
            self._operate_on(volume.name, f"size of {shown_name(volume)}", call)

        now = self.chosen_volume.quota if self.chosen_volume else 0
        self._ask_text("What {} may hold", resize, str(now or ""), placeholder="10g; 0 for no limit")

    # -- sync --------------------------------------------------------------------------------------

    def do_volume_sync(self) -> None:
        """Ask for the other volume and how, and bring it up to this one."""
        self._ask_text("Bring up to {} the volume", self._sync, placeholder="VOLUME, or HOST:VOLUME through ssh")

    def _sync(self, volume: Volume, target: str) -> None:
        def start(how: str | None) -> None:
            if how is None:
                return
            wishes = Wishes(deletes=how != "update", is_dry=how == "look")
            call = partial(self.backend.volumes.sync, volume.name, target, wishes, _ASKS_NOTHING)
            if wishes.is_dry:
                self.operate(f"compare {shown_name(volume)}", lambda: _Comparison(target, call()))
            else:
                self._operate_on(volume.name, f"sync {shown_name(volume)}", call)

        self.app.push_screen(Choose(f"{shown_name(volume)} to {target}", _SYNCS), start)

    def _ask_text(
        self, title: str, then: Callable[[Volume, str], None], value: str = "", *, placeholder: str = "",
        may_be_empty: bool = False,
    ) -> None:  # fmt: skip
        """Ask for a text about the chosen volume, whose name takes the place of {}."""
        volume = self.chosen_volume
        if volume is None:
            return

        def take(text: str | None) -> None:
            if text or (may_be_empty and text is not None):
                then(volume, text)

        name = shown_name(volume)
        self.app.push_screen(Prompt(title.format(name), value.format(name), placeholder), take)

    def _operate_on(self, name: str, title: str, call: Callable[[], object]) -> None:
        self._measures_from = 0.0
        self.operate(title, call, key=f"volume {name}" if name else "")

    def took(self, result: object) -> None:
        """Say what became of an operation on volumes."""
        match result:
            case Cloned():
                self.notify(f"{result.volume.name} is there ({result.how})", timeout=4)
            case VolumeSnapshot():
                self.notify(f"Kept {result.volume} as {result.name} ({result.how})", timeout=4)
            case Volume():
                limit = f"may hold {units.size(result.quota)}" if result.quota else "has no limit"
                self.notify(f"{shown_name(result)} {limit}", timeout=4)
            case Synced():
                self.notify(_said(result, ""), timeout=4)
            case _Comparison():
                lines = [f"{change.kind} {printable(change.path)}" for change in result.found.changes]
                text = "\n".join([_said(result.found, "would be "), "", *lines])
                self.app.push_screen(Document(f"What a mirror in {result.target} would change", text))
            case _:
                super().took(result)


def _said(done: Synced, would: str) -> str:
    return f"{done.sent} {would}sent ({units.size(done.size)}), {done.touched} {would}changed, {done.removed} {would}removed"
