"""Reads and extracts files of layers; a path is found in the tree, and opened by descriptor without following links.

Everything under a layer's root comes from somebody else: engine.linux.inside opens it, and only what is a regular file
there is read. What is written for the user is made anew, below a directory that is held open.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ImageError, InvalidArgument
from engine.images.analyse.index import DIRECTORY, FILE, HARD_LINK, SYMBOLIC_LINK
from engine.images.analyse.tree import Node, text
from engine.linux import inside
from engine.linux.files import write_all
from engine.model.contents import Extracted

_CHUNK = 1 << 20
_MOST_COMPARED = 1 << 30


class LayerFiles:
    """The files of an image's layers.

    Args:
        directories: Of the layers, lowest first.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._compared = 0

    def open(self, path: bytes, node: Node) -> int:
        """Open a regular file for reading; return the fd.

        Raises:
            ImageError: The store does not have it.
        """
        try:
            root = inside.open_root(self._directories[node.layer])
            try:
                place = inside.open_inside(root, os.fsdecode(path), os.O_PATH | os.O_NOFOLLOW)
            finally:
                os.close(root)
            try:
                if not stat.S_ISREG(os.fstat(place).st_mode):
                    raise OSError(errno.EINVAL, "it is no regular file")
                return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                os.close(place)
        except OSError as error:
            raise ImageError(f"the store does not have {text(path)[:200]!r} of the image: {error.strerror}") from error

    def same_content(self, candidates: Sequence[tuple[bytes, Node]]) -> Iterator[list[tuple[bytes, Node]]]:
        """Yield the files that are equal, sorted out by reading them; at most 1 GiB is read in all."""
        found: dict[bytes, list[tuple[bytes, Node]]] = {}
        for path, node in candidates:
            size = node.item.size if node.item else 0
            if self._compared + size > _MOST_COMPARED:
                continue
            self._compared += size
            found.setdefault(self._digest(path, node), []).append((path, node))
        return (same for same in found.values() if len(same) > 1)

    def _digest(self, path: bytes, node: Node) -> bytes:
        hasher = hashlib.sha256()
        fd = self.open(path, node)
        try:
            while data := os.read(fd, _CHUNK):
                hasher.update(data)
        finally:
            os.close(fd)
        return hasher.digest()

    def extract(self, path: bytes, node: Node, target: Path) -> Extracted:
        """Write a file, or a directory with what is in it, to a path of the host, which a directory there goes into.

        Owners, set-id bits, device nodes and pipes stay behind.

        Raises:
            InvalidArgument: The target exists, or cannot be written; what was written before that stays.
        """
        name = os.fsdecode(path.rpartition(b"/")[2])
        if target.is_dir() and name:
            target = target / name
        try:
            if name:
                with _directory(os.fspath(target.parent)) as fd:
                    return self._write(path, node, fd, target.name)
            target.mkdir(exist_ok=True)
            with _directory(os.fspath(target)) as fd:
                return self._write_children(path, node, fd)
        except OSError as error:
            raise InvalidArgument(f"cannot write {str(error.filename or target)!r}: {error.strerror}") from error

    def _write(self, path: bytes, node: Node, parent: int, name: str) -> Extracted:
        item = node.item
        if item is None:
            return Extracted(0, 0, 0)
        if item.kind == DIRECTORY:
            os.mkdir(name, item.mode & 0o777 | 0o700, dir_fd=parent)
            with _directory(name, parent) as fd:
                return self._write_children(path, node, fd)
        if item.kind == SYMBOLIC_LINK:
            os.symlink(os.fsdecode(item.link), name, dir_fd=parent)
            return Extracted(1, 0, 0)
        if item.kind not in (FILE, HARD_LINK):
            return Extracted(0, 0, 1)
        size = self._copy(path, node, parent, name)
        os.utime(name, (item.mtime, item.mtime), dir_fd=parent, follow_symlinks=False)
        return Extracted(1, size, 0)

    def _write_children(self, path: bytes, node: Node, fd: int) -> Extracted:
        files = size = skipped = 0
        for name, child in sorted(node.children.items()):
            done = self._write(path + b"/" + name if path else name, child, fd, os.fsdecode(name))
            files, size, skipped = files + done.files, size + done.size, skipped + done.skipped
        return Extracted(files, size, skipped)

    def _copy(self, path: bytes, node: Node, parent: int, name: str) -> int:
        source, size = self.open(path, node), 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, (node.item.mode if node.item else 0) & 0o777, dir_fd=parent)
            try:
                while data := os.read(source, _CHUNK):
                    write_all(fd, data)
                    size += len(data)
            finally:
                os.close(fd)
        finally:
            os.close(source)
        return size


@contextmanager
def _directory(name: str, parent_fd: int | None = None) -> Iterator[int]:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if parent_fd is not None else 0)
    fd = os.open(name, flags, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)
