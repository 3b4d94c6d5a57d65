"""A session with a container's streams: what attach and exec give to their caller."""

from __future__ import annotations

import os
import select
import socket
import time

from engine.errors import Conflict
from engine.sandbox import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOKS_EVERY = 200  # milliseconds


class Session:
    """Reads output and writes input of a container or of a command in it; closing it detaches.

    Attributes:
        exit_code: How it ended; None while it runs, and when the session was cut off.
        oom_killed: Whether the kernel killed it for lack of memory.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.exit_code: int | None = None
        self.oom_killed = False

    def fileno(self) -> int:
        """Return the descriptor to wait on for output."""
        return self._channel.fileno()

    def read(self, timeout: float | None = None) -> tuple[str, bytes] | None:
        """Return the next ("stdout" or "stderr", data); None when it has ended.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: Nothing came in time.
        """
        while True:
            poll = select.poll()
            poll.register(self._channel.fileno(), select.POLLIN)
            if not poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
                raise TimeoutError("no output in time")
            try:
                frame = self._channel.recv(protocol.LARGEST_FRAME)
            except ConnectionResetError:
                continue  # it ended with our input unread; what it said before still waits here
            kind, data = frame[:1], frame[1:]
            if not frame:
                return None
            if kind == protocol.ENDED:
                self.exit_code, self.oom_killed = protocol.parse_exit(frame)
                return None
            if kind in (protocol.STDOUT, protocol.STDERR):
                return ("stdout" if kind == protocol.STDOUT else "stderr"), data

    def write(self, data: bytes) -> None:
        """Send input; it is fine when nobody reads it any more."""
        for start in range(0, len(data), protocol.LARGEST_PAYLOAD):
            self._send(protocol.STDIN + data[start : start + protocol.LARGEST_PAYLOAD])

    def close_stdin(self) -> None:
        """Say that no more input comes."""
        self._send(protocol.STDIN_CLOSED)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal."""
        self._send(protocol.resize_frame(rows, columns))

    def ask_to_follow(self, is_alive: Callable[[], bool], timeout: float) -> bytes:
        """Say that the container's networks have changed; return the monitor's answer, empty when the container has ended.

        Args:
            is_alive: Whether the container lives; a monitor that has seen the end may wait for the caller's lock.
            timeout: Seconds.

        Raises:
            Conflict: It does not answer in time.
        """
        self._send(protocol.NETWORKS)
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while time.monotonic() < deadline:
            if not poll.poll(_LOOKS_EVERY):
                if not is_alive():
                    return b""
                continue
            frame = self._channel.recv(protocol.LARGEST_FRAME)
            if frame[:1] == protocol.NETWORKS:
                return frame[1:]
            if not frame or frame[:1] == protocol.ENDED:
                return b""
        raise Conflict("the container's monitor does not answer")

    def _send(self, frame: bytes) -> None:
        try:
            self._channel.send(frame)
        except (BrokenPipeError, ConnectionError):
            return

    def close(self) -> None:
        """Detach."""
        self._channel.close()

    def __enter__(self) -> Session:
        """Return the session."""
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.close()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends for a session."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def connect(path: Path) -> Session:
    """Attach to a container's monitor.

    Raises:
        Conflict: The monitor is not there.
    """
    return Session(connect_at(str(path.parent), path.name))


def connect_at(place: str, name: str) -> socket.socket:
    """Return a connection to a socket in a directory whose path may be of any length.

    Raises:
        Conflict: Nobody listens there.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        channel.close()
        raise Conflict("the container is not running") from None
    try:
        channel.connect(f"/proc/self/fd/{directory}/{name}")
    except OSError as error:
        channel.close()
        raise Conflict("the container cannot be attached to: its monitor is gone") from error
    finally:
        os.close(directory)
    return channel
