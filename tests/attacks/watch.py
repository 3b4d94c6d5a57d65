"""Watches every path that this process and its forks name to the operating system (PEP 578, audit hooks)."""

from __future__ import annotations

import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PATHS = {"open", "import", "os.exec", "os.posix_spawn", "glob.glob"}
_NOT_PATHS = {"os.kill", "os.fork", "os.setgroups", "os.putenv", "os.unsetenv", "os.forkpty", "os.lockf"}
_BELOW = r"{root}/.*/(diff|tree|upper|work|rootfs|data)/.|/proc/(\d+|self)/(root|cwd)/."


def judge(event: str, arguments: tuple[Any, ...], below: re.Pattern[str], *, is_inside: bool) -> str:
    """Return "" for what may be done, else a sentence.

    Outside a container, nobody names a path below a root. Inside, where every path is the container's, nobody names
    any path but the root, and the command with its working directory; and nothing is imported.
    """
    path = os.fsdecode(arguments[0]) if arguments and isinstance(arguments[0], str | bytes) else ""
    if event == "import":
        return f"import {path}" if is_inside else ""
    if "/" not in path or (below.search(path) is None and not is_inside):
        return ""
    if is_inside and (path == "/" or event in ("os.exec", "os.chdir")):
        return ""
    return f"{event} {path}"


def watch(root: str, report: Callable[[str], None]) -> None:
    """Report what is judged wrong for a state root, and each call made inside; there is no way to stop it."""
    host = os.stat("/")
    below = re.compile(_BELOW.replace("{root}", re.escape(root)))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NOT_PATHS or not (event in _PATHS or event.startswith(("os.", "shutil."))):
            return
        now = os.stat("/")
        is_inside = (now.st_dev, now.st_ino) != (host.st_dev, host.st_ino)
        wrong = judge(event, arguments, below, is_inside=is_inside)
        if wrong or is_inside:
            report(f"wrong: {wrong}\n" if wrong else f"inside: {event}\n")

    sys.addaudithook(hook)


def watch_into(root: str, path: str) -> None:
    """Watch, and append the reports to a file."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def report(text: str) -> None:
        os.write(fd, text.encode())

    watch(root, report)
