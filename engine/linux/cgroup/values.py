"""Reading and writing one cgroup file."""

from __future__ import annotations

import os


def read(path: str) -> str:
    """Return a file's text without the line end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16).decode().strip()
    finally:
        os.close(fd)


def write(path: str, value: str) -> None:
    """Write a value with one call; a line end alone stands for nothing, since writing no bytes does nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode() or b"\n")
    finally:
        os.close(fd)
