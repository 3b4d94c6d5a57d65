"""Volumes and their files as rows and text; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from engine.model.contents import FileEntry
from engine.model.volume import Volume, VolumeSnapshot, VolumeUse
from tuicon.model import units
from tuicon.model.filetree import mode_text, name_text, owner_text
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.snapshot import Snapshot
from tuicon.model.text import printable

Sizes = Mapping[str, int | None]
"""Bytes by name; None for what cannot be measured."""

_NAME, _USED, _AGE = Column("name", "VOLUME", None), Column("used", "USED BY", 14), Column("age", "MADE", 5, "right")
_FEW = (_NAME, _USED, _AGE)
_ALL = (_NAME, Column("driver", "DRIVER", 7), Column("size", "SIZE", 7, "right"), _USED, _AGE)
_FILE_NAME, _FILE_SIZE = Column("name", "NAME", None), Column("size", "SIZE", 8, "right")
_WIDE_FILES = (
    Column("mode", "MODE", 10), Column("owner", "OWNER", 11), _FILE_SIZE, Column("time", "CHANGED (UTC)", 16), _FILE_NAME,
)  # fmt: skip
_NARROW = 70


def volume_columns(*, is_current: bool) -> tuple[Column, ...]:
    """Return the columns of the list; sizes are measured, and shown, while it is in use."""
    return _ALL if is_current else _FEW


def volume_rows(snapshot: Snapshot, sizes: Sizes, *, is_current: bool) -> tuple[Row, ...]:
    """Return a row for each volume."""
    names = {container.id: container.name for container in snapshot.containers}
    rows = []
    for volume in snapshot.volumes:
        used = ", ".join(names.get(container_id, container_id[:12]) for container_id in volume.used_by)
        age = (snapshot.taken_at - volume.created_at).total_seconds()
        made = Cell(units.short_duration(age), "muted", sort=age)
        name = Cell(shown_name(volume), "" if used else "muted")
        uses = Cell(used or "-", "muted", sort=float(len(volume.used_by)))
        more = (Cell(volume.driver, "muted"), _size_cell(sizes, volume.name)) if is_current else ()
        rows.append(Row(volume.name, (name, *more, uses, made)))
    return tuple(rows)


def shown_name(volume: Volume) -> str:
    """Return a volume's name, an anonymous one's in short."""
    return volume.name[:12] if volume.anonymous else volume.name


def _size_cell(sizes: Sizes, key: str) -> Cell:
    if key not in sizes:
        return Cell("…", "muted", sort=-1.0)
    size = sizes[key]
    return Cell("-", "muted", sort=-1.0) if size is None else Cell(units.short_size(size), sort=float(size))


def info_text(
    volume: Volume, uses: Sequence[VolumeUse], snapshots: Sequence[VolumeSnapshot], size: int | None, now: datetime
) -> str:
    """Return what is known of a volume as text."""
    lines = [
        f"{'Name':<12}{volume.name}",
        f"{'Driver':<12}{volume.driver}",
        f"{'Size':<12}{'not measured' if size is None else units.size(size)}{f' of {units.size(volume.quota)}' if volume.quota else ''}",
        f"{'Made':<12}{units.ago(volume.created_at, now)} ago{', its name was made up' if volume.anonymous else ''}",
        f"{'On the host':<12}{printable(volume.mountpoint)}",
    ]
    for title, pairs in (("Labels", volume.labels), ("Options", volume.options)):
        lines += _titled(title, [printable(f"{key}={value}") for key, value in sorted(pairs.items())])
    lines += _titled("Used by", [_use(use) for use in uses] or ["nobody: a prune of all volumes takes it"])
    lines += _titled("Snapshots", [f"{one.name}  {units.ago(one.created_at, now)} ago, {one.how}" for one in snapshots])
    return "\n".join(lines)


def _titled(title: str, items: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {item}" for item in items)] if items else []


def _use(use: VolumeUse) -> str:
    state = "runs" if use.is_running else "does not run"
    return f"{use.container}: {printable(use.target)}{', read only' if use.read_only else ''} ({state})"


def file_columns(width: int) -> tuple[Column, ...]:
    """Return the columns of a list of files."""
    return _WIDE_FILES if width >= _NARROW else (_FILE_SIZE, _FILE_NAME)


def file_rows(entries: Sequence[FileEntry], sizes: Sizes, columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return a row for each file of a directory; its key is the path.

    Args:
        entries: The files.
        sizes: What directories occupy, by path, as far as that was measured.
        columns: From `file_columns`.
    """
    rows = []
    for entry in entries:
        is_directory = entry.kind == "d"
        cells = {
            "mode": Cell(mode_text(entry), "muted"), "owner": Cell(owner_text(entry), "muted"),
            "size": _directory_size(sizes, entry.path) if is_directory else Cell(units.short_size(entry.size), sort=float(entry.size)),
            "time": Cell(changed_text(entry), "muted"),
            "name": Cell(name_text(entry) + "/" * is_directory, "accent" if is_directory else ""),
        }  # fmt: skip
        rows.append(Row(entry.path, tuple(cells[column.id] for column in columns)))
    return tuple(rows)


def changed_text(entry: FileEntry) -> str:
    """Return when a file was changed, in UTC; containers can set times that no calendar has."""
    try:
        return datetime.fromtimestamp(entry.mtime, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "out of range"


def _directory_size(sizes: Sizes, path: str) -> Cell:
    size = sizes.get(path)
    return Cell("-", "muted", sort=0.0) if size is None else Cell(units.short_size(size), sort=float(size))


def sorted_files(entries: Sequence[FileEntry], sizes: Sizes, by: str) -> list[FileEntry]:
    """Return files in an order: directories first by "name", the largest by "size", the newest by "time"."""
    keys = {
        "name": lambda entry: (entry.kind != "d", entry.path),
        "size": lambda entry: (-(sizes.get(entry.path) or entry.size), entry.path),
        "time": lambda entry: (-entry.mtime, entry.path),
    }
    return sorted(entries, key=keys[by])
