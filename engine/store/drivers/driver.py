"""What a storage driver does: it makes a container's root file system from an image's layers.

The layers themselves are the same for all drivers: directories in overlay form, unpacked once. So whoever reads layers
need not know the driver, and neither need whoever collects them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from engine.store.drivers.compare import Change


class Driver(Protocol):
    """One way to make root file systems. `layers` are an image's layer directories, top first.

    Attributes:
        name: As --storage-driver has it.
        familiar_name: As docker calls it.
    """

    name: str
    familiar_name: str

    def refusal(self, place: Path) -> str:
        """Return why the file system of an empty directory cannot have this driver, "" when it can."""
        ...

    def create(self, directory: Path, layers: tuple[Path, ...]) -> None:
        """Make what a new container writes to, in the container's directory."""
        ...

    def settings(self, directory: Path, layers: tuple[Path, ...]) -> dict[str, Any]:
        """Return what the monitor must know to mount the root: "overlay", or "rootfs" and "maps_owners".

        Raises:
            NotSupported: A program that it needs is gone.
        """
        ...

    def changes(self, directory: Path, layers: tuple[Path, ...]) -> Iterator[Change]:
        """Yield what a container has changed in its image, parents before what is in them."""
        ...

    def upper(self, directory: Path, layers: tuple[Path, ...]) -> AbstractContextManager[Path]:
        """Give a directory, for reading only, that has the changes in overlay form; the container may not run on meanwhile."""
        ...

    def occupied(self, directory: Path, layers: tuple[Path, ...]) -> int:
        """Return the bytes of the disk that a container's directory has for itself."""
        ...
