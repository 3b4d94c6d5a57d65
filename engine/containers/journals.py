"""systemd's journal as a place for logs: whether it is there, what is written into it, and reading it with journalctl."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from engine.containers.records import Record
from engine.errors import NotSupported, StoreError
from engine.model.container import LogEntry

SOCKET = "/run/systemd/journal/socket"
JOURNALCTL = ("journalctl", "--output=json", "--all", "--no-pager", "--quiet")
_LOOKS_EVERY = 0.5
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9]")
_LONGEST_NAME = 64
_OF_ENTRIES = ("", "MESSAGE", "PRIORITY", "CONTAINER_PARTIAL_MESSAGE")


def check() -> None:
    """Check that somebody takes entries.

    Raises:
        NotSupported: Nobody does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(SOCKET)
        except OSError as error:
            raise NotSupported(
                f"the log driver journald cannot be used: systemd-journald does not listen at {SOCKET}",
                hint="use --log-driver json-file",
            ) from error


def fields_of(record: Record, tag: str, attributes: dict[str, str]) -> dict[str, str]:
    """Return the fields of every entry of a container, as docker names them; the user's never replace ours."""
    names = {name: _NOT_IN_A_NAME.sub("_", name.upper()).lstrip("_0123456789")[:_LONGEST_NAME] for name in attributes}
    users = {names[name]: value for name, value in attributes.items() if names[name] not in _OF_ENTRIES}
    return users | {
        "CONTAINER_ID": record.id[:12], "CONTAINER_ID_FULL": record.id, "CONTAINER_NAME": record.name,
        "CONTAINER_TAG": tag, "SYSLOG_IDENTIFIER": tag, "IMAGE_NAME": record.image,
    }  # fmt: skip


def read(
    container_id: str, *, follow: bool, since: datetime | None, until: datetime | None, tail: int | None,
    is_running: Callable[[], bool], stop: threading.Event | None,
) -> Iterator[LogEntry]:  # fmt: skip
    """Yield the entries of a container, oldest first; the arguments are those of `logs.read`.

    Raises:
        NotSupported: journalctl is not installed.
        StoreError: It failed.
    """
    options = [f"CONTAINER_ID_FULL={container_id}"]
    options += [f"--since=@{since.timestamp():.6f}"] if since else []
    options += [f"--until=@{until.timestamp():.6f}"] if until else []
    limit = [] if tail is None else [f"--lines={tail}"]
    cursor = ""
    waiting = stop or threading.Event()
    while not waiting.is_set():
        alive = follow and is_running()
        began = datetime.now(UTC)
        _synchronize()
        found = False
        for entry in _query([*options, *([f"--after-cursor={cursor}"] if cursor else limit)]):
            found, cursor = True, str(entry["__CURSOR"])
            yield _entry_of(entry)
        if not follow or (until is not None and datetime.now(UTC) > until) or not (alive or found):
            return
        limit = [f"--since=@{began.timestamp():.6f}"]  # when nothing was found yet, all that came since
        waiting.wait(_LOOKS_EVERY)


def _synchronize() -> None:
    """Have journald write what it has taken; one that cannot be asked does so in its own time."""
    try:
        subprocess.run((JOURNALCTL[0], "--sync"), check=False, capture_output=True, timeout=5)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return


def _query(options: list[str]) -> Iterator[dict[str, Any]]:
    try:
        process = subprocess.Popen([*JOURNALCTL, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        text = "the log is in systemd's journal, and journalctl, which reads it, is not installed here"
        raise NotSupported(text) from None
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            complaint = process.stderr.read().decode(errors="replace").strip().splitlines()
        finally:
            process.kill()
    if complaint:
        raise StoreError(f"journalctl failed: {complaint[-1]}")


def _entry_of(entry: dict[str, Any]) -> LogEntry:
    message = entry.get("MESSAGE") or ""
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    moment = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
    ending = "" if entry.get("CONTAINER_PARTIAL_MESSAGE") else "\n"
    return LogEntry(moment, "stderr" if entry.get("PRIORITY") == "3" else "stdout", text + ending)
