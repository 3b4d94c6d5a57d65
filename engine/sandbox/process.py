"""What a process becomes before it runs a container's command: identity, limits, rights, terminal; then execve."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import struct
import termios

from engine.linux import capabilities, inside, syscalls
from engine.sandbox import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431
_CHANGED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD, signal.SIGXFSZ)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotStart(Exception):
    """The process cannot be started.

    Attributes:
        kind: "not-found" (exit code 127), "not-executable" (126) or "failed" (125).
        number: The errno, or 0.
    """

    def __init__(self, kind: str, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number


def open_terminal(root_fd: int, size: list[int] | None) -> tuple[int, int]:
    """Open a pseudo-terminal in the container's own devpts; return master and slave."""
    flags = os.O_RDWR | os.O_NOCTTY
    master = inside.open_inside(root_fd, "/dev/pts/ptmx", flags)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    if size:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))
    return master, slave


def take_terminal(slave: int) -> None:
    """Make the terminal the controlling one and the standard streams."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    take_streams(slave, slave, slave)


def take_streams(stdin: int, stdout: int, stderr: int) -> None:
    """Put file descriptors in the places of the standard streams."""
    for fd, place in ((stdin, 0), (stdout, 1), (stderr, 2)):
        os.dup2(fd, place, inheritable=True)


def set_rlimits(rlimits: list[Document]) -> None:
    """Set resource limits; without CAP_SYS_RESOURCE a hard limit is clamped to what is allowed."""
    for item in rlimits:
        kind = getattr(resource, str(item["type"]), None)
        if kind is None:
            continue
        soft, hard = int(item["soft"]), int(item["hard"])
        try:
            resource.setrlimit(kind, (soft, hard))
        except (PermissionError, ValueError):
            allowed = resource.getrlimit(kind)[1]
            if allowed != resource.RLIM_INFINITY:
                hard = min(hard, allowed) if hard != resource.RLIM_INFINITY else allowed
                soft = min(soft, hard) if soft != resource.RLIM_INFINITY else hard
            resource.setrlimit(kind, (soft, hard))


def set_oom_score(score: int) -> None:
    """Set oom_score_adj; lowering it without the privilege is left undone."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    except PermissionError:
        return
    finally:
        os.close(fd)


def identity(root_fd: int, user: Document) -> tuple[int, int, list[int], str]:
    """Return uid, gid, supplementary gids and home of `process.user`; "username" is looked up inside."""
    name = str(user.get("username") or "")
    try:
        if name:
            return users.resolve(root_fd, name)
        uid, gid = int(user.get("uid") or 0), int(user.get("gid") or 0)
        groups = [int(number) for number in user.get("additionalGids") or ()]
        return uid, gid, groups, users.resolve(root_fd, str(uid))[3]
    except users.UnknownUser as error:
        raise CannotStart("failed", str(error)) from error


def enter_workdir(path: str, uid: int, gid: int) -> None:
    """Change to the working directory, made when missing, and check that it is inside the root."""
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(inside.make_directories(root_fd, path or "/", 0o755, uid, gid))
        os.chdir(path or "/")
    except OSError as error:
        raise CannotStart(
            "failed", f"cannot change to working directory {path}: {error.strerror}", error.errno or 0
        ) from error
    finally:
        os.close(root_fd)
    if not os.getcwd().startswith("/"):
        raise CannotStart("failed", f"the working directory {path} is outside the container's root")


def drop_rights(process: Document, uid: int, gid: int, groups: list[int], last_capability: int) -> None:
    """Become the user, with exactly the capabilities of the config."""
    wanted = process.get("capabilities")
    sets: dict[str, list[str]] = wanted if isinstance(wanted, dict) else {}
    masks = {
        name: capabilities.mask_of(sets.get(name) or [])
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    capabilities.drop_bounding(masks["bounding"], last_capability)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    os.setgroups([gid, *(group for group in groups if group != gid)])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    known = (1 << (last_capability + 1)) - 1
    syscalls.capset(masks["effective"] & known, masks["permitted"] & known, masks["inheritable"] & known)
    capabilities.raise_ambient(masks["ambient"] & known)
    if process.get("noNewPrivileges"):
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def environment(process: Document, home: str) -> dict[str, str]:
    """Return the environment exactly as given, with HOME and PATH where they are missing."""
    items = [str(item) for item in process.get("env") or ()]
    found = dict(item.split("=", 1) for item in items if "=" in item)
    found.setdefault("PATH", DEFAULT_PATH)
    if not found.get("HOME"):
        found["HOME"] = home
    return found


def reset_signals() -> None:
    """Give the signals that this interpreter and the launcher changed their default actions, and unblock all.

    The launcher itself starts with every signal at its default, whatever the engine's process ignores.
    """
    for number in _CHANGED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def execute(arguments: list[str], variables: dict[str, str]) -> None:
    """Replace this process by the command, looked up in the container's PATH.

    Raises:
        CannotStart: The command is missing or cannot be executed.
    """
    if not arguments or not arguments[0]:
        raise CannotStart("not-found", "no command was given, and the image has none", errno.ENOENT)
    name = arguments[0]
    candidates = [name] if "/" in name else [f"{place or '.'}/{name}" for place in variables["PATH"].split(":")]
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for candidate in candidates:
        try:
            os.execve(candidate, arguments, variables)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error
            if error.errno not in (errno.EACCES, errno.EPERM):
                break
    number = failure.errno or 0
    if number == errno.ENOENT:
        where = "" if "/" in name else " in the container's PATH"
        raise CannotStart("not-found", f"command not found{where}: {name}", number)
    raise CannotStart("not-executable", f"cannot execute {name}: {os.strerror(number)}", number)
