"""A container's counters as a record of the model; see engine.linux.cgroup.readings for how they are read."""

from __future__ import annotations

from engine.linux.cgroup.readings import Readings
from engine.model.usage import Counters, DeviceCounters, InterfaceCounters, Pressure

_PRESSURES = ("cpu_pressure", "memory_pressure", "io_pressure")


class Reader:
    """The counters of one container; a file that this kernel lacks counts as 0."""

    def __init__(self, version: int, paths: dict[str, str], pid: int) -> None:
        self._readings = Readings(version, paths, pid)

    def close(self) -> None:
        """Close all files."""
        self._readings.close()

    def read(self) -> Counters:
        """Return the counters now.

        Raises:
            ProcessLookupError: The group is gone.
        """
        values = self._readings.read()
        values["devices"] = tuple(DeviceCounters(*device) for device in values["devices"])
        values["interfaces"] = tuple(InterfaceCounters(*interface) for interface in values["interfaces"])
        for name in _PRESSURES:
            if values.get(name):
                values[name] = Pressure(*values[name])
        return Counters(**values)
