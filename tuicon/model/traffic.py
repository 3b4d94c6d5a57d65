"""Rates of network interfaces, out of what two readings say; pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from engine.model.usage import InterfaceCounters, Usage
from engine.model.value import Value, field

Key = TypeVar("Key", bound=Hashable)


class Flow(Value, frozen=True):
    """Bytes per second through an interface: what it receives, and what it sends."""

    rx: float = 0.0
    tx: float = 0.0

    @property
    def both(self) -> float:
        """Both directions together."""
        return self.rx + self.tx

    @property
    def turned(self) -> Flow:
        """The same, seen from the other end."""
        return Flow(self.tx, self.rx)


class HostLink(Value, frozen=True):
    """An interface of the host.

    Attributes:
        addresses: "ADDRESS/PREFIX", link-local ones left out.
        counters: Since it was made.
        flow: Bytes per second.
    """

    name: str
    addresses: tuple[str, ...] = ()
    counters: InterfaceCounters = field(default_factory=lambda: InterfaceCounters(""))
    flow: Flow = field(default_factory=Flow)


class Meter:
    """Turns consecutive readings of many interfaces into rates."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[int, InterfaceCounters]] = {}

    def flows(self, readings: Mapping[Key, tuple[int, InterfaceCounters]]) -> dict[Key, Flow]:
        """Return the rates since the last readings; 0 the first time, and after a counter went backwards.

        Args:
            readings: The nanosecond of each reading, and the counters.
        """
        found = {}
        for key, (now, counters) in readings.items():
            then, old = self._last.get(key, (now, counters))
            seconds = (now - then) / 1e9
            moved = (counters.rx_bytes - old.rx_bytes, counters.tx_bytes - old.tx_bytes)
            found[key] = Flow(*(max(0, count) / seconds for count in moved)) if seconds > 0 else Flow()
        self._last = dict(readings.items())
        return found


def readings_of(usages: Mapping[str, Usage]) -> dict[tuple[str, str], tuple[int, InterfaceCounters]]:
    """Return what containers' usages say of each of their interfaces, by container and interface."""
    return {
        (container_id, one.name): (usage.counters.taken_ns, one)
        for container_id, usage in usages.items()
        for one in usage.counters.interfaces
    }
