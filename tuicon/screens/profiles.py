"""Limits of several containers at once: by a profile, or relative to what they have; shown first, then made in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError, InvalidArgument
from engine.model.container import Container
from engine.model.limits import Preview
from tuicon import locations
from tuicon.dialogs.ask import Choose, Prompt
from tuicon.dialogs.previews import Previews
from tuicon.model import profiles
from tuicon.model.failure import Usage
from tuicon.model.relative import parse_relative
from tuicon.model.text import printable
from tuicon.model.tuning import Change

if TYPE_CHECKING:
    from tuicon.screens.actions import Actions

_OTHER = ""


def choose(screen: Actions) -> None:
    """Choose a profile of the user's, or a file elsewhere, and go on with it."""
    found = sorted((locations.config_directory() / "profiles").glob("*.toml"))

    def take(path: str | None) -> None:
        if path == _OTHER:
            screen.app.push_screen(Prompt("Profile", placeholder="a TOML file, as for tuicon profile apply"), read)
        else:
            read(path)

    def read(path: str | None) -> None:
        if path:
            _read(screen, Path(path).expanduser())

    if found:
        options = [*((str(path), printable(path.stem)) for path in found), (_OTHER, "another file…")]
        screen.app.push_screen(Choose("Give containers the limits of a profile", options), take)
    else:
        take(_OTHER)


def _read(screen: Actions, path: Path) -> None:
    try:
        profile = profiles.parse(profiles.load(path))
        changes = profiles.matched(profile, [container.name for container in screen.snapshot.containers])
    except (Usage, ValueError) as error:
        screen.notify(printable(str(error)), title="the profile cannot be used", severity="error", timeout=10)
        return
    _foresee(screen, f"Limits of {printable(path.stem)}", changes, may_overcommit=profile.may_overcommit)


def ask_relative(screen: Actions, targets: tuple[Container, ...]) -> None:
    """Ask by how much to change the limits of several containers, each relative to its own."""

    def check(text: str) -> str:
        try:
            parse_relative(text)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        return ", ".join(container.name for container in targets)

    def take(text: str | None) -> None:
        if text:
            change = parse_relative(text)
            _foresee(screen, text, {container.name: change for container in targets}, may_overcommit=True)

    title = f"Change the limits of {len(targets)} containers by"
    screen.app.push_screen(Prompt(title, placeholder="cpus +20%, memory -10%", check=check), take)


def _foresee(screen: Actions, title: str, changes: Mapping[str, Change], *, may_overcommit: bool) -> None:
    """Show what would come of it, and ask; the engine is asked in a thread."""
    tuning = screen.backend.containers.tuning

    def look() -> None:
        try:
            previews = tuning.preview_all(changes)
            shortage = "" if may_overcommit else tuning.shortage(previews)
        except (EngineError, OSError) as error:
            screen.app.call_from_thread(screen.notify, str(error), severity="error")
            return
        screen.app.call_from_thread(show, previews, shortage)

    def show(previews: tuple[Preview, ...], shortage: str) -> None:
        hint = f"{shortage}; say overcommit = true in the profile when that is meant" if shortage else ""
        screen.app.push_screen(Previews(title, previews, hint), partial(apply, previews))

    def apply(previews: tuple[Preview, ...], seconds: float | None) -> None:
        if seconds is not None:
            call: Callable[[], object] = partial(tuning.update_all, changes, how="profile", seconds=seconds)
            screen.operate(f"change the limits of {len(previews)} containers", call)

    screen.run_worker(look, thread=True, group="previews", exit_on_error=False)
