"""Snapshots of volumes, and volumes made of others; each grows in the trash and is renamed to its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import Conflict, InvalidArgument, NotFound
from engine.linux import files, syscalls
from engine.model.value import replace
from engine.model.volume import Volume, VolumeSnapshot
from engine.store import records
from engine.store.paths import Paths, find
from engine.volumes.quota import set_size
from engine.volumes.replicate import make_data, opened_directory, replicate

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_RECORD = "snapshot.json"


class Snapshots:
    """The snapshots of a state root's volumes; who calls holds the volume."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def list(self, volume: Volume) -> tuple[VolumeSnapshot, ...]:
        """Return the snapshots of a volume, the oldest first."""
        found = []
        for path in find(self._home(volume), f"*/{_RECORD}"):
            try:
                found.append(records.load(path, VolumeSnapshot))
            except FileNotFoundError:
                continue  # removed meanwhile
        return tuple(sorted(found, key=lambda snapshot: snapshot.created_at))

    def get(self, volume: Volume, name: str) -> VolumeSnapshot:
        """Return one.

        Raises:
            NotFound: There is none of that name.
        """
        try:
            if _NAME.fullmatch(name):
                return records.load(self._home(volume) / name / _RECORD, VolumeSnapshot)
        except FileNotFoundError:
            pass
        raise NotFound("snapshot", f"{volume.name}@{name}")

    def create(self, volume: Volume, name: str = "") -> VolumeSnapshot:
        """Keep the files of a volume as they are now.

        Args:
            volume: The volume.
            name: The snapshot's name; empty for the time.

        Raises:
            InvalidArgument: The name is malformed.
            Conflict: It is taken.
            CopyFailed: A file cannot be read or written.
        """
        now = datetime.now(UTC)
        name = name or now.strftime("%Y%m%d-%H%M%S.%f")[:-3]
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"invalid snapshot name {name!r}: letters, digits, _ . -, not a sign at its beginning"
            )
        target = self._home(volume) / name
        if target.exists():
            raise Conflict(f"volume {volume.name} has a snapshot {name} already")
        with self._paths.staged("snapshot") as staged:
            how = copy_files(Path(volume.mountpoint), staged)
            snapshot = VolumeSnapshot(name, volume.name, now, how)
            records.save(staged / _RECORD, snapshot)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            settle(staged, target, f"volume {volume.name} has a snapshot {name} already")
        return snapshot

    def files_of(self, snapshot: VolumeSnapshot) -> Path:
        """Return the directory with the files of a snapshot."""
        return self._paths.volumes / snapshot.volume / "snapshots" / snapshot.name / "data"

    def remove(self, volume: Volume, name: str) -> None:
        """Remove one.

        Raises:
            NotFound: There is none of that name.
        """
        self.get(volume, name)
        self._paths.discard(self._home(volume) / name)

    def _home(self, volume: Volume) -> Path:
        return self._paths.volumes / volume.name / "snapshots"


def copy_files(source: Path, staged: Path) -> str:
    """Copy the files of a volume or a snapshot to "data" in a staged directory; return how, as `replicate` does."""
    with opened_directory(source) as source_fd, opened_directory(staged) as staged_fd:
        return replicate(source_fd, staged_fd, "data")


def clone(paths: Paths, source: Path, volume: Volume) -> str:
    """Make a volume with the files of a directory; return how, as `replicate` does.

    Args:
        paths: The state root.
        source: The files of a volume or a snapshot.
        volume: The record of the new one.

    Raises:
        Conflict: The name is taken.
        CopyFailed: A file cannot be read or written.
    """
    target = paths.volumes / volume.name
    taken = f"there is a volume {volume.name} already"
    if target.joinpath("volume.json").exists():
        raise Conflict(taken)
    with paths.staged("volume") as staged:
        how = copy_files(source, staged)
        if volume.quota:
            set_size(volume, staged / "data", volume.quota)
        records.save(staged / "volume.json", replace(volume, mountpoint=str(target / "data"), size=None, used_by=()))
        with files.FileLock(paths.lock("volumes")):
            if not target.joinpath("volume.json").exists():
                files.remove_tree(target)  # what is left of one that was being made
            settle(staged, target, taken)
    return how


def settle(staged: Path, target: Path, taken: str) -> None:
    """Give what was staged its place, all of it at once.

    Raises:
        Conflict: The place is taken, which `taken` says.
    """
    inner = staged / "whole"
    inner.mkdir(mode=0o700)
    for path in staged.iterdir():
        if path != inner:
            path.rename(inner / path.name)
    try:
        inner.rename(target)
    except OSError as error:
        raise Conflict(taken) from error


@contextmanager
def replacing(paths: Paths, volume: Volume, *, begins_with: Path | None) -> Iterator[Path]:
    """Give a directory to fill, for `swap`; it goes afterwards, or what it was swapped for.

    Args:
        paths: The state root.
        volume: The volume.
        begins_with: The files that are in the directory at first; None for an empty one.
    """
    with paths.staged("files") as staged:
        if begins_with is None:
            with opened_directory(staged) as staged_fd:
                make_data(staged_fd, "data")
            _copy_root(Path(volume.mountpoint), staged / "data")
        else:
            copy_files(begins_with, staged)
        yield staged / "data"


def swap(directory: Path, volume: Volume) -> None:
    """Let a directory take the place of a volume's files, at once for everybody, and the reverse."""
    syscalls.exchange(directory, volume.mountpoint)


def _copy_root(source: Path, target: Path) -> None:
    """Give a directory the owner and the mode of another one."""
    found = source.stat()
    os.chown(target, found.st_uid, found.st_gid)
    target.chmod(found.st_mode & 0o7777)
