"""Images as rows and texts: who uses them, what they share, how they were made; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from engine.model.image import Image
from engine.model.transfer import HistoryStep
from tuicon.model import units
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.snapshot import Snapshot

NONE = "<none>"
_ALL = (
    Column("mark", "", 1), Column("name", "REPOSITORY", None), Column("tag", "TAG", 12), Column("id", "ID", 12),
    Column("created", "MADE", 5, "right"), Column("size", "SIZE", 7, "right"), Column("used", "USED", 4, "right"),
)  # fmt: skip
_FIRST_TO_GO = ("id", "created", "used")
_SHORTEST_NAME = 18
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def image_columns(width: int) -> tuple[Column, ...]:
    """Return the columns that fit into a width and leave room for the repository; the least wanted go first."""
    columns = list(_ALL)
    for name in _FIRST_TO_GO:
        if sum(column.width or _SHORTEST_NAME for column in columns) + len(columns) + 1 <= width:
            break
        columns = [column for column in columns if column.id != name]
    return tuple(columns)


def split(reference: str) -> tuple[str, str]:
    """Return (repository, tag) of a full reference in docker's short form."""
    name, _, tag = reference.rpartition(":")
    return name.removeprefix("docker.io/").removeprefix("library/"), tag


def short(reference: str) -> str:
    """Return a full reference in docker's short form, "busybox:latest"."""
    return ":".join(split(reference))


def name_of(image: Image) -> str:
    """Return what to call an image: its first name, else its id."""
    return short(image.references[0]) if image.references else image.short_id


def image_rows(
    snapshot: Snapshot, columns: Sequence[Column], newer: Mapping[str, bool] | None = None
) -> tuple[Row, ...]:
    """Return a row for each image.

    Args:
        snapshot: What there is.
        columns: Which cells to make.
        newer: By image id, whether a registry has a newer one; only those that were asked for.
    """
    users: dict[str, int] = {}
    for container in snapshot.containers:
        users[container.image_id] = users.get(container.image_id, 0) + 1
    return tuple(
        Row(image.id, tuple(_cell(column.id, image, snapshot, users.get(image.id, 0), newer or {}) for column in columns))
        for image in snapshot.images
    )  # fmt: skip


def _cell(column: str, image: Image, snapshot: Snapshot, users: int, newer: Mapping[str, bool]) -> Cell:
    style = "" if users else "muted"
    repository, tag = split(image.references[0]) if image.references else (NONE, NONE)
    match column:
        case "mark":
            return _mark(image, newer)
        case "name":
            return Cell(repository, style if image.references else "warn")
        case "tag":
            more = f" +{len(image.references) - 1}" if len(image.references) > 1 else ""
            return Cell(tag + more, style if image.references else "warn")
        case "id":
            return Cell(image.short_id, "muted")
        case "created":
            return _age(image.created_at, snapshot.taken_at)
        case "size":
            return Cell(units.short_size(image.size), sort=float(image.size))
    return Cell(str(users) if users else "-", "ok" if users else "muted", sort=float(users))


def _mark(image: Image, newer: Mapping[str, bool]) -> Cell:
    if image.id in newer:
        return Cell("↑", "warn", sort=0.0) if newer[image.id] else Cell("✓", "ok", sort=2.0)
    return Cell("", sort=3.0) if image.references else Cell("○", "warn", sort=1.0)


def _age(moment: datetime | None, now: datetime) -> Cell:
    seconds = (now - moment).total_seconds() if moment else 0.0
    return Cell(units.short_duration(seconds) if moment else "-", "muted", sort=seconds)


def built_on(image: Image, images: Iterable[Image]) -> tuple[Image, ...]:
    """Return the images that have all layers of an image below layers of their own."""
    count = len(image.layers)
    return tuple(
        other for other in images if len(other.layers) > count > 0 and other.layers[:count] == image.layers
    )  # fmt: skip


def sharing(image: Image, images: Iterable[Image]) -> tuple[tuple[Image, tuple[str, ...]], ...]:
    """Return the other images that have layers of an image, each with the chain_ids of those."""
    mine = set(image.layers)
    found = (
        (other, tuple(layer for layer in other.layers if layer in mine)) for other in images if other.id != image.id
    )
    return tuple((other, layers) for other, layers in found if layers)


def info_text(image: Image, now: datetime) -> str:
    """Return what is known of an image: names, digests, and what a container of it starts with."""
    settings = image.settings
    made = f"{image.created_at:%Y-%m-%d %H:%M:%S} ({units.ago(image.created_at, now)} ago)" if image.created_at else "-"
    lines = [
        *_field("Names", [short(name) for name in image.references] or [f"{NONE} (dangling: no name points to it)"]),
        *_field("Made", [made]),
        *_field("Platform", [f"{image.os}/{image.architecture}"]),
        *_field("Size", [f"{units.size(image.size)} in {len(image.layers)} layer{'s' * (len(image.layers) != 1)}"]),
        "",
        *_field("Entrypoint", [_words(settings.entrypoint)] if settings.entrypoint else []),
        *_field("Command", [_words(settings.command)] if settings.command else []),
        *_field("User", [settings.user or "root"]),
        *_field("Directory", [settings.workdir or "/"]),
        *_field("Ports", settings.exposed_ports),
        *_field("Volumes", settings.volumes),
        *_field("Stop signal", [settings.stop_signal] if settings.stop_signal else []),
        *_field("Health", [_words(settings.health.test)] if settings.health.test else []),
        *_field("Env", settings.env),
        *_field("Labels", [f"{name}={value}" for name, value in sorted(settings.labels.items())]),
        "",
        f"{_BOLD}Id{_PLAIN} (the digest of its config)",
        f"  {image.id}",
    ]
    if image.digest:
        lines += [f"{_BOLD}Manifest{_PLAIN}", f"  {image.digest}"]
    if image.repo_digests:
        lines.append(f"{_BOLD}Digests in registries{_PLAIN}")
    for called in image.repo_digests:
        name, _, digest = called.rpartition("@")
        lines += [f"  {name}", f"  @{digest}"]
    return "\n".join(lines)


def usage_text(image: Image, snapshot: Snapshot, sizes: Mapping[str, int]) -> str:
    """Return who uses an image: containers, images built on it, and images that share layers with it.

    Args:
        image: The image.
        snapshot: What there is.
        sizes: Bytes by chain_id, of the image's layers.
    """
    lines = [f"{_BOLD}Containers{_PLAIN}"]
    users = [container for container in snapshot.containers if container.image_id == image.id]
    lines += [f"  {container.name:<24} {container.status}" for container in users] or [f"  {_DIM}none{_PLAIN}"]
    children = built_on(image, snapshot.images)
    lines += ["", f"{_BOLD}Images built on it{_PLAIN}"]
    lines += [f"  {name_of(other)}" for other in children] or [f"  {_DIM}none{_PLAIN}"]
    lines += ["", f"{_BOLD}Layers shared with{_PLAIN}"]
    shared = sharing(image, snapshot.images)
    width = max((len(name_of(other)) for other, _ in shared), default=0) + 2
    for other, layers in shared:
        size = units.short_size(sum(sizes.get(layer, 0) for layer in layers))
        lines.append(f"  {name_of(other):<{width}} {len(layers)} of {len(image.layers)}, {size}")
    everybody = {layer for _, layers in shared for layer in layers}
    own = units.size(sum(size for layer, size in sizes.items() if layer not in everybody))
    lines += [] if shared else [f"  {_DIM}no other image{_PLAIN}"]
    lines += ["", f"{_BOLD}Its own alone{_PLAIN}", f"  {own} of {units.size(image.size)}"]
    return "\n".join(lines)


def history_text(steps: Sequence[HistoryStep], now: datetime) -> str:
    """Return the steps that made an image, the newest first: size, age, command."""
    lines = [f"{_BOLD}{'SIZE':>7} {'MADE':>5}  COMMAND{_PLAIN}"]
    for step in steps:
        age = units.short_duration((now - step.created_at).total_seconds()) if step.created_at else "-"
        size = units.short_size(step.size) if step.layer else "-"
        command = " ".join(step.created_by.split()) or "(not told)"
        note = f"  {_DIM}# {' '.join(step.comment.split())}{_PLAIN}" if step.comment else ""
        lines.append(f"{size:>7} {age:>5}  {command}{note}")
    return "\n".join(lines)


def _field(name: str, values: Sequence[str]) -> list[str]:
    titles = [f"{_BOLD}{name:<12}{_PLAIN} ", *[" " * 13] * (len(values) - 1)]
    return [title + "⏎".join(value.splitlines()) for title, value in zip(titles, values, strict=False)]


def _words(words: Sequence[str]) -> str:
    return " ".join(word if word and not set(word) & set(" \t\"'") else repr(word) for word in words)
