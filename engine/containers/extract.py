"""Puts the entries of an archive or a tree into a directory, of a container or of the host, that others may change meanwhile.

No link is followed, neither one that was there nor one that came along; what is made is finished before its name shows.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from engine.errors import CopyFailed, ImageError
from engine.images import tar
from engine.images.compression import Decompressed
from engine.images.tar import Entry, Readable, TarReader
from engine.images.tree import KEPT_XATTRS, Item
from engine.images.unpack import write_content
from engine.linux import inside
from engine.model.change import Copied

_NODES = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
_SENTENCES = {
    errno.ELOOP: "a symbolic link is in its way", errno.ENOTDIR: "something that is no directory is in its way",
    errno.EXDEV: "it leads out of the destination", errno.EBUSY: "something is mounted there",
}  # fmt: skip
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


def extract(items: Iterable[Item], directory_fd: int) -> Copied:
    """Put entries into a directory; an entry "." stands for the directory itself, which stays as it is.

    Raises:
        CopyFailed: One cannot be made, or would replace a directory by something else or the reverse. What was
            copied before stays; of what failed nothing is left.
    """
    extractor = _Extractor(directory_fd)
    try:
        for entry, content in items:
            extractor.take(entry, content())
        extractor.set_times()
    finally:
        extractor.close()
    return Copied(extractor.entries, extractor.size)


def extract_archive(stream: Readable, directory: Path) -> Copied:
    """Put the entries of a tar stream, compressed or not, into a directory; an entry "./" gives it owner, mode and time.

    Raises:
        CopyFailed: An entry cannot be made, or leads out of the directory.
        ImageError: The stream is damaged or cut off.
    """
    root: list[Entry] = []
    reader = TarReader(Decompressed(stream))

    def items() -> Iterator[Item]:
        for entry in reader:
            if entry.kind == tar.DIRECTORY and entry.name.strip("./") == "" and ".." not in entry.name:
                root[:] = [entry]
            yield entry, reader.content

    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        copied = extract(items(), directory_fd)
        if not reader.is_ended:
            raise ImageError("the archive is cut off: it has no end")
        for entry in root:
            _finish(directory_fd, entry)
            os.utime(directory_fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(directory_fd)
    return copied


class _Extractor:
    def __init__(self, directory_fd: int) -> None:
        self._root_fd = directory_fd
        self._parent = ("", os.dup(directory_fd))
        self._times: dict[str, int] = {}
        self.entries = 0
        self.size = 0

    def close(self) -> None:
        os.close(self._parent[1])

    def take(self, entry: Entry, content: Iterator[bytes]) -> None:
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise CopyFailed(f"the entry {entry.name[:200]!r} leads out of the destination")
        if not parts:
            return
        try:
            self._make(entry, content, self._parent_of("/".join(parts[:-1])), parts[-1], "/".join(parts))
        except OSError as error:
            reason = _SENTENCES.get(error.errno or 0) or error.strerror or str(error)
            raise CopyFailed(f"cannot write {entry.name[:200]}: {reason}") from error
        self.entries += 1
        self.size += entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)

    def _parent_of(self, path: str) -> int:
        if path != self._parent[0]:
            found = self._open(path)
            os.close(self._parent[1])
            self._parent = path, found
        return self._parent[1]

    def _open(self, path: str) -> int:
        """Open a directory below ours, made when an archive does not mention it."""
        try:
            return inside.open_beneath(self._root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            parent, _, name = path.rpartition("/")
        parent_fd = self._open(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
            return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)

    def _make(self, entry: Entry, content: Iterator[bytes], parent_fd: int, name: str, path: str) -> None:
        is_directory = _is_directory(parent_fd, name)
        if entry.kind == tar.DIRECTORY:
            if is_directory is False:
                raise CopyFailed(f"cannot overwrite {path[:200]}, which is no directory, with a directory")
            self._make_directory(entry, parent_fd, name, path)
            return
        if is_directory:
            raise CopyFailed(f"cannot overwrite the directory {path[:200]} with what is none")
        if is_directory is False and inside.is_mount(parent_fd, name):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if entry.kind == tar.FILE:
            _make_file(entry, content, parent_fd, name)
            return
        temporary = _temporary_name()
        try:
            self._make_special(entry, parent_fd, temporary)
            os.rename(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        finally:
            _remove(parent_fd, temporary)  # it is still there when two names of one file change places

    def _make_directory(self, entry: Entry, parent_fd: int, name: str, path: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            _finish(fd, entry)
        finally:
            os.close(fd)
        self._times[path] = entry.mtime_ns

    def _make_special(self, entry: Entry, parent_fd: int, name: str) -> None:
        if entry.kind == tar.HARDLINK:
            self._link(entry, parent_fd, name)
            return
        if entry.kind == tar.SYMLINK:
            os.symlink(os.fsencode(entry.link), os.fsencode(name), dir_fd=parent_fd)
        elif entry.kind in _NODES:
            os.mknod(name, _NODES[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=parent_fd)
        else:
            raise CopyFailed(f"the entry {entry.name[:200]!r} is of the unknown kind {entry.kind!r}")
        os.chown(name, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            item_fd = inside.open_item(parent_fd, name)
            try:
                os.chmod(f"/proc/self/fd/{item_fd}", entry.mode)  # noqa: PTH101 - a descriptor cannot become a link
            finally:
                os.close(item_fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent_fd, follow_symlinks=False)

    def _link(self, entry: Entry, parent_fd: int, name: str) -> None:
        parts = [part for part in entry.link.split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            raise CopyFailed(f"the link {entry.name[:200]!r} leads out of the destination")
        source_fd = inside.open_beneath(self._root_fd, "/".join(parts[:-1]), os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(parts[-1], name, src_dir_fd=source_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        finally:
            os.close(source_fd)

    def set_times(self) -> None:
        """Set the times of directories, which change when something is put into them."""
        for path, mtime in self._times.items():
            try:
                fd = inside.open_beneath(self._root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue  # it was moved away meanwhile
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)


def _is_directory(parent_fd: int, name: str) -> bool | None:
    """Return whether a name stands for a directory; None when there is nothing."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def _make_file(entry: Entry, content: Iterator[bytes], parent_fd: int, name: str) -> None:
    """Write a file without a name, then give it one: whoever is killed meanwhile leaves nothing."""
    temporary = ""
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        temporary = _temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=parent_fd)
    try:
        write_content(fd, entry, content)
        _finish(fd, entry)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        if not temporary:
            try:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=parent_fd)
            except FileExistsError:
                temporary = _temporary_name()
                os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=parent_fd)
            else:
                return
        os.rename(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        temporary = ""
    finally:
        os.close(fd)
        if temporary:
            _remove(parent_fd, temporary)


def _finish(fd: int, entry: Entry) -> None:
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for key, value in entry.xattrs.items():
        if key.startswith(KEPT_XATTRS):
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise


def _temporary_name() -> str:
    return f".tuicon.{os.urandom(8).hex()}"


def _remove(parent_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return
