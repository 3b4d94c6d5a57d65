"""The limits that the console moves live: scales, steps, texts and changes; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from engine.model.history import Advice
from engine.model.limits import DeviceRate, Knob, Limits
from engine.model.usage import Usage
from engine.model.value import Value as Record
from engine.model.value import replace
from tuicon.model import units

Value = float | str | None
Change = Callable[[Limits], Limits]

SHARES_PER_CPU = 1024  # as Kubernetes counts
_LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_WHOLE = ("tasks", "ops/s", "weight", "shares", "percent")


class Tunable(Record, frozen=True):
    """One limit.

    Attributes:
        id: Its name in the pane.
        group: What it limits: "CPU", "Memory", "I/O", "Tasks" or "Network".
        label: What it is there: "max", "weight", …
        unit: "cores", "B", "B/s", "ops/s", "tasks", "shares", "weight", "us", "percent", "loss", "switch" or "list".
        low, high: The ends of the scale.
        is_log: Whether equal steps multiply instead of add.
        history: The quantity of the history that its graph shows.
        field: The field of Limits.
        line: The colour of its line in the graph; empty when it is no value of the graph's quantity.
        none: What it is called when it is not set.
        start: Where steps begin when it is not set; 0 for the use now.
        is_floor: Whether it protects instead of limiting, so that not set means nothing.
        device: The disk, for what is set by disk.
        why_not: Why this host cannot set it; empty when it can.
    """

    id: str
    group: str
    label: str
    unit: str
    low: float
    high: float
    is_log: bool
    history: str
    field: str
    line: str = ""
    none: str = "unlimited"
    start: float = 0.0
    is_floor: bool = False
    device: str = ""
    why_not: str = ""

    @property
    def is_main(self) -> bool:
        """Whether it is one of those that people look for even when they are not set."""
        return self.field in ("cpus", "memory", "pids", "device_read_bps", "device_write_bps")

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.group} {self.label}"


def tunables(cpus: int, memory_total: int, disks: Iterable[str], knobs: Iterable[Knob] = ()) -> tuple[Tunable, ...]:
    """Return what can be moved on a host, in groups.

    Args:
        cpus: The host's CPUs.
        memory_total: The host's memory in bytes.
        disks: The disks that can be limited.
        knobs: What the host's kernel can do; what is not among them it can.
    """
    reasons = {knob.name: knob.why_not for knob in knobs}
    found = [*_of_cpu(float(cpus)), *_of_memory(float(max(memory_total, 64 << 20))), *_of_disks(tuple(disks))]
    found.append(Tunable("pids", "Tasks", "max", "tasks", 1, 4096, True, "pids", "pids", "warning"))
    found += _of_network()
    known = Limits.__dataclass_fields__
    return tuple(replace(one, why_not=reasons.get(one.field, "")) for one in found if one.field in known)


def _of_cpu(cpus: float) -> tuple[Tunable, ...]:
    return (
        Tunable("cpus", "CPU", "max", "cores", 0.05, cpus, False, "cpu", "cpus", "warning"),
        Tunable("shares", "CPU", "weight", "shares", 2, 262144, True, "cpu", "cpu_shares", none="1024 (default)", start=1024),
        Tunable("burst", "CPU", "burst", "us", 1000, 1_000_000, True, "cpu", "cpu_burst", none="none", start=10_000),
        Tunable("idle", "CPU", "idle only", "switch", 0, 1, False, "cpu", "cpu_idle", none="off"),
        Tunable("cpuset", "CPU", "pinned to", "list", 0, cpus - 1, False, "cpu", "cpuset_cpus", none="all CPUs"),
    )  # fmt: skip


def _of_memory(total: float) -> tuple[Tunable, ...]:
    low = float(6 << 20)
    return (
        Tunable("memory", "Memory", "max", "B", low, total, True, "memory", "memory", "warning"),
        Tunable("high", "Memory", "high", "B", low, total, True, "memory", "memory_high", "accent", none="none"),
        Tunable("low", "Memory", "low", "B", 1 << 20, total, True, "memory", "memory_reservation", "success", none="none", is_floor=True),
        Tunable("min", "Memory", "min", "B", 1 << 20, total, True, "memory", "memory_min", "success", none="none", is_floor=True),
        Tunable("swap", "Memory", "with swap", "B", low, 2 * total, True, "memory", "memory_swap", none="not set"),
        Tunable("swappiness", "Memory", "swappiness", "percent", 0, 100, False, "memory", "memory_swappiness", none="not set", start=60),
    )  # fmt: skip


def _of_disks(disks: tuple[str, ...]) -> tuple[Tunable, ...]:
    found = []
    for disk in disks:
        name = f" {disk.removeprefix('/dev/')}" if len(disks) > 1 else ""
        for way in ("read", "write"):
            found += [
                Tunable(f"{way}{name}", "I/O", f"{way}{name}", "B/s", 64 << 10, 4 << 30, True, way, f"device_{way}_bps",
                    "warning", device=disk),
                Tunable(f"{way}-ops{name}", "I/O", f"{way} iops{name}", "ops/s", 1, 1_000_000, True, f"{way}_ops",
                    f"device_{way}_iops", "warning", device=disk),
            ]  # fmt: skip
    weight = Tunable(
        "io-weight", "I/O", "weight", "weight", 10, 1000, True, "read", "blkio_weight", none="default", start=100
    )
    return (*(replace(one, id=re.sub(r"\W", "-", one.id)) for one in found), weight)


def _of_network() -> tuple[Tunable, ...]:
    return (
        Tunable("net-in", "Network", "in", "B/s", 8 << 10, 2 << 30, True, "rx", "net_rate_in", "warning"),
        Tunable("net-out", "Network", "out", "B/s", 8 << 10, 2 << 30, True, "tx", "net_rate_out", "warning"),
        Tunable(
            "burst-in",
            "Network",
            "burst in",
            "B",
            4 << 10,
            64 << 20,
            True,
            "rx",
            "net_burst_in",
            none="default",
            start=64 << 10,
        ),
        Tunable(
            "burst-out",
            "Network",
            "burst out",
            "B",
            4 << 10,
            64 << 20,
            True,
            "tx",
            "net_burst_out",
            none="default",
            start=64 << 10,
        ),
        Tunable("delay", "Network", "delay", "us", 500, 10_000_000, True, "tx", "net_delay", none="none", start=10_000),
        Tunable("loss", "Network", "loss", "loss", 0.1, 100, True, "tx", "net_loss", none="none", start=1),
    )


def disks_of(limits: Limits, own: str) -> tuple[str, ...]:
    """Return the disks to offer: the one that containers write to, and those that are limited already."""
    named = (rate.device for name in _RATES for rate in getattr(limits, name))
    return tuple(dict.fromkeys(disk for disk in (own, *named) if disk))


def value_of(limits: Limits, tunable: Tunable) -> Value:
    """Return the limit in force; None when there is none."""
    if tunable.field == "cpus":
        return limits.effective_cpus
    found = getattr(limits, tunable.field)
    if tunable.device:
        return next((float(rate.rate) for rate in found if rate.device == tunable.device), None)
    if tunable.unit == "switch":
        return 1.0 if found else None
    return found if found is None or isinstance(found, str) else float(found)


def change_to(tunable: Tunable, value: Value) -> Change:
    """Return the change that sets one limit."""

    def change(limits: Limits) -> Limits:
        number = None if value is None or isinstance(value, str) else int(value)
        match tunable.field:
            case "cpus":
                return _with_cpus(limits, value if isinstance(value, float | int) else None)
            case "memory":
                return _with_memory(limits, number)
        if tunable.device:
            old: tuple[DeviceRate, ...] = getattr(limits, tunable.field)
            mine = () if number is None else (DeviceRate(tunable.device, number),)
            kept = (rate for rate in old if rate.device != tunable.device)
            return replace(limits, **{tunable.field: (*kept, *mine)})  # type: ignore[arg-type]
        found = value if isinstance(value, str) or tunable.unit == "loss" else number
        if tunable.unit == "switch":
            found = True if number else None
        return replace(limits, **{tunable.field: found})  # type: ignore[arg-type]

    return change


def _with_cpus(limits: Limits, cpus: float | None) -> Limits:
    burst = limits.cpu_burst if cpus is not None else None  # it is a part of the quota
    rounded = None if cpus is None else round(cpus, 2)
    return replace(limits, cpus=rounded, cpu_quota=None, cpu_period=None, cpu_burst=burst)


def _with_memory(limits: Limits, memory: int | None) -> Limits:
    swap = limits.memory_swap
    keeps = swap is None or swap == -1 or (memory is not None and swap >= memory)
    return replace(limits, memory=memory, memory_swap=swap if keeps and memory is not None else None)


def advised(advice: Advice) -> Change | None:
    """Return the change that advice asks for; None when it asks for none."""
    if advice.cpus is None or advice.memory is None:
        return None
    cpus, memory = advice.cpus, advice.memory
    return lambda limits: _with_memory(_with_cpus(limits, cpus), memory)


def text_of(tunable: Tunable, value: Value) -> str:
    """Return a limit for people."""
    if value is None:
        return tunable.none
    if isinstance(value, str):
        return value
    match tunable.unit:
        case "cores":
            return f"{value:.2f} cores"
        case "tasks":
            return f"{value:.0f} tasks"
        case "ops/s":
            return f"{value:.0f}/s"
        case "us":
            return f"{value / 1000:g} ms"
        case "switch":
            return "on"
        case "loss" | "percent":
            return f"{value:g}%"
        case "B" | "B/s":
            return "unlimited" if value < 0 else units.size(value) + ("/s" if tunable.unit == "B/s" else "")
    return f"{value:.0f}"


def parse_value(tunable: Tunable, text: str) -> Value:
    """Parse what was typed: cores, tasks, a size such as 512m, a percentage of the host, a time, a list of CPUs.

    Raises:
        ValueError: It is nothing of the kind, or off the scale.
    """
    if tunable.unit == "list":
        if not _LIST.fullmatch(text):
            raise ValueError(f"{text} is no list of CPUs, such as 0-2,5")
        return text
    try:
        value = _number(tunable, text)
    except ValueError as error:
        raise ValueError(f"{text} is no value of {tunable.title}") from error
    if not tunable.low <= value <= tunable.high and not (tunable.field == "memory_swap" and value == -1):
        raise ValueError(
            f"{tunable.title} goes from {text_of(tunable, tunable.low)} to {text_of(tunable, tunable.high)}"
        )
    return value


def _number(tunable: Tunable, text: str) -> float:
    if text.endswith("%") and tunable.unit == "cores":
        return float(text[:-1]) / 100 * tunable.high
    if tunable.unit == "us":
        return units.parse_duration(text) * 1e6 if text[-1:].isalpha() else float(text)
    if tunable.unit in ("cores", "loss", *_WHOLE):
        return float(text.removesuffix("%") if tunable.unit == "loss" else text)
    return float(units.parse_size(text))


def place_of(tunable: Tunable, value: float) -> float:
    """Return where a value is on the scale, 0..1."""
    value = min(max(value, tunable.low), tunable.high)
    if tunable.is_log:
        return math.log(value / tunable.low) / math.log(tunable.high / tunable.low)
    return (value - tunable.low) / ((tunable.high - tunable.low) or 1)


def rounded(tunable: Tunable, value: float) -> float:
    """Return the nearest value on the scale that people would set."""
    if tunable.unit == "cores":
        wanted = round(round(value / 0.05) * 0.05, 2)
    elif tunable.unit == "loss":
        wanted = round(value, 1)
    elif tunable.unit == "us":
        wanted = float(round(value / 500) * 500)
    elif tunable.unit in _WHOLE:
        wanted = float(round(value))
    else:
        grain = 1 << 20 if value >= 16 << 20 else 64 << 10
        wanted = float(round(value / grain) * grain)
    return min(max(wanted, tunable.low), tunable.high)


def stepped(tunable: Tunable, value: Value, steps: int, used: float) -> Value:
    """Return a limit some steps away; from "unlimited" downwards it starts above the use, upwards it stays.

    Args:
        tunable: Which limit.
        value: The limit in force.
        steps: Above 0 for more; 1 is a small step, 5 a big one.
        used: The use now, in the limit's unit.
    """
    if tunable.unit == "switch":
        return 1.0 if steps > 0 else None
    if isinstance(value, str) or tunable.unit == "list":
        return value
    if value is None or value < 0:
        if not tunable.start and (steps > 0) != tunable.is_floor:
            return None
        value = min(max(tunable.start or used * (0.5 if tunable.is_floor else 2), tunable.low * 4), tunable.high)
    if not tunable.is_log:
        wanted = rounded(tunable, value + steps * (0.05 if tunable.unit == "cores" else 1.0))
    else:
        wanted = rounded(tunable, value * 1.1**steps)
    if tunable.unit in _WHOLE:
        wanted = max(wanted, round(value) + steps) if steps > 0 else min(wanted, round(value) + steps)
    return float(min(max(wanted, tunable.low), tunable.high))


def used_of(tunable: Tunable, usage: Usage | None) -> float | None:
    """Return the use now, in the limit's unit; None for what is no amount that is used."""
    if not tunable.line:
        return None
    if usage is None:
        return 0.0
    counters = usage.counters
    return {
        "cpu": usage.cpu_percent / 100, "memory": float(counters.memory_bytes), "pids": float(counters.pids),
        "read": usage.read_rate, "write": usage.write_rate, "read_ops": usage.read_ops_rate,
        "write_ops": usage.write_ops_rate, "rx": usage.rx_rate, "tx": usage.tx_rate,
    }[tunable.history]  # fmt: skip


def part_of_host(tunable: Tunable, value: Value, cpus: int) -> str:
    """Return what part of the host a limit is, such as "40% of the host"; empty when that says nothing."""
    if not isinstance(value, float) or value < 0:
        return ""
    if tunable.unit == "cores":
        return f"{100 * value / cpus:.0f}% of the host"
    if tunable.unit == "shares":
        return f"as {100 * value / (SHARES_PER_CPU * cpus):.0f}% of the host"
    return ""
