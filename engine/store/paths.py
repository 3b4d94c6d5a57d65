"""Where everything lies below the two state roots."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from engine.errors import NotPermitted, StoreError
from engine.linux import files
from engine.oci.digest import hex_of

VERSION = "1"
_DEFAULT_ROOT = Path("/var/lib/tuicon")


class Paths:
    """The directories and files of one state root.

    Attributes:
        root: What survives a reboot.
        run: What does not.
    """

    def __init__(self, root: Path, run: Path, wanted_driver: str = "") -> None:
        self.root = root.absolute()
        self.run = run.absolute()
        self._wanted_driver = "overlay" if wanted_driver == "overlay2" else wanted_driver
        self._is_ready = False

    @cached_property
    def mark(self) -> str:
        """Six digits of the root's own for names that the whole host sees; empty for the default root."""
        import hashlib

        return "" if self.root == _DEFAULT_ROOT else hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    @property
    def host_name(self) -> str:
        """Name of our nftables table and of the cgroup above our containers': "tuicon" with the mark."""
        return f"tuicon_{self.mark}" if self.mark else "tuicon"

    def prepare(self) -> None:
        """Make the directories, and forget what an earlier boot left in the run root.

        Raises:
            NotPermitted: The root cannot be written.
            StoreError: It belongs to another version, or has another storage driver than the wanted one.
            NotSupported: The wanted storage driver does not work there.
        """
        if self._is_ready and self.version.exists():  # another process may have reset the root meanwhile
            return
        try:
            self._make()
        except PermissionError as error:
            raise NotPermitted(
                f"no permission to write {error.filename}", hint="run as root, e.g. with sudo"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot use the state root {self.root}: {error.strerror}") from error
        self._is_ready = True

    def _make(self) -> None:
        if self.version.exists() and self.boot.exists():
            found = self.version.read_text().strip()
            if found != VERSION:
                raise StoreError(f"the state root {self.root} has version {found}; this is version {VERSION}")
            self._check_driver()
            if self.boot.read_text() == files.boot_id():
                return
        for directory in (self.root, self.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.locks.mkdir(mode=0o700, exist_ok=True)
        with files.FileLock(self.lock("root")):
            for name in (
                "blobs",
                "blobs/sha256",
                "layers",
                "images",
                "containers",
                "names",
                "networks",
                "volumes",
                "trash",
            ):
                self.root.joinpath(name).mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.version.exists():
                self._choose_driver()
                files.write_atomic(self.version, VERSION.encode() + b"\n")
            self._check_driver()
            self._forget_earlier_boot(files.boot_id())

    def _forget_earlier_boot(self, boot: str) -> None:
        """Remove what does not survive a reboot, when there was one."""
        if self.boot.exists() and self.boot.read_text() == boot:
            return
        for name in ("containers", "rules", "names", "volumes"):
            files.remove_tree(self.run / name)
        for lease in self.root.glob("networks/*/leases/*"):
            lease.unlink(missing_ok=True)
        for name in ("containers", "names", "volumes"):
            self.run.joinpath(name).mkdir(mode=0o700)
        files.write_atomic(self.boot, boot.encode())

    def _choose_driver(self) -> None:
        from engine.store.drivers.drivers import choose

        files.write_atomic(self._driver, choose(self, self._wanted_driver).encode() + b"\n")

    def _check_driver(self) -> None:
        if self._wanted_driver not in ("", self.driver):
            raise StoreError(
                f"the state root {self.root} has the storage driver {self.driver}, not {self._wanted_driver}",
                hint="a state root keeps its driver: take another --root for that one",
            )

    @property
    def driver(self) -> str:
        """The name of the storage driver."""
        try:
            return self._driver.read_text().strip()
        except FileNotFoundError:
            return "overlay"

    @property
    def _driver(self) -> Path:
        return self.root / "driver"

    @property
    def version(self) -> Path:
        """The version of the layout."""
        return self.root / "version"

    @property
    def boot(self) -> Path:
        """The id of the boot that the run root belongs to."""
        return self.run / "boot_id"

    @property
    def journal(self) -> Path:
        """The events."""
        return self.root / "journal.jsonl"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.root / "locks"

    def lock(self, name: str) -> Path:
        """The lock file of something."""
        return self.locks / name

    def blob(self, digest: str) -> Path:
        """A blob."""
        return self.root / "blobs" / "sha256" / hex_of(digest)

    def layer(self, chain_id: str) -> Path:
        """A layer's directory."""
        return self.root / "layers" / hex_of(chain_id)

    @property
    def images(self) -> Path:
        """Image records."""
        return self.root / "images"

    @property
    def containers(self) -> Path:
        """Container directories."""
        return self.root / "containers"

    def container(self, container_id: str) -> Path:
        """A container's bundle."""
        return self.containers / container_id

    def running(self, container_id: str) -> Path:
        """A container's volatile directory."""
        return self.run / "containers" / container_id

    @property
    def names(self) -> Path:
        """Names of containers, links to ids."""
        return self.root / "names"

    @property
    def networks(self) -> Path:
        """Networks and leases."""
        return self.root / "networks"

    @property
    def volumes(self) -> Path:
        """Volumes."""
        return self.root / "volumes"

    def mounted_volume(self, name: str) -> Path:
        """What monitors note of a volume that they have mounted."""
        return self.run / "volumes" / name

    @property
    def advisories(self) -> Path:
        """Databases of advisories."""
        return self.root / "advisories"

    @property
    def trash(self) -> Path:
        """What is being deleted."""
        return self.root / "trash"

    @contextmanager
    def staged(self, name: str) -> Iterator[Path]:
        """Make a directory in which something grows until it is renamed to its place; what is left of it goes.

        It is locked, so nobody takes it for a leftover while its maker lives.
        """
        fd = -1
        while fd < 0:
            path = self.trash / f"{name}.{os.getpid()}.{os.urandom(4).hex()}"
            path.mkdir(mode=0o700)
            try:
                fd = files.lock_directory(path)
            except (FileNotFoundError, BlockingIOError):
                continue  # it was cleaned away before it was locked
        try:
            yield path
        finally:
            files.remove_tree(path)
            os.close(fd)

    def discard(self, path: Path) -> None:
        """Delete a directory: it is gone for everybody at once, and its content soon after.

        It is locked meanwhile, so that nobody takes it for a leftover.

        Raises:
            FileNotFoundError: Somebody else deleted it first.
        """
        target = self.trash / f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
        fd = _lock_leftover(path)
        try:
            path.rename(target)
            files.remove_tree(target)
        finally:
            _close(fd)

    def abandoned(self) -> tuple[Path, ...]:
        """Return what lies in the trash and is not being made."""
        found = []
        for entry in self.trash.iterdir():
            fd = _lock_leftover(entry)
            if fd is not None:
                found.append(entry)
                _close(fd)
        return tuple(found)

    def empty_trash(self) -> None:
        """Finish deletions that were cut off, and remove what was never finished."""
        for entry in self.trash.iterdir():
            fd = _lock_leftover(entry)
            if fd is not None:
                files.remove_tree(entry)
                _close(fd)


def find(directory: Path, pattern: str) -> tuple[Path, ...]:
    """Return the paths below a directory that fit a pattern, sorted.

    Path.glob fails when a directory that it is about to read is removed meanwhile; this leaves it out.
    """
    return tuple(directory / name for name in sorted(glob.glob(pattern.lstrip("/"), root_dir=directory)))  # noqa: PTH207


def _lock_leftover(path: Path) -> int | None:
    """Lock what lies in the trash; return -1 for a file, which nobody locks, and None when somebody uses it."""
    try:
        return files.lock_directory(path)
    except (FileNotFoundError, BlockingIOError):
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        return -1


def _close(fd: int | None) -> None:
    if fd is not None and fd >= 0:
        os.close(fd)
