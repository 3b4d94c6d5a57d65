"""Brings one volume's files up to those of another, over any two streams: a pipe, a socket, the ssh program.

The sending end tells of its files, the receiving end asks for those that differ and puts each in place when it is whole.
Neither end trusts the other. Frames are a length of four bytes and MessagePack; the files come as a tar archive in them.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO

import msgspec

from engine.containers.extract import extract
from engine.errors import CopyFailed, EngineError
from engine.images import tar
from engine.images.archive import archive
from engine.images.tar import Entry, TarReader
from engine.images.tree import KEPT_XATTRS, Item, Tree, nothing
from engine.linux import files, inside
from engine.model.change import Change
from engine.model.volume import Synced, Wishes
from engine.volumes import sync
from engine.volumes.sync import Plan

_LARGEST_FRAME = 16 << 20
_GATHERS = 1 << 20
_MOST_ITEMS = 5_000_000
_MOST_TOLD = 10_000
_ASKS = 10_000
_LETTERS = {
    tar.FILE: "-", tar.DIRECTORY: "d", tar.SYMLINK: "l", tar.HARDLINK: "h", tar.CHARACTER: "c", tar.BLOCK_DEVICE: "b",
    tar.FIFO: "p",
}  # fmt: skip


class Wire:
    """Frames on two streams."""

    def __init__(self, reader: BinaryIO, write: Callable[[bytes], object]) -> None:
        self._reader = reader
        self._write = write
        self._waiting = bytearray()

    def send(self, kind: str, value: object = None) -> None:
        """Send a frame; it may wait until `flush`."""
        data = msgspec.msgpack.encode((kind, value))
        self._waiting += struct.pack(">I", len(data)) + data
        if len(self._waiting) > _GATHERS:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        data = bytes(self._waiting)
        self._waiting.clear()
        self._write(data)

    def receive(self, *kinds: str) -> tuple[str, Any]:
        """Return the next frame.

        Raises:
            CopyFailed: The other end has failed, is gone, or sends what it must not.
        """
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > _LARGEST_FRAME:
            raise CopyFailed("the other end is no tuicon, or sends a frame that is too large")
        try:
            kind, value = msgspec.msgpack.decode(self._exactly(length), type=tuple[str, Any])
        except msgspec.DecodeError as error:
            raise CopyFailed("the other end sends a damaged frame") from error
        if kind == "error":
            raise CopyFailed(f"the other end says: {tame(str(value)[:500])}")
        if kind not in kinds:
            raise CopyFailed(f"the other end sends {kind[:40]!r} where it must not")
        return kind, value

    def read(self, size: int, /) -> bytes:
        """Read what comes in frames of data as one stream; it ends with an empty one."""
        if not self._data and not self._is_ended:
            self._data = self.receive("data")[1]
            if not isinstance(self._data, bytes):
                raise CopyFailed("the other end sends a damaged frame")
            self._is_ended = not self._data
        part, self._data = self._data[:size], self._data[size:]
        return part

    _data = b""
    _is_ended = False

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if data is None or len(data) < size:
            raise CopyFailed("the other end has gone")
        return data


def tame(text: str) -> str:
    """Return what another host said without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def between(source_fd: int, target_fd: int, wishes: Wishes) -> Synced:
    """Sync two volumes of this host.

    Raises:
        CopyFailed: Something cannot be read or written; each file is the old one or the new one.
    """
    ours, theirs = socket.socketpair()

    def give() -> None:
        with theirs, theirs.makefile("rb") as reader, suppress(EngineError, OSError):  # the receiving end was told
            send(source_fd, Wire(reader, theirs.sendall), wishes)

    thread = threading.Thread(target=give, name="sync")
    thread.start()
    try:
        with ours, ours.makefile("rb") as reader:
            return receive(target_fd, Wire(reader, ours.sendall), wishes)
    finally:
        thread.join()


def send(root_fd: int, wire: Wire, wishes: Wishes) -> Synced:
    """Be the sending end for the files of a volume; return what the other end did.

    Raises:
        CopyFailed: Something cannot be read, or the other end has failed.
    """
    with telling(wire):
        tree = Tree(finds_holes=not wishes.by_content)  # holes count as the zeros that they are read as
        found = _items(tree, root_fd, by_content=wishes.by_content)
        told = [item for item in found if not sync.is_leftover(item.name)]
        for item in told:
            wire.send("item", item)
        wire.send("items")
        wire.flush()
        warnings: list[str] = []
        for part in archive(_wanted(root_fd, [told[place] for place in _asked(wire, len(told))], warnings)):
            for start in range(0, len(part), _LARGEST_FRAME // 2):
                wire.send("data", part[start : start + _LARGEST_FRAME // 2])
        wire.send("data", b"")
        wire.send("warnings", [*tree.warnings, *warnings][:_MOST_TOLD])
        wire.flush()
        try:
            return msgspec.convert(wire.receive("done")[1], Synced)
        except msgspec.ValidationError as error:
            raise CopyFailed("the other end sends a damaged frame") from error


def _items(tree: Tree, root_fd: int, *, by_content: bool) -> Iterator[sync.Item]:
    for entry, content in tree.walk(root_fd, ""):
        digest = b""
        if by_content and entry.kind == tar.FILE:
            hasher = hashlib.blake2b(digest_size=32)
            for part in content():
                hasher.update(part)
            digest = hasher.digest()
        yield sync.Item(
            os.fsencode(entry.name), _LETTERS[entry.kind], entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns,
            os.fsencode(entry.link), entry.device, entry.xattrs, digest,
        )  # fmt: skip


def _asked(wire: Wire, count: int) -> list[int]:
    """Return the places that the other end asks for, which must be ours and in order."""
    found: list[int] = []
    while True:
        kind, places = wire.receive("want", "wanted")
        if kind == "wanted":
            return found
        for place in places if isinstance(places, list) else [None]:
            if not isinstance(place, int) or not (found[-1] if found else -1) < place < count:
                raise CopyFailed("the other end asks for files that there are not")
            found.append(place)


def _wanted(root_fd: int, items: list[sync.Item], warnings: list[str]) -> Iterator[Item]:
    """Yield files as they are now; one that has gone or become something else is left out."""
    gone: set[bytes] = set()
    for item in items:
        name = os.fsdecode(item.name)
        if item.kind == "h":
            if item.link in gone:
                warnings.append(f"{name[:200]} has gone meanwhile")
                continue
            link = os.fsdecode(item.link)
            yield Entry(name, tar.HARDLINK, item.mode, item.uid, item.gid, 0, item.mtime_ns, link, (0, 0)), nothing
            continue
        try:
            item_fd = inside.open_beneath(root_fd, name, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            warnings.append(f"{name[:200]} has gone meanwhile")
            gone.add(item.name)
            continue
        try:
            for entry, content in Tree().one(item_fd, name):
                if _LETTERS[entry.kind] == item.kind:
                    yield entry, content
                else:
                    warnings.append(f"{name[:200]} became something else meanwhile")
        finally:
            os.close(item_fd)


def receive(root_fd: int, wire: Wire, wishes: Wishes) -> Synced:
    """Be the receiving end: have the files of a volume be those of the other end.

    Raises:
        CopyFailed: Something cannot be written, or the other end has failed; each file is the old one or the new one.
    """
    with telling(wire):
        theirs = list(sync.checked(_told(wire)))
        if not theirs:
            raise CopyFailed("the other end has told of nothing, not even of the volume itself")
        ours = list(_items(Tree(finds_holes=not wishes.by_content), root_fd, by_content=wishes.by_content))
        plan = sync.plan(theirs, ours, deletes=wishes.deletes)
        if not wishes.is_dry:
            _make_way(root_fd, plan, ours, may_delete=wishes.deletes)
        wanted = () if wishes.is_dry else plan.wanted
        for start in range(0, len(wanted), _ASKS):
            wire.send("want", wanted[start : start + _ASKS])
        wire.send("wanted")
        wire.flush()
        copied = extract(_checked(TarReader(wire), [theirs[place] for place in wanted]), root_fd)
        warnings = [tame(str(text)[:500]) for text in wire.receive("warnings")[1]]
        if not wishes.is_dry:
            for name in plan.removed:
                _remove(root_fd, name)
            _finish(root_fd, theirs, plan)
        done = _summary(theirs, ours, plan, copied.size, tuple(warnings), is_dry=wishes.is_dry)
        wire.send("done", done)
        wire.flush()
        return done


def _told(wire: Wire) -> Iterator[sync.Item]:
    for _ in range(_MOST_ITEMS):
        kind, value = wire.receive("item", "items")
        if kind == "items":
            return
        try:
            yield msgspec.convert(value, sync.Item)
        except msgspec.ValidationError as error:
            raise CopyFailed("the other end sends a damaged frame") from error
    raise CopyFailed(f"the other end has more than {_MOST_ITEMS} files")


def _checked(reader: TarReader, wanted: list[sync.Item]) -> Iterator[Item]:
    """Yield what was asked for, in its order; anything else is refused."""
    left = iter(wanted)
    for entry in reader:
        name = os.fsencode(entry.name).rstrip(b"/")
        item = next((item for item in left if item.name == name), None)
        if (
            item is None
            or _LETTERS.get(entry.kind) != item.kind
            or (item.kind == "h" and os.fsencode(entry.link) != item.link)
        ):
            raise CopyFailed(f"the other end sends {entry.name[:200]!r}, which was not asked for")
        yield entry, reader.content


def _make_way(root_fd: int, plan: Plan, ours: list[sync.Item], *, may_delete: bool) -> None:
    """Remove what is in the way of something of another kind, and what a killed sync left."""
    full = {item.name.rpartition(b"/")[0] for item in ours}
    for name in plan.blocked:
        if name in full and not may_delete:
            raise CopyFailed(
                f"the directory {os.fsdecode(name)[:200]} is in the way, and it is not empty (--delete removes it)"
            )
        _remove(root_fd, name)
    for name in plan.leftovers:
        _remove(root_fd, name)


def _remove(root_fd: int, name: bytes) -> None:
    parent, _, last = os.fsdecode(name).rpartition("/")
    try:
        parent_fd = inside.open_beneath(root_fd, parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # it has gone
    try:
        files.remove_at(parent_fd, last)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CopyFailed(f"cannot remove {os.fsdecode(name)[:200]}: {error.strerror}") from error
    finally:
        os.close(parent_fd)


def _finish(root_fd: int, theirs: list[sync.Item], plan: Plan) -> None:
    """Give files their attributes, and directories too, whose times have changed with what is in them."""
    touched = {theirs[place].name for place in plan.touched}
    for item in reversed(theirs):
        if item.kind == "d" or item.name in touched:
            _set_attributes(root_fd, item)


def _set_attributes(root_fd: int, item: sync.Item) -> None:
    name = os.fsdecode(item.name)
    with ExitStack() as stack:
        try:
            item_fd = inside.open_beneath(root_fd, name, os.O_PATH | os.O_NOFOLLOW)
            stack.callback(os.close, item_fd)
            mode = os.fstat(item_fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return  # it became something else meanwhile
            fd = inside.reopen(item_fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            stack.callback(os.close, fd)
            _change(fd, item)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CopyFailed(f"cannot change {name[:200]}: {error.strerror}") from error


def _change(fd: int, item: sync.Item) -> None:
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (item.uid, item.gid):
        os.fchown(fd, item.uid, item.gid)
    if stat.S_IMODE(os.fstat(fd).st_mode) != item.mode:
        os.fchmod(fd, item.mode)
    present = {name for name in os.listxattr(fd) if name.startswith(KEPT_XATTRS)}
    for name in present - item.xattrs.keys():
        os.removexattr(fd, name)
    for name, value in item.xattrs.items():
        if name.startswith(KEPT_XATTRS) and not (name in present and os.getxattr(fd, name) == value):
            os.setxattr(fd, name, value)
    if found.st_mtime_ns != item.mtime_ns:
        os.utime(fd, ns=(found.st_atime_ns, item.mtime_ns))


def _summary(
    theirs: list[sync.Item], ours: list[sync.Item], plan: Plan, size: int, warnings: tuple[str, ...], *, is_dry: bool
) -> Synced:
    present = {item.name for item in ours}
    changes = [("C" if theirs[place].name in present else "A", theirs[place].name) for place in plan.wanted]
    changes += [("C", theirs[place].name) for place in plan.touched] + [("D", name) for name in plan.removed]
    changes.sort(key=lambda change: change[1])
    told = tuple(
        Change(kind, "/" + os.fsdecode(name).encode(errors="replace").decode()) for kind, name in changes[:_MOST_TOLD]
    )
    if is_dry:
        size = sum(theirs[place].size for place in plan.wanted if theirs[place].kind == "-")
    return Synced(len(theirs), len(plan.wanted), len(plan.touched), len(plan.removed), size, told, warnings)


class telling:  # noqa: N801 - reads as a word
    """Tells the other end of a failure of ours, so that both give the same reason."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Tell, and give an OSError of the stream its sentence."""
        if error is None:
            return
        if isinstance(error, OSError):
            raise CopyFailed(f"the other end has gone: {error.strerror or error}") from error
        if not str(error).startswith("the other end"):
            try:
                self._wire.send("error", str(error))
                self._wire.flush()
            except (OSError, ValueError):
                return
