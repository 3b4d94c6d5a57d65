"""Named and anonymous volumes: directories on the host that outlive their containers."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported
from engine.linux import files, inside
from engine.model.volume import Volume, VolumePrunePlan
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find
from engine.volumes import contents
from engine.volumes.replicate import make_data, opened_directory

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
_OPAQUE = "trusted.overlay.opaque"


class VolumeStore:
    """The volumes of a state root."""

    def __init__(self, paths: Paths, journal: Journal, users: Callable[[str], tuple[str, ...]]) -> None:
        self._paths = paths
        self._journal = journal
        self._users = users

    def list(self) -> tuple[Volume, ...]:
        """Return all volumes by name."""
        names = [path.parent.name for path in find(self._paths.volumes, "*/volume.json")]
        found = []
        for name in names:
            try:
                found.append(self.get(name))
            except NotFound:
                continue  # removed meanwhile
        return tuple(found)

    def get(self, name: str) -> Volume:
        """Return a volume.

        Raises:
            NotFound: There is none.
        """
        try:
            volume = records.load(self._paths.volumes / name / "volume.json", Volume) if _NAME.fullmatch(name) else None
        except FileNotFoundError:
            volume = None
        if volume is None:
            raise NotFound("volume", name)
        return replace(volume, used_by=self._users(name))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return a volume in docker's JSON shape; as there, sizes are for `measure` and `disk_usage`."""
        volume = self.get(name)
        return {
            "Name": volume.name, "Driver": volume.driver, "Mountpoint": volume.mountpoint, "Scope": "local",
            "CreatedAt": volume.created_at.isoformat(), "Labels": volume.labels or None, "Options": _shown_options(volume),
            "UsageData": {"Size": -1, "RefCount": len(volume.used_by)},
        }  # fmt: skip

    def size(self, name: str) -> int:
        """Return the bytes that a volume's files occupy, 0 for files that are not on this host's disk."""
        try:
            with contents.opened(self.get(name)) as root_fd:
                return contents.measure(root_fd).size
        except NotSupported:
            return 0

    @contextmanager
    def using(self, name: str, *, alone: bool = False) -> Iterator[Volume]:
        """Hold a volume while its files are worked on: nobody removes or replaces them meanwhile.

        Args:
            name: The volume.
            alone: Whether nobody else may hold it.

        Raises:
            NotFound: There is none.
            Conflict: Somebody holds it in a way that forbids this.
        """
        self.get(name)
        path = self._paths.lock(f"volume-{name}")
        with ExitStack() as stack:
            try:
                stack.enter_context(files.FileLock(path, blocking=False, shared=not alone))
            except BlockingIOError as error:
                raise Conflict(f"volume {name} is being worked on by another command") from error
            try:
                yield self.get(name)
            finally:
                if alone and not self._paths.volumes.joinpath(name).exists():
                    path.unlink(missing_ok=True)

    def create(
        self, name: str = "", *, labels: dict[str, str] | None = None, driver: str = "",
        options: dict[str, str] | None = None,
    ) -> Volume:  # fmt: skip
        """Make a volume, or return the one that has the name already; an empty name makes an anonymous one.

        Args:
            name: Its name.
            labels: Its labels.
            driver: What keeps its files; empty for "local".
            options: What the driver is told.

        Raises:
            InvalidArgument: The name is malformed, there is no such driver, or it does not take the options.
        """
        if driver not in ("", "local") or options:
            raise InvalidArgument("there is the driver local alone, with the option size")
        self._paths.prepare()
        anonymous = not name
        name = name or os.urandom(32).hex()
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"invalid volume name {name!r}: at least two of letters, digits, _ . -, starting with a letter or digit"
            )
        target = self._paths.volumes / name
        with files.FileLock(self._paths.lock("volumes")):
            if target.joinpath("volume.json").exists():
                return self.get(name)
            files.remove_tree(target)
            target.mkdir(mode=0o700)
            with opened_directory(target) as target_fd:
                make_data(target_fd, "data")
            volume = Volume(name, "local", str(target / "data"), datetime.now(UTC), anonymous, labels or {})
            records.save(target / "volume.json", volume)
        self._journal.append("volume", "create", name, name)
        return volume

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume.

        Raises:
            NotFound: There is none, and `force` is not given.
            Conflict: A container uses it.
        """
        try:
            with self.using(name, alone=True) as volume:
                if volume.used_by:
                    raise Conflict(f"volume {name} is used by container {self._shown(volume.used_by[0])}")
                self._paths.discard(self._paths.volumes / name)
        except NotFound:
            if force:
                return
            raise
        self._journal.append("volume", "destroy", name, name)

    def _shown(self, container_id: str) -> str:
        """Return what a container is called in a sentence."""
        return container_id[:12]

    def plan_prune(
        self, *, takes_named: bool = False, labels: tuple[str, ...] = (), without_labels: tuple[str, ...] = ()
    ) -> VolumePrunePlan:
        """Return the volumes that a prune would remove: those that no container uses, as docker chooses them.

        Args:
            takes_named: Whether those go whose name the engine did not make up.
            labels: Take only those with these labels: "name" or "name=value".
            without_labels: Leave out those with these labels.
        """
        chosen = [
            replace(volume, size=self.size(volume.name))
            for volume in self.list()
            if not volume.used_by
            and (takes_named or volume.anonymous)
            and all(_has_label(volume, label) for label in labels)
            and not any(_has_label(volume, label) for label in without_labels)
        ]
        return VolumePrunePlan(tuple(chosen), sum(volume.size or 0 for volume in chosen))

    def prune(self, plan: VolumePrunePlan | None = None) -> tuple[str, ...]:
        """Remove what a plan has, by default the unused anonymous volumes; return the names of those that went.

        One that a container uses by now stays.
        """
        gone = []
        for volume in (plan or self.plan_prune()).volumes:
            try:
                self.remove(volume.name)
            except (NotFound, Conflict):
                continue
            gone.append(volume.name)
        return tuple(gone)

    def copy_up(self, name: str, lower_directories: tuple[Path, ...], target: str) -> None:
        """Fill an empty volume with what the image has at its mount point, the first time it is used.

        Args:
            name: The volume.
            lower_directories: The image's layers, top first.
            target: The path inside the image.
        """
        data = Path(self.get(name).mountpoint)
        if any(data.iterdir()):
            return
        _copy_layers(lower_directories, target, data)
        _remove_whiteouts(data)


def _shown_options(volume: Volume) -> dict[str, str] | None:
    return volume.options | ({"size": str(volume.quota)} if volume.quota else {}) or None


def is_name(text: str) -> bool:
    """Return whether a text may be a volume's name."""
    return bool(_NAME.fullmatch(text))


def _has_label(volume: Volume, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in volume.labels and (not equals or volume.labels[name] == value)


def _copy_layers(lower_directories: tuple[Path, ...], target: str, data: Path) -> None:
    """Copy from the top layer down, until one hides those below it."""
    for layer in lower_directories:
        root = inside.open_root(layer)
        try:
            source = inside.open_inside(root, target, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        finally:
            os.close(root)
        try:
            destination = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _copy_directory(source, destination)
            finally:
                os.close(destination)
            if _is_opaque(source):
                return
        finally:
            os.close(source)


def _remove_whiteouts(data: Path) -> None:
    """Remove the marks that kept lower layers' files hidden while copying."""
    for _, _, names, fd in os.fwalk(data):  # by fd: a container that has the volume may move its directories meanwhile
        for name in names:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    os.unlink(name, dir_fd=fd)
            except FileNotFoundError:
                continue


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False


def _copy_directory(source: int, destination: int) -> None:
    """Copy what the destination does not have yet; upper layers come first, so they win."""
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries]
    present = set(os.listdir(destination))
    for name in names:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_subdirectory(source, destination, name, status, is_new=name not in present)
        elif name not in present:
            _copy_entry(source, destination, name, status)
    _copy_attributes(source, destination)


def _copy_subdirectory(source: int, destination: int, name: str, status: os.stat_result, *, is_new: bool) -> None:
    if is_new:
        os.mkdir(name, 0o700, dir_fd=destination)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        inner_destination = os.open(name, flags, dir_fd=destination)
    except NotADirectoryError:
        return  # an upper layer has something else there
    inner_source = os.open(name, flags, dir_fd=source)
    try:
        _copy_directory(inner_source, inner_destination)
        if is_new:
            os.utime(inner_destination, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(inner_source)
        os.close(inner_destination)


def _copy_entry(source: int, destination: int, name: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=destination)
    elif stat.S_ISREG(status.st_mode):
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        writing = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=destination
        )
        with os.fdopen(reading, "rb") as from_file, os.fdopen(writing, "wb") as to_file:
            shutil.copyfileobj(from_file, to_file, 1 << 20)
            to_file.flush()
            _copy_attributes(from_file.fileno(), to_file.fileno())
            os.utime(to_file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        return
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=destination)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=destination, follow_symlinks=False)


def _copy_attributes(source: int, destination: int) -> None:
    status = os.fstat(source)
    os.fchown(destination, status.st_uid, status.st_gid)
    os.fchmod(destination, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay."):
            continue
        try:
            os.setxattr(destination, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise
