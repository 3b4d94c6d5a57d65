"""The flags for limits, shared by run, create and update."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.model.limits import DeviceRate, Limits
from tuicon.cli.failure import Usage
from tuicon.model.units import parse_size

_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_NAMES = ("cpus", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "memory",
    "memory_reservation", "memory_swap", "pids", "blkio_weight")  # fmt: skip


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
    group.add_argument("--blkio-weight", type=int, metavar="N", help="relative I/O weight (10-1000)")
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
            changes[name] = value if name == "memory_swap" and value == -1 else _none_if_unlimited(value)
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
