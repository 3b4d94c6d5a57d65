"""The namespaces of a container: which are new, which are joined (runtime-spec config-linux.md, "Namespaces")."""

from __future__ import annotations

import os

from engine.linux import files, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

FLAGS = {
    "mount": syscalls.CLONE_NEWNS, "pid": syscalls.CLONE_NEWPID, "network": syscalls.CLONE_NEWNET,
    "uts": syscalls.CLONE_NEWUTS, "ipc": syscalls.CLONE_NEWIPC, "user": syscalls.CLONE_NEWUSER,
    "cgroup": syscalls.CLONE_NEWCGROUP, "time": syscalls.CLONE_NEWTIME,
}  # fmt: skip
FILES = {"mount": "mnt", "pid": "pid", "network": "net", "uts": "uts", "ipc": "ipc", "user": "user",
    "cgroup": "cgroup", "time": "time"}  # fmt: skip
_FOR_CHILDREN = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWTIME
_JOIN_ORDER = ("user", "pid", "time", "ipc", "uts", "network", "cgroup", "mount")


class Namespaces:
    """What a config says of namespaces.

    Attributes:
        new: CLONE_NEW* flags of those to make.
        paths: Kind and path of those to join, user first and mount last.
    """

    def __init__(self, config: Document) -> None:
        linux: Document = config.get("linux") or {}
        self.new = 0
        joins: dict[str, str] = {}
        for namespace in linux.get("namespaces") or ():
            if namespace.get("path"):
                joins[namespace["type"]] = str(namespace["path"])
            else:
                self.new |= FLAGS[namespace["type"]]
        self.paths = [(kind, joins[kind]) for kind in _JOIN_ORDER if kind in joins]
        self.uid_mappings: list[Document] = linux.get("uidMappings") or []
        self.gid_mappings: list[Document] = linux.get("gidMappings") or []
        self._offsets: Document = linux.get("timeOffsets") or {}

    def has_new(self, kind: str) -> bool:
        """Return whether a namespace of this kind is made."""
        return bool(self.new & FLAGS[kind])

    @property
    def has_user(self) -> bool:
        """Whether the container is in a user namespace other than ours."""
        return self.has_new("user") or any(kind == "user" for kind, _ in self.paths)

    @property
    def needs_step(self) -> bool:
        """Whether a process in between must enter something before the first process can be born into it."""
        kinds = {kind for kind, _ in self.paths}
        return self.has_user or self.has_new("time") or bool(kinds & {"pid", "time"})

    def open_joined(self) -> list[tuple[int, int]]:
        """Open the namespaces to join; return (flag, fd) of those that are not our own already.

        Raises:
            OSError: A path is no namespace of its kind.
        """
        found = []
        for kind, path in self.paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if kind not in ("pid", "time") and _is_own(fd, kind):
                os.close(fd)
            else:
                found.append((FLAGS[kind], fd))
        return found

    def write_offsets(self) -> None:
        """Set the clocks of the time namespace that children of this process will be in."""
        lines = [f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n" for clock, offset in
            self._offsets.items()]  # fmt: skip
        if lines:
            fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
            try:
                files.write_all(fd, "".join(lines).encode())
            finally:
                os.close(fd)


def _is_own(fd: int, kind: str) -> bool:
    ours, theirs = os.stat(f"/proc/self/ns/{FILES[kind]}"), os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def join(joined: list[tuple[int, int]], flags: int) -> None:
    """Enter those of the opened namespaces whose flags are asked for, and close them."""
    for flag, fd in joined:
        if flag & flags:
            syscalls.setns(fd, flag)
            os.close(fd)


def kinds_of(pid: int) -> dict[str, str]:
    """Return the paths of a process's namespaces by their kind."""
    return {kind: f"/proc/{pid}/ns/{name}" for kind, name in FILES.items()}


def differing(pid: int) -> int:
    """Return the flags of the namespaces in which a process is and this one is not."""
    flags = 0
    for kind, name in FILES.items():
        try:
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                flags |= FLAGS[kind]
        except FileNotFoundError:
            continue  # a kernel without this kind
    return flags
