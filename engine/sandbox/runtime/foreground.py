"""Staying with a container's command: its terminal, signals on to it, and its exit code back."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import tty

from engine.linux import files
from engine.linux.light import signal, socket
from engine.sandbox import protocol
from engine.sandbox.runtime import sockets
from engine.sandbox.runtime.fault import Fault

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGCONT)  # fmt: skip
_HEARD = (*_FORWARDED, signal.SIGCHLD, signal.SIGWINCH)


def hand_over(master: int, path: str) -> None:
    """Give a terminal's master to whoever listens on --console-socket, and keep none of it.

    Raises:
        Fault: Nobody listens there.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
            sockets.connect(channel, path)
            protocol.send_message(channel, b"/dev/ptmx", [master])
    except OSError as error:
        raise Fault(f"--console-socket {path}: {error.strerror or error}") from error
    finally:
        os.close(master)


def listen() -> int:
    """Catch signals from now on, before a command runs that they are for; return the fd they are read from."""
    wakeup, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in _HEARD:
        signal.signal(number, lambda *_: None)
    return wakeup


def stay(pid: int, master: int, wakeup: int) -> int:
    """Wait for a child, pass signals on to it, and move bytes between its terminal and ours; return its exit code.

    Args:
        pid: The child.
        master: Its terminal's master, or -1.
        wakeup: What `listen` returned.
    """
    screen = _Screen(master) if master >= 0 else None
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    if screen:
        screen.register(poll)
    try:
        status = _wait(pid)
        while status is None:
            for fd, _ in poll.poll():
                if fd != wakeup:
                    assert screen is not None
                    screen.move(fd, poll)
                    continue
                _pass_on(os.read(wakeup, 64), pid, screen)
            status = _wait(pid)
        if screen:
            screen.drain()
    finally:
        if screen:
            screen.close()
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _wait(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def _pass_on(numbers: bytes, pid: int, screen: _Screen | None) -> None:
    for number in numbers:
        if number == signal.SIGWINCH and screen:
            screen.resize()
        elif number in _FORWARDED:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


class _Screen:
    """The caller's terminal, raw, with the container's behind it."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._saved = termios.tcgetattr(0) if os.isatty(0) else None
        if self._saved:
            tty.setraw(0)
        self.resize()

    def register(self, poll: select.poll) -> None:
        poll.register(self._master, select.POLLIN)
        poll.register(0, select.POLLIN)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._saved:
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def move(self, fd: int, poll: select.poll) -> None:
        """Move what can be read; forget a source that has ended."""
        try:
            data = os.read(fd, 32 << 10)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF):
                raise
            data = b""
        if not data:
            poll.unregister(fd)
        else:
            files.write_all(1 if fd == self._master else self._master, data)

    def drain(self) -> None:
        """Write out what the command said last."""
        os.set_blocking(self._master, False)
        try:
            while data := os.read(self._master, 32 << 10):
                files.write_all(1, data)
        except OSError:
            return

    def close(self) -> None:
        """Give the caller's terminal back as it was."""
        if self._saved:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
