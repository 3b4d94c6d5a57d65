"""The flags for limits, shared by run, create and update."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.model.limits import DeviceRate, Limits
from tuicon.cli.failure import Usage, complain
from tuicon.model.units import parse_size

_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops", "blkio_weight_devices")
_NAMES = ("cpus", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "memory",
    "memory_reservation", "memory_swap", "memory_swappiness", "oom_kill_disable", "cpu_rt_period", "cpu_rt_runtime",
    "pids", "blkio_weight", "net_rate_in", "net_rate_out")  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add docker's flags."""
    group = parser.add_argument_group("limits (0, or -1 where docker says so, means none)")
    group.add_argument("--cpus", type=float, metavar="CORES", help="CPU time in cores")
    group.add_argument("-c", "--cpu-shares", type=int, metavar="N", help="relative CPU weight (2-262144)")
    group.add_argument("--cpu-period", type=int, metavar="US", help="period of the CPU quota in microseconds")
    group.add_argument("--cpu-quota", type=int, metavar="US", help="CPU time per period in microseconds")
    group.add_argument("--cpuset-cpus", metavar="LIST", help="CPUs to run on (0-3,5)")
    group.add_argument("--cpuset-mems", metavar="LIST", help="memory nodes to use")
    group.add_argument("-m", "--memory", type=_size, metavar="SIZE", help="memory limit (512m)")
    group.add_argument("--memory-reservation", type=_size, metavar="SIZE", help="memory protected under pressure")
    group.add_argument(
        "--memory-swap", type=_size, metavar="SIZE", help="memory and swap together, -1 for unlimited swap"
    )
    group.add_argument("--pids-limit", type=int, dest="pids", metavar="N", help="number of tasks, -1 for unlimited")
    group.add_argument("--net-rate-in", type=_size, metavar="RATE", help="bytes per second from each network (10m)")
    group.add_argument("--net-rate-out", type=_size, metavar="RATE", help="bytes per second into each network")
    group.add_argument("--blkio-weight", type=int, metavar="N", help="relative I/O weight (10-1000)")
    group.add_argument("--blkio-weight-device", action="append", dest="blkio_weight_devices", metavar="DEVICE:N",
        help="relative I/O weight on a device")  # fmt: skip
    group.add_argument("--memory-swappiness", type=int, metavar="N", help="0 to 100, how readily to swap (cgroup v1)")
    group.add_argument("--oom-kill-disable", action="store_true", default=None,
        help="wait for memory instead of being killed (cgroup v1)")  # fmt: skip
    group.add_argument("--cpu-rt-period", type=int, metavar="US", help="real-time period in microseconds (cgroup v1)")
    group.add_argument(
        "--cpu-rt-runtime", type=int, metavar="US", help="real-time per period in microseconds (cgroup v1)"
    )
    group.add_argument("--kernel-memory", type=_size, metavar="SIZE", help="has no effect: kernels ignore it")
    for name, help_text in (("read", "from"), ("write", "to")):
        group.add_argument(f"--device-{name}-bps", action="append", default=None, metavar="DEVICE:RATE",
            help=f"bytes per second {help_text} a device")  # fmt: skip
        group.add_argument(f"--device-{name}-iops", action="append", default=None, metavar="DEVICE:RATE",
            help=f"operations per second {help_text} a device")  # fmt: skip


def _size(text: str) -> int:
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
    if arguments.kernel_memory is not None:
        complain("warning: --kernel-memory has no effect: the kernel no longer has such a limit")
    rates = {name: getattr(arguments, name) for name in _RATES if getattr(arguments, name) is not None}

    def change(limits: Limits) -> Limits:
        found = {name: _merged(getattr(limits, name), items) for name, items in rates.items()}
        wanted = {**changes, **found}
        if "cpus" in wanted:
            wanted |= {"cpu_period": None, "cpu_quota": None}
        elif wanted.get("cpu_quota") or wanted.get("cpu_period"):
            wanted["cpus"] = None
        if "memory" in wanted and wanted["memory"] is None:
            wanted.setdefault("memory_swap", None)
        return replace(limits, **wanted)

    return change


def is_empty(arguments: argparse.Namespace) -> bool:
    """Return whether no limit is named."""
    return all(getattr(arguments, name) is None for name in (*_NAMES, *_RATES))


def _wanted(name: str, value: Any) -> Any:  # noqa: ANN401 - a number or a text
    """Return a flag's value; 0 is no limit but for those of which it is a value."""
    if name == "memory_swappiness":
        return None if value == -1 else value
    if name in ("oom_kill_disable", "cpu_rt_runtime") or (name == "memory_swap" and value == -1):
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
