"""What this host's cgroups cannot do, in sentences."""

from __future__ import annotations

import os

from engine.linux.cgroup import layout


def warnings() -> tuple[str, ...]:
    """Return one sentence for each limit that has no effect here."""
    hierarchy = layout.detect()
    found = []
    needed = ("cpu", "memory", "pids", "blkio" if hierarchy.version == 1 else "io", "cpuset")
    found += [f"no {name} controller: its limits cannot be set" for name in needed if name not in hierarchy.controllers]
    if hierarchy.version == 1 and "memory" in hierarchy.mounts:
        if not os.path.exists(f"{hierarchy.mounts['memory']}/memory.memsw.limit_in_bytes"):
            found.append("no swap accounting: limits for memory and swap together cannot be set")
        if "blkio" in hierarchy.mounts and not os.path.exists(f"{hierarchy.mounts['blkio']}/blkio.bfq.weight"):
            found.append("no BFQ I/O scheduler: I/O weights cannot be set")
    return tuple(found)
