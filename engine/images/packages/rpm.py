"""Packages of rpm: its SQLite database, whose rows are rpm headers (rpm's file format, "Header structure")."""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Iterator

from engine.images.packages.tree import Unreadable
from engine.model.packages import Package

HOMES = ("usr/lib/sysimage/rpm", "var/lib/rpm")
DATABASE = "rpmdb.sqlite"
OLD_DATABASES = {"Packages": "Berkeley DB", "Packages.db": "NDB"}
_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1011, 1014, 1022, 1044
_DIRINDEXES, _BASENAMES, _DIRNAMES = 1116, 1117, 1118
_LARGEST_HEADER = 32 << 20
_MOST_TAGS = 4096
_MOST_STEPS = 10_000_000
_SRPM = re.compile(r"(.+)-([^-]+-[^-]+)\.(?:no)?src\.rpm")


def parse(data: bytes) -> Iterator[tuple[Package, list[str]]]:
    """Yield packages of a database, and the paths that they installed.

    Raises:
        Unreadable: It is damaged.
    """
    if data[:16] != b"SQLite format 3\0":
        raise Unreadable("is no SQLite database")
    image = bytearray(data)
    image[18:20] = b"\1\1"  # write-ahead mode would need a second file, which memory has not
    database = sqlite3.connect(":memory:")
    try:
        database.deserialize(image)
        _harden(database)
        for (header,) in database.execute("SELECT blob FROM Packages ORDER BY hnum"):
            found = _read(bytes(header))
            if found:
                yield found
    except (sqlite3.Error, struct.error, IndexError, TypeError, UnicodeError) as error:
        raise Unreadable(f"is damaged: {error}") from error
    finally:
        database.close()


def _harden(database: sqlite3.Connection) -> None:
    """Have a database that somebody else made do nothing but give rows (sqlite.org, "Defense against the dark arts")."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA cell_size_check = ON")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_HEADER)
    steps = iter(range(_MOST_STEPS // 1000))
    database.set_progress_handler(lambda: int(next(steps, None) is None), 1000)
    kinds = database.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchall()
    if kinds != [("table",)]:
        raise Unreadable("has no table of packages")


class _Header:
    """The tags of an rpm header; offsets point into its store."""

    def __init__(self, data: bytes) -> None:
        count, size = struct.unpack_from(">II", data)
        if count > _MOST_TAGS or 8 + 16 * count + size > len(data):
            raise Unreadable("has a header that is longer than its row")
        entries = (struct.unpack_from(">IIII", data, 8 + 16 * place) for place in range(count))
        self._tags = {tag: (kind, offset, number) for tag, kind, offset, number in entries}
        self._store = data[8 + 16 * count : 8 + 16 * count + size]

    def text(self, tag: int) -> str:
        return next(iter(self.texts(tag)), "")

    def texts(self, tag: int) -> list[str]:
        kind, offset, number = self._tags.get(tag, (0, 0, 0))
        if kind not in (6, 8, 9):  # string, array of strings, translated string
            return []
        parts = self._store[offset:].split(b"\0", number) if kind != 6 else [self._store[offset:].partition(b"\0")[0]]
        return [part.decode(errors="replace") for part in parts[:number]]

    def numbers(self, tag: int) -> tuple[int, ...]:
        kind, offset, number = self._tags.get(tag, (0, 0, 0))
        return struct.unpack_from(f">{number}I", self._store, offset) if kind == 4 else ()


def _read(data: bytes) -> tuple[Package, list[str]] | None:
    header = _Header(data)
    name = header.text(_NAME)
    if not name or name == "gpg-pubkey":  # a key, which rpm keeps like a package
        return None
    epoch = header.numbers(_EPOCH)
    version = f"{header.text(_VERSION)}-{header.text(_RELEASE)}"
    source = _SRPM.fullmatch(header.text(_SOURCE))
    licence = header.text(_LICENSE)
    package = Package(
        "rpm", name, f"{epoch[0]}:{version}" if epoch and epoch[0] else version, architecture=header.text(_ARCH),
        source=source[1] if source else "", source_version=source[2] if source else "",
        licenses=(licence,) if licence else (), supplier=header.text(_VENDOR),
    )  # fmt: skip
    directories = header.texts(_DIRNAMES)
    places = zip(header.numbers(_DIRINDEXES), header.texts(_BASENAMES), strict=False)
    return package, [f"{directories[place]}{base}".lstrip("/") for place, base in places]
