"""A container's counters as a record of the model; see engine.linux.cgroup.readings for how they are read."""

from __future__ import annotations

from typing import Any

from engine.linux.cgroup.readings import Readings
from engine.model.usage import Counters, DeviceCounters, InterfaceCounters, Pressure

Made = tuple[tuple[Any, ...], tuple[Any, ...]]
_PRESSURES = ("cpu_pressure", "memory_pressure", "io_pressure")


class Reader:
    """The counters of one container; a file that this kernel lacks counts as 0."""

    def __init__(self, version: int, paths: dict[str, str], pid: int) -> None:
        self._readings = Readings(version, paths, pid)
        self._devices: Made = ((), ())
        self._interfaces: Made = ((), ())

    def close(self) -> None:
        """Close all files."""
        self._readings.close()

    def read(self) -> Counters:
        """Return the counters now.

        Raises:
            ProcessLookupError: The group is gone.
        """
        values = self._readings.read()
        if values["devices"] is not self._devices[0]:  # the same object as before when nothing has moved
            self._devices = (values["devices"], tuple(DeviceCounters(*device) for device in values["devices"]))
        if values["interfaces"] is not self._interfaces[0]:
            found = tuple(InterfaceCounters(*interface) for interface in values["interfaces"])
            self._interfaces = (values["interfaces"], found)
        values["devices"], values["interfaces"] = self._devices[1], self._interfaces[1]
        for name in _PRESSURES:
            if values.get(name):
                values[name] = Pressure(*values[name])
        return Counters(**values)
