"""Whether limits of several containers fit on the host together; pure."""

from __future__ import annotations

from collections.abc import Iterable

from engine.model.limits import Limits


def shortage(wanted: Iterable[Limits], cpus: int, memory: int) -> str:
    """Return why limits cannot all be used up at once on a host; empty when they can.

    Args:
        wanted: The limits of each container.
        cpus: The host's CPUs.
        memory: The host's memory in bytes.
    """
    found = list(wanted)
    cores = sum(limits.effective_cpus or 0 for limits in found)
    if cores > cpus + 1e-6:
        return f"the CPU limits come to {cores:g} CPUs, and this host has {cpus}"
    limit = sum(limits.memory or 0 for limits in found)
    if limit > memory:
        return f"the memory limits come to {limit >> 20} MiB, and this host has {memory >> 20} MiB"
    protected = sum(max(limits.memory_reservation or 0, limits.memory_min or 0) for limits in found)
    if protected > memory:
        return f"the protected memory comes to {protected >> 20} MiB, and this host has {memory >> 20} MiB"
    return ""
