"""`linux.resources.memory` as writes (kernel: cgroup-v1/memory, cgroup-v2 "Memory").

`kernel` is not written on either version, as runc does: the kernel took the limit away in 5.4 and the
specification calls it obsolete.
"""

from __future__ import annotations

import errno

from engine.linux.cgroup.fields import integer, limit_text, not_on
from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import HasFile, Section, Write

_LIMITS_V1 = (
    ("limit", "memory.limit_in_bytes"),
    ("swap", "memory.memsw.limit_in_bytes"),
    ("reservation", "memory.soft_limit_in_bytes"),
    ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
)


def plan_memory(version: int, memory: Section, has: HasFile) -> list[Write]:
    """Return the writes of the memory controller."""
    limit, swap = integer(memory, "limit", "memory"), integer(memory, "swap", "memory")
    if swap and swap > 0 and limit and swap < limit:
        raise CgroupError(errno.EINVAL, "linux.resources.memory.swap is below linux.resources.memory.limit")
    return _memory_v1(memory, has) if version == 1 else _memory_v2(memory, has)


def _memory_v1(memory: Section, has: HasFile) -> list[Write]:
    writes: list[Write] = []
    for field, name in _LIMITS_V1:
        value = integer(memory, field, "memory")
        is_nothing = value is None or (field == "swap" and value <= 0 and not has("memory", name))
        if value is not None and not is_nothing:
            writes.append(("memory", name, limit_text(value, "-1")))
    swappiness = integer(memory, "swappiness", "memory")
    if swappiness is not None:
        writes.append(("memory", "memory.swappiness", str(swappiness)))
    flags = (("disableOOMKiller", "memory.oom_control"), ("useHierarchy", "memory.use_hierarchy"))
    writes += [
        ("memory", name, str(int(bool(memory[field])))) for field, name in flags if memory.get(field) is not None
    ]
    return writes


def _memory_v2(memory: Section, has: HasFile) -> list[Write]:
    for field in ("kernelTCP", "swappiness", "disableOOMKiller"):
        if memory.get(field) is not None and memory[field] is not False:
            raise not_on(2, f"memory.{field}")
    if memory.get("useHierarchy") is False:
        raise CgroupError(errno.EOPNOTSUPP, "linux.resources.memory.useHierarchy is always true on cgroup v2")
    limit, swap, reservation = (integer(memory, name, "memory") for name in ("limit", "swap", "reservation"))
    writes: list[Write] = []
    if limit is not None:
        writes.append(("memory", "memory.max", limit_text(limit, "max")))
    if swap is not None and (swap > 0 or has("memory", "memory.swap.max")):
        writes.append(("memory", "memory.swap.max", _swap_alone(swap, limit)))
    if reservation is not None:
        writes.append(("memory", "memory.low", str(max(0, reservation))))
    return writes


def _swap_alone(swap: int, limit: int | None) -> str:
    """Return v2's limit for swap from v1's for memory and swap together."""
    if swap <= 0:
        return "max"
    if limit is None or limit <= 0:
        raise CgroupError(errno.EINVAL, "linux.resources.memory.swap needs linux.resources.memory.limit on cgroup v2")
    return str(swap - limit)
