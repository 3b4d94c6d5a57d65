"""`start`: tell the first process of a created container to become its command."""

from __future__ import annotations

import os

from engine.linux.light import json, socket
from engine.sandbox.runtime import sockets
from engine.sandbox.runtime.create import finish_start, refusal
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log


def run_start(arguments: Arguments, log: Log) -> int:
    """Start a created container; return once its command runs."""
    container = Container.named_by(arguments)
    with container.lock():
        container.load()
        status = container.status()
        if status != "created":
            raise Fault(f"cannot start container {container.container_id}: it is {status}, not created")
        if not container.config.get("process"):
            raise Fault("config.json: process is missing, so there is nothing to start")
        _release(container)
        finish_start(container, log)
    return 0


def _release(container: Container) -> None:
    """Connect to the first process, which is all it waits for, and read on until its execve closes the socket."""
    used = f"{container.start_socket}.used"
    os.rename(container.start_socket, used)  # from here on it counts as started, whatever happens to us
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as channel:
        try:
            sockets.connect(channel, used)
            said = channel.recv(1 << 16)
        except OSError:
            said = b'{"message": "the container\'s first process died before it was started"}'
    os.unlink(used)
    if said:
        raise refusal(json.loads(said))
