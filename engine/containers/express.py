"""A command in a container by its monitor alone: no launcher is started for it, and no record is read.

The monitor knows all that is needed, and every import it takes has been paid for. It is asked first by a program that
runs one command; what it does not answer is asked in the ordinary way, which also says why something cannot be.
"""

from __future__ import annotations

import os

from engine.containers.answers import checked
from engine.containers.session import Session, connect_at
from engine.errors import Conflict
from engine.linux.light import json
from engine.sandbox import protocol
from engine.store.actor import actor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def execute(
    root: str, run_root: str, ref: str, asked: dict[str, Any], size: tuple[int, int] | None = None
) -> Session | None:
    """Run a command; return its session, None when the monitor does not do it and nothing has happened.

    Args:
        root: The state root.
        run_root: Its volatile half.
        ref: A container's name, or its whole id.
        asked: The fields of an ExecSpec that is not detached.
        size: Rows and columns of the terminal.

    Raises:
        StartFailed: The command cannot be started (CommandNotFound, CommandNotExecutable).
    """
    container_id = _resolve(root, ref)
    frame = protocol.COMMAND + json.dumps({"asked": asked, "size": size, "by": actor()}).encode()
    if not container_id or not asked["command"] or len(frame) > protocol.LARGEST_FRAME:
        return None
    try:
        channel = connect_at(f"{run_root}/containers/{container_id}", "attach.sock")
    except Conflict:
        return None
    session = Session(channel)
    try:
        channel.send(frame)
        answer = channel.recv(1 << 16)
        if answer == protocol.REFUSED:
            session.close()
            return None
        checked(answer, container_id)
    except ConnectionError:  # the monitor ended without having read it
        session.close()
        return None
    except BaseException:
        session.close()
        raise
    if not asked["interactive"]:
        session.close_stdin()
    return session


def _resolve(root: str, ref: str) -> str:
    """Return the id of a container by its name or whole id; empty when that does not find it."""
    name = ref.removeprefix("/")
    if not name or "/" in name:
        return ""
    try:
        return os.readlink(f"{root}/names/{name}")
    except (OSError, ValueError):
        return ref if len(ref) == 64 and ref.isalnum() else ""
