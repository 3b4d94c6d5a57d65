"""One entry per thing a user can ask for: footer, help, palette and keymap are generated from these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.model.container import Container
from engine.model.image import Image
from engine.model.network import Network
from engine.model.status import Status

SAFE, DISRUPTIVE, DESTRUCTIVE = "safe", "disruptive", "destructive"
CONTAINERS, IMAGES, NETWORKS, VOLUMES = "containers", "images", "networks", "volumes"
_EVERYWHERE = ""


class Context(Protocol):
    """What a command sees and can do; the main screen is one."""

    @property
    def pane(self) -> str:
        """The list that is in use: containers, images, networks or volumes."""
        ...

    @property
    def targets(self) -> tuple[Container, ...]:
        """The marked containers, else the one under the cursor."""
        ...

    @property
    def chosen_images(self) -> tuple[Image, ...]:
        """The marked images, else the one under the cursor, when their list is in use."""
        ...

    @property
    def chosen_network(self) -> Network | None:
        """The network under the cursor, when their list is in use."""
        ...

    @property
    def chosen_member(self) -> Container | None:
        """The member of it that the cursor is on in the detail."""
        ...

    @property
    def selected(self) -> str:
        """The key of the row under the cursor, in whichever list is in use."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """Something a user can ask for; the screen has a method `do_<id>`.

    Attributes:
        id: Also the name in the keymap.
        title: In the footer and the palette.
        help: One sentence.
        keys: The default keys, comma separated, as Textual names them.
        risk: safe, disruptive or destructive.
        pane: The list it belongs to; empty for all.
        available: Returns why it cannot be done now, or an empty string.
        in_footer: Whether the footer shows it.
        anywhere: Whether the palette offers it in the other lists too; its keys stay its list's.
    """

    id: str
    title: str
    help: str
    keys: str
    risk: str = SAFE
    pane: str = _EVERYWHERE
    available: Callable[[Context], str] = lambda _context: ""
    in_footer: bool = False
    anywhere: bool = False


def _needs(fits: Callable[[Container], bool], why: str) -> Callable[[Context], str]:
    def available(context: Context) -> str:
        if not context.targets:
            return "no container is selected"
        return "" if any(fits(container) for container in context.targets) else why

    return available


_alive = _needs(lambda container: container.status.is_alive, "the container does not run")
_running = _needs(lambda container: container.status is Status.RUNNING, "the container does not run")
_stopped = _needs(lambda container: not container.status.is_alive, "the container runs already")
_any = _needs(lambda _container: True, "")


def _row(context: Context) -> str:
    return "" if context.selected else "nothing is selected"


def _image(context: Context) -> str:
    return "" if context.chosen_images else "no image is selected"


def _one_image(context: Context) -> str:
    return "several images are marked" if len(context.chosen_images) > 1 else _image(context)


def _own_network(context: Context) -> str:
    network = context.chosen_network
    if network is None:
        return "no network is selected"
    return f"a container cannot be connected to {network.name}" if network.driver in ("host", "null") else ""


def _member(context: Context) -> str:
    return "" if context.chosen_member else "no container is in it"


def _live_member(context: Context) -> str:
    member = context.chosen_member
    return _member(context) if member is None or member.status.is_alive else f"{member.name} does not run"


COMMANDS: tuple[Command, ...] = (
    Command("start", "start", "Start the container.", "s", SAFE, CONTAINERS, _stopped, in_footer=True),
    Command(
        "stop",
        "stop",
        "Stop the container: its stop signal, then KILL.",
        "S",
        DISRUPTIVE,
        CONTAINERS,
        _alive,
        in_footer=True,
    ),
    Command(
        "restart",
        "restart",
        "Stop the container if it runs, and start it.",
        "r",
        DISRUPTIVE,
        CONTAINERS,
        _any,
        in_footer=True,
    ),
    Command(
        "pause",
        "pause",
        "Freeze all processes, or let them go on.",
        "p",
        DISRUPTIVE,
        CONTAINERS,
        _alive,
        in_footer=True,
    ),
    Command(
        "retune",
        "retune",
        "Move the limits of the running container, live.",
        "t",
        SAFE,
        CONTAINERS,
        _alive,
        in_footer=True,
    ),
    Command(
        "exec",
        "shell",
        "Open a shell in the container; leaving it comes back here.",
        "e",
        SAFE,
        CONTAINERS,
        _running,
        in_footer=True,
    ),
    Command("logs", "logs", "Show the container's output.", "l", SAFE, CONTAINERS, _any),
    Command(
        "layers",
        "layers",
        "Look inside the image: layers, files, waste, advice.",
        "e",
        SAFE,
        IMAGES,
        _row,
        in_footer=True,
    ),
    Command("kill", "kill…", "Send the container a signal.", "K", DESTRUCTIVE, CONTAINERS, _alive),
    Command("pull", "pull", "Pull an image from a registry.", "p", SAFE, IMAGES, in_footer=True, anywhere=True),
    Command("push", "push", "Push the image to a registry.", "P", DISRUPTIVE, IMAGES, _one_image, in_footer=True),
    Command(
        "search",
        "search",
        "Look for images in a registry, and for their tags.",
        "f",
        SAFE,
        IMAGES,
        in_footer=True,
        anywhere=True,
    ),
    Command(
        "newer", "newer?", "Ask the registry whether a newer image exists.", "u", SAFE, IMAGES, _image, in_footer=True
    ),
    Command(
        "newer_all",
        "newer? (all)",
        "Ask for newer images of all of them.",
        "U",
        SAFE,
        IMAGES,
        anywhere=True,
    ),
    Command("tag", "tag", "Give the image one more name.", "t", SAFE, IMAGES, _one_image),
    Command("save", "save", "Write the images into an archive.", "s", SAFE, IMAGES, _image),
    Command("load", "load", "Load images from an archive.", "L", SAFE, IMAGES, anywhere=True),
    Command(
        "prune",
        "prune",
        "Remove images without a name or use; shows first what goes.",
        "D",
        DESTRUCTIVE,
        IMAGES,
        in_footer=True,
        anywhere=True,
    ),
    Command(
        "volume_files",
        "files",
        "Look into the volume: its files, views and copies of them.",
        "e",
        SAFE,
        VOLUMES,
        _row,
        in_footer=True,
    ),
    Command(
        "volume_snapshot",
        "snapshot",
        "Keep the files of the volume as they are now.",
        "t",
        SAFE,
        VOLUMES,
        _row,
        in_footer=True,
    ),
    Command("volume_restore", "restore…", "Bring back the files of a snapshot.", "R", DESTRUCTIVE, VOLUMES, _row),
    Command("volume_clone", "clone…", "Make a volume with the same files.", "c", SAFE, VOLUMES, _row, in_footer=True),
    Command(
        "volume_export",
        "export…",
        "Write the files of the volume into an archive.",
        "s",
        SAFE,
        VOLUMES,
        _row,
        in_footer=True,
    ),
    Command("volume_import", "import…", "Put the files of an archive into the volume.", "L", DISRUPTIVE, VOLUMES, _row),
    Command("volume_resize", "size…", "Change how much the volume may hold, at once.", "u", DISRUPTIVE, VOLUMES, _row),
    Command(
        "volume_sync",
        "sync…",
        "Bring another volume up to this one, on another host too.",
        "P",
        DISRUPTIVE,
        VOLUMES,
        _row,
    ),
    Command(
        "volume_prune",
        "prune",
        "Remove volumes that no container uses; shows first what goes.",
        "D",
        DESTRUCTIVE,
        VOLUMES,
        in_footer=True,
    ),
    Command(
        "connect", "connect", "Connect a container to the network.", "c", SAFE, NETWORKS, _own_network, in_footer=True
    ),
    Command(
        "disconnect",
        "disconnect",
        "Take the container under the cursor out of the network.",
        "C",
        DISRUPTIVE,
        NETWORKS,
        _member,
        in_footer=True,
    ),
    Command(
        "rates",
        "rates",
        "Limit the traffic of the container under the cursor, live.",
        "t",
        SAFE,
        NETWORKS,
        _live_member,
        in_footer=True,
    ),
    Command(
        "reach",
        "reach",
        "Test what the container under the cursor reaches, and at which hop it stops.",
        "r",
        SAFE,
        NETWORKS,
        _live_member,
        in_footer=True,
    ),
    Command("undo_rates", "undo rates", "Take back the last change of limits.", "u", SAFE, NETWORKS),
    Command(
        "overview",
        "all/one",
        "Draw all networks in one picture, or the selected one.",
        "a",
        SAFE,
        NETWORKS,
        in_footer=True,
    ),
    Command(
        "prune_networks",
        "prune networks",
        "Remove the networks that no running container uses; shows first which.",
        "D",
        DESTRUCTIVE,
        NETWORKS,
    ),
    Command("jump", "to container", "Go to the container under the cursor, in its list.", "", SAFE, NETWORKS, _member),
    Command("login", "log in", "Log in to a registry.", "l", SAFE, IMAGES, anywhere=True),
    Command("logout", "log out", "Forget the credentials of a registry.", "O", DISRUPTIVE, IMAGES, anywhere=True),
    Command(
        "remove",
        "remove",
        "Remove what is selected, after a question.",
        "d",
        DESTRUCTIVE,
        _EVERYWHERE,
        _row,
        in_footer=True,
    ),
    Command("rename", "rename", "Give the container another name.", "R", SAFE, CONTAINERS, _any),
    Command("commit", "commit…", "Make an image out of what the container changed.", "", SAFE, CONTAINERS, _any),
    Command(
        "copy_out", "copy out…", "Copy a file or directory of the container to this host.", "", SAFE, CONTAINERS, _any
    ),
    Command(
        "new",
        "new",
        "Run a new container, of the image that is selected; in their lists, make a network or a volume.",
        "n",
        SAFE,
        _EVERYWHERE,
    ),
    Command("transfers", "transfers", "Show what is being pulled, pushed, saved and loaded.", "b", SAFE, _EVERYWHERE),
    Command(
        "profile",
        "profile…",
        "Give containers the limits of a profile; shows first what changes.",
        "f",
        DISRUPTIVE,
        CONTAINERS,
        anywhere=True,
    ),
    Command("undo", "undo retune", "Take back the last change of limits.", "u", SAFE, CONTAINERS),
    Command("inspect", "inspect", "Show all that is known of what is selected.", "i", SAFE, _EVERYWHERE, _row),
    Command(
        "scan", "scan", "Find known vulnerabilities and packages in the image.", "v", SAFE, IMAGES, _row, in_footer=True
    ),
    Command("copy", "copy id", "Copy the id to the clipboard, also over SSH.", "y", SAFE, _EVERYWHERE, _row),
    Command("actions", "actions…", "Choose what to do with what is selected.", "x", SAFE, _EVERYWHERE, _row),
    Command("why", "why?", "Say why the container ended.", "w", SAFE, CONTAINERS, _any),
    Command(
        "pressure", "pressure", "Show who waits for what, and who is in the way.", "P", SAFE, CONTAINERS, anywhere=True
    ),
    Command("groups", "cgroups", "Show the control groups of the whole host.", "c", SAFE, CONTAINERS, anywhere=True),
    Command("filter", "find", "Show only rows that fit; in a log, search.", "slash", SAFE, _EVERYWHERE, in_footer=True),
    Command("sort", "sort", "Sort the list by its next column.", "o", SAFE),
    Command("all", "running only", "Show running containers only, or all.", "A", SAFE, CONTAINERS),
    Command("zoom", "zoom", "Give the detail the whole screen, or not.", "z,plus", SAFE),
    Command("theme", "theme…", "Choose a theme.", "ctrl+t", SAFE),
    Command("demo_up", "demo up", "Start the demo's three containers.", "", SAFE),
    Command("demo_down", "demo down", "Remove the demo's containers.", "", DESTRUCTIVE),
    Command("palette", "palette", "Find any command by name.", "colon", SAFE),
    Command("help", "help", "Show all keys.", "question_mark", SAFE, in_footer=True),
    Command("quit", "quit", "Leave; containers go on.", "q,ctrl+q", SAFE, in_footer=True),
)
BY_ID = {command.id: command for command in COMMANDS}
MOVES = (
    ("j k ↑ ↓", "move"), ("g G", "first, last"), ("ctrl-d ctrl-u", "half a page"), ("1 2 3 4", "containers, images, networks, volumes"),
    ("tab shift-tab", "next, previous pane"), ("[ ]", "previous, next tab of the detail"), ("enter", "into the detail, the image or the volume; from a network to the container"),
    ("esc", "back: filter, marks, detail"), ("space", "mark"), ("n N", "next, previous match in a log"), ("w", "wrap long lines"),
    ("T", "time stamps in a log"), (", .", "earlier, later mark below a graph; enter: the log then, w: why it ended"),
)  # fmt: skip
"""Keys that are not commands, for the help."""


def key_text(keys: str) -> str:
    """Return keys as people write them."""
    names = {
        "slash": "/",
        "colon": ":",
        "question_mark": "?",
        "plus": "+",
        "minus": "-",
        "comma": ",",
        "full_stop": ".",
    }
    return " ".join(names.get(key, key.replace("ctrl+", "ctrl-")) for key in keys.split(","))


def help_groups(keys: dict[str, str]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what the help shows; `keys` has the user's own keys by command."""
    bound = [command for command in COMMANDS if keys.get(command.id, command.keys)]

    def lines(pane: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (key_text(keys.get(command.id, command.keys)), command.help) for command in bound if command.pane == pane
        )

    return (
        ("Containers", lines(CONTAINERS)), ("Images", lines(IMAGES)), ("Networks", lines(NETWORKS)), ("Volumes", lines(VOLUMES)),
        ("Everywhere", lines(_EVERYWHERE)), ("Moving", MOVES),
    )  # fmt: skip
