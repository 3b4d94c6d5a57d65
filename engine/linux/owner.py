"""Makes files as another user (credentials(7), setfsuid(2)).

A file system with mapped owners lets nobody make files who has no id in it, root neither. The ids are those of one
thread, so the rest of the process goes on as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from engine.linux import capabilities, syscalls

Result = TypeVar("Result")


def acting_as(uid: int, gid: int, action: Callable[[], Result]) -> Result:
    """Run an action as a user with all our capabilities; return or raise what it does.

    Args:
        uid: Its user id on the host; 0 with gid 0 runs it as it is.
        gid: Its group id on the host.
        action: Runs in a thread of its own.
    """
    if (uid, gid) == (0, 0):
        return action()

    def act() -> Result:
        syscalls.setfsid(uid, gid)
        every = capabilities.mask_of(list(capabilities.available()))
        syscalls.capset(every, every, 0)
        return action()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(act).result()
