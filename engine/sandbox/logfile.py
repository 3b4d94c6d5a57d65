"""The container's log: output split into lines, and kept in docker's json-file format, rotated by size."""

from __future__ import annotations

import os
import time

from engine.linux import files
from engine.linux.light import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

LONGEST_PIECE = 16 << 10


class Log:
    """Splits output into lines; each driver keeps them in its own place.

    A line longer than 16 KiB comes in pieces, of which only the last has the line end, as docker does.
    """

    def __init__(self) -> None:
        self._rest = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Take output as it comes."""
        lines = (self._rest[stream] + data).split(b"\n")
        rest = lines.pop()
        out = [piece for line in lines for piece in _pieces(line + b"\n")]
        *full, rest = _pieces(rest) or [b""]
        if len(rest) == LONGEST_PIECE:
            full, rest = [*full, rest], b""
        self._rest[stream] = rest
        if out or full:
            self._keep(stream, [*out, *full], goes_on=True)

    def flush(self) -> None:
        """Write what came without a line end."""
        for stream, rest in self._rest.items():
            if rest:
                self._keep(stream, [rest], goes_on=False)
            self._rest[stream] = b""

    def close(self) -> None:
        """Flush and close."""
        self.flush()

    def reopen(self) -> None:
        """Go on after close."""

    def _keep(self, stream: str, pieces: list[bytes], *, goes_on: bool) -> None:
        """Keep some pieces; one without a line end has more to come when the line goes on."""
        raise NotImplementedError


class NoLog(Log):
    """Keeps nothing."""

    def write(self, stream: str, data: bytes) -> None:
        """Let output go."""


class LogFile(Log):
    """Appends each piece as {"log", "stream", "attrs", "time"}."""

    def __init__(self, settings: Document) -> None:
        super().__init__()
        self._path = str(settings["path"])
        self._max_size: int | None = settings.get("max_size")
        self._max_file = max(1, int(settings.get("max_file") or 1))
        attributes: dict[str, str] = settings.get("attributes") or {}
        self._attributes = f',"attrs":{json.dumps(attributes, ensure_ascii=False)}' if attributes else ""
        self._open()

    def reopen(self) -> None:
        """Go on after close."""
        if self._fd < 0:
            self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _keep(self, stream: str, pieces: list[bytes], *, goes_on: bool) -> None:  # noqa: ARG002 - the text says it
        if self._fd >= 0:
            now = files.rfc3339(time.time_ns())
            self._append(b"".join(self._entry(stream, piece, now) for piece in pieces))

    def _entry(self, stream: str, piece: bytes, now: str) -> bytes:
        text = json.dumps(piece.decode("utf-8", "replace"), ensure_ascii=False)
        return f'{{"log":{text},"stream":"{stream}"{self._attributes},"time":"{now}"}}\n'.encode("utf-8", "replace")

    def _append(self, data: bytes) -> None:
        if self._max_size is not None and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        try:
            files.write_all(self._fd, data)
        except OSError:
            return  # a full disk must not stop the container; the entry is lost
        self._size += len(data)

    def _rotate(self) -> None:
        os.close(self._fd)
        if self._max_file == 1:
            os.truncate(self._path, 0)
        else:
            for number in range(self._max_file - 1, 0, -1):
                older = f"{self._path}.{number}"
                newer = f"{self._path}.{number - 1}" if number > 1 else self._path
                try:
                    os.rename(newer, older)
                except FileNotFoundError:
                    continue
        self._open()


def _pieces(line: bytes) -> list[bytes]:
    return [line[start : start + LONGEST_PIECE] for start in range(0, len(line), LONGEST_PIECE)]
