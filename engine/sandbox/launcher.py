"""The warm launcher: a small process that forks a monitor for each request and ends with its engine.

Started as `python -I -S -c "…; from engine.sandbox.launcher import main; main()"` with a SOCK_SEQPACKET socket as
fd 3. A request is one JSON datagram with one or two file descriptors: the socket for the reply, and a session
that is connected before the process starts. Everything a monitor needs is imported here, once.
"""

from __future__ import annotations

import gc
import os
import resource

from engine.linux.light import json, signal, socket
from engine.sandbox import connect, execute, monitor, probe, protocol, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_CHANNEL = 3
_ACTIONS = {"start": monitor.main, "exec": execute.main, "network": connect.main, "probe": probe.main,
    "view": view.view, "hold": view.hold}  # fmt: skip


def main(open_files: int) -> None:
    """Serve requests until the engine closes its end.

    Args:
        open_files: The soft limit of open files that monitors and containers get; the engine's own may be higher.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.chdir("/")
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors are reaped by the kernel
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=_CHANNEL)
    os.set_inheritable(_CHANNEL, False)
    gc.disable()
    gc.freeze()
    while True:
        data, fds = protocol.receive_message(channel)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            channel.close()
            _become_monitor(json.loads(data), fds)
        protocol.close_all(fds)


def _become_monitor(request: Document, fds: list[int]) -> None:
    """Leave the engine's session and serve one request; never returns."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for place in (0, 1, 2):
            os.dup2(null, place, inheritable=True)
        if null > 2:
            os.close(null)
        _ACTIONS[str(request["action"])](request, fds)
    finally:
        os._exit(0)
