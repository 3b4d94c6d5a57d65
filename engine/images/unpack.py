"""Unpacks a layer into a directory in overlay form; the archive is hostile until proven otherwise.

Every entry is resolved by the kernel inside the layer's root (engine.linux.inside) and made relative to its parent's
fd. Whiteouts become 0:0 character devices and opaque directories get trusted.overlay.opaque (image-spec layer.md).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import ImageError
from engine.images import tar
from engine.images.tar import Entry, Readable, TarReader
from engine.linux import files, inside
from engine.model.value import Value

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_KEPT_PARENTS = 64
_DEEPEST = 256
_REFUSED_XATTRS = ("trusted.overlay.", "user.overlay.")
Record = Callable[[Entry, int], None]
"""Is told of each entry that was unpacked, with the checksum of its content."""


class UnpackLimits(Value, frozen=True):
    """How much a layer may hold."""

    entries: int = 1_000_000
    bytes: int = 64 << 30


class Unpacked(Value, frozen=True):
    """What came out: entries, and bytes of regular files."""

    entries: int
    size: int


def unpack(
    stream: Readable, directory: Path, limits: UnpackLimits | None = None, record: Record | None = None
) -> Unpacked:
    """Unpack a plain tar stream.

    Args:
        stream: The archive.
        directory: An empty directory, the layer's root.
        limits: What to refuse.
        record: Is told of each entry.

    Raises:
        ImageError: The archive is damaged or hostile; what was written so far is the caller's to remove.
    """
    unpacker = _Unpacker(directory, limits or UnpackLimits())
    try:
        return unpacker.run(stream, record)
    finally:
        unpacker.close()


class _Unpacker:
    """Holds the root, a few open parents, and directory times that are set at the end."""

    def __init__(self, directory: Path, limits: UnpackLimits) -> None:
        self._root = inside.open_root(directory)
        self._limits = limits
        self._parents: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._entries = 0
        self._size = 0

    def close(self) -> None:
        """Close all file descriptors."""
        self._forget_parents()
        os.close(self._root)

    def run(self, stream: Readable, record: Record | None = None) -> Unpacked:
        """Unpack all entries."""
        reader = TarReader(stream)
        for entry in reader:
            self._entries += 1
            self._size += entry.size if entry.kind == tar.FILE and entry.sparse is None else 0
            self._size += sum(length for _, length in entry.sparse or ())
            if self._entries > self._limits.entries:
                raise ImageError(f"the layer has more than {self._limits.entries} entries")
            if self._size > self._limits.bytes or entry.size > self._limits.bytes:
                raise ImageError(f"the layer is larger than {self._limits.bytes} bytes")
            try:
                self._unpack(entry, reader)
            except OSError as error:
                raise ImageError(f"cannot unpack {entry.name[:200]!r}: {error.strerror or error}") from error
            if record is not None:
                record(entry, reader.checksum)
        self._set_times()
        return Unpacked(self._entries, self._size)

    def _unpack(self, entry: Entry, reader: TarReader) -> None:
        path = os.path.normpath("/" + entry.name)
        if any(part == ".." for part in entry.name.split("/")):
            raise ImageError(f"the entry {entry.name[:200]!r} leaves the layer")
        if path == "/":
            if entry.kind == tar.DIRECTORY:
                self._finish_directory(self._root, entry, path)
            return
        if path.count("/") > _DEEPEST:
            raise ImageError(f"the entry {entry.name[:200]!r} is nested deeper than {_DEEPEST} directories")
        parent_path, _, name = path.rpartition("/")
        parent = self._parent(parent_path or "/")
        if name == OPAQUE:
            os.setxattr(f"/proc/self/fd/{parent}", "trusted.overlay.opaque", b"y")
        elif name.startswith(WHITEOUT):
            self._whiteout(parent, name.removeprefix(WHITEOUT))
        else:
            self._make(entry, reader, parent, name, path)

    def _parent(self, path: str) -> int:
        fd = self._parents.get(path)
        if fd is None:
            if len(self._parents) >= _KEPT_PARENTS:
                self._forget_parents()
            fd = inside.make_directories(self._root, path)
            self._parents[path] = fd
        return fd

    def _forget_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def _whiteout(self, parent: int, name: str) -> None:
        if name in ("", ".", ".."):
            raise ImageError("the layer has a whiteout without a name")
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            self._hide_below(parent, name)

    @staticmethod
    def _hide_below(parent: int, name: str) -> None:
        """A whiteout hides what lower layers have, not what this layer put there: make a directory opaque."""
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.setxattr(f"/proc/self/fd/{parent}/{name}", "trusted.overlay.opaque", b"y", follow_symlinks=False)

    def _clear(self, parent: int, name: str) -> None:
        """Remove what an earlier entry of this layer put there."""
        self._forget_parents_but(parent)
        files.remove_at(parent, name)

    def _forget_parents_but(self, kept: int) -> None:
        """Forget open parents, for a path may mean something else once an entry was replaced."""
        for path, fd in list(self._parents.items()):
            if fd != kept:
                os.close(fd)
                del self._parents[path]

    def _make(self, entry: Entry, reader: TarReader, parent: int, name: str, path: str) -> None:
        if entry.kind == tar.DIRECTORY:
            self._make_directory(entry, parent, name, path)
            return
        try:
            self._make_other(entry, reader, parent, name)
        except FileExistsError:
            self._clear(parent, name)
            self._make_other(entry, reader, parent, name)

    def _make_other(self, entry: Entry, reader: TarReader, parent: int, name: str) -> None:
        """Make anything but a directory.

        Raises:
            FileExistsError: Something has the name; nothing of the entry's content has been read.
        """
        if entry.kind == tar.FILE:
            self._make_file(entry, reader, parent, name)
        elif entry.kind == tar.HARDLINK:
            self._make_hardlink(entry, parent, name)
        elif entry.kind == tar.SYMLINK:
            os.symlink(os.fsencode(entry.link), os.fsencode(name), dir_fd=parent)
            self._finish_special(entry, parent, name)
        elif entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE, tar.FIFO):
            kinds = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
            os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=parent)
            self._finish_special(entry, parent, name)
        else:
            raise ImageError(f"the entry {entry.name[:200]!r} is of the unknown kind {entry.kind!r}")

    def _make_directory(self, entry: Entry, parent: int, name: str, path: str) -> None:
        was_whiteout = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                was_whiteout = stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
                self._clear(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        if was_whiteout:
            self._hide_below(parent, name)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._finish_directory(fd, entry, path)
        finally:
            os.close(fd)

    def _finish_directory(self, fd: int, entry: Entry, path: str) -> None:
        if fd == self._root:
            os.chown(f"/proc/self/fd/{fd}", entry.uid, entry.gid)
            os.chmod(f"/proc/self/fd/{fd}", entry.mode)  # noqa: PTH101 - an O_PATH fd
        else:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            self._set_xattrs(fd, entry)
        self._times[path] = entry.mtime_ns

    def _make_file(self, entry: Entry, reader: TarReader, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            write_content(fd, entry, reader.content())
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            self._set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _make_hardlink(self, entry: Entry, parent: int, name: str) -> None:
        target = os.path.normpath("/" + entry.link)
        if any(part == ".." for part in entry.link.split("/")):
            raise ImageError(f"the link {entry.name[:200]!r} leaves the layer")
        target_parent, _, target_name = target.rpartition("/")
        fd = inside.open_inside(self._root, target_parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(target_name, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _finish_special(self, entry: Entry, parent: int, name: str) -> None:
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, fd: int, entry: Entry) -> None:
        for name, value in entry.xattrs.items():
            if name.startswith(_REFUSED_XATTRS):
                raise ImageError(f"the entry {entry.name[:200]!r} has the attribute {name}, which is overlayfs's own")
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise

    def _set_times(self) -> None:
        for path, mtime in self._times.items():
            try:
                fd = inside.open_inside(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry replaced it
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)


def write_content(fd: int, entry: Entry, parts: Iterator[bytes]) -> None:
    """Write what an archive has of a regular file into a new one; holes stay holes."""
    if entry.sparse is None:
        for part in parts:
            files.write_all(fd, part)
        return
    regions = iter(entry.sparse)
    offset, left = 0, 0
    for part in parts:
        view = memoryview(part)
        while view:
            while not left:
                offset, left = next(regions)
            written = os.pwrite(fd, view[:left], offset)
            view, offset, left = view[written:], offset + written, left - written
    os.truncate(fd, entry.size)
