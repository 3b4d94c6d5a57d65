"""Where cgroups are mounted, and which version each controller has (cgroups(7))."""

from __future__ import annotations

import os

from engine.linux import files

V1_CONTROLLERS = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls",
    "net_prio", "perf_event", "pids", "rdma")  # fmt: skip
UNIFIED = "unified"


class CgroupError(OSError):
    """A cgroup cannot be used; str() is one sentence that names the file."""

    def __init__(self, number: int, message: str, path: str = "") -> None:
        super().__init__(number, message, path)
        self.message = f"{message} ({path})" if path else message

    def __str__(self) -> str:
        """Return the sentence."""
        return self.message


class Hierarchy:
    """The host's cgroup mounts.

    Attributes:
        version: 2 when the controllers are in the unified hierarchy, else 1.
        is_hybrid: Whether version 1 has a unified hierarchy without controllers beside it.
        mounts: The mount point of each v1 controller, or {"unified": …} on v2.
        controllers: Names of what can be limited, sorted.
    """

    def __init__(self, version: int, mounts: dict[str, str], controllers: tuple[str, ...], *, is_hybrid: bool) -> None:
        self.version = version
        self.mounts = mounts
        self.controllers = controllers
        self.is_hybrid = is_hybrid


def parse_mounts(mountinfo: str) -> tuple[dict[str, str], str]:
    """Return the mount point of each v1 controller, and that of cgroup2 (or "")."""
    v1: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or not after:
            continue
        target = fields[4].replace("\\040", " ")
        if kind[0] == "cgroup2":
            unified = unified or target
        elif kind[0] == "cgroup":
            for option in kind[2].split(","):
                if option in V1_CONTROLLERS:
                    v1.setdefault(option, target)
    return v1, unified


def mount_points() -> list[str]:
    """Return where cgroups are mounted: all hierarchies, also those without controllers."""
    found = []
    for line in files.read_file("/proc/self/mountinfo").decode(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith(("cgroup ", "cgroup2 ")):
            found.append(before.split(" ")[4].replace("\\040", " "))
    return found


_detected: Hierarchy | None = None


def detect() -> Hierarchy:
    """Return the host's layout; it is read once.

    Raises:
        CgroupError: No cgroup hierarchy is mounted.
    """
    global _detected  # noqa: PLW0603 - the mounts of a host do not change under a running process
    if _detected is None:
        _detected = _read()
    return _detected


def _read() -> Hierarchy:
    v1, unified = parse_mounts(files.read_file("/proc/self/mountinfo").decode(errors="replace"))
    if {"memory", "cpu", "pids"} & set(v1):
        return Hierarchy(1, v1, tuple(sorted(v1)), is_hybrid=bool(unified))
    if unified:
        names = files.read_file(f"{unified}/cgroup.controllers").decode().split()
        return Hierarchy(2, {UNIFIED: unified}, tuple(sorted(names)), is_hybrid=False)
    raise CgroupError(2, "no cgroup hierarchy is mounted")


def own_group(controller: str) -> str:
    """Return this process's group in a hierarchy, "/" at its root."""
    for line in files.read_file("/proc/self/cgroup").decode().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") or (controller == UNIFIED and not names):
            return path
    return "/"


def base_directory(controller: str, mount: str) -> str:
    """Return where the engine's own groups go: the hierarchy's root when it can be written, else our own group."""
    if os.access(mount, os.W_OK):
        return mount
    return f"{mount}{own_group(controller)}".rstrip("/")
