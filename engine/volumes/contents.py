"""What is in a volume: listed, read and measured by descriptor, for containers may change it meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from engine.errors import InvalidArgument, NotFound, NotSupported
from engine.linux import inside
from engine.model.contents import Change, FileEntry
from engine.model.volume import Measured, Volume

_MOST_MEASURED = 20_000_000
_KINDS = {
    stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}  # fmt: skip
_MOUNTED = {"type", "device"}


@contextmanager
def opened(volume: Volume) -> Iterator[int]:
    """Open the root of a volume's files, for the functions of `inside`.

    Raises:
        NotSupported: Its files are there only while a container has it mounted.
        NotFound: It was removed meanwhile.
    """
    if volume.driver != "local" or _MOUNTED & volume.options.keys():
        raise NotSupported(
            f"the files of volume {volume.name} are not on this host's disk: its driver mounts them in containers alone",
            hint="work on them in a container that has the volume",
        )
    try:
        root_fd = inside.open_root(volume.mountpoint)
    except FileNotFoundError as error:
        raise NotFound("volume", volume.name) from error
    try:
        yield root_fd
    finally:
        os.close(root_fd)


def list_directory(root_fd: int, path: str) -> tuple[FileEntry, ...]:
    """Return what is in a directory of a volume, directories first, then by name; of a file, itself.

    Args:
        root_fd: The volume's root.
        path: As a container sees it whose root the volume is; links stay inside.

    Raises:
        NotFound: There is no such path.
    """
    with _explained(path):
        item_fd = inside.open_inside(root_fd, path, os.O_PATH)
        try:
            found = os.fstat(item_fd)
            if not stat.S_ISDIR(found.st_mode):
                return (_entry("/" + path.strip("/"), found, ""),)
            directory_fd = inside.reopen(item_fd, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.close(item_fd)
        try:
            entries = list(_entries(directory_fd, path.strip("/")))
        finally:
            os.close(directory_fd)
    return tuple(sorted(entries, key=lambda entry: (entry.kind != "d", entry.path)))


def _entries(directory_fd: int, path: str) -> Iterator[FileEntry]:
    for name in os.listdir(directory_fd):
        try:
            found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            link = os.readlink(name, dir_fd=directory_fd) if stat.S_ISLNK(found.st_mode) else ""
        except OSError:
            continue  # it was removed or replaced meanwhile
        yield _entry(f"/{path}/{name}" if path else f"/{name}", found, link)


def _entry(path: str, found: os.stat_result, link: str) -> FileEntry:
    is_directory = stat.S_ISDIR(found.st_mode)
    return FileEntry(
        path, _KINDS[stat.S_IFMT(found.st_mode)], 0 if is_directory else found.st_size, 0, stat.S_IMODE(found.st_mode),
        found.st_uid, found.st_gid, int(found.st_mtime), link, Change.UNCHANGED, 0,
    )  # fmt: skip


def open_file(root_fd: int, path: str) -> BinaryIO:
    """Open a regular file of a volume to read it.

    Raises:
        NotFound: There is no such path.
        InvalidArgument: It is no regular file.
    """
    with _explained(path):
        item_fd = inside.open_inside(root_fd, path, os.O_PATH)
        try:
            if not stat.S_ISREG(os.fstat(item_fd).st_mode):
                raise InvalidArgument(f"{path} is no regular file")
            return os.fdopen(inside.reopen(item_fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb")
        finally:
            os.close(item_fd)


def measure(root_fd: int, path: str = "", stop: threading.Event | None = None) -> Measured:
    """Return what a directory and all that is below it occupies, as du counts it.

    Args:
        root_fd: The volume's root.
        path: The directory.
        stop: Ends the count early when it is set.
    """
    size = count = 0
    is_whole = True
    several: set[tuple[int, int]] = set()
    waiting = [path.strip("/")]
    while waiting:
        directory = waiting.pop()
        if count > _MOST_MEASURED or (stop is not None and stop.is_set()):
            return Measured(size, count, is_whole=False)
        try:
            directory_fd = inside.open_beneath(root_fd, directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            is_whole = is_whole and error.errno != errno.ENAMETOOLONG  # else it was removed meanwhile
            continue
        try:
            own = os.fstat(directory_fd)
            size, count = size + own.st_blocks * 512, count + 1
            for name, found in _statuses(directory_fd):
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(f"{directory}/{name}" if directory else name)
                    continue
                count += 1
                if found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in several:
                        continue
                    several.add((found.st_dev, found.st_ino))
                size += found.st_blocks * 512
        finally:
            os.close(directory_fd)
    return Measured(size, count, is_whole)


def _statuses(directory_fd: int) -> Iterator[tuple[str, os.stat_result]]:
    for name in os.listdir(directory_fd):
        try:
            yield name, os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("file", path) from error
    except OSError as error:
        raise InvalidArgument(f"cannot open {path}: {error.strerror}") from error
