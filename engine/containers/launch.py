"""The engine's side of the launcher: starts it, asks it, and restarts it when it died."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.containers.answers import checked
from engine.errors import LauncherLost, NotSupported, StartFailed

if TYPE_CHECKING:
    import socket

_CHANNEL = 3
_CODE = "import sys; sys.path.insert(0, {root!r}); from engine.sandbox.launcher import main; main({open_files})"


class Descriptor(Protocol):
    """What has a file descriptor."""

    def fileno(self) -> int:
        """Return it."""
        ...


class Launcher:
    """A warm process that forks monitors; one per Engine, started when first needed."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Start the process now, so that it is ready later."""
        with self._lock:
            if self._channel is None:
                self._spawn()

    def close(self) -> None:
        """Let the process end; monitors go on."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
                self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # the caller's process ignores SIGCHLD
            os.waitpid(self._pid, 0)

    def ask(self, request: dict[str, Any], *held: Descriptor) -> int:
        """Send a request; return the pid of the started process.

        Args:
            request: What to do.
            held: What the monitor gets a descriptor of: a container's lock, a session.

        Raises:
            StartFailed: The process could not be started (CommandNotFound, CommandNotExecutable).
            LauncherLost: The launcher or the monitor died meanwhile.
        """
        ours = self._request(request, *held)
        with ours:
            return int(checked(ours.recv(1 << 16), request.get("id"))["pid"])

    def probe(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what is found from inside a container's network (see engine.sandbox.probe).

        Raises:
            StartFailed: The container has ended.
            LauncherLost: The launcher died meanwhile.
        """
        with self._request({**request, "action": "probe"}) as ours:
            return checked(ours.recv(1 << 16), request.get("id"))

    def view(self, request: dict[str, Any]) -> int:
        """Return the descriptor of a root directory (see engine.sandbox.view).

        Raises:
            NotSupported: It cannot be mounted.
            LauncherLost: The launcher died meanwhile.
        """
        from engine.sandbox import protocol

        with self._request({**request, "action": "view"}) as ours:
            data, fds = protocol.receive_message(ours)
        try:
            checked(data, request.get("id"))
        except StartFailed as error:
            raise NotSupported(f"the container's files cannot be reached: {error}") from error
        return fds[0]

    @contextlib.contextmanager
    def held(self, version: int, paths: dict[str, str]) -> Iterator[None]:
        """Keep a cgroup frozen; it thaws at the end, and when this process dies."""
        request = {"action": "hold", "version": version, "paths": paths}
        with self._request(request) as ours:
            checked(ours.recv(1 << 16))
            try:
                yield
            finally:
                ours.shutdown(1)  # SHUT_WR
                ours.recv(1)  # the other end closes when all is thawed

    def _request(self, request: dict[str, Any], *held: Descriptor) -> socket.socket:
        """Send a request; return the socket on which the answer comes."""
        from engine.containers.session import socket_pair

        ours, theirs = socket_pair()
        try:
            with theirs:
                self._send(json.dumps(request).encode(), [theirs.fileno(), *(item.fileno() for item in held)])
        except BaseException:
            ours.close()
            raise
        return ours

    def _send(self, data: bytes, fds: list[int]) -> None:
        from engine.sandbox import protocol

        with self._lock:
            for is_last in (False, True):
                if self._channel is None:
                    self._spawn()
                assert self._channel is not None
                try:
                    protocol.send_message(self._channel, data, fds)
                except OSError:
                    self._channel.close()
                    self._channel = None
                    self._reap()
                    if is_last:
                        raise LauncherLost("the launcher cannot be reached") from None
                else:
                    return

    def _spawn(self) -> None:
        """Start the launcher from a read-only view of the interpreter.

        A container that gets hold of /proc/PID/exe of a process on its way in then finds a read-only mount, and
        cannot overwrite the host's interpreter (CVE-2019-5736).
        """
        import signal

        from engine.containers.session import socket_pair
        from engine.linux import open_files
        from engine.sandbox import sealed

        ours, theirs = socket_pair()
        interpreter = os.path.realpath(sys.executable)
        root = str(Path(__file__).resolve().parents[2])
        arguments = [interpreter, "-I", "-S", "-c", _CODE.format(root=root, open_files=open_files.usual())]
        view = sealed.read_only_view(interpreter)
        try:
            with theirs:
                self._pid = os.posix_spawn(
                    f"/proc/self/fd/{view}" if view >= 0 else interpreter,
                    arguments,
                    {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHANNEL)],
                    setsigmask=(),
                    setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
                )
        finally:
            if view >= 0:
                os.close(view)
        self._channel = ours
