"""Changes relative to the limits in force: "cpus +20% memory -10%"; pure."""

from __future__ import annotations

import re
from typing import Any

from engine.model.limits import DeviceRate, Limits
from engine.model.value import replace
from tuicon.model.tuning import Change

FIELDS = (
    "cpus", "cpu-shares", "memory", "memory-high", "memory-reservation", "pids", "device-read-bps", "device-write-bps",
    "device-read-iops", "device-write-iops", "net-rate-in", "net-rate-out",
)  # fmt: skip
_WORD = re.compile(r"([a-z-]+?)\s*([+-]\d+(?:\.\d+)?)\s*%")


def parse_relative(text: str) -> Change:
    """Return the change that scales limits by percentages; a limit that is not set stays so.

    Raises:
        ValueError: It is no list of limits and percentages.
    """
    parts = [part.strip() for part in text.split(",")] if "," in text else _WORD.sub(r"\1\2%,", text).split(",")
    factors: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in parts)):
        found = _WORD.fullmatch(part)
        if found is None or found[1] not in FIELDS:
            raise ValueError(f"cannot read {part!r}: such as cpus +20%, with one of {', '.join(FIELDS)}")
        factors[found[1].replace("-", "_")] = 1 + float(found[2]) / 100
    if not factors or min(factors.values()) <= 0:
        raise ValueError("name limits and percentages above -100, such as cpus +20%, memory -10%")

    def change(limits: Limits) -> Limits:
        scaled: dict[str, Any] = {name: _scaled(limits, name, factor) for name, factor in factors.items()}
        if "cpus" in scaled:
            scaled |= {"cpu_quota": None, "cpu_period": None}
        memory, swap = scaled.get("memory"), limits.memory_swap
        if memory is not None and swap not in (None, -1) and (swap or 0) < memory:
            scaled["memory_swap"] = None
        return replace(limits, **scaled)

    return change


def _scaled(limits: Limits, name: str, factor: float) -> Any:  # noqa: ANN401 - a number, or rates of devices
    value = limits.effective_cpus if name == "cpus" else getattr(limits, name)
    if isinstance(value, tuple):
        return tuple(DeviceRate(rate.device, max(1, round(rate.rate * factor))) for rate in value)
    if value is None:
        return None
    return round(value * factor, 2) if name == "cpus" else max(1, round(value * factor))
