"""Frames between a session's client and the monitor, and messages with file descriptors.

A session is a SOCK_SEQPACKET socket. Each datagram is one frame whose first byte is its kind:

    client → monitor   I data   stdin          E        end of stdin
                       R !HH    rows, columns  S !B     signal (exec only)
                       N        the container's networks have changed
                       C JSON   run one more command: the session becomes that command's, after a JSON answer, or
                                closes after "{}" because the engine has to be asked
    monitor → client   O data   stdout or tty  X data   stderr
                       N JSON   "error": a sentence, or empty: the published ports have followed
                       Z !iB    exit code, 1 when killed for lack of memory; then the socket closes
"""

from __future__ import annotations

import os
import struct

from engine.linux.light import socket

STDIN, STDIN_CLOSED, RESIZE, SIGNAL, COMMAND = b"I", b"E", b"R", b"S", b"C"
REFUSED = b"{}"
STDOUT, STDERR, ENDED = b"O", b"X", b"Z"
NETWORKS = b"N"
LARGEST_PAYLOAD = 32 << 10
LARGEST_FRAME = LARGEST_PAYLOAD + 1
_LARGEST_MESSAGE = 128 << 10
_MOST_FDS = 8
_INT = 4  # bytes


def exit_frame(exit_code: int, oom_killed: bool) -> bytes:
    """Return the frame that ends a session."""
    return ENDED + struct.pack("!iB", exit_code, oom_killed)


def parse_exit(frame: bytes) -> tuple[int, bool]:
    """Return the exit code and whether the kernel killed the container for lack of memory."""
    exit_code, oom = struct.unpack("!iB", frame[1:])
    return exit_code, bool(oom)


def resize_frame(rows: int, columns: int) -> bytes:
    """Return the frame that sets a terminal's size."""
    return RESIZE + struct.pack("!HH", rows, columns)


def parse_resize(frame: bytes) -> tuple[int, int]:
    """Return rows and columns; (0, 0) for a damaged frame."""
    return struct.unpack("!HH", frame[1:]) if len(frame) == 5 else (0, 0)


def send_message(channel: socket.socket, data: bytes, fds: list[int] | tuple[int, ...] = ()) -> None:
    """Send one datagram with file descriptors."""
    packed = struct.pack(f"{len(fds)}i", *fds)
    channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if fds else [])


def receive_message(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one datagram and its file descriptors (close-on-exec); b"" at the end."""
    fds: list[int] = []
    size = socket.CMSG_SPACE(_MOST_FDS * _INT)
    data, ancillary, _, _ = channel.recvmsg(_LARGEST_MESSAGE, size, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(content) // _INT}i", content[: len(content) // _INT * _INT])
    return data, fds


def close_all(fds: list[int]) -> None:
    """Close file descriptors."""
    for fd in fds:
        os.close(fd)
