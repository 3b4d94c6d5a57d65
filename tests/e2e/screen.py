"""The real console in a pseudo-terminal, read through a terminal emulator; waits on what is seen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable

import pyte


class ConsoleScreen:
    """Runs `tuicon` on a state root; `press` types, `until` waits for a text."""

    def __init__(self, root: str, rows: int = 40, columns: int = 140) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(
                TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows), XDG_CONFIG_HOME="/nonexistent"
            )
            os.execv(sys.executable, [sys.executable, "-m", "tuicon", "--root", root])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def text(self) -> str:
        """Return what is seen now."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                break
            if not data:
                break
            self._stream.feed(data)
        return "\n".join(self._screen.display)

    def until(self, condition: Callable[[str], object] | str, seconds: float = 60) -> str:
        """Wait until something is seen; return the screen."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.text()
            if condition in seen if isinstance(condition, str) else condition(seen):
                return seen
            assert time.monotonic() < deadline, f"{condition!r} was not seen in:\n{seen}"
            select.select([self._fd], [], [], 0.05)

    def close(self) -> int:
        """Wait for the console to end, killed when it does not; return its wait status."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.text()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._fd)
                return status
            time.sleep(0.02)
        self.kill()
        return -1

    def kill(self) -> None:
        """Kill the console at once."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)
