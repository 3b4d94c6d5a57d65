"""Named and anonymous volumes: directories on the host that outlive their containers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported, StoreError
from engine.linux import files, inside
from engine.model.value import replace
from engine.model.volume import Volume, VolumePrunePlan
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find
from engine.volumes import contents
from engine.volumes.drivers.drivers import driver_of
from engine.volumes.replicate import make_data, opened_directory

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")


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
            Conflict: There is one of that name with another driver.
        """
        driver_of(driver or "local").check(options or {})
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
                return _with_driver(self.get(name), driver)
            files.remove_tree(target)
            target.mkdir(mode=0o700)
            with opened_directory(target) as target_fd:
                make_data(target_fd, "data")
            volume = Volume(name, driver or "local", str(target / "data"), datetime.now(UTC), anonymous,
                labels or {}, options or {})  # fmt: skip
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
                files.remove_tree(self._paths.mounted_volume(name))
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

    def share(self, name: str) -> None:
        """Keep an anonymous volume from going with the container that it was made for, since another has it too."""
        self._paths.volumes.joinpath(name, "shared").touch(mode=0o600)

    @staticmethod
    def is_empty(directory: str) -> bool:
        """Return whether a directory is there and has nothing in it."""
        try:
            with os.scandir(directory) as entries:
                return next(entries, None) is None
        except OSError:
            return False

    @staticmethod
    def copy_up(name: str, directory: str, image_fd: int, target: str) -> None:
        """Fill an empty volume with what the image has at its mount point, the first time it is used.

        Args:
            name: The volume.
            directory: Where its files are.
            image_fd: The image's root.
            target: The path inside the image.

        Raises:
            StoreError: Something cannot be copied.
        """
        data = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            inside.copy_up(image_fd, target, data)
        except OSError as error:
            raise StoreError(
                f"the volume {name} cannot be filled from {target} of the image: {error.strerror}"
            ) from error
        finally:
            os.close(data)


def _shown_options(volume: Volume) -> dict[str, str] | None:
    return volume.options | ({"size": str(volume.quota)} if volume.quota else {}) or None


def is_name(text: str) -> bool:
    """Return whether a text may be a volume's name."""
    return bool(_NAME.fullmatch(text))


def _has_label(volume: Volume, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in volume.labels and (not equals or volume.labels[name] == value)


def _with_driver(volume: Volume, driver: str) -> Volume:
    if driver not in ("", volume.driver):
        raise Conflict(f"the volume {volume.name} exists, with the driver {volume.driver}")
    return volume
