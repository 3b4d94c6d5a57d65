"""User namespaces: the maps of ids, and namespaces made only to map the owners of a mount (user_namespaces(7))."""

from __future__ import annotations

import os

from engine.linux import syscalls
from engine.linux.light import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


def map_lines(mappings: list[Document]) -> bytes:
    """Return `linux.uidMappings` as the kernel reads them."""
    lines = (f"{int(item['containerID'])} {int(item['hostID'])} {int(item['size'])}\n" for item in mappings)
    return "".join(lines).encode()


def write_maps(pid: int, uids: list[Document], gids: list[Document]) -> None:
    """Give the user namespace of a process its maps."""
    for name, mappings in (("uid_map", uids), ("gid_map", gids)):
        if mappings:
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, map_lines(mappings))
            finally:
                os.close(fd)


def become_root() -> None:
    """Be uid and gid 0 of the user namespace this process is in."""
    try:
        os.setgroups([])
    except PermissionError:
        pass  # the namespace denies setgroups
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def user_namespace(uids: list[Document], gids: list[Document]) -> int:
    """Return the fd of a user namespace with these maps and nobody in it."""
    ready, made = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.write(made, b"u")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(made)
        if os.read(ready, 1) != b"u":
            raise OSError(1, "a user namespace cannot be made")
        write_maps(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def own_user_namespace() -> int:
    """Return the fd of the user namespace this process is in."""
    return os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
