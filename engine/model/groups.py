"""The control groups of the whole host: who they are, what they use, what holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from engine.model.container import Process
from engine.model.usage import Pressure
from engine.model.value import Value

ROOT = "/"
Number = TypeVar("Number", int, float)


class GroupLimits(Value, frozen=True):
    """What is set on one group itself; None is no limit, or a weight that the kernel does not have there.

    Attributes:
        cpus: Cores.
        memory, memory_high: Bytes.
        pids: Tasks.
        cpu_weight: The kernel's own number: cpu.weight (100 is usual), on v1 cpu.shares (1024 is).
        io_weight: io.weight (100 is usual), on v1 blkio.bfq.weight.
    """

    cpus: float | None = None
    memory: int | None = None
    memory_high: int | None = None
    pids: int | None = None
    cpu_weight: int | None = None
    io_weight: int | None = None


class HostGroup(Value, frozen=True):
    """One control group and its counters, with all groups below it.

    Attributes:
        path: From the hierarchy's root, such as "/system.slice/ssh.service"; the root itself is "/".
        kind: "root", "slice", "service", "scope", "pod", "container" or "group".
        owner: "tuicon", "docker", "podman", "kubernetes", "systemd"; empty when it is not known.
        name: A container's or pod's name where it is known, else the last part of the path.
        container_id: The whole id of a container of any engine; empty for others.
        is_ours: Whether it is a container of this state root, whose limits can be moved.
        tasks: Processes and threads.
        cpu_ns: CPU time used.
        memory_bytes: Memory in use, file cache included.
        devices: (device, bytes read, bytes written) by block device.
        cpu_pressure, memory_pressure, io_pressure: None where the kernel does not say.
        throttled_ns: Time for which its CPU quota held tasks back.
    """

    path: str
    kind: str = "group"
    owner: str = ""
    name: str = ""
    container_id: str = ""
    is_ours: bool = False
    tasks: int = 0
    cpu_ns: int = 0
    memory_bytes: int = 0
    devices: tuple[tuple[str, int, int], ...] = ()
    limits: GroupLimits = GroupLimits()
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    throttled_ns: int = 0

    @property
    def parent(self) -> str:
        """The path of the group above; empty for the root."""
        return "" if self.path == ROOT else self.path.rpartition("/")[0] or ROOT

    @property
    def io_bytes(self) -> int:
        """Bytes read and written, over all devices."""
        return sum(read + written for _, read, written in self.devices)


class HostPressure(Value, frozen=True):
    """How long tasks of the whole host waited (/proc/pressure); None where the kernel does not say.

    Attributes:
        of_groups: Whether the kernel says so of each control group too.
        reason: Why something is missing, in one sentence; empty when nothing is.
    """

    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None
    of_groups: bool = False
    reason: str = ""


class GroupReading(Value, frozen=True):
    """All groups at one moment, each before those below it.

    Attributes:
        taken_ns: time.monotonic_ns() of the reading.
        version: Of cgroups, 1 or 2.
    """

    taken_ns: int
    version: int
    groups: tuple[HostGroup, ...] = ()
    pressure: HostPressure = HostPressure()


class GroupFile(Value, frozen=True):
    """An interface file of a group; on v1 the controller is named, on v2 it is empty."""

    controller: str
    name: str
    text: str


class GroupDetail(Value, frozen=True):
    """All that the kernel says of one group: its readable files, and the processes in it, without those below."""

    path: str
    files: tuple[GroupFile, ...] = ()
    processes: tuple[Process, ...] = ()


def effective(groups: Mapping[str, HostGroup], path: str) -> GroupLimits:
    """Return the tightest limits on the way from a group to the root; the weights are the group's own."""
    found = groups[path].limits if path in groups else GroupLimits()
    above = groups[path].parent if path in groups else ""
    while above in groups:
        found = tighter(found, groups[above].limits)
        above = groups[above].parent
    return found


def tighter(own: GroupLimits, above: GroupLimits) -> GroupLimits:
    """Return the tighter limits of a group and of one above it; the weights are the group's own."""
    if above.cpus is above.memory is above.memory_high is above.pids is None:
        return own
    return GroupLimits(
        _less(own.cpus, above.cpus), _less(own.memory, above.memory), _less(own.memory_high, above.memory_high),
        _less(own.pids, above.pids), own.cpu_weight, own.io_weight,
    )  # fmt: skip


def _less(one: Number | None, other: Number | None) -> Number | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def cpu_shares(groups: Iterable[HostGroup]) -> dict[str, float]:
    """Return by path the part of the CPU, 0..1, that each group gets when all with tasks want all of it.

    Groups come before those below them. An empty group gets what it would get if it had tasks. What runs beside groups
    in a group that has some, as the kernel's own threads do in the root, is left out.
    """
    found = list(groups)
    totals: dict[str, int] = {}
    for group in found:
        if group.tasks and group.path != ROOT:
            totals[group.parent] = totals.get(group.parent, 0) + (group.limits.cpu_weight or 0)
    shares: dict[str, float] = {}
    for group in found:
        weight = group.limits.cpu_weight or 0
        total = totals.get(group.parent, 0) + (0 if group.tasks else weight)
        above = shares.get(group.parent, 1.0)
        shares[group.path] = above * weight / total if group.path != ROOT and total else above
    return shares


class Stall(Value, frozen=True):
    """Tasks have waited for a resource for longer than a threshold allows.

    Attributes:
        container_id: Whose tasks; empty for those of the whole host.
        resource: "cpu", "memory" or "io".
        threshold: Percent of two seconds.
    """

    container_id: str
    resource: str
    threshold: float
