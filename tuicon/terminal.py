"""A session on the user's terminal: raw mode that is always undone, window size, detach keys."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuicon.backend import Session

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CHUNK = 32 << 10


def parse_detach_keys(text: str) -> bytes:
    """Parse docker's "ctrl-p,ctrl-q" to the bytes of the keys.

    Raises:
        ValueError: A key is unknown.
    """
    found = b""
    for key in filter(None, text.split(",")):
        if len(key) == 1:
            found += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            found += bytes([ord(key[5].upper()) & 0x1F])
        else:
            raise ValueError(f"unknown detach key {key!r}: a letter, or ctrl- and a letter")
    return found


def size() -> tuple[int, int] | None:
    """Return rows and columns of the terminal; None without one."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return (rows, columns) if rows and columns else None


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Have a terminal in raw mode; its old mode comes back on every way out."""
    old = termios.tcgetattr(fd)

    def restore_and_die(number: int, _frame: object) -> None:
        termios.tcsetattr(fd, termios.TCSADRAIN, old)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    handled = {number: signal.signal(number, restore_and_die) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, old)
        for number, handler in handled.items():
            signal.signal(number, handler)


class Bridge:
    """Moves bytes between a session and the standard streams until the session ends or the user detaches."""

    def __init__(self, session: Session, *, has_tty: bool, wants_stdin: bool, detach_keys: bytes) -> None:
        self._session = session
        self._has_tty = has_tty
        self._stdin = _stdin_fd() if wants_stdin else -1
        self._keys = detach_keys
        self._held = b""

    def run(self) -> int | None:
        """Return the exit code, or None when the user detached."""
        is_raw = self._has_tty and self._stdin >= 0 and os.isatty(self._stdin)
        with raw_mode(self._stdin) if is_raw else contextlib.nullcontext():
            if self._has_tty:
                with self._resizing():
                    return self._loop(watches_keys=is_raw)
            return self._loop(watches_keys=False)

    @contextlib.contextmanager
    def _resizing(self) -> Iterator[None]:
        def resize(*_: object) -> None:
            found = size()
            if found:
                self._session.resize(*found)

        old = signal.signal(signal.SIGWINCH, resize)
        resize()
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, old)

    def _loop(self, *, watches_keys: bool) -> int | None:
        poll = select.poll()
        poll.register(self._session.fileno(), select.POLLIN)
        if self._stdin >= 0:
            poll.register(self._stdin, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._session.fileno():
                    found = self._session.read(0)
                    if found is None:
                        return 255 if self._session.exit_code is None else self._session.exit_code
                    _write(found)
                else:
                    data = os.read(fd, _CHUNK)
                    if not data:
                        poll.unregister(fd)
                        self._session.close_stdin()
                    elif watches_keys and self._wants_detach(data):
                        return None
                    elif not watches_keys:
                        self._session.write(data)

    def _wants_detach(self, data: bytes) -> bool:
        """Send input on, but hold back what may be the detach keys; return whether they came."""
        if not self._keys:
            self._session.write(data)
            return False
        self._held += data
        place = self._held.find(self._keys)
        if place >= 0:
            self._session.write(self._held[:place])
            return True
        keep = next((n for n in range(len(self._keys) - 1, 0, -1) if self._held.endswith(self._keys[:n])), 0)
        send, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if send:
            self._session.write(send)
        return False


def _stdin_fd() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError):
        return -1


def _write(found: tuple[str, bytes]) -> None:
    stream, data = found
    fd = 2 if stream == "stderr" else 1
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
