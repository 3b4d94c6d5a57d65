"""Puts a layer's files, which are in overlay form, over those of a directory, as overlayfs would show both.

Everything is named by descriptor and by its own name alone; links are never followed. Contents share extents with the
layer where the file system can do that.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path

from engine.linux import btrfs, files, inside

OPAQUE = "trusted.overlay.opaque"
_OVERLAY = "trusted.overlay."
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether an entry of a layer says that what is below it is gone: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(fd: int) -> bool:
    """Return whether a directory of a layer hides what is below it."""
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError:
        return False


def open_below(directory_fd: int, name: str) -> int:
    """Open a directory by its name in another one."""
    return os.open(name, _DIRECTORY, dir_fd=directory_fd)


def open_all(paths: tuple[Path, ...], stack: ExitStack) -> list[int]:
    """Open directories that the engine has named, until the stack is closed."""
    opened = []
    for path in paths:
        opened.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        stack.callback(os.close, opened[-1])
    return opened


def merge(layer_fd: int, target_fd: int) -> None:
    """Put a layer over a directory.

    Raises:
        OSError: The disk is full, or cannot hold what the layer has.
    """
    Copier(target_fd).directory(layer_fd, target_fd, "")


class Copier:
    """Copies files into a root; remembers which are links to one file, and whether extents can be shared."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._links: dict[int, str] = {}
        self._can_share = True

    def directory(self, source_fd: int, target_fd: int, path: str) -> None:
        """Merge one directory, its own attributes last."""
        present = set(os.listdir(target_fd))
        for name in os.listdir(source_fd):
            status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._subdirectory(source_fd, target_fd, name, f"{path}/{name}", is_new=name not in present)
                continue
            if name in present:
                files.remove_at(target_fd, name)
            if not is_whiteout(status):
                self.entry(source_fd, target_fd, name, status, f"{path}/{name}")
        files.copy_attributes(source_fd, target_fd, without=_OVERLAY)

    def _subdirectory(self, source_fd: int, target_fd: int, name: str, path: str, *, is_new: bool) -> None:
        inner_source = open_below(source_fd, name)
        try:
            if not is_new and (is_opaque(inner_source) or not _is_directory(target_fd, name)):
                files.remove_at(target_fd, name)
                is_new = True
            if is_new:
                os.mkdir(name, 0o700, dir_fd=target_fd)
            inner_target = open_below(target_fd, name)
            try:
                self.directory(inner_source, inner_target, path)
            finally:
                os.close(inner_target)
        finally:
            os.close(inner_source)

    def entry(self, source_fd: int, target_fd: int, name: str, status: os.stat_result, path: str) -> None:
        """Copy anything but a directory; `path` is its name from the root."""
        if status.st_nlink > 1:
            if status.st_ino in self._links:
                self._link(self._links[status.st_ino], target_fd, name)
                return
            self._links[status.st_ino] = path
        if stat.S_ISREG(status.st_mode):
            self._file(source_fd, target_fd, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target_fd)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target_fd, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target_fd)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)

    def attributes(self, source_root: int, target_root: int, path: str) -> None:
        """Copy the attributes of a directory that both roots have."""
        source = inside.open_inside(source_root, path or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            target = inside.open_inside(target_root, path or "/", os.O_RDONLY | os.O_DIRECTORY)
            try:
                files.copy_attributes(source, target, without=_OVERLAY)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _link(self, first: str, target_fd: int, name: str) -> None:
        parent, _, first_name = first.rpartition("/")
        parent_fd = inside.open_inside(self._root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(first_name, name, src_dir_fd=parent_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        finally:
            os.close(parent_fd)

    def _file(self, source_fd: int, target_fd: int, name: str) -> None:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            destination = os.open(name, flags, 0o600, dir_fd=target_fd)
            try:
                self._can_share = self._can_share and btrfs.clone(source, destination)
                if not self._can_share:
                    _copy_content(source, destination)
                files.copy_attributes(source, destination, without=_OVERLAY)
            finally:
                os.close(destination)
        finally:
            os.close(source)


def _is_directory(directory_fd: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode)


def _copy_content(source: int, destination: int) -> None:
    """Copy a file's data and keep its holes."""
    size, offset = os.fstat(source).st_size, 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # the rest is a hole
        end = os.lseek(source, offset, os.SEEK_HOLE)
        while offset < end:
            copied = os.copy_file_range(source, destination, end - offset, offset, offset)
            if not copied:
                raise OSError(errno.EIO, "a file of a layer became shorter while it was copied")
            offset += copied
    os.truncate(destination, size)
