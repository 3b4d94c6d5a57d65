"""The other end of a sync on another host: tuicon there, reached through the ssh program."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from engine.containers.sync import Wire, tame
from engine.errors import CopyFailed, InvalidArgument
from engine.linux import files
from engine.model.volume import Way, Wishes
from engine.volumes.volumes import is_name

_HOST = re.compile(r"[A-Za-z0-9_@.:%\[\]][A-Za-z0-9_@.:%\[\]-]*")
_ENDS_WITHIN = 30
_MOST_SAID = 2000


@contextmanager
def connected(place: str, role: str, wishes: Wishes, way: Way | None = None) -> Iterator[Wire]:
    """Have a program on another host be the other end.

    Args:
        place: "HOST:VOLUME".
        role: What it does: "send" or "receive".
        wishes: How.
        way: How the host is reached.

    Raises:
        InvalidArgument: The place is malformed; a host that looks like an option would be one to ssh.
        CopyFailed: The program cannot be started, or has failed.
    """
    way = way or Way()
    host, _, volume = place.rpartition(":")
    if not _HOST.fullmatch(host) or not is_name(volume):
        raise InvalidArgument(f"{place!r} is no HOST:VOLUME")
    flags = [flag for flag, wanted in (("--delete", wishes.deletes), ("--dry-run", wishes.is_dry), ("--checksum", wishes.by_content)) if wanted]  # fmt: skip
    command = shlex.join([*way.program, "volume", "serve", *flags, role, volume])
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [*way.shell, host, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
        except OSError as error:
            raise CopyFailed(f"cannot start {way.shell[0]}: {error.strerror}") from error
        assert process.stdin
        assert process.stdout
        stdin = process.stdin.fileno()
        try:
            yield Wire(cast("BinaryIO", process.stdout), lambda data: files.write_all(stdin, data))
        except CopyFailed as error:
            reason = _reason(process, said)
            if reason and "the other end says" not in str(error):
                raise CopyFailed(f"{host}: {reason}") from error
            raise
        finally:
            _end(process)


def _reason(process: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """Return the last line that the program said, once it has ended by itself."""
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        return ""
    said.seek(0, 2)
    said.seek(max(0, said.tell() - _MOST_SAID))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return tame(lines[-1].strip()) if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the streams, which ends the program, and see to it that it does."""
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
