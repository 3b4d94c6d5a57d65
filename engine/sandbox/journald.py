"""The container's output in systemd's journal, by its native protocol (systemd.io, "Native Journal Protocol")."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from engine.linux import files
from engine.linux.light import socket
from engine.sandbox.logfile import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_PRIORITIES = {"stdout": "6", "stderr": "3"}
_PATIENCE = 1.0
_ADD_SEALS, _ALL_SEALS = 1033, 0xF


class JournalLog(Log):
    """Sends each line as an entry with the container's fields; an entry that nobody takes is lost."""

    def __init__(self, settings: Document) -> None:
        super().__init__()
        self._path = str(settings["socket"])
        self._fields = b"".join(field_of(name, value.encode()) for name, value in settings["fields"].items())
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._channel.settimeout(_PATIENCE)

    def _keep(self, stream: str, pieces: list[bytes], *, goes_on: bool) -> None:
        for piece in pieces:
            is_partial = goes_on and not piece.endswith(b"\n")
            entry = field_of("MESSAGE", piece.removesuffix(b"\n")) + field_of("PRIORITY", _PRIORITIES[stream].encode())
            if is_partial:
                entry += field_of("CONTAINER_PARTIAL_MESSAGE", b"true")
            self._send(self._fields + entry)

    def _send(self, entry: bytes) -> None:
        try:
            self._channel.sendto(entry, self._path)
        except OSError as error:
            if error.errno in (errno.EMSGSIZE, errno.ENOBUFS):
                self._send_file(entry)

    def _send_file(self, entry: bytes) -> None:
        """Send an entry that is too large for a datagram in a sealed file in memory."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            files.write_all(fd, entry)
            fcntl.fcntl(fd, _ADD_SEALS, _ALL_SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", fd))
            self._channel.sendmsg([b""], [rights], 0, self._path)
        except OSError:
            pass  # the same: it is lost
        finally:
            os.close(fd)


def field_of(name: str, value: bytes) -> bytes:
    """Return a field as it is sent: one with a line end inside has its length before it."""
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
