"""A container's streams: pipes or a terminal on one side, the log and any number of sessions on the other."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios
import time

from engine.linux.light import socket
from engine.sandbox import protocol
from engine.sandbox.journald import JournalLog
from engine.sandbox.logfile import Log, LogFile, NoLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]

_DRIVERS: dict[str, Callable[[Document], Log]] = {
    "json-file": LogFile, "journald": JournalLog, "none": lambda _: NoLog(),
}  # fmt: skip
_CHUNK = 32 << 10
_MOST_WAITING = 4 << 20
_MOST_STDIN = 256 << 10


class Timer:
    """What a monitor's loop does between its bytes."""

    def left(self) -> float | None:
        """Return the milliseconds until there is something to do; None when there is nothing."""

    def tick(self) -> None:
        """Do what is due; called more often than that."""


class Client:
    """One attached session and what it has not read yet."""

    def __init__(self, channel: socket.socket, *, is_first: bool) -> None:
        channel.setblocking(False)
        self.channel = channel
        self.is_first = is_first
        self.waiting: list[bytes] = []
        self.size = 0

    def send(self, frame: bytes) -> bool:
        """Queue a frame; return whether the client still keeps up."""
        self.waiting.append(frame)
        self.size += len(frame)
        return self.flush() and self.size <= _MOST_WAITING

    def flush(self) -> bool:
        """Send what can be sent; return whether the client is still there."""
        while self.waiting:
            try:
                self.channel.send(self.waiting[0])
            except BlockingIOError:
                return True
            except OSError as error:
                return error.errno == errno.ENOBUFS
            self.size -= len(self.waiting.pop(0))
        return True


class Streams:
    """Moves bytes until the first process has ended and everything it wrote is read.

    Attributes:
        networks_changed: Called when somebody says so; returns the answer.
    """

    def __init__(self, settings: Document, session: socket.socket | None) -> None:
        log: Document = settings.get("log") or {}
        self._log = _DRIVERS[log.get("driver", "json-file")](log)
        self._wants_stdin = bool(settings.get("stdin"))
        self._hangs_up = bool(settings.get("hangs_up"))
        self._outputs: dict[int, str] = {}
        self._stdin = -1
        self._stdin_waiting = b""
        self._stdin_closing = False
        self._terminal = -1
        self._listener: socket.socket | None = None
        self._clients: dict[int, Client] = {}
        self._others: dict[int, Callable[[], None]] = {}
        self._run_command: Callable[[socket.socket, bytes], None] | None = None
        self._poll = select.poll()
        self.networks_changed: Callable[[], bytes] | None = None
        if session is not None:
            self._add_client(session, is_first=True)

    def _hang_up(self) -> None:
        """Close the terminal, so that the kernel sends SIGHUP to its processes."""
        if self._terminal in self._outputs:
            self._poll.unregister(self._terminal)
            del self._outputs[self._terminal]
            os.close(self._terminal)
        self._terminal = self._stdin = -1

    def make_pipes(self) -> tuple[int, int, int]:
        """Return the child's ends of stdin, stdout and stderr."""
        if self._wants_stdin:
            child_stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._stdin, False)
        else:
            child_stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        ends = []
        for stream in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._outputs[ours] = stream
            self._poll.register(ours, select.POLLIN)
            ends.append(theirs)
        return child_stdin, ends[0], ends[1]

    def use_terminal(self, master: int) -> None:
        """Take the pseudo-terminal's master as input and output."""
        os.set_blocking(master, False)
        self._terminal = self._stdin = master
        self._outputs[master] = "stdout"
        self._poll.register(master, select.POLLIN)

    def listen(self, path: str, run_command: Callable[[socket.socket, bytes], None]) -> None:
        """Let sessions attach at a socket that only root can reach.

        Args:
            path: The socket.
            run_command: Is given the session and the JSON text of a command to run beside the container's own.
        """
        self._run_command = run_command
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        bind_short(self._listener, path)
        self._listener.listen(16)
        self._poll.register(self._listener.fileno(), select.POLLIN)

    def watch(self, fd: int, action: Callable[[], None], events: int = select.POLLIN) -> None:
        """Do something whenever a file descriptor can be read, or is ready for other events; the last word counts."""
        self._others[fd] = action
        self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a file descriptor that was watched."""
        self._poll.unregister(fd)
        del self._others[fd]

    def supervise(self, pid: int, *timers: Timer) -> int:
        """Move bytes, and let timers do what is due, until the process has ended; return its wait status."""
        pidfd = os.pidfd_open(pid)
        self._poll.register(pidfd, select.POLLIN)
        ended = False
        while not ended:
            left = [wait for timer in timers if (wait := timer.left()) is not None]
            for fd, events in self._poll.poll(min(left) if left else None):
                if fd == pidfd:
                    ended = True
                else:
                    self._handle(fd, events)
            for timer in () if ended else timers:
                timer.tick()
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._drain()
        self._log.close()  # whole before anybody is told of the end
        return status

    def wait(self, seconds: float) -> None:
        """Serve sessions for a while, without a container."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for fd, events in self._poll.poll(left * 1000):
                self._handle(fd, events)

    def begin_again(self) -> None:
        """Forget the pipes or the terminal of a run that has ended; sessions and the log go on."""
        for fd in {*self._outputs, self._terminal, self._stdin} - {-1}:
            try:
                self._poll.unregister(fd)
            except KeyError:
                pass
            os.close(fd)
        self._outputs.clear()
        self._terminal = self._stdin = -1
        self._stdin_waiting, self._stdin_closing = b"", False
        self._log.reopen()

    def end(self, exit_code: int, oom_killed: bool) -> None:
        """Tell all sessions, and close everything."""
        self._log.close()
        for client in list(self._clients.values()):
            client.channel.setblocking(True)
            client.channel.settimeout(5)
            client.waiting.append(protocol.exit_frame(exit_code, oom_killed))
            client.flush()
            client.channel.close()
        if self._listener:
            self._listener.close()

    def _handle(self, fd: int, events: int) -> None:
        if fd in self._others:
            self._others[fd]()
            return
        if fd in self._outputs:
            self._read_output(fd)
        if fd == self._stdin and events & (select.POLLOUT | select.POLLERR):
            self._write_stdin()
        if self._listener and fd == self._listener.fileno():
            self._accept()
        client = self._clients.get(fd)
        if client is not None:
            if events & select.POLLOUT and not client.flush():
                self._drop(client)
                return
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read_client(client)
            self._watch(client)

    def _read_output(self, fd: int) -> bool:
        """Pass on one chunk; return whether there may be more."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: the last process closed the terminal
        if not data:
            self._poll.unregister(fd)
            del self._outputs[fd]
            if fd != self._terminal:
                os.close(fd)
            return False
        stream = self._outputs[fd]
        self._log.write(stream, data)
        frame = (protocol.STDOUT if stream == "stdout" else protocol.STDERR) + data
        for client in list(self._clients.values()):
            if client.send(frame):
                self._watch(client)
            else:
                self._drop(client)
        return True

    def _drain(self) -> None:
        for fd in list(self._outputs):
            while fd in self._outputs and self._read_output(fd):
                pass

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            channel, _ = self._listener.accept()
        except OSError:
            return
        uid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid in (0, os.geteuid()):
            self._add_client(channel, is_first=False)
        else:
            channel.close()

    def _add_client(self, channel: socket.socket, *, is_first: bool) -> None:
        client = Client(channel, is_first=is_first)
        self._clients[channel.fileno()] = client
        self._poll.register(channel.fileno(), select.POLLIN)

    def _watch(self, client: Client) -> None:
        fd = client.channel.fileno()
        if fd not in self._clients:
            return
        takes_input = len(self._stdin_waiting) < _MOST_STDIN
        self._poll.modify(fd, (select.POLLIN if takes_input else 0) | (select.POLLOUT if client.waiting else 0))

    def _drop(self, client: Client) -> None:
        fd = client.channel.fileno()
        self._poll.unregister(fd)
        del self._clients[fd]
        client.channel.close()
        if client.is_first and self._terminal < 0:
            self._close_stdin()
        elif client.is_first and self._hangs_up:
            self._hang_up()

    def _read_client(self, client: Client) -> None:
        try:
            frame = client.channel.recv(protocol.LARGEST_FRAME)
        except BlockingIOError:
            return
        except OSError:
            frame = b""
        kind = frame[:1]
        if kind == protocol.COMMAND and self._run_command and not client.is_first:
            self._run_command(client.channel, frame[1:])
        if kind in (b"", protocol.COMMAND):
            self._drop(client)
            return
        if kind == protocol.STDIN and self._stdin >= 0 and self._wants_stdin and not self._stdin_closing:
            self._stdin_waiting += frame[1:]
            self._write_stdin()
        elif kind == protocol.STDIN_CLOSED and self._terminal < 0:
            self._close_stdin()
        elif kind == protocol.NETWORKS and self.networks_changed:
            client.send(protocol.NETWORKS + self.networks_changed())
        elif kind == protocol.RESIZE and self._terminal >= 0:
            rows, columns = protocol.parse_resize(frame)
            if rows and columns:
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _close_stdin(self) -> None:
        self._stdin_closing = True
        self._write_stdin()

    def _write_stdin(self) -> None:
        if self._stdin < 0:
            return
        try:
            while self._stdin_waiting:
                written = os.write(self._stdin, self._stdin_waiting[:_CHUNK])
                self._stdin_waiting = self._stdin_waiting[written:]
        except BlockingIOError:
            pass
        except OSError:
            self._stdin_waiting, self._stdin_closing = b"", True  # nobody reads any more
        if self._terminal >= 0:
            self._poll.modify(self._terminal, select.POLLIN | (select.POLLOUT if self._stdin_waiting else 0))
        elif self._stdin_waiting:
            self._poll.register(self._stdin, select.POLLOUT)
        else:
            self._forget_stdin()
        for client in self._clients.values():
            self._watch(client)

    def _forget_stdin(self) -> None:
        try:
            self._poll.unregister(self._stdin)
        except KeyError:
            pass
        if self._stdin_closing:
            os.close(self._stdin)
            self._stdin = -1


def bind_short(listener: socket.socket, path: str) -> None:
    """Bind a unix socket at a path of any length, through its directory's fd; mode 0600."""
    directory, _, name = path.rpartition("/")
    fd = os.open(directory or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    old_mask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.umask(old_mask)
        os.close(fd)
