"""Tar streams: ustar, pax (with xattrs and sparse maps) and GNU extensions, read once and forward only.

Sources: POSIX pax, GNU tar's manual ("Basic Tar Format", "Storing Sparse Files"), tar(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from isal import isal_zlib

from engine.errors import ImageError

BLOCK = 512
FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_CONTIGUOUS, _PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _GNU_SPARSE = b"7", b"x", b"g", b"L", b"K", b"S"
_DEVICES = (CHARACTER, BLOCK_DEVICE)
_LARGEST_HEADER = 1 << 20
_CHUNK = 1 << 20
_NO_ID = (1 << 32) - 1
_LATEST = 1_000_000_000 << 36  # nanoseconds, some two thousand years from the epoch on


class Readable(Protocol):
    """Anything with read(n)."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        ...


@dataclass(slots=True)
class Entry:
    """One member of an archive.

    Attributes:
        kind: The type flag, b"0" for a regular file.
        size: Bytes of the file as it will be, holes included.
        sparse: (offset, length) of the data of a sparse file, None for a plain one.
        mtime_ns: Modification time in nanoseconds since the epoch.
    """

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str
    device: tuple[int, int]
    xattrs: dict[str, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None


class TarReader:
    """Iterates over the entries of a stream; `content` gives the data of the current one.

    Attributes:
        checksum: CRC-32 of the data of the current entry that was read so far.
        is_ended: Whether the mark of the archive's end was met.
    """

    def __init__(self, stream: Readable) -> None:
        self.checksum = 0
        self.is_ended = False
        self._stream = stream
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield entries; unread data of the last one is skipped.

        Raises:
            ImageError: The stream is damaged or cut off.
        """
        pax: dict[str, bytes] = {}
        common: dict[str, bytes] = {}
        name = link = None
        while (header := self._header()) is not None:
            kind = header[156:157]
            size = _number(header[124:136])
            if size < 0:
                raise ImageError("the archive has an entry with a negative size")
            self._left, self._padding = size, -size % BLOCK
            if kind == _PAX:
                pax = _pax_records(self._small())
            elif kind == _PAX_GLOBAL:
                common |= _pax_records(self._small())
            elif kind == _LONG_NAME:
                name = _text(self._small())
            elif kind == _LONG_LINK:
                link = _text(self._small())
            else:
                yield self._entry(header, common | pax, name, link)
                self._skip()
                pax, name, link = {}, None, None

    def content(self) -> Iterator[bytes]:
        """Yield the stored data of the current entry."""
        while self._left:
            data = self._exactly(min(self._left, _CHUNK))
            self.checksum = isal_zlib.crc32(data, self.checksum)
            yield data

    def _header(self) -> bytes | None:
        block = self._read(BLOCK)
        if len(block) < BLOCK or block.count(0) == BLOCK:
            self.is_ended = len(block) == BLOCK
            while self._read(_CHUNK):
                pass
            return None
        checksum = block[148:156]
        if _number(checksum) != sum(block) - sum(checksum) + 256:  # it counts as eight spaces
            raise ImageError("the archive is damaged: a header has a wrong checksum")
        return block

    def _entry(self, header: bytes, pax: dict[str, bytes], name: str | None, link: str | None) -> Entry:
        self.checksum = 0
        kind = header[156:157]
        if kind in (b"\0", _CONTIGUOUS):
            kind = FILE
        if "size" in pax:
            self._left = _decimal(pax["size"])
            self._padding = -self._left % BLOCK
        found = Entry(
            name=_pax_text(pax, "path") or name or _ustar_name(header),
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_decimal(pax["uid"]) if "uid" in pax else _number(header[108:116]),
            gid=_decimal(pax["gid"]) if "gid" in pax else _number(header[116:124]),
            size=self._left if kind in (FILE, _GNU_SPARSE) else 0,
            mtime_ns=_nanoseconds(pax["mtime"]) if "mtime" in pax else _number(header[136:148]) * 1_000_000_000,
            link=_pax_text(pax, "linkpath") or link or _text(header[157:257]),
            device=(_number(header[329:337]), _number(header[337:345])) if kind in _DEVICES else (0, 0),
            xattrs={
                key.removeprefix("SCHILY.xattr."): value
                for key, value in pax.items()
                if key.startswith("SCHILY.xattr.")
            },
        )
        if found.kind == FILE and found.name.endswith("/"):
            found.kind = DIRECTORY
        self._read_sparse_map(found, header, pax)
        _check_numbers(found)
        return found

    def _read_sparse_map(self, entry: Entry, header: bytes, pax: dict[str, bytes]) -> None:
        if entry.kind == _GNU_SPARSE:
            entry.kind = FILE
            entry.sparse = self._old_sparse_map(header)
            entry.size = _number(header[483:495])
        elif pax.get("GNU.sparse.major") == b"1":
            entry.sparse = self._sparse_map_in_data()
        elif "GNU.sparse.map" in pax:
            numbers = [_decimal(part) for part in pax["GNU.sparse.map"].split(b",")]
            if len(numbers) % 2:
                raise ImageError(f"the archive is damaged: the sparse map of {entry.name[:200]!r} is wrong")
            entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=True))
        else:
            return
        entry.name = _pax_text(pax, "GNU.sparse.name") or entry.name
        for key in ("GNU.sparse.realsize", "GNU.sparse.size"):
            if key in pax:
                entry.size = _decimal(pax[key])
        end = 0
        for offset, length in entry.sparse:
            if offset < end or length < 0 or offset + length > entry.size:
                raise ImageError(f"the archive is damaged: the sparse map of {entry.name[:200]!r} is wrong")
            end = offset + length
        if sum(length for _, length in entry.sparse) != self._left:
            raise ImageError(f"the archive is damaged: the sparse map of {entry.name[:200]!r} does not fit its data")

    def _old_sparse_map(self, header: bytes) -> list[tuple[int, int]]:
        found = _sparse_items(header[386:482])
        more = header[482]
        while more:
            block = self._raw(BLOCK)
            found.extend(_sparse_items(block[:504]))
            more = block[504]
            if len(found) > _LARGEST_HEADER:
                raise ImageError("the archive is damaged: a sparse map has no end")
        return found

    def _sparse_map_in_data(self) -> list[tuple[int, int]]:
        text, lines = b"", 0
        wanted = None
        while wanted is None or lines < wanted:
            if not self._left:
                raise ImageError("the archive is damaged: a sparse map has no end")
            text += self._exactly(BLOCK)
            lines = text.count(b"\n")
            if wanted is None and lines:
                wanted = 1 + 2 * _decimal(text.split(b"\n", 1)[0])
            if len(text) > _LARGEST_HEADER:
                raise ImageError("the archive is damaged: a sparse map has no end")
        numbers = [_decimal(part) for part in text.split(b"\n")[1:wanted]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _small(self) -> bytes:
        if self._left > _LARGEST_HEADER:
            raise ImageError("the archive has an extended header of more than 1 MiB")
        data = self._exactly(self._left) if self._left else b""
        self._skip()
        return data

    def _skip(self) -> None:
        for _ in self.content():
            pass
        if self._padding:
            self._raw(self._padding)
            self._padding = 0

    def _exactly(self, size: int) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return self._raw(size)

    def _raw(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise ImageError("the archive is cut off")
        return data

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) == size or not data:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and (data := self._stream.read(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)


def _check_numbers(entry: Entry) -> None:
    """Refuse what no file can have: 2^32-1 is no owner, but means "as it is" to chown(2)."""
    major, minor = entry.device
    is_possible = (
        0 <= entry.uid < _NO_ID and 0 <= entry.gid < _NO_ID and abs(entry.mtime_ns) < _LATEST
        and 0 <= major < 1 << 12 and 0 <= minor < 1 << 20
    )  # fmt: skip
    if not is_possible or any("\0" in name for name in entry.xattrs):
        raise ImageError(
            f"the archive is damaged: {entry.name[:200]!r} has an impossible owner, time, device or attribute"
        )


def _number(field_bytes: bytes) -> int:
    """Parse an octal or base-256 number."""
    if field_bytes[0] & 0x80:
        number = int.from_bytes(bytes([field_bytes[0] & 0x7F]) + field_bytes[1:], "big")
        return number - (1 << (8 * len(field_bytes) - 1)) if field_bytes[0] & 0x40 else number
    text = field_bytes.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise ImageError("the archive is damaged: a header has no octal number") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise ImageError("the archive is damaged: an extended header has no number")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    whole, _, fraction = text.decode("ascii", "replace").partition(".")
    try:
        seconds, part = int(whole), int((fraction + "000000000")[:9])
    except ValueError:
        raise ImageError("the archive is damaged: an extended header has no time") from None
    return seconds * 1_000_000_000 + (-part if whole.startswith("-") else part)


def _text(field_bytes: bytes) -> str:
    return field_bytes.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_text(pax: dict[str, bytes], key: str) -> str:
    value = pax.get(key, b"")
    if b"\0" in value:
        raise ImageError("the archive is damaged: a name has a null byte")
    return value.decode("utf-8", "surrogateescape")


def _ustar_name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0":
        prefix = _text(header[345:500])
        return f"{prefix}/{name}" if prefix else name
    return name


def _pax_records(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        if not space or not digits.isdigit() or not 0 < int(digits[:10]) <= len(data):
            raise ImageError("the archive is damaged: an extended header is malformed")
        record = data[len(digits) + 1 : int(digits) - 1]
        key, equals, value = record.partition(b"=")
        if not equals:
            raise ImageError("the archive is damaged: an extended header is malformed")
        found[key.decode("utf-8", "surrogateescape")] = value
        data = data[int(digits) :]
    return found


def _sparse_items(data: bytes) -> list[tuple[int, int]]:
    found = []
    for start in range(0, len(data) - 23, 24):
        item = data[start : start + 24]
        if item[0] == 0:
            break
        found.append((_number(item[:12]), _number(item[12:])))
    return found
