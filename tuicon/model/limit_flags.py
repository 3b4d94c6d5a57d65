"""The flags for limits, shared by run, create, update, profiles and the console."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from engine.model.limits import DeviceRate, HugepageLimit, Limits
from engine.model.value import replace
from tuicon.model.failure import Usage
from tuicon.model.units import parse_duration, parse_size

_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops", "blkio_weight_devices")
_NAMES = ("cpus", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "memory",
    "memory_reservation", "memory_swap", "memory_swappiness", "oom_kill_disable", "cpu_rt_period", "cpu_rt_runtime",
    "pids", "blkio_weight", "cpu_burst", "cpu_idle", "memory_high", "memory_min", "oom_group",
    "net_rate_in", "net_rate_out", "net_burst_in", "net_burst_out", "net_delay", "net_loss")  # fmt: skip
_FOLLOWING = {"cpus": ("cpu_burst",), "memory": ("memory_swap",), "net_rate_in": ("net_burst_in",),
    "net_rate_out": ("net_burst_out",)}  # fmt: skip
"""What goes with a limit when that is lifted."""
_LISTS = ("hugepages", "unified")
_AS_GIVEN = ("oom_kill_disable", "cpu_rt_runtime", "cpu_idle", "oom_group")
_SHARES_PER_CPU = 1024  # as Kubernetes counts


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add docker's flags."""
    group = parser.add_argument_group("limits (0, or -1 where docker says so, means none)")
    group.add_argument("--cpus", type=_cpus, metavar="CORES|N%", help="CPU time in cores, or in percent of the host")
    group.add_argument("-c", "--cpu-shares", type=_shares, metavar="N|N%",
        help="relative CPU weight (2-262144), or in percent of the host at 1024 a CPU")  # fmt: skip
    group.add_argument("--cpu-period", type=int, metavar="US", help="period of the CPU quota in microseconds")
    group.add_argument("--cpu-quota", type=int, metavar="US", help="CPU time per period in microseconds")
    group.add_argument("--cpu-burst", type=int, metavar="US", help="unused quota that may be saved up, in microseconds")
    group.add_argument("--cpu-idle", action=argparse.BooleanOptionalAction, help="run only when the CPU is idle")
    group.add_argument("--cpuset-cpus", metavar="LIST", help="CPUs to run on (0-3,5)")
    group.add_argument("--cpuset-mems", metavar="LIST", help="memory nodes to use")
    group.add_argument("-m", "--memory", type=parse_bytes, metavar="SIZE", help="memory limit (512m)")
    group.add_argument("--memory-reservation", type=parse_bytes, metavar="SIZE", help="memory protected under pressure")
    group.add_argument(
        "--memory-swap", type=parse_bytes, metavar="SIZE", help="memory and swap together, -1 for unlimited swap"
    )
    group.add_argument(
        "--memory-high",
        type=parse_bytes,
        metavar="SIZE",
        help="slow down and reclaim above it, without killing (cgroup v2)",
    )
    group.add_argument(
        "--memory-min", type=parse_bytes, metavar="SIZE", help="memory that is never reclaimed (cgroup v2)"
    )
    group.add_argument("--oom-group", action=argparse.BooleanOptionalAction,
        help="kill all processes together when memory lacks (cgroup v2)")  # fmt: skip
    group.add_argument("--pids-limit", type=int, dest="pids", metavar="N", help="number of tasks, -1 for unlimited")
    group.add_argument(
        "--net-rate-in", type=parse_bytes, metavar="RATE", help="bytes per second from each network (10m)"
    )
    group.add_argument("--net-rate-out", type=parse_bytes, metavar="RATE", help="bytes per second into each network")
    for name in ("in", "out"):
        group.add_argument(f"--net-burst-{name}", type=parse_bytes, metavar="SIZE",
            help=f"bytes that may go {name} at once before the rate holds")  # fmt: skip
    group.add_argument("--net-delay", type=_microseconds, metavar="TIME", help="delay of what it sends (50ms)")
    group.add_argument("--net-loss", type=_loss, metavar="N%", help="part of its packets that are lost")
    group.add_argument("--blkio-weight", type=int, metavar="N", help="relative I/O weight (10-1000)")
    group.add_argument("--blkio-weight-device", action="append", dest="blkio_weight_devices", metavar="DEVICE:N",
        help="relative I/O weight on a device")  # fmt: skip
    group.add_argument("--memory-swappiness", type=int, metavar="N", help="0 to 100, how readily to swap (cgroup v1)")
    group.add_argument("--oom-kill-disable", action=argparse.BooleanOptionalAction,
        help="wait for memory instead of being killed (cgroup v1)")  # fmt: skip
    group.add_argument("--cpu-rt-period", type=int, metavar="US", help="real-time period in microseconds (cgroup v1)")
    group.add_argument(
        "--cpu-rt-runtime", type=int, metavar="US", help="real-time per period in microseconds (cgroup v1)"
    )
    group.add_argument("--hugetlb", action="append", dest="hugepages", metavar="PAGESIZE:SIZE",
        help="memory in huge pages (2MB:64m)")  # fmt: skip
    group.add_argument("--cgroup-conf", action="append", dest="unified", metavar="FILE=TEXT",
        help="write a file of cgroup v2 (io.latency=8:0 target=5000)")  # fmt: skip
    group.add_argument("--kernel-memory", type=parse_bytes, metavar="SIZE", help="has no effect: kernels ignore it")
    for name, help_text in (("read", "from"), ("write", "to")):
        group.add_argument(f"--device-{name}-bps", action="append", default=None, metavar="DEVICE:RATE",
            help=f"bytes per second {help_text} a device")  # fmt: skip
        group.add_argument(f"--device-{name}-iops", action="append", default=None, metavar="DEVICE:RATE",
            help=f"operations per second {help_text} a device")  # fmt: skip


def _percent(text: str) -> float | None:
    """Return "40%" as 0.4; None when it is no percentage."""
    if not text.endswith("%"):
        return None
    value = float(text[:-1]) / 100
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0% and 100% of the host")
    return value


def _microseconds(text: str) -> int:
    try:
        return round(parse_duration(text) * 1_000_000)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _loss(text: str) -> float:
    return float(text.removesuffix("%"))


def _cpus(text: str) -> float:
    part = _percent(text)
    return float(text) if part is None else round(part * (os.cpu_count() or 1), 4)


def _shares(text: str) -> int:
    part = _percent(text)
    return int(text) if part is None else max(2, round(part * (os.cpu_count() or 1) * _SHARES_PER_CPU))


def parse_bytes(text: str) -> int:
    """Parse a size for argparse."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def of_arguments(arguments: argparse.Namespace) -> Limits:
    """Return the limits that the flags ask for."""
    return change_of(arguments)(Limits())


def change_of(arguments: argparse.Namespace) -> Callable[[Limits], Limits]:
    """Return the change that the flags ask for: what is not named stays."""
    changes: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(arguments, name)
        if value is not None:
            changes[name] = _wanted(name, value)
    rates = {name: getattr(arguments, name) for name in _RATES if getattr(arguments, name) is not None}
    lists = {name: getattr(arguments, name) for name in _LISTS if getattr(arguments, name) is not None}

    def change(limits: Limits) -> Limits:
        found: dict[str, Any] = {name: _merged(getattr(limits, name), items) for name, items in rates.items()}
        found |= {name: _MERGED[name](getattr(limits, name), items) for name, items in lists.items()}
        wanted = {**changes, **found}
        if "cpus" in wanted:
            wanted |= {"cpu_period": None, "cpu_quota": None}
        elif wanted.get("cpu_quota") or wanted.get("cpu_period"):
            wanted["cpus"] = None
        for name, others in _FOLLOWING.items():
            if name in wanted and wanted[name] is None:
                wanted = {**dict.fromkeys(others), **wanted}
        return replace(limits, **wanted)

    return change


def is_empty(arguments: argparse.Namespace) -> bool:
    """Return whether no limit is named."""
    return all(getattr(arguments, name) is None for name in (*_NAMES, *_RATES, *_LISTS))


def _wanted(name: str, value: Any) -> Any:  # noqa: ANN401 - a number or a text
    """Return a flag's value; 0 is no limit but for those of which it is a value."""
    if name == "memory_swappiness":
        return None if value == -1 else value
    if name in _AS_GIVEN or (name == "memory_swap" and value == -1):
        return value
    return _none_if_unlimited(value)


def _none_if_unlimited(value: Any) -> Any:  # noqa: ANN401 - a number or a text
    return None if isinstance(value, int | float) and value in (0, -1) else value or None


def _merged(old: tuple[DeviceRate, ...], items: list[str]) -> tuple[DeviceRate, ...]:
    rates = {rate.device: rate.rate for rate in old}
    for item in items:
        device, colon, rate = item.rpartition(":")
        try:
            rates[device] = parse_size(rate)
        except ValueError:
            colon = ""
        if not colon or not device:
            raise Usage(f"invalid device rate {item!r}: expected DEVICE:RATE, such as /dev/sda:10m")
    return tuple(DeviceRate(device, rate) for device, rate in rates.items() if rate > 0)


def _merged_pages(old: tuple[HugepageLimit, ...], items: list[str]) -> tuple[HugepageLimit, ...]:
    pages = {page.size: page.limit for page in old}
    for item in items:
        size, colon, limit = item.rpartition(":")
        if not colon:
            raise Usage(
                f"invalid limit of huge pages {item!r}: expected PAGESIZE:SIZE, such as 2MB:64m, or -1 for none"
            )
        pages[size] = parse_size(limit)
    return tuple(HugepageLimit(size, limit) for size, limit in pages.items() if limit >= 0)


def _merged_files(old: tuple[tuple[str, str], ...], items: list[str]) -> tuple[tuple[str, str], ...]:
    files = dict(old)
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise Usage(f"invalid cgroup file {item!r}: expected FILE=TEXT, such as memory.high=1073741824")
        files[name] = text
    return tuple((name, text) for name, text in files.items() if text)


_MERGED: dict[str, Callable[[Any, list[str]], Any]] = {"hugepages": _merged_pages, "unified": _merged_files}
