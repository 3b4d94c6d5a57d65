"""Databases of advisories: one SQLite file each, made aside and renamed to its place, then never changed.

So a reader sees a whole database or none, and of two imports under one name the last one stays.
"""

from __future__ import annotations

import os
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.errors import InvalidArgument
from engine.images.scan import advisories
from engine.images.scan.advisories import Affected, Content, Document
from engine.model.packages import Database
from engine.store.paths import Paths

_SUFFIX = ".sqlite"
_VERSION = "1"
_LARGEST_DOCUMENT = 64 << 20
_LARGEST_LIST = 1 << 30
_MOST_DOCUMENTS = 5_000_000
_MOST_BYTES = 64 << 30
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE ecosystem (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE advisory (number INTEGER PRIMARY KEY, id TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE affected (name TEXT NOT NULL, ecosystem INTEGER NOT NULL, advisory INTEGER NOT NULL, content BLOB NOT NULL);
"""
_INDEXES = """
CREATE INDEX affected_name ON affected (name, ecosystem);
CREATE INDEX advisory_id ON advisory (id);
"""


def import_database(paths: Paths, source: Path, name: str, progress: Callable[[int], None] | None = None) -> Database:
    """Make a database of a dump in the OSV format.

    Args:
        paths: The state root.
        source: A zip file as osv.dev offers it, a directory with JSON files, or a JSON file with one advisory or a list.
        name: The name; empty for the source's own, or that of its ecosystem when it is called "all", as osv.dev does.
        progress: Is told how many advisories were read.

    Raises:
        InvalidArgument: There is no such file, it is damaged, or has no advisory; nothing is kept.
    """
    home = _home(paths)
    with paths.staged("advisories") as staged:
        path = staged / "database"
        found = _fill(path, _documents(source), progress)
        chosen = _name(name, source, found.ecosystems)
        _describe(path, found)
        target = home / f"{chosen}{_SUFFIX}"
        path.rename(target)
    return _read_about(target)


def _name(name: str, source: Path, ecosystems: tuple[str, ...]) -> str:
    stem = source.name.removesuffix(".zip").removesuffix(".json")
    chosen = name or (stem if stem != "all" or len(ecosystems) != 1 else ecosystems[0])
    if not chosen or chosen.startswith(".") or "/" in chosen or not chosen.isprintable() or len(chosen) > 100:
        raise InvalidArgument(f"{chosen!r} is no name for a database", hint="give it one with --name")
    return chosen


def _home(paths: Paths) -> Path:
    paths.prepare()
    paths.advisories.mkdir(mode=0o700, exist_ok=True)
    return paths.advisories


def databases(paths: Paths) -> tuple[Database, ...]:
    """Return the databases that are there, by name."""
    return tuple(_read_about(path) for path in files(paths))


def files(paths: Paths) -> tuple[Path, ...]:
    """Return the files of the databases."""
    home = paths.advisories
    return tuple(sorted(home.glob(f"*{_SUFFIX}"))) if home.exists() else ()


def remove(paths: Paths, name: str) -> None:
    """Remove a database.

    Raises:
        InvalidArgument: There is none of this name.
    """
    path = next((path for path in files(paths) if path.name == f"{name}{_SUFFIX}"), None)
    if path is None:
        raise InvalidArgument(f"no such database: {name}")
    path.unlink(missing_ok=True)


class Row(NamedTuple):
    """What an advisory says of a package: the advisory's number in its database, its id, and what is affected."""

    number: int
    id: str
    affected: Affected


class Reader:
    """Answers what a database knows; a database that is replaced meanwhile stays as it was."""

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(_SUFFIX)
        self.about = _read_about(path)
        self._database = _open(path)
        rows = self._database.execute("SELECT number, name FROM ecosystem")
        self._ecosystems: dict[int, str] = dict(rows.fetchall())

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def releases(self, ecosystem: str) -> tuple[str, ...]:
        """Return an ecosystem's names with their releases, as the database has them."""
        return tuple(sorted(name for name in self._ecosystems.values() if name.partition(":")[0] == ecosystem))

    def affected(self, name: str, ecosystem: str, fits: Callable[[str], bool]) -> Iterator[Row]:
        """Yield what advisories say of a package."""
        wanted = [
            number for number, found in self._ecosystems.items() if found.partition(":")[0] == ecosystem and fits(found)
        ]
        places = ",".join("?" * len(wanted))
        query = (
            "SELECT number, id, affected.content FROM affected JOIN advisory ON number = advisory"  # noqa: S608 - question marks only
            f" WHERE name = ? AND ecosystem IN ({places})"
        )
        for number, advisory, content in self._database.execute(query, (name, *wanted)):
            yield Row(number, advisory, advisories.decode_affected(zlib.decompress(content)))

    def advisory(self, number: int) -> Content:
        """Return an advisory."""
        (content,) = self._database.execute("SELECT content FROM advisory WHERE number = ?", (number,)).fetchone()
        return advisories.decode_content(content)

    def named(self, names: Iterable[str]) -> Iterator[Content]:
        """Yield the advisories of these ids."""
        for name in names:
            for (content,) in self._database.execute("SELECT content FROM advisory WHERE id = ?", (name,)):
                yield advisories.decode_content(content)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _read_about(path: Path) -> Database:
    try:
        with closing(_open(path)) as database:
            about = dict(database.execute("SELECT key, value FROM about").fetchall())
        return msgspec.convert(
            {
                "name": path.name.removesuffix(_SUFFIX), "ecosystems": msgspec.json.decode(about["ecosystems"]),
                "advisories": int(about["advisories"]), "imported_at": about["imported_at"],
                "modified_at": about["modified_at"] or None, "size": path.stat().st_size, "skipped": int(about["skipped"]),
            },
            Database,
        )  # fmt: skip
    except (sqlite3.Error, KeyError, ValueError) as error:
        raise InvalidArgument(f"the database {path} is damaged", hint="import it again") from error


class _Filling:
    """Numbers of a database that is being made."""

    def __init__(self) -> None:
        self.advisories = 0
        self.skipped = 0
        self.modified = ""
        self.numbers: dict[str, int] = {}

    @property
    def ecosystems(self) -> tuple[str, ...]:
        return tuple(sorted({name.partition(":")[0] for name in self.numbers}))


def _fill(path: Path, documents: Iterator[Document | None], progress: Callable[[int], None] | None) -> _Filling:
    found = _Filling()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_SCHEMA)
        for document in documents:
            if document is None:
                found.skipped += 1
            elif not document.withdrawn:
                _add(database, found, document)
                if progress and found.advisories % 1000 == 0:
                    progress(found.advisories)
        if not found.advisories:
            raise InvalidArgument("there is no advisory in the OSV format in it")
        database.executemany("INSERT INTO ecosystem VALUES (?, ?)", [(n, name) for name, n in found.numbers.items()])
        database.commit()
        database.executescript(_INDEXES)
    return found


def _add(database: sqlite3.Connection, found: _Filling, document: Document) -> None:
    found.advisories += 1
    found.modified = max(found.modified, document.modified)
    content = advisories.encode(advisories.content_of(document))
    database.execute("INSERT INTO advisory VALUES (?, ?, ?)", (found.advisories, document.id, content))
    rows = []
    for ecosystem, name, affected in advisories.affected_of(document):
        number = found.numbers.setdefault(ecosystem, len(found.numbers))
        rows.append((name, number, found.advisories, zlib.compress(advisories.encode(affected), 1)))
    database.executemany("INSERT INTO affected VALUES (?, ?, ?, ?)", rows)


def _describe(path: Path, found: _Filling) -> None:
    values = {
        "version": _VERSION, "ecosystems": msgspec.json.encode(found.ecosystems).decode(),
        "advisories": str(found.advisories), "skipped": str(found.skipped),
        "imported_at": datetime.now(UTC).isoformat(), "modified_at": found.modified,
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as database:
        database.executemany("INSERT INTO about VALUES (?, ?)", values.items())
        database.commit()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _documents(source: Path) -> Iterator[Document | None]:
    """Yield the advisories of a dump, None for a file that is none."""
    if source.is_dir():
        yield from _of_directory(source)
    elif not source.is_file():
        raise InvalidArgument(f"no such file: {source}")
    elif zipfile.is_zipfile(source):
        yield from _of_zip(source)
    else:
        yield from _of_bytes(_limited(source, _LARGEST_LIST))


def _of_zip(source: Path) -> Iterator[Document | None]:
    left = _MOST_BYTES
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".json")]
            if len(entries) > _MOST_DOCUMENTS:
                raise InvalidArgument(f"{source} has more than {_MOST_DOCUMENTS} files")
            for entry in entries:
                with archive.open(entry) as stream:
                    data = stream.read(_LARGEST_DOCUMENT + 1)
                left -= len(data)
                if len(data) > _LARGEST_DOCUMENT or left < 0:
                    raise InvalidArgument(f"{source} unpacks to too much, at {entry.filename[:100]}")
                yield from _of_bytes(data)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise InvalidArgument(f"{source} is damaged: {error}") from error


def _of_directory(source: Path) -> Iterator[Document | None]:
    for directory, _, names in os.walk(source):
        for name in sorted(names):
            if name.endswith(".json"):
                yield from _of_bytes(_limited(Path(directory) / name, _LARGEST_DOCUMENT))


def _limited(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidArgument(f"{path} is larger than {limit >> 20} MiB")
    return data


def _of_bytes(data: bytes) -> Iterator[Document | None]:
    try:
        if data.lstrip()[:1] == b"[":
            yield from advisories.decode_several(data)
        else:
            yield advisories.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        yield None
