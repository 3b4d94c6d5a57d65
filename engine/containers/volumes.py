"""Volumes with what goes into and comes out of them: files, archives, snapshots, copies of whole volumes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.containers.records import Registry
from engine.errors import Conflict, InvalidArgument, NotFound
from engine.linux import files
from engine.model.change import Copied
from engine.model.contents import FileEntry
from engine.model.value import replace
from engine.model.volume import Cloned, Measured, Synced, Volume, VolumeSnapshot, VolumeUse
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths
from engine.volumes import contents, quota, snapshot
from engine.volumes.volumes import VolumeStore, is_name

if TYPE_CHECKING:
    from engine.containers.sync import Wire
    from engine.model.volume import Way, Wishes


class Volumes(VolumeStore):
    """The volumes of a state root."""

    def __init__(self, paths: Paths, journal: Journal, registry: Registry) -> None:
        super().__init__(paths, journal, registry.users_of_volume)
        self._registry = registry
        self._snapshots = snapshot.Snapshots(paths)

    def uses(self, name: str) -> tuple[VolumeUse, ...]:
        """Return the containers that mount a volume, running or not, by name."""
        found = []
        for container_id in self.get(name).used_by:
            try:
                record = self._registry.record(container_id)
                is_running = self._registry.is_running(container_id)
            except NotFound:
                continue  # removed meanwhile
            found += [
                VolumeUse(container_id, record.name, mount[1], mount[2], is_running)
                for mount in record.volumes
                if mount[0] == name
            ]
        return tuple(sorted(found, key=lambda use: (use.container, use.target)))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return a volume in docker's JSON shape, with who uses it where, and its snapshots."""
        uses = [
            {"Container": use.container, "Destination": use.target, "RW": not use.read_only, "Running": use.is_running}
            for use in self.uses(name)
        ]
        return {**super().inspect(name), "UsedBy": uses, "Snapshots": [one.name for one in self.snapshots(name)]}

    def _shown(self, container_id: str) -> str:
        try:
            return self._registry.record(container_id).name
        except NotFound:
            return container_id[:12]

    # -- sizes -------------------------------------------------------------------------------------

    def create(
        self, name: str = "", *, labels: dict[str, str] | None = None, driver: str = "",
        options: dict[str, str] | None = None,
    ) -> Volume:  # fmt: skip
        """Make a volume, as `VolumeStore.create` does; the driver local takes the option "size", such as "10G".

        Raises:
            NotSupported: The file system has no quotas; there is no volume then.
            Conflict: There is one of that name with another size.
        """
        given = dict(options or {})
        is_ours = driver in ("", "local") and "type" not in given
        size = quota.parse_size(given.pop("size")) if is_ours and "size" in given else 0
        is_there = is_name(name) and self._paths.volumes.joinpath(name, "volume.json").exists()
        made = super().create(name, labels=labels, driver=driver, options=given)
        if not size or (is_there and made.quota == size):
            return made
        if is_there:
            raise Conflict(f"there is a volume {name} already, with another size", hint="volume update changes it")
        try:
            return self.resize(made.name, size)
        except BaseException:
            self.remove(made.name)
            raise

    def resize(self, name: str, size: int) -> Volume:
        """Change how many bytes the files of a volume may occupy, at once, for running containers too; 0 for no limit.

        What is there already stays, even if it is more.

        Raises:
            NotSupported: The file system has no quotas.
        """
        with self.using(name) as volume, contents.opened(volume):
            quota.set_size(volume, Path(volume.mountpoint), size)
            changed = replace(volume, quota=size, used_by=(), size=None)
            records.save(self._paths.volumes / name / "volume.json", changed)
        self._journal.append("volume", "update", name, name, size=str(size))
        return self.get(name)

    # -- looking -----------------------------------------------------------------------------------

    def files(self, name: str, path: str = "/") -> tuple[FileEntry, ...]:
        """Return what is in a directory of a volume; of a file, itself.

        Raises:
            NotFound: There is no such volume or path.
            NotSupported: Its files are not on this host's disk.
        """
        with contents.opened(self.get(name)) as root_fd:
            return contents.list_directory(root_fd, path)

    def open(self, name: str, path: str) -> BinaryIO:
        """Open a regular file of a volume to read it.

        Raises:
            NotFound: There is no such volume or path.
            InvalidArgument: It is no regular file.
        """
        with contents.opened(self.get(name)) as root_fd:
            return contents.open_file(root_fd, path)

    def measure(self, name: str, path: str = "", *, stop: threading.Event | None = None) -> Measured:
        """Return what a volume, or a directory in it, occupies on the disk."""
        with contents.opened(self.get(name)) as root_fd:
            return contents.measure(root_fd, path, stop)

    # -- archives and copies -----------------------------------------------------------------------

    def export(self, name: str, target: Path | BinaryIO) -> Copied:
        """Write the files of a volume as a tar archive, the volume's own directory first.

        Args:
            name: The volume; containers may go on to use it.
            target: A file, which is written whole or not at all, or a stream.

        Raises:
            CopyFailed: The file cannot be written, or a file of the volume cannot be read.
        """
        from engine.containers import copy
        from engine.containers.views import Owners, View

        with self.using(name) as volume, contents.opened(volume) as root_fd:
            view = View(root_fd, Owners())
            if isinstance(target, Path):
                copied = copy.export_to_file(view, target, has_root=True)
            else:
                copied = copy.export(view, target.write, has_root=True)
        self._journal.append("volume", "export", name, name)
        return copied

    def import_(self, name: str, source: Path | BinaryIO, *, replaces: bool = False) -> Copied:
        """Put the entries of a tar archive, compressed or not, into a volume: all of them or none.

        Args:
            name: The volume; no running container may use it.
            source: The archive.
            replaces: Whether what is in the volume goes; else it stays, and entries of the same name replace it.

        Raises:
            Conflict: A running container uses the volume.
            CopyFailed: An entry leads out of the volume, or cannot be made.
            ImageError: The archive is damaged.
        """
        from engine.containers import extract

        with ExitStack() as stack:
            volume = stack.enter_context(self.using(name, alone=True))
            stream = source
            if isinstance(stream, Path):
                try:
                    stream = stack.enter_context(stream.open("rb"))
                except OSError as error:
                    raise InvalidArgument(f"cannot read {source}: {error.strerror}") from error
            with self._replacing(volume, None if replaces else Path(volume.mountpoint)) as data:
                copied = extract.extract_archive(stream, data)
        self._journal.append("volume", "import", name, name)
        return copied

    def copy_in(self, name: str, source: Path | str | BinaryIO, path: str, *, follow_link: bool = False) -> Copied:
        """Copy into a volume by `docker cp`'s rules, as `Containers.copy_in` does."""
        from engine.containers import copy
        from engine.containers.views import Owners, View

        with self.using(name) as volume, contents.opened(volume) as root_fd:
            view = View(root_fd, Owners())
            if isinstance(source, Path | str):
                return copy.copy_in(view, str(source), path, follow_link=follow_link)
            return copy.copy_in_archive(view, source, path)

    def copy_out(
        self, name: str, path: str, target: Path | str | BinaryIO, *, keeps_owners: bool = False,
        follow_link: bool = False,
    ) -> Copied:  # fmt: skip
        """Copy out of a volume by `docker cp`'s rules, as `Containers.copy_out` does."""
        from engine.containers import copy
        from engine.containers.views import Owners, View

        with self.using(name) as volume, contents.opened(volume) as root_fd:
            view = View(root_fd, Owners())
            if isinstance(target, Path | str):
                return copy.copy_out(view, path, str(target), keeps_owners=keeps_owners, follow_link=follow_link)
            return copy.copy_out_archive(view, path, target.write, follow_link=follow_link)

    # -- snapshots and clones ----------------------------------------------------------------------

    def snapshots(self, name: str) -> tuple[VolumeSnapshot, ...]:
        """Return the snapshots of a volume, the oldest first; they go with it."""
        return self._snapshots.list(self.get(name))

    def snapshot(self, name: str, snapshot_name: str = "") -> VolumeSnapshot:
        """Keep the files of a volume as they are now; an empty name for the snapshot takes the time.

        Containers may go on to use it. A snapshot of btrfs has all files as they were at one moment.

        Raises:
            Conflict: There is a snapshot of that name.
            CopyFailed: A file cannot be read or written.
        """
        with self.using(name) as volume, contents.opened(volume):
            made = self._snapshots.create(volume, snapshot_name)
        self._journal.append("volume", "snapshot", name, name, snapshot=made.name)
        return made

    def restore(self, name: str, snapshot_name: str) -> None:
        """Give a volume the files of one of its snapshots, all of them at once; the snapshot stays.

        Raises:
            NotFound: There is no such snapshot.
            Conflict: A running container uses the volume.
        """
        with self.using(name, alone=True) as volume:
            found = self._snapshots.get(volume, snapshot_name)
            with self._replacing(volume, self._snapshots.files_of(found)):
                pass  # it has all it shall have
        self._journal.append("volume", "restore", name, name, snapshot=snapshot_name)

    def remove_snapshot(self, name: str, snapshot_name: str) -> None:
        """Remove a snapshot.

        Raises:
            NotFound: There is no such snapshot.
        """
        with self.using(name) as volume:
            self._snapshots.remove(volume, snapshot_name)

    def clone(self, name: str, target: str, *, from_snapshot: str = "") -> Cloned:
        """Make a volume with the files, labels and options of another one, or with the files of its snapshot.

        Raises:
            InvalidArgument: The new name is malformed.
            Conflict: It is taken.
            CopyFailed: A file cannot be read or written.
        """
        if not is_name(target):
            raise InvalidArgument(f"invalid volume name {target!r}")
        with self.using(name) as volume, contents.opened(volume):
            source = Path(volume.mountpoint)
            if from_snapshot:
                source = self._snapshots.files_of(self._snapshots.get(volume, from_snapshot))
            new = Volume(target, "local", "", datetime.now(UTC), labels=volume.labels, options=volume.options,
                quota=volume.quota)  # fmt: skip
            how = snapshot.clone(self._paths, source, new)
        self._journal.append("volume", "create", target, target, source=name)
        return Cloned(self.get(target), how)

    # -- sync --------------------------------------------------------------------------------------

    def sync(self, source: str, target: str, wishes: Wishes, way: Way | None = None) -> Synced:
        """Bring the files of a volume up to those of another one; only what differs is sent.

        Args:
            source: A volume, or "HOST:VOLUME" for one on another host.
            target: The same; at most one of the two is on another host. It is made when it is missing.
            wishes: How.
            way: How another host is reached.

        Raises:
            InvalidArgument: Both are on other hosts, or are the same, or a name is malformed.
            CopyFailed: Something cannot be read or written, or the other end fails; each file is the old or the new one.
        """
        from engine.containers import remote, sync

        there, here = ":" in source, ":" in target
        if there and here:
            raise InvalidArgument("at least one of the two volumes must be on this host")
        if source == target:
            raise InvalidArgument(f"{source} is both the source and the target")
        if there or here:
            with remote.connected(source if there else target, "send" if there else "receive", wishes, way) as wire:
                return self._end(target if there else source, wire, wishes, receives=there)
        with (
            self._held(source, wishes, receives=False) as source_fd,
            self._held(target, wishes, receives=True) as target_fd,
        ):
            return sync.between(source_fd, target_fd, wishes)

    def serve(self, name: str, wire: Wire, wishes: Wishes, *, receives: bool) -> Synced:
        """Be one end of a sync whose other end is on another host."""
        from engine.containers.sync import telling

        with telling(wire):
            return self._end(name, wire, wishes, receives=receives)

    def _end(self, name: str, wire: Wire, wishes: Wishes, *, receives: bool) -> Synced:
        from engine.containers import sync

        with self._held(name, wishes, receives=receives) as root_fd:
            return (sync.receive if receives else sync.send)(root_fd, wire, wishes)

    @contextmanager
    def _held(self, name: str, wishes: Wishes, *, receives: bool) -> Iterator[int]:
        """Open a volume for a sync; a receiving one is made when it is missing, unless the run is dry."""
        if receives and not wishes.is_dry:
            self.create(name)
        with self.using(name, alone=receives) as volume, contents.opened(volume) as root_fd:
            yield root_fd
        if receives and not wishes.is_dry:
            self._journal.append("volume", "sync", name, name)

    @contextmanager
    def _replacing(self, volume: Volume, begins_with: Path | None) -> Iterator[Path]:
        """Give a directory to fill, then let it take the place of a volume's files if no running container has them."""
        with contents.opened(volume):
            self._refuse_running(volume)
        with snapshot.replacing(self._paths, volume, begins_with=begins_with) as data, ExitStack() as stack:
            yield data
            if volume.quota:
                quota.set_size(volume, data, volume.quota)
            for container_id in sorted(self.get(volume.name).used_by):
                stack.enter_context(files.FileLock(self._paths.lock(f"container-{container_id}")))  # nobody starts it
            self._refuse_running(volume)
            snapshot.swap(data, volume)

    def _refuse_running(self, volume: Volume) -> None:
        running = next((use.container for use in self.uses(volume.name) if use.is_running), "")
        if running:
            raise Conflict(f"volume {volume.name} is used by the running container {running}", hint="stop it first")
