"""Reads a container's json-file log: whole, from the end, or as it grows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from engine.linux.inotify import Watch
from engine.model.container import LogEntry

_LOOKS_EVERY = 0.5
_BLOCK = 256 << 10


class _Line(msgspec.Struct):
    log: str
    stream: str
    time: datetime
    attrs: dict[str, str] = {}


_decode = msgspec.json.Decoder(_Line).decode


def read(
    path: Path,
    *,
    follow: bool,
    since: datetime | None,
    until: datetime | None,
    tail: int | None,
    is_running: Callable[[], bool],
    stop: threading.Event | None,
) -> Iterator[LogEntry]:
    """Yield the entries of a log and its rotated parts, oldest first.

    Args:
        path: The newest part; older ones have .1, .2, … appended.
        follow: Go on until the container has ended and all is read.
        since: Skip older entries.
        until: Stop at newer entries.
        tail: Only so many from the end (of what is there at the start).
        is_running: Whether more may come.
        stop: Stop soon after it is set.
    """
    reader = _Follower(path)
    try:
        entries = reader.existing(tail)
        wanted = (entry for entry in entries if since is None or entry.time >= since)
        for entry in wanted:
            if until is not None and entry.time > until:
                return
            yield entry
        if follow:
            yield from _follow(reader, path, until, is_running, stop)
    finally:
        reader.close()


def _follow(
    reader: _Follower, path: Path, until: datetime | None, is_running: Callable[[], bool], stop: threading.Event | None
) -> Iterator[LogEntry]:
    with Watch(path.parent) as watch:
        while not (stop and stop.is_set()):
            alive = is_running()
            found = False
            for entry in reader.new():
                found = True
                if until is not None and entry.time > until:
                    return
                yield entry
            if until is not None and datetime.now(UTC) > until:
                return
            if not found:
                if not alive:
                    return
                watch.wait(_LOOKS_EVERY)


class _Follower:
    """Reads the newest part on from where it stopped, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        self._rest = b""

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def existing(self, tail: int | None) -> Iterator[LogEntry]:
        """Yield what is there, only the last `tail` entries when that is given."""
        older = []
        number = 1
        while (part := self._path.with_name(f"{self._path.name}.{number}")).exists():
            older.append(part)
            number += 1
        if tail is None:
            for part in reversed(older):
                yield from _entries(part.read_bytes())
            yield from self.new()
            return
        newest = self._last_lines(tail)
        missing = tail - len(newest)
        earlier: deque[LogEntry] = deque(maxlen=max(0, missing))
        if missing > 0:
            for part in reversed(older):
                earlier.extend(_entries(part.read_bytes()))
        yield from earlier
        yield from newest

    def _last_lines(self, count: int) -> list[LogEntry]:
        """Return the last entries of the newest part, read from its end."""
        if self._file is None:
            return []
        end = self._file.seek(0, 2)
        start, data = end, b""
        while start > 0 and data.count(b"\n") <= count:
            start = max(0, start - _BLOCK)
            self._file.seek(start)
            data = self._file.read(end - start)
        lines = data.split(b"\n")
        self._rest = lines.pop()
        if start > 0:
            lines = lines[1:]
        self._file.seek(end)
        return list(_entries(b"\n".join(lines[-count:] if count else []) + b"\n"))

    def new(self) -> Iterator[LogEntry]:
        """Yield what was added since."""
        if self._file is None:
            if not self._path.exists():
                return
            self._file = self._path.open("rb")
        yield from self._take()
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        import os

        opened = os.fstat(self._file.fileno())
        if (status.st_dev, status.st_ino) != (opened.st_dev, opened.st_ino):
            self._file.close()
            self._file = self._path.open("rb")
            self._rest = b""
            yield from self._take()
        elif opened.st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
            yield from self._take()

    def _take(self) -> Iterator[LogEntry]:
        assert self._file is not None
        data = self._rest + self._file.read()
        head, newline, self._rest = data.rpartition(b"\n")
        yield from _entries(head + newline)


def _entries(data: bytes) -> Iterator[LogEntry]:
    for line in data.splitlines():
        try:
            found = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # a line torn by a crash
        yield LogEntry(found.time, found.stream, found.log, found.attrs)
