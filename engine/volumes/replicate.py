"""A second copy of a volume's files, exact to owners, links, holes and attributes; quick where the file system helps.

On btrfs it is a snapshot, where extents can be shared it takes no space, else the data is copied. Containers may change
the files meanwhile: what vanishes is left out, and only a snapshot shows all of it at one moment.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import CopyFailed
from engine.linux import btrfs, files, inside

_DEEPEST = 256
_REFUSED = (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA)


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Open a directory that the engine has named, to read it and to make things in it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def make_data(directory_fd: int, name: str) -> None:
    """Make an empty directory for files, a subvolume where there are such, for snapshots are made of those alone."""
    try:
        btrfs.create(directory_fd, name)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        os.mkdir(name, 0o755, dir_fd=directory_fd)
    os.chmod(name, 0o755, dir_fd=directory_fd)  # noqa: S103 - as docker makes it, whatever the umask


def replicate(source_fd: int, directory_fd: int, name: str) -> str:
    """Copy a directory with all that is below it; return "snapshot", "reflink" or "copy".

    Args:
        source_fd: The directory, opened for reading.
        directory_fd: Where the copy is made.
        name: What it is called there.

    Raises:
        CopyFailed: Something cannot be read or written; what was made is the caller's to remove.
    """
    try:
        btrfs.snapshot(source_fd, directory_fd, name)
    except OSError:
        pass  # it is no subvolume, or there are none
    else:
        return "snapshot"
    make_data(directory_fd, name)
    target_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        replica = _Replica(target_fd)
        replica.directory(source_fd, target_fd, "", 0)
    finally:
        os.close(target_fd)
    return "reflink" if replica.shares else "copy"


class _Replica:
    """Remembers which names are of one file, and whether extents can be shared."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._first_names: dict[tuple[int, int], str] = {}
        self.shares: bool | None = None

    def directory(self, source_fd: int, target_fd: int, path: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise CopyFailed(f"{path[:200]} is nested deeper than {_DEEPEST} directories")
        for name in os.listdir(source_fd):
            try:
                item_fd = inside.open_item(source_fd, name)
            except FileNotFoundError:
                continue
            try:
                self._item(item_fd, target_fd, name, f"{path}/{name}", depth)
            except OSError as error:
                raise CopyFailed(f"cannot copy {path[:200]}/{name[:200]}: {error.strerror}") from error
            finally:
                os.close(item_fd)
        files.copy_attributes(source_fd, target_fd, may_fail=_REFUSED)

    def _item(self, item_fd: int, target_fd: int, name: str, path: str, depth: int) -> None:
        found = os.fstat(item_fd)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            self._subdirectory(item_fd, target_fd, name, path, depth)
            return
        if found.st_nlink > 1:
            first = self._first_names.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                self._link(first, target_fd, name)
                return
        if kind == stat.S_IFREG:
            self._file(item_fd, target_fd, name)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink("", dir_fd=item_fd), name, dir_fd=target_fd)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target_fd)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target_fd, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target_fd)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)

    def _subdirectory(self, item_fd: int, target_fd: int, name: str, path: str, depth: int) -> None:
        os.mkdir(name, 0o700, dir_fd=target_fd)
        inner_source = inside.reopen(item_fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner_target = os.open(name, flags, dir_fd=target_fd)
            try:
                self.directory(inner_source, inner_target, path, depth + 1)
            finally:
                os.close(inner_target)
        finally:
            os.close(inner_source)

    def _link(self, first: str, target_fd: int, name: str) -> None:
        parent, _, first_name = first.rpartition("/")
        parent_fd = inside.open_beneath(self._root_fd, parent.lstrip("/"), os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(first_name, name, src_dir_fd=parent_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        finally:
            os.close(parent_fd)

    def _file(self, item_fd: int, target_fd: int, name: str) -> None:
        source_fd = inside.reopen(item_fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            copy_fd = os.open(name, flags, 0o600, dir_fd=target_fd)
            try:
                self._content(source_fd, copy_fd)
                files.copy_attributes(source_fd, copy_fd, may_fail=_REFUSED)
            finally:
                os.close(copy_fd)
        finally:
            os.close(source_fd)

    def _content(self, source_fd: int, copy_fd: int) -> None:
        size = os.fstat(source_fd).st_size
        if not size:
            return
        if self.shares is not False:
            self.shares = btrfs.clone(source_fd, copy_fd)
        if not self.shares:
            _copy_data(source_fd, copy_fd, size)


def _copy_data(source_fd: int, copy_fd: int, size: int) -> None:
    """Copy what is data; holes stay holes."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source_fd, offset, os.SEEK_DATA)
            end = min(os.lseek(source_fd, offset, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # only a hole is left
        while offset < end:
            copied = os.copy_file_range(source_fd, copy_fd, end - offset, offset, offset)
            if not copied:
                break  # it became shorter meanwhile; its end is zeros
            offset += copied
        offset = max(offset, end)
    os.truncate(copy_fd, size)
