"""Limits as OCI `linux.resources`; pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from engine.errors import InvalidArgument
from engine.model.limits import DeviceRate, Limits

SMALLEST_RATE = 1024
SMALLEST_MEMORY = 6 << 20
UNLIMITED = -1
_DEFAULT_PERIOD = 100_000
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
    for name, value in (("cpuset CPUs", limits.cpuset_cpus), ("cpuset memory nodes", limits.cpuset_mems)):
        if value is not None and not _CPU_LIST.fullmatch(value):
            raise InvalidArgument(f"the {name} {value!r} are not a list such as 0-3,5")
    _validate_ranges(limits)


def _validate_ranges(limits: Limits) -> None:
    _in_range("network rate", limits.net_rate_in, SMALLEST_RATE, 1 << 40, "1 KiB per second")
    _in_range("network rate", limits.net_rate_out, SMALLEST_RATE, 1 << 40, "1 KiB per second")
    _in_range("memory limit", limits.memory, SMALLEST_MEMORY, 1 << 62, "6 MiB")
    _in_range("CPU period", limits.cpu_period, 1000, 1_000_000)
    _in_range("CPU quota", limits.cpu_quota, 1000, 1 << 40)
    _in_range("CPU shares", limits.cpu_shares, 2, 262_144)
    _in_range("I/O weight", limits.blkio_weight, 10, 1000)
    _in_range("pids limit", limits.pids, 1, 1 << 22)
    _in_range("memory swappiness", limits.memory_swappiness, 0, 100)
    _in_range("real-time period", limits.cpu_rt_period, 1, 1 << 40)
    _in_range("real-time runtime", limits.cpu_rt_runtime, 0, limits.cpu_rt_period or 1_000_000)
    for field, _ in _RATES:
        for rate in getattr(limits, field):
            _in_range(f"rate of {rate.device}", rate.rate, 1, 1 << 62)
    for rate in limits.blkio_weight_devices:
        _in_range(f"I/O weight of {rate.device}", rate.rate, 10, 1000)


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
    return {name: section for name, section in found.items() if section}


def _numbered(number: tuple[int, int]) -> dict[str, int]:
    return {"major": number[0], "minor": number[1]}


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
    others = {"cpus": limits.cpuset_cpus, "mems": limits.cpuset_mems, "realtimePeriod": limits.cpu_rt_period,
        "realtimeRuntime": limits.cpu_rt_runtime}  # fmt: skip
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
    others = {"swappiness": limits.memory_swappiness, "disableOOMKiller": limits.oom_kill_disable}
    return found | {name: value for name, value in others.items() if value is not None}
