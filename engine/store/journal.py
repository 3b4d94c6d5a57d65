"""The journal of events: one JSON object a line, appended by every process and monitor on the state root."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from engine.linux import files
from engine.model.event import Event
from engine.store.actor import actor

_LARGEST = 8 << 20
_LOOKS_EVERY = 0.5
_FEW_BYTES = 64 << 10
_DISORDER = timedelta(seconds=10)  # between two processes that write at the same time


class Journal:
    """Reads and writes the journal; rotated at 8 MiB, with one older part kept."""

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._older = path.with_suffix(".1.jsonl")
        self._lock = lock

    def append(self, kind: str, action: str, object_id: str, name: str, **attributes: str) -> None:
        """Write an event that somebody asked for, with who that is."""
        self.write(kind, action, object_id, name, {**attributes, **actor()})

    def write(self, kind: str, action: str, object_id: str, name: str, attributes: dict[str, str]) -> None:
        """Write an event that nobody asked for."""
        entry = {"time": files.rfc3339(time.time_ns()), "type": kind, "action": action, "id": object_id,
            "name": name, "attributes": attributes}  # fmt: skip
        files.append_line(self._path, json.dumps(entry).encode())
        if self._path.stat().st_size > _LARGEST:
            self._rotate()

    def _rotate(self) -> None:
        with files.FileLock(self._lock):
            if self._path.stat().st_size > _LARGEST:
                self._path.rename(self._older)

    def end(self) -> str:
        """Return the cursor after the newest event."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return "0:0"
        return f"{status.st_ino}:{status.st_size}"

    def between(self, since: datetime | None = None, until: datetime | None = None) -> tuple[Event, ...]:
        """Return the events between two times, oldest first."""
        found: list[Event] = []
        for path in (self._older, self._path):
            found.extend(self._read(path, _place_of(path, since) if since else 0)[0])
        return tuple(
            event
            for event in found
            if (since is None or event.time >= since) and (until is None or event.time <= until)
        )

    def follow(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Yield events as they happen.

        Args:
            since: Start with the events after this time, instead of with the next one.
            until: Stop at this time.
            cursor: Start after this place.
            stop: Stop soon after it is set.
        """
        from engine.linux.inotify import Watch

        with Watch(self._path.parent) as watch:
            place = cursor or (self.end() if since is None else "0:0")
            if since is not None and cursor is None:
                place = self.end()
                yield from self.between(since, until)
            while not (stop and stop.is_set()) and not (until and datetime.now(UTC) >= until):
                events, place = self._after(place)
                yield from (event for event in events if until is None or event.time <= until)
                if not events:
                    watch.wait(_LOOKS_EVERY)

    def _after(self, cursor: str) -> tuple[list[Event], str]:
        inode, _, offset = cursor.partition(":")
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return [], cursor
        if inode == str(status.st_ino):
            events, end = self._read(self._path, int(offset))
            return events, f"{inode}:{end}"
        rest: list[Event] = []
        if self._older.exists() and str(self._older.stat().st_ino) == inode:
            rest, _ = self._read(self._older, int(offset))
        events, end = self._read(self._path, 0)
        return [*rest, *events], f"{status.st_ino}:{end}"

    @staticmethod
    def _read(path: Path, offset: int) -> tuple[list[Event], int]:
        try:
            with path.open("rb") as file:
                inode = path.stat().st_ino
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        events = []
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            try:
                fields = json.loads(line)
                fields["cursor"] = f"{inode}:{offset}"
                events.append(msgspec.convert(fields, Event))
            except (ValueError, msgspec.ValidationError):
                continue  # a line torn by a crash
        return events, offset


def _place_of(path: Path, moment: datetime) -> int:
    """Return a place in a journal before which all is older, by halving: lines come nearly in the order of time."""
    wanted = (moment - _DISORDER).astimezone(UTC).isoformat()[:19]
    try:
        with path.open("rb") as file:
            low, high = 0, file.seek(0, 2)
            while high - low > _FEW_BYTES:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline()
                start = file.tell()
                if start < high and _time_of(file.readline()) < wanted:
                    low = start
                else:
                    high = middle
    except FileNotFoundError:
        return 0
    return low


def _time_of(line: bytes) -> str:
    """Return the time of a line to the second; of one that is torn, one that is later than all."""
    try:
        return str(json.loads(line)["time"])[:19]
    except (ValueError, KeyError, TypeError):
        return "~"
