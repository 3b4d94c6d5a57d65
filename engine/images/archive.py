"""Writes tar archives: ustar headers, with pax records for what does not fit into them.

The bytes depend on the entries alone. Sources: POSIX pax; GNU tar's manual ("Storing Sparse Files", PAX format 1.0).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from engine.images import tar
from engine.images.tar import BLOCK, Entry
from engine.images.tree import Item

_LARGEST_ID = 0o7777777
_LARGEST_SIZE = 0o77777777777
_PAX = b"x"


def archive(items: Iterable[Item]) -> Iterator[bytes]:
    """Yield the bytes of an archive; memory does not grow with it."""
    for entry, content in items:
        sparse_map = _sparse_map(entry)
        size = _stored(entry) + len(sparse_map)
        yield _headers(entry, size) + sparse_map
        yield from content()
        if size % BLOCK:
            yield bytes(-size % BLOCK)
    yield bytes(2 * BLOCK)


class Stream:
    """An archive that is read like a file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        if not self._left:
            self._left = next(self._parts, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data


def _stored(entry: Entry) -> int:
    if entry.kind != tar.FILE:
        return 0
    return entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)


def _sparse_map(entry: Entry) -> bytes:
    if entry.sparse is None:
        return b""
    regions = entry.sparse
    if sum(regions[-1] if regions else (0, 0)) < entry.size:
        regions = [*regions, (entry.size, 0)]  # else GNU tar leaves out a hole at the end
    numbers = [len(regions), *(number for region in regions for number in region)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % BLOCK)


def _headers(entry: Entry, size: int) -> bytes:
    """Return the header, with a pax header before it when something does not fit."""
    name = _encoded(entry.name + "/" if entry.kind == tar.DIRECTORY else entry.name)
    records: dict[str, bytes] = {}
    if entry.sparse is not None:
        records |= {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.name": name,
            "GNU.sparse.realsize": b"%d" % entry.size}  # fmt: skip
        folder, base = posixpath.split(name)
        name = posixpath.join(folder, b"GNUSparseFile.0", base)
    link = _encoded(entry.link)
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    fitting = {"path": (name, 100), "linkpath": (link, 100)}
    records |= {key: text for key, (text, most) in fitting.items() if len(text) > most or not text.isascii()}
    numbers = {"uid": (entry.uid, _LARGEST_ID), "gid": (entry.gid, _LARGEST_ID), "size": (size, _LARGEST_SIZE)}
    records |= {key: b"%d" % number for key, (number, most) in numbers.items() if number > most}
    if nanoseconds or not 0 <= seconds <= _LARGEST_SIZE:
        records["mtime"] = _time(entry.mtime_ns)
    records |= {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()}
    block = _block(entry, name, link, size, seconds)
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in sorted(records.items()))
    extended = Entry("", _PAX, 0o644, 0, 0, 0, 0, "", (0, 0))
    return _block(extended, b"PaxHeaders/" + posixpath.basename(name.rstrip(b"/"))[:80], b"", len(data), 0) + data + bytes(-len(data) % BLOCK) + block  # fmt: skip


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _time(nanoseconds: int) -> bytes:
    sign, number = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    seconds, rest = divmod(number, 1_000_000_000)
    return (f"{sign}{seconds}.{rest:09d}".rstrip("0").rstrip(".")).encode()


def _record(key: str, value: bytes) -> bytes:
    """Return "LENGTH KEY=VALUE" and a line end; the length counts itself."""
    rest = b" " + _encoded(key) + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _block(entry: Entry, name: bytes, link: bytes, size: int, seconds: int) -> bytes:
    fields = (
        name[:100].ljust(100, b"\0"), _octal(entry.mode, 8), _octal(_within(entry.uid, _LARGEST_ID), 8),
        _octal(_within(entry.gid, _LARGEST_ID), 8), _octal(_within(size, _LARGEST_SIZE), 12),
        _octal(_within(seconds, _LARGEST_SIZE), 12), b" " * 8, entry.kind, link[:100].ljust(100, b"\0"),
        b"ustar\00000", bytes(64), _octal(entry.device[0], 8), _octal(entry.device[1], 8), bytes(167),
    )  # fmt: skip
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _within(number: int, most: int) -> int:
    """Return a number that its field can hold; the pax header has the true one."""
    return number if 0 <= number <= most else 0


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)
