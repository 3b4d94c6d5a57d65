"""`linux.resources.cpu` as writes (kernel: sched-bwc, cgroup-v1/cpusets, cgroup-v2 "CPU")."""

from __future__ import annotations

import errno
import math

from engine.linux.cgroup.fields import integer, limit_text, not_on
from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import HasFile, Section, Write

_DEFAULT_SHARES, _DEFAULT_PERIOD = 1024, 100_000


def plan_cpu(version: int, cpu: Section, _has: HasFile) -> list[Write]:
    """Return the writes of the cpu and cpuset controllers."""
    writes = _time_v1(cpu) if version == 1 else _time_v2(cpu)
    burst, idle = integer(cpu, "burst", "cpu"), integer(cpu, "idle", "cpu")
    if burst is not None:
        writes.append(("cpu", "cpu.cfs_burst_us" if version == 1 else "cpu.max.burst", str(burst)))
    if idle is not None:
        writes.append(("cpu", "cpu.idle", str(idle)))
    for field, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        value = cpu.get(field)
        if value is not None and not isinstance(value, str):
            raise CgroupError(errno.EINVAL, f"linux.resources.cpu.{field} is not a list such as 0-3,5: {value!r}")
        if value is not None and not (version == 1 and value == ""):
            writes.append(("cpuset", name, value))
    return writes


def _time_v1(cpu: Section) -> list[Write]:
    writes: list[Write] = []
    shares = integer(cpu, "shares", "cpu")
    if shares is not None:
        writes.append(("cpu", "cpu.shares", str(shares or _DEFAULT_SHARES)))
    names = (("period", "cpu.cfs_period_us"), ("realtimePeriod", "cpu.rt_period_us"))
    writes += [("cpu", file, str(value)) for name, file in names if (value := integer(cpu, name, "cpu"))]
    quota, realtime = integer(cpu, "quota", "cpu"), integer(cpu, "realtimeRuntime", "cpu")
    if quota is not None:
        writes.append(("cpu", "cpu.cfs_quota_us", limit_text(quota, "-1")))
    if realtime is not None:
        writes.append(("cpu", "cpu.rt_runtime_us", str(realtime)))
    return writes


def _time_v2(cpu: Section) -> list[Write]:
    for name in ("realtimeRuntime", "realtimePeriod"):
        if integer(cpu, name, "cpu"):
            raise not_on(2, f"cpu.{name}")
    writes: list[Write] = []
    shares, period, quota = (integer(cpu, name, "cpu") for name in ("shares", "period", "quota"))
    if shares is not None:
        writes.append(("cpu", "cpu.weight", str(weight_of_shares(shares or _DEFAULT_SHARES))))
    if quota is not None or period:
        writes.append(("cpu", "cpu.max", f"{limit_text(quota or 0, 'max')} {period or _DEFAULT_PERIOD}"))
    return writes


def weight_of_shares(shares: int) -> int:
    """Convert cpu.shares (2..262144) to cpu.weight (1..10000), as crun does: 1024 becomes 100."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    bits = math.log2(shares)
    return math.ceil(10 ** ((bits * bits + 125 * bits) / 612 - 7 / 34))
