"""Copies between a container and the host, by docker's rules for the two paths.

Source: `docker cp`'s reference page. Beyond it: files that are copied out without their owners lose what would make
them dangerous in the hands of ours (set-id bits, capabilities), and device nodes are left out.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.containers.extract import extract
from engine.containers.views import View
from engine.errors import CopyFailed
from engine.images import tar
from engine.images.archive import archive
from engine.images.compression import Decompressed
from engine.images.tar import Entry, TarReader
from engine.images.tree import Item, Tree, nothing
from engine.linux import inside, owner
from engine.model.change import Copied
from engine.model.value import Value, replace

_SYSTEM = ("/proc", "/sys", "/dev")
_IN_CONTAINER, _ON_HOST = "in the container", "on the host"


class _Source(Value, frozen=True):
    fd: int
    name: str
    is_directory: bool
    is_content: bool


def copy_in(view: View, source: str, path: str, *, follow_link: bool) -> Copied:
    """Copy a file or directory of the host into a container; owners, times and modes are kept.

    Args:
        view: The container.
        source: The path on the host; "/." at its end means what is in the directory.
        path: The path in the container.
        follow_link: Whether a source that is a link stands for what it leads to.

    Raises:
        CopyFailed: A path does not fit the other, or something cannot be read or written.
    """
    tree = Tree()
    with ExitStack() as stack:
        host_fd = _opened(stack, inside.open_root("/"))
        found = _source(stack, host_fd, _absolute(source), _ON_HOST, follow_link=follow_link)

        def copy() -> Copied:
            target_fd, name = _target(stack, view.fd, _absolute(path, "/"), found, _IN_CONTAINER)
            items = _adapted(tree.walk(found.fd, name or "."), view.owners.to_view)
            return extract(items, target_fd)

        copied = owner.acting_as(*view.owners.root, copy)
    return replace(copied, warnings=tuple(tree.warnings))


def copy_in_archive(view: View, stream: BinaryIO, path: str) -> Copied:
    """Put the entries of a tar stream (compressed or not) into a directory of a container.

    Raises:
        CopyFailed: The path is no directory, or an entry cannot be made.
        ImageError: The stream is damaged.
    """

    def copy() -> Copied:
        with ExitStack() as stack:
            with _explained(path, _IN_CONTAINER):
                target_fd = inside.open_inside(view.fd, _absolute(path, "/"), os.O_PATH | os.O_DIRECTORY)
            _opened(stack, target_fd)
            reader = TarReader(Decompressed(stream))
            items: Iterator[Item] = ((entry, reader.content) for entry in reader)
            return extract(_adapted(items, view.owners.to_view), target_fd)

    return owner.acting_as(*view.owners.root, copy)


def copy_out(view: View, path: str, target: str, *, keeps_owners: bool, follow_link: bool) -> Copied:
    """Copy a file or directory of a container to the host.

    Args:
        view: The container.
        path: The path in the container; "/." at its end means what is in the directory.
        target: The path on the host.
        keeps_owners: Whether files keep owners, set-id bits and capabilities, and devices come along.
        follow_link: Whether a path that is a link stands for what it leads to.

    Raises:
        CopyFailed: A path does not fit the other, or something cannot be read or written.
    """
    with ExitStack() as stack:
        tree, found = _open(stack, view, path, follow_link=follow_link)
        host_fd = _opened(stack, inside.open_root("/"))
        target_fd, name = _target(stack, host_fd, _absolute(target), found, _ON_HOST)
        items = _adapted(tree.walk(found.fd, name or "."), view.owners.from_view)
        copied = extract(items if keeps_owners else _made_ours(items, tree.warnings), target_fd)
    return replace(copied, warnings=tuple(tree.warnings))


def copy_out_archive(view: View, path: str, write: Callable[[bytes], object], *, follow_link: bool) -> Copied:
    """Write a file or directory of a container as a tar archive, with the owners that the container sees.

    Raises:
        CopyFailed: There is nothing of that name, or something cannot be read.
    """
    with ExitStack() as stack:
        tree, found = _open(stack, view, path, follow_link=follow_link)
        items = _adapted(tree.walk(found.fd, "." if found.is_content else found.name), view.owners.from_view)
        copied = _write_archive(items, write)
    return replace(copied, warnings=tuple(tree.warnings))


def export(view: View, write: Callable[[bytes], object], *, has_root: bool = False) -> Copied:
    """Write a whole root file system as a tar archive, with names as they are below the root.

    Args:
        view: The root.
        write: Gets the archive.
        has_root: Whether the root itself comes first, as "./", so that its owner and mode are kept.

    Raises:
        CopyFailed: Something cannot be read.
    """
    tree = Tree()
    items = tree.walk(view.fd, "")
    root, _ = next(items)
    root.name = "."
    first: list[Item] = [(root, nothing)] if has_root else []
    copied = _write_archive(_adapted(itertools.chain(first, items), view.owners.from_view), write)
    return replace(copied, warnings=tuple(tree.warnings))


def export_to_file(view: View, target: Path, *, has_root: bool = False) -> Copied:
    """Export to a file that is there when it is whole.

    Raises:
        CopyFailed: It cannot be written, or something cannot be read.
    """
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(staged, "xb", opener=_private) as file:
            copied = export(view, file.write, has_root=has_root)
        staged.rename(target)
    except OSError as error:
        raise CopyFailed(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        staged.unlink(missing_ok=True)
    return copied


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _write_archive(items: Iterator[Item], write: Callable[[bytes], object]) -> Copied:
    """Write entries as an archive."""
    entries = size = 0

    def counted() -> Iterator[Item]:
        nonlocal entries, size
        for entry, content in items:
            entries += 1
            size += entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)
            yield entry, content

    for part in archive(counted()):
        write(part)
    return Copied(entries, size)


def _open(stack: ExitStack, view: View, path: str, *, follow_link: bool) -> tuple[Tree, _Source]:
    tree = Tree(closed=_system_directories(view.fd))
    return tree, _source(stack, view.fd, _absolute(path, "/"), _IN_CONTAINER, follow_link=follow_link)


def _system_directories(root_fd: int) -> frozenset[tuple[int, int]]:
    """Return the (device, inode) of what the kernel shows of itself; nobody wants that copied."""
    device = os.fstat(root_fd).st_dev
    found = set()
    for path in _SYSTEM:
        try:
            item_fd = inside.open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            continue
        status = os.fstat(item_fd)
        os.close(item_fd)
        if status.st_dev != device:
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _absolute(path: str, directory: str = "") -> str:
    """Return an absolute path without "..", whose end still says whether it was "/" or "/."."""
    whole = posixpath.normpath(posixpath.join(directory or os.getcwd(), path or "."))  # noqa: PTH109 - text, not a Path
    whole = whole.replace("//", "/")
    end = "/." if posixpath.basename(path) == "." else "/" if path.endswith("/") else ""
    return whole if whole == "/" else whole + end


def _opened(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


@contextmanager
def _explained(path: str, where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CopyFailed(f"there is no {path} {where}") from error
    except NotADirectoryError as error:
        raise CopyFailed(f"{path} {where} is no directory, or is below what is none") from error
    except OSError as error:
        reason = (
            "links lead in a circle or to places of the kernel's own" if error.errno == errno.ELOOP else error.strerror
        )
        raise CopyFailed(f"cannot open {path} {where}: {reason}") from error


def _source(stack: ExitStack, root_fd: int, path: str, where: str, *, follow_link: bool) -> _Source:
    is_content = path.endswith("/.") or path == "/"
    must_be_directory = path.endswith(("/", "/."))
    clean = path.removesuffix(".").rstrip("/") if must_be_directory else path
    with _explained(path, where):
        if must_be_directory:
            fd = inside.open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY)
        elif follow_link:
            fd = inside.open_inside(root_fd, clean, os.O_PATH)
        else:
            parent, _, name = clean.rpartition("/")
            parent_fd = _opened(stack, inside.open_inside(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY))
            fd = inside.open_item(parent_fd, name)
    _opened(stack, fd)
    return _Source(fd, posixpath.basename(clean) or ".", stat.S_ISDIR(os.fstat(fd).st_mode), is_content)


def _target(stack: ExitStack, root_fd: int, path: str, source: _Source, where: str) -> tuple[int, str]:
    """Return the directory to copy into, and what the source is called there; "" for its content alone."""
    with _explained(path if path.endswith("/") else posixpath.dirname(path), where):
        try:
            parent_fd, name = inside.find(root_fd, path)
        except FileNotFoundError:
            if not source.is_directory:
                raise
            parent_fd, name = inside.find(root_fd, path.removesuffix(".").rstrip("/"))  # it is to be made
    _opened(stack, parent_fd)
    into = "" if source.is_content else source.name
    if name == ".":
        return parent_fd, into
    with _explained(path, where):
        try:
            mode = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return parent_fd, name
        if stat.S_ISDIR(mode):
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return _opened(stack, os.open(name, flags, dir_fd=parent_fd)), into
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise CopyFailed(f"{path} {where} is a device, which is not replaced")
    if source.is_directory:
        raise CopyFailed(f"a directory cannot be copied over {path} {where}, which is none")
    return parent_fd, name


def _adapted(items: Iterator[Item], change: Callable[[Entry], None]) -> Iterator[Item]:
    for entry, content in items:
        change(entry)
        yield entry, content


def _made_ours(items: Iterator[Item], warnings: list[str]) -> Iterator[Item]:
    """Give entries to us, without what a stranger could have prepared for their new owner."""
    uid, gid = os.geteuid(), os.getegid()
    for entry, content in items:
        if entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
            warnings.append(f"{entry.name[:200]} is left out: it is a device")
            continue
        entry.uid, entry.gid, entry.mode = uid, gid, entry.mode & 0o1777
        entry.xattrs.pop("security.capability", None)
        yield entry, content
