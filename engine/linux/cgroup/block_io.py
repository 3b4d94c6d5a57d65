"""`linux.resources.blockIO` as writes (kernel: cgroup-v1/blkio-controller, bfq-iosched, cgroup-v2 "IO")."""

from __future__ import annotations

import errno

from engine.linux.cgroup.fields import entries, integer, limit_text, not_on
from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import HasFile, Section, Write

_DEFAULT_WEIGHT = 100
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def plan_block_io(version: int, block_io: Section, has: HasFile) -> list[Write]:
    """Return the writes of the blkio (v1) or io (v2) controller."""
    writes = _weights_v1(block_io, has) if version == 1 else _weights_v2(block_io, has)
    for field, v1_file, v2_key in _THROTTLES:
        for device in entries(block_io, field, "blockIO."):
            number, rate = _number(device, field), integer(device, "rate", f"blockIO.{field}") or 0
            if version == 1:
                writes.append(("blkio", v1_file, f"{number} {max(0, rate)}"))
            else:
                writes.append(("io", "io.max", f"{number} {v2_key}={limit_text(rate, 'max')}"))
    return writes


def _number(device: Section, field: str) -> str:
    major, minor = (integer(device, name, f"blockIO.{field}") for name in ("major", "minor"))
    if major is None or minor is None:
        raise CgroupError(errno.EINVAL, f"an entry of linux.resources.blockIO.{field} lacks its major or minor number")
    return f"{major}:{minor}"


def _weights_v1(block_io: Section, has: HasFile) -> list[Write]:
    writes: list[Write] = []
    for field, name in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        weight = integer(block_io, field, "blockIO")
        if weight is not None:
            writes.append(("blkio", _name_v1(name, has), str(weight or _DEFAULT_WEIGHT)))
    for device in entries(block_io, "weightDevice", "blockIO."):
        for field, name in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            weight = integer(device, field, "blockIO.weightDevice")
            if weight is not None:
                writes.append(
                    ("blkio", _name_v1(name, has), f"{_number(device, 'weightDevice')} {weight or 'default'}")
                )
    return writes


def _name_v1(name: str, has: HasFile) -> str:
    """Return CFQ's file, or on kernels from 5.0 on BFQ's."""
    return f"blkio.{name}" if has("blkio", f"blkio.{name}") else f"blkio.bfq.{name}"


def _weights_v2(block_io: Section, has: HasFile) -> list[Write]:
    if integer(block_io, "leafWeight", "blockIO"):
        raise not_on(2, "blockIO.leafWeight")
    is_bfq = has("io", "io.bfq.weight")
    name = "io.bfq.weight" if is_bfq else "io.weight"
    writes: list[Write] = []
    weight = integer(block_io, "weight", "blockIO")
    if weight is not None:
        value = weight or _DEFAULT_WEIGHT
        writes.append(("io", name, f"default {value if is_bfq else io_weight(value)}"))
    for device in entries(block_io, "weightDevice", "blockIO."):
        if integer(device, "leafWeight", "blockIO.weightDevice"):
            raise not_on(2, "blockIO.weightDevice.leafWeight")
        value = integer(device, "weight", "blockIO.weightDevice") or 0
        text = "default" if value == 0 else str(value if is_bfq else io_weight(value))
        writes.append(("io", name, f"{_number(device, 'weightDevice')} {text}"))
    return writes


def io_weight(weight: int) -> int:
    """Convert blkio weight (10..1000) to io.weight (1..10000)."""
    return 1 + (weight - 10) * 9999 // 990
