"""OCI `linux.resources` as writes to cgroup files; pure: values in, (controller, file, value) out.

Sources: runtime-spec config-linux.md ("Control groups"); the kernel's cgroup-v1 and cgroup-v2 documents; the
conversion of v1 values on v2 is that of crun's manual.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Write = tuple[str, str, str]
    Section = Mapping[str, object]

_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def plan(version: int, resources: Section) -> list[Write]:
    """Return the writes that put resources in force; a missing or None value is left as it is."""
    sections = (("cpu", _cpu), ("memory", _memory), ("pids", _pids), ("blockIO", _block_io))
    writes: list[Write] = []
    for name, make in sections:
        section = resources.get(name)
        if isinstance(section, dict):
            writes.extend(make(version, section))
    return writes


def _cpu(version: int, cpu: Section) -> list[Write]:
    writes: list[Write] = []
    shares, period, quota = _integer(cpu, "shares"), _integer(cpu, "period"), _integer(cpu, "quota")
    cpus, mems = cpu.get("cpus"), cpu.get("mems")
    if version == 1:
        if shares is not None:
            writes.append(("cpu", "cpu.shares", str(shares or 1024)))
        if period is not None:
            writes.append(("cpu", "cpu.cfs_period_us", str(period)))
        if quota is not None:
            writes.append(("cpu", "cpu.cfs_quota_us", str(quota if quota > 0 else -1)))
    else:
        if shares is not None:
            writes.append(("cpu", "cpu.weight", str(weight_of_shares(shares or 1024))))
        if quota is not None or period is not None:
            writes.append(("cpu", "cpu.max", f"{quota if quota and quota > 0 else 'max'} {period or 100_000}"))
    if cpus is not None:
        writes.append(("cpuset", "cpuset.cpus", str(cpus)))
    if mems is not None:
        writes.append(("cpuset", "cpuset.mems", str(mems)))
    return writes


def _memory(version: int, memory: Section) -> list[Write]:
    limit, swap, reservation = (
        _integer(memory, "limit"),
        _integer(memory, "swap"),
        _integer(memory, "reservation"),
    )
    writes: list[Write] = []
    if version == 1:
        if limit is not None:
            writes.append(("memory", "memory.limit_in_bytes", str(limit if limit > 0 else -1)))
        if swap is not None:
            writes.append(("memory", "memory.memsw.limit_in_bytes", str(swap if swap > 0 else -1)))
        if reservation is not None:
            writes.append(("memory", "memory.soft_limit_in_bytes", str(reservation if reservation > 0 else -1)))
        return writes
    if limit is not None:
        writes.append(("memory", "memory.max", str(limit) if limit > 0 else "max"))
    if swap is not None:
        value = "max" if swap <= 0 or not limit or limit < 0 else str(max(0, swap - limit))
        writes.append(("memory", "memory.swap.max", value))
    if reservation is not None:
        writes.append(("memory", "memory.low", str(max(0, reservation))))
    return writes


def _pids(_version: int, pids: Section) -> list[Write]:
    limit = _integer(pids, "limit")
    if limit is None:
        return []
    return [("pids", "pids.max", str(limit) if limit > 0 else "max")]


def _block_io(version: int, block_io: Section) -> list[Write]:
    writes: list[Write] = []
    weight = _integer(block_io, "weight")
    if weight is not None:
        if version == 1:
            writes.append(("blkio", "blkio.bfq.weight", str(weight or 100)))
        else:
            writes.append(("io", "io.weight", f"default {io_weight(weight or 100)}"))
    for field, v1_file, v2_key in _THROTTLES:
        devices = block_io.get(field)
        for device in devices if isinstance(devices, list | tuple) else ():
            number, rate = f"{device['major']}:{device['minor']}", int(device["rate"])
            if version == 1:
                writes.append(("blkio", v1_file, f"{number} {max(0, rate)}"))
            else:
                writes.append(("io", "io.max", f"{number} {v2_key}={rate if rate > 0 else 'max'}"))
    return writes


def _integer(section: Section, name: str) -> int | None:
    value = section.get(name)
    return None if value is None else int(value)  # type: ignore[call-overload]


def weight_of_shares(shares: int) -> int:
    """Convert cpu.shares (2..262144) to cpu.weight (1..10000), as crun does: 1024 becomes 100."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    bits = math.log2(shares)
    return math.ceil(10 ** ((bits * bits + 125 * bits) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Convert blkio weight (10..1000) to io.weight (1..10000)."""
    return 1 + (weight - 10) * 9999 // 990
