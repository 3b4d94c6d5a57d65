"""Which storage driver a state root has: chosen once, by what its file system can do, and remembered there."""

from __future__ import annotations

from engine.errors import InvalidArgument, NotSupported, StoreError
from engine.store.drivers.driver import Driver
from engine.store.drivers.overlay import FuseOverlay, Overlay
from engine.store.drivers.trees import Copies, Snapshots
from engine.store.paths import Paths


def driver_of(paths: Paths) -> Driver:
    """Return the driver of a state root.

    Raises:
        StoreError: It has one that this version does not know.
    """
    found = next((driver for driver in _all(paths) if driver.name == paths.driver), None)
    if found is None:
        raise StoreError(f"the state root {paths.root} has the unknown storage driver {paths.driver!r}")
    return found


def choose(paths: Paths, wanted: str) -> str:
    """Return the name of the driver for a new state root: the wanted one, or the best that works there.

    Raises:
        InvalidArgument: There is no driver of that name.
        NotSupported: The wanted one does not work there.
    """
    candidates = [driver for driver in _all(paths) if not wanted or driver.name == wanted]
    if not candidates:
        *names, last = (driver.name for driver in _all(paths))
        raise InvalidArgument(f"unknown storage driver {wanted!r}: there are {', '.join(names)} and {last}")
    for driver in candidates:
        with paths.staged("probe") as place:
            refusal = driver.refusal(place)
        if not refusal:
            return driver.name
    raise NotSupported(f"the storage driver {wanted} cannot be used for {paths.root}: {refusal}")


def _all(paths: Paths) -> tuple[Driver, ...]:
    """Return all drivers, the best first: overlays start fastest, and their containers share the page cache."""
    return (Overlay(), Snapshots(paths), FuseOverlay(paths), Copies(paths))
