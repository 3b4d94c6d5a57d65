"""The tree of the host's control groups as rows: use between two readings, limits and shares as bars; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from engine.model.groups import GroupDetail, GroupLimits, GroupReading, HostGroup, cpu_shares, effective, tighter
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.text import printable

_BAR = 8
_GLYPHS = {"root": "◆", "slice": "▤", "service": "⚙", "scope": "○", "pod": "▣", "container": "●", "group": "·"}
_COLUMNS = (
    Column("name", "GROUP", None), Column("owner", "OWNER", 10), Column("cpu", "CPU %", 7, "right"),
    Column("cpu_bar", "OF LIMIT", 16), Column("memory", "MEMORY", 6, "right"), Column("memory_bar", "OF LIMIT", 14),
    Column("io", "I/O", 8, "right"), Column("tasks", "TASKS", 6, "right"), Column("weight", "WEIGHT", 6, "right"),
    Column("cpu_share", "CPU SHARE", 14), Column("pressure", "PRESSURE", 10, "right"),
)  # fmt: skip
_FIRST_TO_GO = ("owner", "tasks", "memory_bar", "weight", "pressure", "cpu_bar", "cpu_share")
_SHORTEST_NAME = 26


class Use(Value, frozen=True):
    """What a group used between two readings.

    Attributes:
        cpu_percent: 100 is one core fully used.
        io_rate: Bytes per second over all devices; devices: of each one.
        growth: Bytes of memory per second, below 0 when it gave some up.
        throttled: Part of the time, 0..100, for which its own CPU quota held some of its tasks back.
        cpu_pressure, memory_pressure, io_pressure: Part of the time, 0..100, in which some task waited.
        cpu_full, memory_full, io_full: In which all did.
    """

    group: HostGroup
    cpu_percent: float = 0.0
    io_rate: float = 0.0
    devices: tuple[tuple[str, float], ...] = ()
    growth: float = 0.0
    throttled: float = 0.0
    cpu_pressure: float = 0.0
    memory_pressure: float = 0.0
    io_pressure: float = 0.0
    cpu_full: float = 0.0
    memory_full: float = 0.0
    io_full: float = 0.0

    @property
    def pressure(self) -> float:
        """The worst of the three."""
        return max(self.cpu_pressure, self.memory_pressure, self.io_pressure)


def uses(older: GroupReading | None, newer: GroupReading) -> dict[str, Use]:
    """Return by path what each group used between two readings, in the order of the newer; 0 without an older one."""
    before = {group.path: group for group in older.groups} if older else {}
    seconds = (newer.taken_ns - older.taken_ns) / 1e9 if older else 0.0
    return {group.path: _use(before.get(group.path), group, seconds) for group in newer.groups}


def _use(old: HostGroup | None, new: HostGroup, seconds: float) -> Use:
    if old is None or seconds <= 0:
        return Use(new)
    earlier = {device: read + written for device, read, written in old.devices}
    rates = tuple(
        (device, max(0, read + written - earlier.get(device, 0)) / seconds) for device, read, written in new.devices
    )
    stalls: dict[str, float] = {}
    for resource in ("cpu", "memory", "io"):
        one, two = getattr(old, f"{resource}_pressure"), getattr(new, f"{resource}_pressure")
        if one and two:
            stalls[f"{resource}_pressure"] = min(100.0, max(0, two.some_total_us - one.some_total_us) / seconds / 1e4)
            stalls[f"{resource}_full"] = min(100.0, max(0, two.full_total_us - one.full_total_us) / seconds / 1e4)
    return Use(
        new, max(0, new.cpu_ns - old.cpu_ns) / seconds / 1e7, sum(rate for _, rate in rates), rates,
        (new.memory_bytes - old.memory_bytes) / seconds,
        min(100.0, max(0, new.throttled_ns - old.throttled_ns) / seconds / 1e7), **stalls,
    )  # fmt: skip


def columns_for(width: int) -> tuple[Column, ...]:
    """Return the columns that fit; the least wanted go first."""
    columns = list(_COLUMNS)
    for name in _FIRST_TO_GO:
        if sum(column.width or _SHORTEST_NAME for column in columns) + len(columns) + 1 <= width:
            break
        columns = [column for column in columns if column.id != name]
    return tuple(columns)


def tree_rows(
    found: Mapping[str, Use], columns: Sequence[Column], *, folded: Collection[str] = (), pattern: str = "",
    sort_by: str = "name", hides_idle: bool = False, cpus: int = 1,
) -> tuple[Row, ...]:  # fmt: skip
    """Return the visible groups as rows, parents before what is below them.

    Args:
        found: The uses by path.
        columns: What to show.
        folded: Paths whose groups below are hidden.
        pattern: Words that the path, name or owner must have, with those above for the shape; a leading ! excludes.
        sort_by: "name", "cpu", "memory", "io", "pressure" or "share": how groups beside each other are ordered.
        hides_idle: Whether to leave out groups without tasks.
        cpus: Of the host, for bars of groups without a limit.
    """
    groups = {path: use.group for path, use in found.items()}
    shares = cpu_shares(groups.values())
    below = _ordered(found, shares, sort_by)
    kept = _kept(groups, pattern, hides_idle=hides_idle)
    rows: list[Row] = []
    held: dict[str, GroupLimits] = {}
    waiting = [(path, 0) for path in reversed(below.get("", []))]
    while waiting:
        path, depth = waiting.pop()
        if path not in kept:
            continue
        children = [child for child in below.get(path, []) if child in kept]
        is_folded = path in folded and not pattern
        mark = ("▸" if is_folded else "▾") if children else " "
        held[path] = tighter(groups[path].limits, held.get(groups[path].parent, GroupLimits()))
        cells = _Cells(found[path], shares[path], held[path], cpus)
        rows.append(Row(path, tuple(cells.cell(column.id, depth, mark) for column in columns)))
        if not is_folded:
            waiting += [(child, depth + 1) for child in reversed(children)]
    return tuple(rows)


def _ordered(found: Mapping[str, Use], shares: Mapping[str, float], sort_by: str) -> dict[str, list[str]]:
    below: dict[str, list[str]] = {}
    for path, use in found.items():
        parent = use.group.parent
        below.setdefault(parent if parent in found else "", []).append(path)
    measures: dict[str, Callable[[str], float]] = {
        "cpu": lambda path: found[path].cpu_percent, "memory": lambda path: found[path].group.memory_bytes,
        "io": lambda path: found[path].io_rate, "pressure": lambda path: found[path].pressure, "share": shares.__getitem__,
    }  # fmt: skip
    for paths in below.values():
        paths.sort(key=lambda path: (found[path].group.name, path))
        if sort_by in measures:
            paths.sort(key=measures[sort_by], reverse=True)
    return below


def _kept(groups: Mapping[str, HostGroup], pattern: str, *, hides_idle: bool) -> set[str]:
    """Return the paths that fit, and those above them."""
    words = pattern.lower().split()
    kept: set[str] = set()
    for path, group in groups.items():
        text = f"{path} {group.name} {group.owner} {group.kind}".lower()
        fits = all((word.lstrip("!") in text) != (word.startswith("!") and len(word) > 1) for word in words)
        if not fits or (hides_idle and not group.tasks):
            continue
        above = path
        while above in groups and above not in kept:
            kept.add(above)
            above = groups[above].parent
    return kept


class _Cells:
    """The cells of one row."""

    def __init__(self, use: Use, share: float, limits: GroupLimits, cpus: int) -> None:
        self._use, self._group, self._share, self._limits, self._cpus = use, use.group, share, limits, cpus

    def cell(self, column: str, depth: int, mark: str) -> Cell:
        """Return the cell of a column."""
        if column == "name":
            group = self._group
            style = "accent" if group.is_ours else "" if group.tasks else "muted"
            return Cell(f"{'  ' * depth}{mark} {_GLYPHS[group.kind]} {printable(group.name)}", style)
        found: Cell = getattr(self, f"_{column}")()
        return found

    def _owner(self) -> Cell:
        return Cell(self._group.owner or "-", "accent" if self._group.is_ours else "muted")

    @property
    def _has_cpu(self) -> bool:
        return self._group.kind == "root" or self._group.limits.cpu_weight is not None or self._group.cpu_ns > 0

    def _cpu(self) -> Cell:
        percent = self._use.cpu_percent
        return Cell(f"{percent:.1f}" if self._has_cpu else "-", "" if percent >= 0.05 else "muted")

    def _cpu_bar(self) -> Cell:
        limit = self._limits.cpus
        if not limit and self._group.kind == "root":
            limit = float(self._cpus)
        return _limit_cell(self._use.cpu_percent / 100, limit, f"{limit:g} CPU" if limit else "")

    def _memory(self) -> Cell:
        used = self._group.memory_bytes
        return Cell(units.short_size(used), "" if used else "muted")

    def _memory_bar(self) -> Cell:
        limit = self._limits.memory
        return _limit_cell(self._group.memory_bytes, limit, units.short_size(limit) if limit else "")

    def _io(self) -> Cell:
        return Cell(units.rate(self._use.io_rate), "" if self._use.io_rate >= 1 else "muted")

    def _tasks(self) -> Cell:
        return Cell(str(self._group.tasks), "" if self._group.tasks else "muted")

    def _weight(self) -> Cell:
        weight = self._group.limits.cpu_weight
        return Cell("-" if weight is None else str(weight), "muted")

    def _cpu_share(self) -> Cell:
        text = f"{bar(self._share, _BAR)} {100 * self._share:4.0f}%"
        return Cell(text if self._has_cpu else "-", "" if self._group.tasks else "muted")

    def _pressure(self) -> Cell:
        return pressure_cell(self._use)


def pressure_cell(use: Use) -> Cell:
    """Return the worst pressure with what it is of; where there is none to know, how long the CPU quota held it back."""
    group = use.group
    if group.cpu_pressure is None and group.memory_pressure is None:
        return Cell(
            f"held {use.throttled:.0f}%" if use.throttled >= 1 else "-", "warn" if use.throttled >= 10 else "muted"
        )
    worst = max(("cpu", "memory", "io"), key=lambda name: getattr(use, f"{name}_pressure"))
    style = "bad" if use.pressure >= 40 else "warn" if use.pressure >= 10 else "" if use.pressure >= 1 else "muted"
    return Cell(f"{worst.replace('memory', 'mem')} {use.pressure:.0f}%" if use.pressure >= 1 else "0%", style)


def _limit_cell(used: float, limit: float | None, text: str) -> Cell:
    if not limit:
        return Cell("no limit", "muted")
    part = used / limit
    return Cell(f"{bar(part, _BAR)} {text}", "bad" if part > 0.95 else "warn" if part > 0.8 else "")


def bar(part: float, width: int) -> str:
    """Return a bar for a part of 0..1."""
    eighths = round(min(1.0, max(0.0, part)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "░")


def facts(use: Use, groups: Mapping[str, HostGroup]) -> tuple[tuple[str, str], ...]:
    """Return what is said of the group under the cursor: who it is, what holds it, and whether it can be retuned."""
    group = use.group
    inherited = effective(groups, group.path)
    limits = (
        f"CPU {f'{inherited.cpus:g}' if inherited.cpus else 'all'}", f"memory {units.size(inherited.memory) if inherited.memory else 'no limit'}",
        f"tasks {inherited.pids or 'no limit'}",
    )  # fmt: skip
    who = "t moves its limits" if group.is_ours else "read only: it is not a container of this engine"
    return (
        ("path", printable(group.path)), ("is", f"{group.kind}{f' of {group.owner}' if group.owner else ''}; {who}"),
        ("in force", f"{', '.join(limits)} (the tightest on the way up)"),
        ("waits", _waits(use)),
    )  # fmt: skip


def _waits(use: Use) -> str:
    if use.group.cpu_pressure is None and use.group.memory_pressure is None:
        return (
            f"held back by its CPU limit {use.throttled:.0f}% of the time; this kernel does not measure pressure here"
        )
    pairs = ((name, getattr(use, f"{name}_pressure"), getattr(use, f"{name}_full")) for name in ("cpu", "memory", "io"))
    return ", ".join(f"{name} some {some:.0f}% full {full:.0f}%" for name, some, full in pairs)


def detail_text(detail: GroupDetail) -> str:
    """Return all that the kernel says of a group, as a document."""
    lines = [f"# {printable(detail.path)}", "", f"## processes ({len(detail.processes)})"]
    lines += [
        f"{process.pid:>8}  {printable(process.user):<10} {printable(process.command)}" for process in detail.processes
    ]
    controller = ""
    for file in detail.files:
        if file.controller != controller:
            controller = file.controller
            lines += ["", f"# hierarchy of {controller}"]
        text = file.text.splitlines() or ["(empty)"]
        if len(text) == 1:
            lines.append(f"{file.name:<40} {printable(text[0])}")
        else:
            lines += [f"{file.name}:", *(f"    {printable(line)}" for line in text)]
    return "\n".join(lines)
