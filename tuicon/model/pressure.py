"""Who waits for what, and who is in the way: an estimate from what groups used while others waited; pure."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model.container import Container
from engine.model.groups import ROOT, HostGroup, HostPressure, effective
from engine.model.usage import Pressure
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.groups import Use, bar
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.text import printable

RESOURCES = ("cpu", "memory", "io")
_NOTABLE = 5.0
_BUSY = 0.8
_NEAR = 0.9
_GROWS = 1 << 20
_OUTSIDE = "processes outside of groups"
_UNITS = ("container", "service", "scope")
_ALL = (
    Column("name", "CONTAINER", 24), Column("cpu", "WAITS: CPU", 11, "right"), Column("memory", "MEMORY", 11, "right"),
    Column("io", "I/O", 11, "right"), Column("avg", "10s 60s 300s", 14, "right"), Column("use", "CPU %", 7, "right"),
    Column("why", "WHO IS IN THE WAY", None),
)  # fmt: skip


class Cause(Value, frozen=True):
    """What makes a container wait for a resource, as far as one can tell.

    Attributes:
        resource: "cpu", "memory" or "io".
        kind: "limit" (a limit of its own or of a group above), "neighbour", or "itself".
        path: The group in the way; that of the limit.
        name: Its name.
        part: How much of what all others use is its, 0..1.
        sentence: Why, in one sentence.
    """

    resource: str
    kind: str
    path: str
    name: str
    part: float
    sentence: str


class Sufferer(Value, frozen=True):
    """A container, and what it waits for.

    Attributes:
        levels: For each resource what its list is sorted by, 0..100: the part of the time in which some task waited. Where
            the kernel does not measure that: the time held back by the CPU quota, and the part of the memory limit in use.
        causes: The worst resource first.
    """

    use: Use
    levels: dict[str, float]
    causes: tuple[Cause, ...]

    @property
    def worst(self) -> str:
        """The resource that it waits for most."""
        return max(RESOURCES, key=lambda name: self.levels[name])


class Host(Value, frozen=True):
    """What the host has: CPUs, bytes of memory, and its pressure."""

    cpus: int
    memory: int
    pressure: HostPressure


def sufferers(found: Mapping[str, Use], containers: Mapping[str, Container], host: Host) -> tuple[Sufferer, ...]:
    """Return the containers of all engines, those that wait most first.

    Args:
        found: What each group used, by path.
        containers: Ours, by id.
        host: The host.
    """
    view = _View(found, containers, host)
    listed = [view.sufferer(use) for use in found.values() if use.group.kind == "container" and use.group.tasks]
    return tuple(sorted(listed, key=lambda one: (-max(one.levels.values()), -one.use.cpu_percent, one.use.group.name)))


class _View:
    """Everything that one estimate looks at."""

    def __init__(self, found: Mapping[str, Use], containers: Mapping[str, Container], host: Host) -> None:
        self._found = found
        self._groups: dict[str, HostGroup] = {path: use.group for path, use in found.items()}
        self._containers = containers
        self._host = host
        self._consumers = _consumers(found)

    def sufferer(self, use: Use) -> Sufferer:
        """Return a container with the causes of what it waits for."""
        levels = self._levels(use)
        by_level = sorted(RESOURCES, key=lambda name: -levels[name])
        is_measured = use.group.cpu_pressure is not None
        judges = {"cpu": self._cpu, "memory": self._memory, "io": self._io}
        causes = (judges[name](use, levels[name]) for name in by_level if levels[name] >= _NOTABLE or not is_measured)
        return Sufferer(use, levels, tuple(cause for cause in causes if cause))

    def _levels(self, use: Use) -> dict[str, float]:
        if use.group.cpu_pressure is not None:
            return {name: getattr(use, f"{name}_pressure") for name in RESOURCES}
        limit = effective(self._groups, use.group.path).memory
        part = 100.0 * use.group.memory_bytes / limit if limit else 0.0
        return {"cpu": use.throttled, "memory": part if part > 100 * _NEAR else 0.0, "io": 0.0}

    def _holder(self, path: str, name: str) -> tuple[str, float] | None:
        """Return the group with the tightest limit on the way up, and that limit."""
        found: tuple[str, float] | None = None
        while path in self._groups:
            value = getattr(self._groups[path].limits, name)
            if value is not None and (found is None or value < found[1]):
                found = (path, value)
            path = self._groups[path].parent
        return found

    def _whose(self, use: Use, path: str) -> str:
        return "its own" if path == use.group.path else f"the group {printable(self._groups[path].name)}'s"

    def _others(self, use: Use) -> list[Use]:
        own = use.group.path
        return [one for path, one in self._consumers.items() if path != own and not f"{own}/".startswith(f"{path}/")]

    def _cpu(self, use: Use, level: float) -> Cause | None:
        holder = self._holder(use.group.path, "cpus")
        if holder and use.throttled >= max(_NOTABLE, level / 2):
            path, cpus = holder
            text = f"{self._whose(use, path)} CPU limit of {cpus:g} held it back {use.throttled:.0f}% of the time"
            return Cause("cpu", "limit", path, self._groups[path].name, 1.0, text)
        if level < _NOTABLE and use.cpu_percent < 1:
            return None
        counted = sum(one.cpu_percent for one in self._consumers.values())
        # The host's own count goes by ticks, of which some are lost where the host is a busy virtual machine.
        host = max(counted, self._found[ROOT].cpu_percent if ROOT in self._found else 0.0)
        full = 100.0 * self._host.cpus
        others = self._others(use)
        outside = host - counted
        total = sum(one.cpu_percent for one in others) + outside
        if host < _BUSY * full or total <= 0:
            return None if level < _NOTABLE else Cause(
                "cpu", "itself", use.group.path, use.group.name, 1.0,
                f"its own tasks wait for each other: the host is only {host / self._host.cpus:.0f}% busy",
            )  # fmt: skip
        top = max(others, key=lambda one: one.cpu_percent, default=None)
        if top is None or outside > top.cpu_percent:
            text = f"{_OUTSIDE} used {outside:.0f}% of {full:.0f}% CPU meanwhile"
            return Cause("cpu", "neighbour", ROOT, _OUTSIDE, outside / total, text)
        text = f"{printable(top.group.name)} used {top.cpu_percent:.0f}% of {full:.0f}% CPU meanwhile"
        return Cause("cpu", "neighbour", top.group.path, top.group.name, top.cpu_percent / total, text)

    def _memory(self, use: Use, level: float) -> Cause | None:
        holder = self._holder(use.group.path, "memory") or self._holder(use.group.path, "memory_high")
        high = self._holder(use.group.path, "memory_high")
        for path, limit in (one for one in (high, holder) if one):
            if self._groups[path].memory_bytes >= _NEAR * limit:
                text = f"{self._whose(use, path)} memory limit of {units.size(limit)} is nearly used up"
                return Cause("memory", "limit", path, self._groups[path].name, 1.0, text)
        if level < _NOTABLE:
            return None
        used = self._found[ROOT].group.memory_bytes if ROOT in self._found else 0
        others = self._others(use)
        if used < _NEAR * self._host.memory or not others:
            text = "it brings back pages that it had given up, though neither it nor the host is short of memory now"
            return Cause("memory", "itself", use.group.path, use.group.name, 1.0, text)
        return self._hungriest(others)

    @staticmethod
    def _hungriest(others: list[Use]) -> Cause:
        """Return the neighbour that grows most, else the one that holds most, on a host without memory to spare."""
        top = max(others, key=lambda one: one.growth)
        if top.growth >= _GROWS:
            text = (
                f"the host is nearly full, and {printable(top.group.name)} grew by {units.rate(top.growth)} meanwhile"
            )
            part = top.growth / sum(max(0.0, one.growth) for one in others)
        else:
            top = max(others, key=lambda one: one.group.memory_bytes)
            text = (
                f"the host is nearly full, and {printable(top.group.name)} holds {units.size(top.group.memory_bytes)}"
            )
            part = top.group.memory_bytes / (sum(one.group.memory_bytes for one in others) or 1)
        return Cause("memory", "neighbour", top.group.path, top.group.name, part, text)

    def _io(self, use: Use, level: float) -> Cause | None:
        container = self._containers.get(use.group.container_id)
        limits = container.limits if container else None
        rates = (*limits.device_read_bps, *limits.device_write_bps) if limits else ()
        limit = min((rate.rate for rate in rates), default=0)
        if limit and use.io_rate >= 0.85 * limit:
            text = f"its own limit of {units.rate(limit)} for a disk is used up"
            return Cause("io", "limit", use.group.path, use.group.name, 1.0, text)
        if level < _NOTABLE:
            return None
        devices = {device for device, rate in use.devices if rate > 0} or {device for device, _ in use.devices}
        moved = {
            one.group.path: sum(rate for device, rate in one.devices if not devices or device in devices)
            for one in self._others(use)
        }  # fmt: skip
        top = max(moved, key=lambda path: moved[path], default="")
        if not top or moved[top] < max(1.0, use.io_rate / 10):
            text = "nobody else moves much on its disks: they are as slow as that, or its reads wait for one another"
            return Cause("io", "itself", use.group.path, use.group.name, 1.0, text)
        name, total = self._groups[top].name, sum(moved.values())
        text = f"{printable(name)} moves {units.rate(moved[top])} on the same disk"
        return Cause("io", "neighbour", top, name, moved[top] / total, text)


def _consumers(found: Mapping[str, Use]) -> dict[str, Use]:
    """Return the groups that stand for something: containers, services, scopes, and others without groups below."""
    parents = {use.group.parent for use in found.values()}
    kept: dict[str, Use] = {}
    for path, use in found.items():
        above = use.group.parent
        while above and above not in kept:
            above = found[above].group.parent if above in found else ""
        if not above and path != ROOT and (use.group.kind in _UNITS or path not in parents):
            kept[path] = use
    return kept


def columns_for(width: int) -> tuple[Column, ...]:
    """Return the columns that fit."""
    left_out = {"avg", "use"} if width < 100 else {"avg"} if width < 120 else set()
    return tuple(column for column in _ALL if column.id not in left_out)


def pressure_rows(listed: tuple[Sufferer, ...], columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """Return a row for each container."""
    return tuple(Row(one.use.group.path, tuple(_cell(column.id, one) for column in columns)) for one in listed)


def _cell(column: str, one: Sufferer) -> Cell:
    use = one.use
    if column == "name":
        return Cell(printable(use.group.name), "accent" if use.group.is_ours else "")
    if column == "use":
        return Cell(f"{use.cpu_percent:.1f}", sort=use.cpu_percent)
    if column == "why":
        return Cell(one.causes[0].sentence if one.causes else "", "muted" if not one.causes else "")
    if column == "avg":
        found: Pressure | None = getattr(use.group, f"{one.worst}_pressure")
        if found is None:
            return Cell("-", "muted")
        return Cell(f"{found.some_avg10:.0f} {found.some_avg60:.0f} {found.some_avg300:.0f}", "muted")
    return level_cell(one, column)


def level_cell(one: Sufferer, resource: str) -> Cell:
    """Return how long a container waits for a resource, as a bar; without pressure, what stands for it."""
    level = one.levels[resource]
    style = "bad" if level >= 40 else "warn" if level >= 10 else "" if level >= 1 else "muted"
    if one.use.group.cpu_pressure is not None:
        return Cell(f"{bar(level / 100, 5)} {level:3.0f}%", style, sort=level)
    if resource == "cpu":
        return Cell(f"held {level:.0f}%" if level >= 1 else "-", style, sort=level)
    if resource == "memory":
        return Cell(units.short_size(one.use.group.memory_bytes), "bad" if level else "", sort=level)
    return Cell(units.rate(one.use.io_rate), "" if one.use.io_rate >= 1 else "muted", sort=one.use.io_rate)


def host_lines(pressure: HostPressure) -> tuple[tuple[str, str, str], ...]:
    """Return (resource, numbers, style) of the host: some and full over 10, 60 and 300 seconds."""
    lines = []
    for name in RESOURCES:
        found: Pressure | None = getattr(pressure, name)
        if found is not None:
            worst = found.some_avg10
            style = "bad" if worst >= 40 else "warn" if worst >= 10 else ""
            lines.append((name, f"{bar(worst / 100, 10)} {averages(found)}", style))
    return tuple(lines)


def averages(found: Pressure) -> str:
    """Return the averages of some and full, in percent."""
    some = f"{found.some_avg10:5.1f} {found.some_avg60:5.1f} {found.some_avg300:5.1f}"
    return f"some {some}   full {found.full_avg10:5.1f} {found.full_avg60:5.1f} {found.full_avg300:5.1f}"


def facts(one: Sufferer) -> tuple[tuple[str, str], ...]:
    """Return what is said of the container under the cursor: why it waits, and all its pressures."""
    lines = []
    for cause in one.causes:
        part = f" ({100 * cause.part:.0f}% of what all others use)" if cause.kind == "neighbour" else ""
        lines.append((f"why {cause.resource}", f"{cause.sentence}{part}"))
    use = one.use
    if use.group.cpu_pressure is None:
        held, memory = f"held back {use.throttled:.0f}%", units.size(use.group.memory_bytes)
        lines.append(("use", f"CPU {use.cpu_percent:.1f}%, {held}, memory {memory}, I/O {units.rate(use.io_rate)}"))
    for name in RESOURCES:
        found: Pressure | None = getattr(use.group, f"{name}_pressure")
        if found is not None:
            lines.append(
                (
                    name,
                    _numbers("some", found, getattr(use, f"{name}_pressure"))
                    + "   "
                    + _numbers("full", found, getattr(use, f"{name}_full")),
                )
            )
    return tuple(lines)


def _numbers(part: str, found: Pressure, now: float) -> str:
    """Return "some now 12%, avg 10 8 5", of 10, 60 and 300 seconds."""
    averages = " ".join(f"{getattr(found, f'{part}_avg{seconds}'):2.0f}" for seconds in (10, 60, 300))
    return f"{part} now {now:3.0f}%, avg {averages}"
