"""The host as the engine sees it."""

from __future__ import annotations

from engine.model.value import Value


class HostInfo(Value, frozen=True):
    """What `tuicon info` prints.

    Attributes:
        cgroup_version: "2", "1" or "1 (hybrid)".
        controllers: The controllers that can be used, sorted.
        memory_bytes: The host's memory.
        root: The state root; run_root: the volatile one.
        storage_driver: "overlay", "btrfs", "fuse-overlayfs" or "vfs".
        warnings: One sentence for each thing that this host cannot do.
    """

    hostname: str
    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
    cgroup_version: str
    controllers: tuple[str, ...]
    storage_driver: str
    root: str
    run_root: str
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    warnings: tuple[str, ...] = ()


class DiskUsage(Value, frozen=True):
    """What one kind of object occupies on the disk.

    Attributes:
        kind: "Images", "Containers" or "Local Volumes".
        count: How many there are; active is how many are in use.
        size: Bytes; reclaimable is how many of them nobody uses.
    """

    kind: str
    count: int
    active: int
    size: int
    reclaimable: int
