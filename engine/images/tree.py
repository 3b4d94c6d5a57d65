"""A directory tree as the entries of an archive, read by descriptor while its owner may change it.

Nothing that is met is followed or trusted: each name is opened without following links, looked at, and only then read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from engine.errors import CopyFailed
from engine.images import tar
from engine.images.tar import Entry
from engine.linux import inside

Content = Callable[[], Iterator[bytes]]
Item = tuple[Entry, Content]
_DEEPEST = 256
_CHUNK = 1 << 20
_LEAST_HOLES = 1 << 16
KEPT_XATTRS = ("user.", "security.capability", "system.posix_acl_")
_KINDS = {
    stat.S_IFREG: tar.FILE, stat.S_IFDIR: tar.DIRECTORY, stat.S_IFLNK: tar.SYMLINK, stat.S_IFIFO: tar.FIFO,
    stat.S_IFCHR: tar.CHARACTER, stat.S_IFBLK: tar.BLOCK_DEVICE,
}  # fmt: skip


def nothing() -> Iterator[bytes]:
    """Return the content of an entry that has none."""
    return iter(())


class Tree:
    """Reads trees; files with several names come once, and then as links to the first.

    Attributes:
        warnings: Sentences about what was left out or changed meanwhile.
    """

    def __init__(self, *, finds_holes: bool = True, closed: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Make a reader.

        Args:
            finds_holes: Whether holes of files are told; else they are zeros, and equal files give equal entries.
            closed: (device, inode) of directories whose content is left out, unless one is the start.
        """
        self.warnings: list[str] = []
        self._finds_holes = finds_holes
        self._closed = closed
        self._names: dict[tuple[int, int], str] = {}

    def walk(self, item_fd: int, name: str) -> Iterator[Item]:
        """Yield an opened file or directory and all that is below it; the content of one before the next is asked for.

        Args:
            item_fd: From `inside.open_item`.
            name: What the entry is called; what is below it is called after it.

        Raises:
            CopyFailed: Something cannot be read.
        """
        yield from self._walk(item_fd, name, 0)

    def _walk(self, item_fd: int, name: str, depth: int) -> Iterator[Item]:
        found = os.fstat(item_fd)
        yield from self.one(item_fd, name)
        if not stat.S_ISDIR(found.st_mode) or (depth and (found.st_dev, found.st_ino) in self._closed):
            return
        if depth >= _DEEPEST:
            raise CopyFailed(f"{name[:200]} is nested deeper than {_DEEPEST} directories")
        with _explained(name):
            directory_fd = inside.reopen(item_fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for child in sorted(os.listdir(directory_fd)):  # noqa: PTH208 - a descriptor
                child_fd = self._open(directory_fd, child, f"{name}/{child}")
                if child_fd >= 0:
                    try:
                        yield from self._walk(child_fd, f"{name}/{child}" if name else child, depth + 1)
                    finally:
                        os.close(child_fd)
        finally:
            os.close(directory_fd)

    def _open(self, directory_fd: int, child: str, name: str) -> int:
        try:
            return inside.open_item(directory_fd, child)
        except FileNotFoundError:
            return -1  # it was removed meanwhile
        except OSError as error:
            raise CopyFailed(f"cannot read {name[:200]}: {error.strerror}") from error

    def one(self, item_fd: int, name: str) -> Iterator[Item]:
        """Yield an opened file or directory without what is below it; nothing for a socket."""
        found = os.fstat(item_fd)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            self.warnings.append(f"{name[:200]} is left out: it is a socket")
            return
        entry = Entry(
            name=name, kind=kind, mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid, size=0,
            mtime_ns=found.st_mtime_ns, link="", device=(0, 0),
        )  # fmt: skip
        if kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
            entry.device = os.major(found.st_rdev), os.minor(found.st_rdev)
        if kind == tar.SYMLINK:
            entry.link = os.readlink("", dir_fd=item_fd)
        elif kind == tar.DIRECTORY:
            entry.xattrs = _xattrs(item_fd)
        elif (
            kind == tar.FILE
            and found.st_nlink > 1
            and (first := self._names.setdefault((found.st_dev, found.st_ino), name)) != name
        ):
            entry.kind, entry.link = tar.HARDLINK, first
        elif kind == tar.FILE:
            yield from self._file(item_fd, entry)
            return
        yield entry, nothing

    def _file(self, item_fd: int, entry: Entry) -> Iterator[Item]:
        with _explained(entry.name):
            file_fd = inside.reopen(item_fd, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            found = os.fstat(file_fd)
            entry.size = found.st_size
            entry.xattrs = _xattrs(file_fd)
            if self._finds_holes and found.st_blocks * 512 + _LEAST_HOLES < found.st_size:
                entry.sparse = _regions(file_fd, found.st_size)
            yield entry, lambda: self._content(file_fd, entry)
        finally:
            os.close(file_fd)

    def _content(self, file_fd: int, entry: Entry) -> Iterator[bytes]:
        """Yield exactly the bytes that the entry promises, whatever becomes of the file meanwhile."""
        for start, length in [(0, entry.size)] if entry.sparse is None else entry.sparse:
            left = length
            while left:
                with _explained(entry.name):
                    part = os.pread(file_fd, min(_CHUNK, left), start + length - left)
                if not part:
                    self._warn_once(f"{entry.name[:200]} became shorter meanwhile; its end is zeros")
                    part = bytes(min(_CHUNK, left))
                left -= len(part)
                yield part

    def _warn_once(self, text: str) -> None:
        if self.warnings[-1:] != [text]:
            self.warnings.append(text)


class _explained:  # noqa: N801 - reads as a word
    """Turns an OSError into a sentence that names the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Explain."""
        if isinstance(error, OSError):
            raise CopyFailed(f"cannot read {self._name[:200]}: {error.strerror}") from error


def _regions(file_fd: int, size: int) -> list[tuple[int, int]] | None:
    """Return (offset, length) of what is not a hole; None when there is none, or the file system cannot tell."""
    found: list[tuple[int, int]] = []
    offset = 0
    try:
        while offset < size:
            start = os.lseek(file_fd, offset, os.SEEK_DATA)
            offset = min(os.lseek(file_fd, start, os.SEEK_HOLE), size)
            if start < offset:
                found.append((start, offset - start))
    except OSError as error:
        if error.errno != errno.ENXIO:  # which says that only a hole is left
            return None
    return None if found == [(0, size)] else found


def _xattrs(fd: int) -> dict[str, bytes]:
    path = f"/proc/self/fd/{fd}"
    found: dict[str, bytes] = {}
    try:
        for name in os.listxattr(path):
            if name.startswith(KEPT_XATTRS):
                found[name] = os.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENODATA, errno.ENOENT):
            raise
    return dict(sorted(found.items()))
