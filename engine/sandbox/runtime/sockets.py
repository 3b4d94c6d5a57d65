"""Unix sockets at paths of any length: unix(7) has room for 108 bytes, and callers name longer directories."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


def bind(channel: socket.socket, path: str) -> None:
    """Bind a socket to a path."""
    directory = _open_parent(path)
    try:
        channel.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def connect(channel: socket.socket, path: str) -> None:
    """Connect a socket to the one at a path."""
    directory = _open_parent(path)
    try:
        channel.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def _open_parent(path: str) -> int:
    return os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
