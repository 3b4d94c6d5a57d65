"""The last minutes of each container's usage, for graphs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from engine.model.usage import Pressure, Usage

LENGTH = 300
_NAN = float("nan")
NAMES = (
    "cpu", "memory", "read", "write", "read_ops", "write_ops", "rx", "tx", "pids", "throttled", "cpu_pressure",
    "memory_pressure", "io_pressure",
)  # fmt: skip


class History:
    """A ring per container and quantity; one value a sample, NaN where there was none."""

    def __init__(self, length: int = LENGTH) -> None:
        self._length = length
        self._rings: dict[str, dict[str, array[float]]] = {}

    def add(self, usages: dict[str, Usage]) -> None:
        """Add a sample of all containers; those without a usage get a gap."""
        for container_id, usage in usages.items():
            ring = self._rings.setdefault(container_id, {name: array("d") for name in NAMES})
            for name, value in _values(usage).items():
                _push(ring[name], value, self._length)
        for container_id in set(self._rings) - set(usages):
            for values in self._rings[container_id].values():
                _push(values, _NAN, self._length)

    def forget(self, kept: set[str]) -> None:
        """Drop the containers that are gone."""
        for container_id in set(self._rings) - kept:
            del self._rings[container_id]

    def series(self, container_id: str, name: str) -> Sequence[float]:
        """Return the values of a quantity, oldest first."""
        return self._rings.get(container_id, {}).get(name, array("d"))


def _push(values: array[float], value: float, length: int) -> None:
    values.append(value)
    if len(values) > length:
        del values[0]


def _values(usage: Usage) -> dict[str, float]:
    has_rates, counters = usage.interval > 0, usage.counters
    rates = {
        "cpu": usage.cpu_percent, "read": usage.read_rate, "write": usage.write_rate, "rx": usage.rx_rate,
        "tx": usage.tx_rate, "throttled": usage.throttled_percent, "read_ops": usage.read_ops_rate,
        "write_ops": usage.write_ops_rate, "cpu_pressure": _known(usage.cpu_pressure, counters.cpu_pressure),
        "memory_pressure": _known(usage.memory_pressure, counters.memory_pressure),
        "io_pressure": _known(usage.io_pressure, counters.io_pressure),
    }  # fmt: skip
    found = {name: value if has_rates else _NAN for name, value in rates.items()}
    return found | {"memory": float(counters.memory_bytes), "pids": float(counters.pids)}


def _known(value: float, read: Pressure | None) -> float:
    return value if read is not None else _NAN
