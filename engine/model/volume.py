"""Volumes."""

from __future__ import annotations

from datetime import datetime

from engine.model.change import Change
from engine.model.value import Value, field


class Volume(Value, frozen=True):
    """A volume.

    Attributes:
        driver: What holds its files: "local", "tmpfs", "nfs" or "cephfs".
        mountpoint: The directory on the host that holds its files; the driver's mount is on it in containers alone.
        anonymous: Whether the engine made up its name; `rm -v` removes such volumes with their container.
        options: What the driver is told.
        size: Bytes in use, None when not measured.
        used_by: Ids of the containers that mount it.
        quota: The bytes that its files may occupy, 0 for no limit.
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
    quota: int = 0


class VolumeUse(Value, frozen=True):
    """A container that mounts a volume.

    Attributes:
        container: Its name.
        target: The path in it.
    """

    container_id: str
    container: str
    target: str
    read_only: bool
    is_running: bool


class Measured(Value, frozen=True):
    """What files occupy.

    Attributes:
        size: Bytes on the disk, as du counts them: a file with several names once, directories too.
        files: How many files and directories there are.
        is_whole: Whether everything was counted.
    """

    size: int
    files: int
    is_whole: bool = True


class VolumePrunePlan(Value, frozen=True):
    """What a prune takes, each volume with its size, and the bytes on the disk that it frees."""

    volumes: tuple[Volume, ...]
    size: int


class VolumeSnapshot(Value, frozen=True):
    """The files of a volume as they were.

    Attributes:
        how: "snapshot" of btrfs, "reflink" for shared extents, or "copy".
    """

    name: str
    volume: str
    created_at: datetime
    how: str


class Cloned(Value, frozen=True):
    """A new volume with the files of another one; `how` as in a snapshot."""

    volume: Volume
    how: str


class Synced(Value, frozen=True):
    """What a sync did, or would do.

    Attributes:
        files: How many the sending end has, directories and links too.
        sent: How many were sent anew.
        touched: How many were given other attributes alone.
        removed: How many names went.
        size: Bytes of the files that were sent, without holes.
        changes: The paths, up to 10,000: "A" for added, "C" for changed, "D" for deleted.
        warnings: Sentences about what was left out.
    """

    files: int
    sent: int
    touched: int
    removed: int
    size: int
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


class Wishes(Value, frozen=True):
    """How to sync volumes.

    Attributes:
        deletes: Whether what only the receiving end has goes.
        is_dry: Whether nothing is done, and what would be is told.
        by_content: Whether contents are compared, not only sizes and times.
    """

    deletes: bool = False
    is_dry: bool = False
    by_content: bool = False


class Way(Value, frozen=True):
    """How the other host of a sync is reached.

    Attributes:
        shell: The words of a program that is given a host and a command for the shell there.
        program: The words that are tuicon there.
    """

    shell: tuple[str, ...] = ("ssh",)
    program: tuple[str, ...] = ("tuicon",)
