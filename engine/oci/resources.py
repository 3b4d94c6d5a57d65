"""Limits as OCI `linux.resources`; pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from engine.errors import InvalidArgument
from engine.model.limits import DeviceRate, Limits

SMALLEST_RATE, SMALLEST_BURST = 1024, 64 << 10
_LONGEST_DELAY = 60_000_000
SMALLEST_MEMORY = 6 << 20
UNLIMITED = -1
_DEFAULT_PERIOD, _DEFAULT_RT_PERIOD, _DEFAULT_SWAPPINESS = 100_000, 1_000_000, 60
_PAGE_SIZE = re.compile(r"[1-9]\d*[KMG]B")
_BEYOND = 1 << 62
_UNIFIED_FILE = re.compile(r"(cpu|cpuset|io|memory|pids|hugetlb|rdma|misc)\.[a-z0-9_.]+", re.IGNORECASE)
# The files of cgroup v2 whose old value is known when they are not wanted any more, and the field they stand beside.
_DEFAULTS = {
    "memory.high": ("max", "memory_high"), "memory.max": ("max", "memory"), "memory.low": ("0", "memory_reservation"),
    "memory.min": ("0", "memory_min"), "memory.swap.max": ("max", "memory_swap"), "memory.swap.high": ("max", ""),
    "memory.oom.group": ("0", "oom_group"), "memory.zswap.max": ("max", ""), "pids.max": ("max", "pids"),
    "cpu.weight": ("100", "cpu_shares"), "cpu.weight.nice": ("0", ""), "cpu.max": ("max 100000", "effective_cpus"),
    "cpu.max.burst": ("0", "cpu_burst"), "cpu.idle": ("0", "cpu_idle"), "cpu.uclamp.min": ("0", ""),
    "cpu.uclamp.max": ("max", ""), "cpuset.cpus": ("", "cpuset_cpus"), "cpuset.mems": ("", "cpuset_mems"),
    "io.weight": ("default 100", "blkio_weight"), "io.bfq.weight": ("default 100", "blkio_weight"),
}  # fmt: skip
_CPU_LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_RATES = (
    ("device_read_bps", "throttleReadBpsDevice"),
    ("device_write_bps", "throttleWriteBpsDevice"),
    ("device_read_iops", "throttleReadIOPSDevice"),
    ("device_write_iops", "throttleWriteIOPSDevice"),
)


def validate(limits: Limits, host_cpus: int) -> None:
    """Check limits for what no kernel would take.

    Raises:
        InvalidArgument: With one sentence about the first wrong value.
    """
    if limits.cpus is not None and (limits.cpu_quota is not None or limits.cpu_period is not None):
        raise InvalidArgument("--cpus cannot be combined with --cpu-quota or --cpu-period")
    if limits.cpus is not None and not 0.01 <= limits.cpus <= host_cpus:
        raise InvalidArgument(f"the CPU limit must be between 0.01 and {host_cpus}, the CPUs of this host")
    if limits.memory_swap is not None and limits.memory is None:
        raise InvalidArgument("a limit for memory and swap needs a memory limit")
    if limits.memory_swap is not None and limits.memory_swap != -1 and limits.memory_swap < (limits.memory or 0):
        raise InvalidArgument("the limit for memory and swap must not be below the memory limit")
    if limits.memory and limits.memory_reservation and limits.memory_reservation > limits.memory:
        raise InvalidArgument("the memory reservation must not be above the memory limit")
    if limits.cpu_idle and limits.cpu_shares is not None:
        raise InvalidArgument("a container that runs when the CPU is idle has no CPU shares")
    _validate_cpu_lists(limits, host_cpus)
    _validate_ranges(limits)
    _validate_names(limits)


def _validate_cpu_lists(limits: Limits, host_cpus: int) -> None:
    for name, value in (("cpuset CPUs", limits.cpuset_cpus), ("cpuset memory nodes", limits.cpuset_mems)):
        if value is not None and not _CPU_LIST.fullmatch(value):
            raise InvalidArgument(f"the {name} {value!r} are not a list such as 0-3,5")
    quota = limits.effective_cpus
    if limits.cpus is None and quota is not None and quota > host_cpus:
        raise InvalidArgument(f"the CPU quota over its period is {quota:g} CPUs, and this host has {host_cpus}")


def _validate_names(limits: Limits) -> None:
    for page in limits.hugepages:
        if not _PAGE_SIZE.fullmatch(page.size):
            raise InvalidArgument(f"{page.size!r} is not the size of a huge page, such as 2MB")
        _in_range(f"limit of {page.size} huge pages", page.limit, 0, 1 << 62)
    for name, text in limits.unified:
        if not _UNIFIED_FILE.fullmatch(name) or not text or not text.isprintable():
            raise InvalidArgument(
                f"{name}={text!r} is not a file of cgroup v2 and its text, such as memory.high=1073741824"
            )


def _validate_ranges(limits: Limits) -> None:
    _validate_traffic(limits)
    _in_range("memory limit", limits.memory, SMALLEST_MEMORY, 1 << 62, "6 MiB")
    _in_range("CPU period", limits.cpu_period, 1000, 1_000_000)
    _in_range("CPU quota", limits.cpu_quota, 1000, 1 << 40)
    _in_range("CPU shares", limits.cpu_shares, 2, 262_144)
    _in_range("I/O weight", limits.blkio_weight, 10, 1000)
    _in_range("pids limit", limits.pids, 1, 1 << 22)
    _in_range("memory swappiness", limits.memory_swappiness, 0, 100)
    _in_range("memory.high", limits.memory_high, SMALLEST_MEMORY, 1 << 62, "6 MiB")
    _in_range("memory.min", limits.memory_min, 0, limits.memory or 1 << 62)
    _in_range("CPU burst", limits.cpu_burst, 0, _burst_at_most(limits))
    _in_range("real-time period", limits.cpu_rt_period, 1, 1 << 40)
    _in_range("real-time runtime", limits.cpu_rt_runtime, 0, limits.cpu_rt_period or 1_000_000)
    for field, _ in _RATES:
        for rate in getattr(limits, field):
            _in_range(f"rate of {rate.device}", rate.rate, 1, 1 << 62)
    for rate in limits.blkio_weight_devices:
        _in_range(f"I/O weight of {rate.device}", rate.rate, 10, 1000)


def _validate_traffic(limits: Limits) -> None:
    for rate, burst in ((limits.net_rate_in, limits.net_burst_in), (limits.net_rate_out, limits.net_burst_out)):
        _in_range("network rate", rate, SMALLEST_RATE, 1 << 40, "1 KiB per second")
        _in_range("network burst", burst, SMALLEST_BURST, 1 << 30, "64 KiB, the largest packet")
        if burst is not None and rate is None:
            raise InvalidArgument("a network burst needs a network rate in the same direction")
    _in_range("network delay", limits.net_delay, 1, _LONGEST_DELAY)
    if limits.net_loss is not None and not 0 < limits.net_loss <= 100:
        raise InvalidArgument("the network loss must be above 0 and at most 100 percent")


def _burst_at_most(limits: Limits) -> int:
    """Return the quota in microseconds, which a burst must not exceed (kernel: sched-bwc)."""
    cpus = limits.effective_cpus
    if limits.cpu_burst and cpus is None:
        raise InvalidArgument("a CPU burst needs a CPU limit")
    return round((cpus or 0) * (limits.cpu_period or _DEFAULT_PERIOD))


def _in_range(name: str, value: int | None, low: int, high: int, low_text: str = "") -> None:
    if value is not None and not low <= value <= high:
        raise InvalidArgument(
            f"the {name} must be at least {low_text or low}" if value < low else f"the {name} must be at most {high}"
        )


def resources(
    limits: Limits, device_number: Callable[[str], tuple[int, int]], before: Limits | None = None
) -> dict[str, Any]:
    """Return `linux.resources`.

    Args:
        limits: What is wanted.
        device_number: From a block device's path to (major, minor).
        before: For an update, the limits in force: what they have and `limits` lack becomes unlimited.
    """
    found: dict[str, Any] = {"cpu": _cpu(limits, before), "memory": _memory(limits, before), "blockIO": {}}
    pids = _value(limits.pids, before.pids if before else None, UNLIMITED)
    if pids is not None:
        found["pids"] = {"limit": pids}
    weight = _value(limits.blkio_weight, before.blkio_weight if before else None, 0)
    if weight is not None:
        found["blockIO"]["weight"] = weight
    if limits.blkio_weight_devices:
        found["blockIO"]["weightDevice"] = [
            {**_numbered(device_number(weight.device)), "weight": weight.rate} for weight in limits.blkio_weight_devices
        ]
    for field, name in _RATES:
        old: tuple[DeviceRate, ...] = getattr(before, field) if before else ()
        rates = {rate.device: 0 for rate in old} | {rate.device: rate.rate for rate in getattr(limits, field)}
        if rates:
            numbers = ((*device_number(device), rate) for device, rate in rates.items())
            found["blockIO"][name] = [{"major": major, "minor": minor, "rate": rate} for major, minor, rate in numbers]
    pages = {page.size: _BEYOND for page in (before.hugepages if before else ())}
    pages |= {page.size: page.limit for page in limits.hugepages}
    found["hugepageLimits"] = [{"pageSize": size, "limit": limit} for size, limit in pages.items()]
    found["unified"] = _unified(limits, before)
    return {name: section for name, section in found.items() if section}


def _unified(limits: Limits, before: Limits | None) -> dict[str, str]:
    """Return the files of v2: those that OCI has no field for, then those named by the user."""
    found: dict[str, str] = {}
    for name, field in (
        ("memory.high", "memory_high"),
        ("memory.min", "memory_min"),
        ("memory.oom.group", "oom_group"),
    ):
        value = getattr(limits, field)
        if value is not None:
            found[name] = str(int(value))
        elif before and getattr(before, field) is not None:
            found[name] = _DEFAULTS[name][0]
    for name, _ in before.unified if before else ():
        default, field = _DEFAULTS.get(name, ("", ""))
        if default and not (field and getattr(limits, field) is not None):
            found[name] = default
    return found | dict(limits.unified)


def _numbered(number: tuple[int, int]) -> dict[str, int]:
    return {"major": number[0], "minor": number[1]}


def _as_number(flag: bool | None) -> int | None:
    return None if flag is None else int(flag)


def _value(wanted: int | None, old: int | None, unlimited: int) -> int | None:
    """Return what to write: the wanted value, "unlimited" when there was one before, or None for nothing."""
    if wanted is not None:
        return wanted
    return unlimited if old is not None else None


def _cpu(limits: Limits, before: Limits | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    period = limits.cpu_period or _DEFAULT_PERIOD
    cpus = limits.effective_cpus
    if cpus is not None:
        found.update(period=period, quota=limits.cpu_quota or round(cpus * period))
    elif limits.cpu_period is not None or (
        before and (before.effective_cpus is not None or before.cpu_period is not None)
    ):
        found.update(period=period, quota=UNLIMITED)
    shares = _value(limits.cpu_shares, before.cpu_shares if before else None, 0)
    if shares is not None:
        found["shares"] = shares
    others = {
        "cpus": limits.cpuset_cpus, "mems": limits.cpuset_mems,
        "burst": _value(limits.cpu_burst, before.cpu_burst if before else None, 0),
        "idle": _value(_as_number(limits.cpu_idle), before.cpu_idle if before else None, 0),
        "realtimePeriod": _value(limits.cpu_rt_period, before.cpu_rt_period if before else None, _DEFAULT_RT_PERIOD),
        "realtimeRuntime": _value(limits.cpu_rt_runtime, before.cpu_rt_runtime if before else None, 0),
    }  # fmt: skip
    return found | {name: value for name, value in others.items() if value is not None}


def _memory(limits: Limits, before: Limits | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    limit = _value(limits.memory, before.memory if before else None, UNLIMITED)
    if limit is not None:
        found["limit"] = limit
    swap = _value(limits.memory_swap, before.memory_swap if before else None, UNLIMITED)
    if swap is not None:
        found["swap"] = swap
    reservation = _value(limits.memory_reservation, before.memory_reservation if before else None, 0)
    if reservation is not None:
        found["reservation"] = reservation
    old = before or Limits()
    others = {
        "swappiness": _value(limits.memory_swappiness, old.memory_swappiness, _DEFAULT_SWAPPINESS),
        "disableOOMKiller": False
        if limits.oom_kill_disable is None and old.oom_kill_disable
        else limits.oom_kill_disable,
    }
    return found | {name: value for name, value in others.items() if value is not None}
