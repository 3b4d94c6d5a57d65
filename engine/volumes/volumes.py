"""Named and anonymous volumes: directories on the host that outlive their containers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from engine.errors import Conflict, InvalidArgument, NotFound, StoreError
from engine.linux import files, inside
from engine.model.volume import Volume
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find
from engine.volumes.drivers.drivers import driver_of

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
        return Volume(
            volume.name, volume.driver, volume.mountpoint, volume.created_at, volume.anonymous, volume.labels,
            volume.options, used_by=self._users(name),
        )  # fmt: skip

    def inspect(self, name: str) -> dict[str, Any]:
        """Return a volume in docker's JSON shape, with its size."""
        volume = self.get(name)
        return {
            "Name": volume.name, "Driver": volume.driver, "Mountpoint": volume.mountpoint, "Scope": "local",
            "CreatedAt": volume.created_at.isoformat(), "Labels": volume.labels or None, "Options": volume.options or None,
            "UsageData": {"Size": self.size(name), "RefCount": len(volume.used_by)},
        }  # fmt: skip

    def size(self, name: str) -> int:
        """Return the bytes that a volume's files occupy."""
        total = 0
        for _, _, names, fd in os.fwalk(self.get(name).mountpoint):
            for entry in names:
                try:
                    total += os.stat(entry, dir_fd=fd, follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    continue
        return total

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
            target.joinpath("data").mkdir(mode=0o755)
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
            volume = self.get(name)
        except NotFound:
            if force:
                return
            raise
        if volume.used_by:
            raise Conflict(f"volume {name} is used by container {volume.used_by[0][:12]}")
        self._paths.discard(self._paths.volumes / name)
        files.remove_tree(self._paths.mounted_volume(name))
        self._journal.append("volume", "destroy", name, name)

    def prune(self) -> tuple[str, ...]:
        """Remove the anonymous volumes that no container uses; return their names."""
        gone = tuple(volume.name for volume in self.list() if volume.anonymous and not volume.used_by)
        for name in gone:
            self.remove(name, force=True)
        return gone

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


def _with_driver(volume: Volume, driver: str) -> Volume:
    if driver not in ("", volume.driver):
        raise Conflict(f"the volume {volume.name} exists, with the driver {volume.driver}")
    return volume
