"""The limits that the console moves live: scales, steps and texts; pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.model.limits import DeviceRate, Limits
from engine.model.usage import Usage
from engine.model.value import Value, replace
from tuicon.model import units


class Tunable(Value, frozen=True):
    """One limit.

    Attributes:
        id: Its name in the dialog.
        label: For people.
        unit: "cores", "B", "B/s" or "tasks".
        low, high: The ends of the scale.
        is_log: Whether equal steps multiply instead of add.
        history: The quantity of the history that it limits.
    """

    id: str
    label: str
    unit: str
    low: float
    high: float
    is_log: bool
    history: str


def tunables(cpus: int, memory_total: int, disk: str) -> tuple[Tunable, ...]:
    """Return what can be moved on a host; disk rates only where there is a disk."""
    found = [
        Tunable("cpus", "CPU", "cores", 0.05, float(cpus), is_log=False, history="cpu"),
        Tunable("memory", "Memory", "B", 6 << 20, float(max(memory_total, 64 << 20)), is_log=True, history="memory"),
        Tunable("pids", "Processes", "tasks", 1, 4096, is_log=True, history="pids"),
    ]
    if disk:
        found += [
            Tunable("read", "Disk read", "B/s", 64 << 10, 4 << 30, is_log=True, history="read"),
            Tunable("write", "Disk write", "B/s", 64 << 10, 4 << 30, is_log=True, history="write"),
        ]
    return tuple(found)


def value_of(limits: Limits, tunable: Tunable, disk: str) -> float | None:
    """Return the limit in force; None when there is none."""
    match tunable.id:
        case "cpus":
            return limits.effective_cpus
        case "memory":
            return None if limits.memory is None else float(limits.memory)
        case "pids":
            return None if limits.pids is None else float(limits.pids)
    rates = limits.device_read_bps if tunable.id == "read" else limits.device_write_bps
    return next((float(rate.rate) for rate in rates if rate.device == disk), None)


def change_to(tunable: Tunable, value: float | None, disk: str) -> Callable[[Limits], Limits]:
    """Return the change that sets one limit."""

    def change(limits: Limits) -> Limits:
        match tunable.id:
            case "cpus":
                rounded = None if value is None else round(value, 2)
                return replace(limits, cpus=rounded, cpu_quota=None, cpu_period=None)
            case "memory":
                memory = None if value is None else int(value)
                swap = limits.memory_swap
                keeps = swap is None or swap == -1 or (memory is not None and swap >= memory)
                return replace(limits, memory=memory, memory_swap=swap if keeps and memory is not None else None)
            case "pids":
                return replace(limits, pids=None if value is None else int(value))
        is_read = tunable.id == "read"
        old = limits.device_read_bps if is_read else limits.device_write_bps
        mine = () if value is None else (DeviceRate(disk, int(value)),)
        rates = (*(rate for rate in old if rate.device != disk), *mine)
        return replace(limits, device_read_bps=rates) if is_read else replace(limits, device_write_bps=rates)

    return change


def text_of(tunable: Tunable, value: float | None) -> str:
    """Return a limit for people."""
    if value is None:
        return "unlimited"
    if tunable.unit == "cores":
        return f"{value:.2f} cores"
    if tunable.unit == "tasks":
        return f"{value:.0f} tasks"
    return units.size(value) + ("/s" if tunable.unit == "B/s" else "")


def parse_value(tunable: Tunable, text: str) -> float:
    """Parse what was typed: cores, tasks, or a size such as 512m.

    Raises:
        ValueError: It is nothing of the kind, or off the scale.
    """
    value = float(text) if tunable.unit in ("cores", "tasks") else float(units.parse_size(text))
    if not tunable.low <= value <= tunable.high:
        raise ValueError(
            f"{tunable.label} goes from {text_of(tunable, tunable.low)} to {text_of(tunable, tunable.high)}"
        )
    return value


def place_of(tunable: Tunable, value: float) -> float:
    """Return where a value is on the scale, 0..1."""
    value = min(max(value, tunable.low), tunable.high)
    if tunable.is_log:
        return math.log(value / tunable.low) / math.log(tunable.high / tunable.low)
    return (value - tunable.low) / (tunable.high - tunable.low)


def stepped(tunable: Tunable, value: float | None, steps: int, used: float) -> float | None:
    """Return a limit some steps away; from "unlimited" downwards it starts above the use, upwards it stays.

    Args:
        tunable: Which limit.
        value: The limit in force.
        steps: Above 0 for more; 1 is a small step, 5 a big one.
        used: The use now, in the limit's unit.
    """
    if value is None:
        if steps > 0:
            return None
        value = min(max(used * 2, tunable.low * 4), tunable.high)
    if not tunable.is_log:
        step = 0.05 if tunable.unit == "cores" else 1.0
        wanted = round(round(value / step) * step + steps * step, 2)
    else:
        wanted = value * 1.1**steps
        if tunable.unit == "tasks":
            wanted = float(
                max(round(wanted), round(value) + steps) if steps > 0 else min(round(wanted), round(value) + steps)
            )
        else:
            grain = 1 << 20 if wanted >= 16 << 20 else 64 << 10
            wanted = float(round(wanted / grain) * grain)
    return min(max(wanted, tunable.low), tunable.high)


def used_of(tunable: Tunable, usage: Usage | None) -> float:
    """Return the use now, in the limit's unit."""
    if usage is None:
        return 0.0
    match tunable.id:
        case "cpus":
            return usage.cpu_percent / 100
        case "memory":
            return float(usage.counters.memory_bytes)
        case "pids":
            return float(usage.counters.pids)
        case "read":
            return usage.read_rate
    return usage.write_rate
