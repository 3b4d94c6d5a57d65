"""Kills a process of the engine right before its N-th call into the kernel; also a launcher that arms its children.

Nothing of the product knows of this: `sys.setprofile` counts the calls of built-in functions that do something, and of
our own wrappers of system calls. Imported by a launcher under test, so the standard library alone is used.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

_MODULES = {"posix", "fcntl", "_socket", "socket", "select", "_io"}
_WRAPPERS = (
    "engine/linux/syscalls.py",
    "engine/linux/rtnetlink.py",
    "engine/linux/nfnetlink.py",
    "engine/linux/nftables.py",
)
_HARMLESS = {"getpid", "fspath", "WIFSIGNALED", "WEXITSTATUS", "getuid", "geteuid", "urandom", "fsencode", "fileno"}


def arm(number: int, marker: str) -> None:
    """Have this process killed before its N-th call from now on; the marker file says that it was.

    Args:
        number: From 1; 0 kills nobody, and has the marker say how many calls there were.
        marker: Written right before the kill.
    """
    count, pid = 0, os.getpid()
    tally = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600) if number == 0 else -1

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if not _counts(frame, event, argument) or os.getpid() != pid:
            return
        count += 1
        if number == 0:
            os.pwrite(tally, str(count).encode(), 0)
        if count == number:
            sys.setprofile(None)
            what = getattr(argument, "__name__", "") or frame.f_code.co_name
            fd = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(fd, f"{number} {what} in {frame.f_code.co_filename}:{frame.f_lineno}".encode())
            os.close(fd)
            if pid != 1:
                os.kill(pid, signal.SIGKILL)
            os._exit(137)  # process 1 of a pid namespace cannot kill itself

    sys.setprofile(look)


def _counts(frame: FrameType, event: str, argument: Any) -> bool:
    if event == "c_call":
        owner = getattr(argument, "__self__", None)
        module = getattr(argument, "__module__", None) or type(owner).__module__
        return module in _MODULES and argument.__name__ not in _HARMLESS
    return event == "call" and frame.f_code.co_filename.endswith(_WRAPPERS)


def launcher(role: str, number: int, marker: str) -> None:
    """Be a launcher of which one kind of process is armed: launcher, monitor, init, exec or enter."""
    from engine.linux import open_files
    from engine.sandbox import enter, execute, init, launcher, monitor

    def armed(function: Any) -> Any:
        def run(*arguments: Any, **more: Any) -> Any:
            arm(number, marker)
            return function(*arguments, **more)

        return run

    if role == "monitor":
        launcher._ACTIONS["start"] = armed(monitor.main)
    elif role == "exec":
        launcher._ACTIONS["exec"] = armed(execute.main)
    elif role == "init":
        init.run = armed(init.run)
    elif role == "enter":
        enter._Child.run = armed(enter._Child.run)  # type: ignore[method-assign]
    elif role == "launcher":
        arm(number, marker)
    launcher.main(open_files.usual())
