"""The drivers by their names."""

from __future__ import annotations

from engine.errors import InvalidArgument
from engine.volumes.drivers.ceph import CephFs
from engine.volumes.drivers.driver import Driver
from engine.volumes.drivers.local import Local
from engine.volumes.drivers.nfs import Nfs
from engine.volumes.drivers.tmpfs import Tmpfs

_ALL: tuple[Driver, ...] = (Local(), Tmpfs(), Nfs(), CephFs())


def driver_of(name: str) -> Driver:
    """Return a driver.

    Raises:
        InvalidArgument: There is none of that name.
    """
    found = next((driver for driver in _ALL if driver.name == name), None)
    if found is None:
        *names, last = (driver.name for driver in _ALL)
        raise InvalidArgument(f"unknown volume driver {name!r}: there are {', '.join(names)} and {last}")
    return found
