"""Changes of limits as the journal has them: who, when, what from, what to, and why; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from engine.model.event import Event
from engine.model.history import Effect
from engine.model.limits import Limits
from engine.model.value import Value
from tuicon.model import units
from tuicon.model.text import printable

_FIELDS = Limits.__dataclass_fields__
_RATE = re.compile(r"DeviceRate\(device='([^']*)', rate=(\d+)\)")
_SIZES = ("memory", "memory_reservation", "memory_swap", "memory_high", "memory_min", "net_rate_in", "net_rate_out")


class MadeChange(Value, frozen=True):
    """One change of a container's limits.

    Attributes:
        how: "update", "trial", "confirm", "revert", "undo", "profile" or "autotune".
        by: Who asked for it.
        why: What a rule says about it; else empty.
        what: Each limit that moved, as "cpus 0.5 → 0.4".
    """

    time: datetime
    how: str
    by: str
    why: str
    what: tuple[str, ...]


def changes_of(events: Iterable[Event], container_id: str) -> tuple[MadeChange, ...]:
    """Return the changes of a container's limits among events, oldest first; the moves of one trial are one change."""
    found: list[tuple[Event, dict[str, tuple[str, str]]]] = []
    for event in events:
        if event.id != container_id or event.action != "update" or "how" not in event.attributes:
            continue
        moved = {name: _pair(text) for name, text in event.attributes.items() if name in _FIELDS}
        if found and event.attributes["how"] == "trial" == found[-1][0].attributes["how"]:
            earlier = found.pop()[1]
            moved = earlier | {name: (earlier.get(name, (old, new))[0], new) for name, (old, new) in moved.items()}
        found.append((event, moved))
    return tuple(_made(event, moved) for event, moved in found)


def _made(event: Event, moved: dict[str, tuple[str, str]]) -> MadeChange:
    texts = event.attributes
    what = tuple(f"{_name(name)} {_value(name, old)} → {_value(name, new)}" for name, (old, new) in moved.items())
    return MadeChange(event.time, texts["how"], printable(texts.get("by", "")), printable(texts.get("why", "")), what)


def difference(before: Limits, after: Limits) -> str:
    """Return what differs between limits, for people."""
    pairs = ((name, str(getattr(before, name)), str(getattr(after, name))) for name in _FIELDS)
    return ", ".join(
        f"{_name(name)} {_value(name, old)} → {_value(name, new)}" for name, old, new in pairs if old != new
    )


def effect_parts(effect: Effect) -> tuple[tuple[str, str, str], ...]:
    """Return (name, before, after) of what a change did."""
    return (
        ("CPU p95", f"{effect.cpu_p95_before:.2f}", f"{effect.cpu_p95_after:.2f} cores"),
        ("throttled", f"{effect.throttled_before:.0f}%", f"{effect.throttled_after:.0f}%"),
        ("pressure", f"{effect.pressure_before:.0f}%", f"{effect.pressure_after:.0f}%"),
    )


def effect_sentence(effect: Effect) -> str:
    """Return what a change did, over equal times before and after it."""
    parts = (f"{name} {before} → {after}" for name, before, after in effect_parts(effect))
    return f"{', '.join(parts)} over {effect.seconds:.0f} s"


def _pair(text: str) -> tuple[str, str]:
    old, _, new = text.partition(" -> ")
    return old, new


def _name(name: str) -> str:
    return name.removeprefix("device_").replace("_", " ").replace("memory reservation", "memory low")


def _value(name: str, text: str) -> str:
    rates = _RATE.findall(text)
    if rates:
        form = units.size if name.endswith("_bps") else str
        return " ".join(f"{form(int(rate))}/s" for _, rate in rates)
    if text in ("None", "()"):
        return "none"
    if name in _SIZES and text.isdigit():
        return units.size(int(text))
    return printable(text)
