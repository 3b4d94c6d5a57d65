"""What a process becomes before it runs a container's command: identity, limits, rights, terminal; then execve."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from engine.linux import capabilities, inside, syscalls
from engine.linux.light import signal
from engine.sandbox import devices, schedule, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.security import Security

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
    master = devices.open_terminal_source(root_fd)
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


def new_keyring() -> None:
    """Have a session keyring of its own; where the kernel or a quota refuses one, the old one is left behind."""
    try:
        syscalls.new_session_keyring()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM):
            raise


def identity(root_fd: int, user: Document) -> tuple[int, int, list[int], str]:
    """Return uid, gid, supplementary gids and home of `process.user`.

    "username" and our own "groupNames" are looked up inside.
    """
    name = str(user.get("username") or "")
    try:
        more = [int(number) for number in user.get("additionalGids") or ()]
        more += users.groups(root_fd, user.get("groupNames") or [])
        if name:
            uid, gid, groups, home = users.resolve(root_fd, name)
            return uid, gid, list(dict.fromkeys([gid, *groups, *more])), home
        uid, gid = int(user.get("uid") or 0), int(user.get("gid") or 0)
        if "username" in user:  # as docker has it, and runtime-spec has not: the primary group is among the others
            more.insert(0, gid)
        return uid, gid, list(dict.fromkeys(more)), users.resolve(root_fd, str(uid))[3]
    except users.UnknownUser as error:
        raise CannotStart("failed", str(error)) from error


def make_workdir(root_fd: int, path: str, uid: int, gid: int) -> None:
    """Make the working directory when it is missing and can be made; entering it will tell otherwise."""
    try:
        os.close(inside.make_directories(root_fd, path, 0o755, uid, gid))
    except OSError:
        return


def enter_workdir(path: str) -> None:
    """Change to the working directory, never by a link to a descriptor, and check that it is inside (CVE-2024-21626)."""
    root_fd = inside.open_root("/")
    try:
        fd = inside.open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY)
        os.fchdir(fd)
        os.close(fd)
        found = os.getcwd()
    except OSError as error:
        raise CannotStart(
            "failed", f"cannot change to working directory {path}: {error.strerror}", error.errno or 0
        ) from error
    finally:
        os.close(root_fd)
    if not found.startswith("/"):
        raise CannotStart("failed", f"the working directory {path} is outside the container's root")


def own_streams(uid: int, gid: int) -> None:
    """Give the user the standard streams, so that /dev/stdout can be opened; devices such as /dev/null stay as they are."""
    for fd in (0, 1, 2):
        try:
            found = os.fstat(fd)
            if found.st_uid != uid and not stat.S_ISCHR(found.st_mode):
                os.fchown(fd, uid, gid)
        except OSError:
            continue  # closed, of another user namespace, or on a read-only file system


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
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    known = (1 << (last_capability + 1)) - 1
    syscalls.capset(masks["effective"] & known, masks["permitted"] & known, masks["inheritable"] & known)
    capabilities.raise_ambient(masks["ambient"] & known)
    if process.get("noNewPrivileges"):
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def finish(
    process: Document, security: Security, ids: tuple[int, int, list[int]], last_capability: int, state: Document,
    preserve_fds: int = 0,
) -> None:  # fmt: skip
    """Do all that comes between a built container and execve; afterwards the process has the command's rights only.

    Args:
        process: `process` of the config.
        security: Its label and filter.
        ids: uid, gid and supplementary gids.
        last_capability: The highest capability number of this kernel.
        state: The OCI state that a seccomp listener is told.
        preserve_fds: How many file descriptors above stderr the command keeps.
    """
    reset_signals()
    umask = (process.get("user") or {}).get("umask")
    os.umask(0o022 if umask is None else int(umask))
    schedule.set_process(process)
    security.apply_label()
    syscalls.close_range_on_exec(3 + preserve_fds)  # before a filter that may not know the call
    if not process.get("noNewPrivileges"):
        security.apply_filter(state)  # needs CAP_SYS_ADMIN, which is about to go
    drop_rights(process, *ids, last_capability)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    if process.get("noNewPrivileges"):
        security.apply_filter(state)


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


def check_command(arguments: list[str], variables: dict[str, str]) -> None:
    """Check that there is a command to execute, long before it is: callers want to hear of it at `create`.

    Raises:
        CannotStart: The command is missing, or is no program.
    """
    number = errno.ENOENT
    for candidate in _candidates(arguments, variables):
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return
        number = errno.EACCES
    raise _not_started(arguments[0], number)


def execute(arguments: list[str], variables: dict[str, str]) -> None:
    """Replace this process by the command, looked up in the container's PATH.

    Raises:
        CannotStart: The command is missing or cannot be executed.
    """
    number = errno.ENOENT
    for candidate in _candidates(arguments, variables):
        try:
            os.execve(candidate, arguments, variables)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            number = error.errno or 0
            if number not in (errno.EACCES, errno.EPERM):
                break
    raise _not_started(arguments[0], number)


def _candidates(arguments: list[str], variables: dict[str, str]) -> list[str]:
    if not arguments or not arguments[0]:
        raise CannotStart("not-found", "no command was given, and the image has none", errno.ENOENT)
    name = arguments[0]
    return [name] if "/" in name else [f"{place or '.'}/{name}" for place in variables["PATH"].split(":")]


def _not_started(name: str, number: int) -> CannotStart:
    if number == errno.ENOENT:
        where = "" if "/" in name else " in the container's PATH"
        return CannotStart("not-found", f"command not found{where}: {name}", number)
    return CannotStart("not-executable", f"cannot execute {name}: {os.strerror(number)}", number)
