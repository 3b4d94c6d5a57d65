"""Volumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume.

    Attributes:
        driver: What holds its files: "local", "tmpfs", "nfs" or "cephfs".
        mountpoint: The directory on the host that holds its files; the driver's mount is on it in containers alone.
        anonymous: Whether the engine made up its name; `rm -v` removes such volumes with their container.
        options: What the driver is told.
        size: Bytes in use, None when not measured.
        used_by: Ids of the containers that mount it.
    """

    name: str
    driver: str
    mountpoint: str
    created_at: datetime
    anonymous: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    used_by: tuple[str, ...] = ()
