"""What can be limited on this host, and the check of limits before anything is asked of the kernel."""

from __future__ import annotations

import os
from typing import Any

from engine.errors import InvalidArgument, NotFound, NotSupported
from engine.linux import traffic
from engine.linux.cgroup import knobs as files
from engine.linux.cgroup.devices import block_device, disk_of
from engine.linux.cgroup.layout import CgroupError
from engine.model.limits import DeviceRate, Knob, Limits
from engine.model.value import names, replace
from engine.oci import resources
from engine.volumes.volumes import VolumeStore

DEVICE_FIELDS = (
    "device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops", "blkio_weight_devices",
)  # fmt: skip
TRAFFIC_FIELDS = ("net_rate_in", "net_rate_out", "net_burst_in", "net_burst_out", "net_delay", "net_loss")
_DISTURBING = ("net_delay", "net_loss")


def knobs() -> tuple[Knob, ...]:
    """Return for each field of Limits whether this host can set it, and why not."""
    return tuple(Knob(name, *_support(name)) for name in names(Limits))


def _support(name: str) -> tuple[str, str]:
    if name in _DISTURBING:
        return ("netem", "") if traffic.has_netem() else ("", "this kernel has no netem")
    return ("tbf", "") if name in TRAFFIC_FIELDS else files.support(name)


def differs_in_traffic(before: Limits, after: Limits) -> bool:
    """Return whether a change is about network traffic, which no group limits."""
    return any(getattr(before, name) != getattr(after, name) for name in TRAFFIC_FIELDS)


def checked(limits: Limits, volumes: VolumeStore) -> Limits:
    """Return limits whose devices are disks of this host, after a check of everything that can be known beforehand.

    Raises:
        InvalidArgument: No kernel would take them, or a device is unknown.
        NotSupported: This host does not have one of them.
    """
    resources.validate(limits, os.cpu_count() or 1)
    for name in names(Limits):
        value = getattr(limits, name)
        if value is None or value is False or value == () or (name == "memory_swap" and value == -1):
            continue
        why_not = _support(name)[1]
        if why_not:
            raise NotSupported(f"the limit {name.replace('_', '-')} cannot be set: {why_not}")
    rates: dict[str, Any] = {
        name: _on_disks(getattr(limits, name), volumes) for name in DEVICE_FIELDS if getattr(limits, name)
    }
    return replace(limits, **rates) if rates else limits


def _on_disks(rates: tuple[DeviceRate, ...], volumes: VolumeStore) -> tuple[DeviceRate, ...]:
    """Return rates by disk: one may be named by its path, by a path on it, by its number, or by a volume on it."""
    found: dict[str, int] = {}
    for rate in rates:
        found[disk(rate.device, volumes)] = rate.rate
    return tuple(DeviceRate(device, rate) for device, rate in found.items())


def disk(device: str, volumes: VolumeStore) -> str:
    """Return the disk that a path, a device, its number, or a volume's name stands for.

    Raises:
        InvalidArgument: There is none.
    """
    path = device
    if "/" not in device and ":" not in device:
        try:
            path = volumes.get(device).mountpoint
        except NotFound:
            raise InvalidArgument(f"no such device or volume: {device}") from None
    try:
        block_device(path)
    except CgroupError as error:
        raise InvalidArgument(str(error)) from error
    return device if device.startswith("/dev/") else disk_of(path) or device
