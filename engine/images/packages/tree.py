"""The files of an image as a container sees them, without a mount: its layers laid over each other.

Names are resolved in the index of what the layers hold, links too, so nothing leads out of them; contents come
through engine.linux.inside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from engine.errors import ImageError
from engine.linux import inside

FILE, PROGRAM, LINK = "file", "program", "link"
_MOST_ENTRIES = 3_000_000
_MOST_LINKS = 40
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Unreadable(Exception):
    """A file cannot be read, or is not what it should be; str() says why."""


class Leaf(NamedTuple):
    """A file or a link: the layer it comes from and what it is (FILE, PROGRAM or LINK)."""

    layer: int
    kind: str


class Directory:
    """A directory: what is in it by name."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[str, Leaf | Directory] = {}


class Tree:
    """The merged view of layer directories, lowest first."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._root_fds: list[int] = []
        self._top = Directory()
        self._count = 0
        try:
            for directory in directories:
                self._root_fds.append(inside.open_root(directory))
                self._lay(len(self._root_fds) - 1)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tree:
        """Return the tree."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the layers."""
        while self._root_fds:
            os.close(self._root_fds.pop())

    def _lay(self, layer: int) -> None:
        """Lay a layer over what is there, with overlayfs' whiteouts and opaque directories."""
        kinds = {kind: Leaf(layer, kind) for kind in (FILE, PROGRAM, LINK)}
        waiting = [("", self._top)]
        while waiting:
            path, node = waiting.pop()
            try:
                waiting += self._lay_directory(layer, path, node, kinds)
            except OSError as error:
                raise ImageError(f"cannot read the image's directory /{path[-200:]}: {error.strerror}") from error
            if self._count > _MOST_ENTRIES:
                raise ImageError(f"the image has more than {_MOST_ENTRIES} files")

    def _lay_directory(
        self, layer: int, path: str, node: Directory, kinds: dict[str, Leaf]
    ) -> list[tuple[str, Directory]]:
        """Lay what is in one directory, and return the directories in it."""
        inner: list[tuple[str, Directory]] = []
        directory_fd = inside.open_inside(self._root_fds[layer], f"/{path}", _READ | os.O_DIRECTORY)
        try:
            if node.entries and _is_opaque(directory_fd):
                node.entries.clear()
            with os.scandir(directory_fd) as entries:
                for entry in entries:
                    self._count += 1
                    if entry.is_dir(follow_symlinks=False):
                        inner.append((f"{path}/{entry.name}" if path else entry.name, _enter(node, entry.name)))
                    else:
                        _place(node, entry, kinds)
        finally:
            os.close(directory_fd)
        return inner

    def files(self) -> Iterator[tuple[str, Leaf]]:
        """Yield paths, without a leading "/", and what is there; in no order."""
        waiting = [("", self._top)]
        while waiting:
            prefix, node = waiting.pop()
            for name, found in node.entries.items():
                if isinstance(found, Directory):
                    waiting.append((f"{prefix}{name}/", found))
                else:
                    yield f"{prefix}{name}", found

    def find(self, path: str) -> tuple[str, Leaf | Directory] | None:
        """Return the real path and what is there, links followed as a container follows them; None when nothing is."""
        names: list[str] = []
        nodes = [self._top]
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                del names[-1:], nodes[max(1, len(nodes) - 1) :]
                continue
            found = nodes[-1].entries.get(name)
            if isinstance(found, Directory):
                names.append(name)
                nodes.append(found)
            elif found is not None and found.kind == LINK and links < _MOST_LINKS:
                links += 1
                target = self._target(found.layer, "/".join([*names, name]))
                if target.startswith("/"):
                    names, nodes = [], nodes[:1]
                waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            elif found is None or found.kind == LINK or waiting:
                return None
            else:
                return "/".join([*names, name]), found
        return "/".join(names), nodes[-1]

    def _target(self, layer: int, path: str) -> str:
        link_fd = inside.open_inside(self._root_fds[layer], path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink("", dir_fd=link_fd)
        finally:
            os.close(link_fd)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; none when there is no such directory."""
        found = self.find(path)
        return tuple(sorted(found[1].entries)) if found and isinstance(found[1], Directory) else ()

    def open(self, path: str, layer: int) -> BinaryIO:
        """Open a regular file of a layer.

        Raises:
            Unreadable: It is none, or not there.
        """
        try:
            fd = inside.open_inside(self._root_fds[layer], path, _READ)
        except OSError as error:
            raise Unreadable(f"cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Unreadable("is not a regular file")
        return os.fdopen(fd, "rb")

    def read(self, path: str, layer: int, limit: int, *, may_be_cut: bool = False) -> bytes:
        """Return the content of a regular file.

        Args:
            path: A real path.
            layer: The layer's place.
            limit: The most bytes to read.
            may_be_cut: Whether the beginning is enough.

        Raises:
            Unreadable: It is longer than that, or no regular file.
        """
        with self.open(path, layer) as file:
            data = file.read(limit + 1)
        if len(data) > limit and not may_be_cut:
            raise Unreadable(f"is larger than {limit >> 20} MiB")
        return data[:limit]

    def read_found(self, path: str, limit: int, *, may_be_cut: bool = False) -> bytes | None:
        """Return the content of a file that is looked up as a container looks it up; None when there is none.

        Raises:
            Unreadable: As for `read`.
        """
        found = self.find(path)
        if found is None or isinstance(found[1], Directory):
            return None
        return self.read(found[0], found[1].layer, limit, may_be_cut=may_be_cut)


def _enter(node: Directory, name: str) -> Directory:
    found = node.entries.get(name)
    if not isinstance(found, Directory):
        found = node.entries[name] = Directory()
    return found


def _place(node: Directory, entry: os.DirEntry[str], kinds: dict[str, Leaf]) -> None:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        node.entries[entry.name] = kinds[PROGRAM if status.st_mode & 0o111 else FILE]
    elif stat.S_ISLNK(status.st_mode):
        node.entries[entry.name] = kinds[LINK]
    else:  # a whiteout, or a device, pipe or socket, which has nothing to read
        node.entries.pop(entry.name, None)


def _is_opaque(directory_fd: int) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(directory_fd, name) == b"y":
                return True
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise
    return False
