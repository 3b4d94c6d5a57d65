"""Which limits this host can set, by the files that its cgroups have."""

from __future__ import annotations

import os

from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import UNIFIED

# A field of engine.model.limits.Limits: v1's controller and file, v2's controller and file; "" where it has none.
_RATE = "blkio.throttle.{way}_{unit}_device"
FILES: dict[str, tuple[str, str, str, str]] = {
    "cpus": ("cpu", "cpu.cfs_quota_us", "cpu", "cpu.max"),
    "cpu_period": ("cpu", "cpu.cfs_period_us", "cpu", "cpu.max"),
    "cpu_quota": ("cpu", "cpu.cfs_quota_us", "cpu", "cpu.max"),
    "cpu_burst": ("cpu", "cpu.cfs_burst_us", "cpu", "cpu.max.burst"),
    "cpu_idle": ("cpu", "cpu.idle", "cpu", "cpu.idle"),
    "cpu_shares": ("cpu", "cpu.shares", "cpu", "cpu.weight"),
    "cpu_rt_period": ("cpu", "cpu.rt_period_us", "cpu", ""),
    "cpu_rt_runtime": ("cpu", "cpu.rt_runtime_us", "cpu", ""),
    "cpuset_cpus": ("cpuset", "cpuset.cpus", "cpuset", "cpuset.cpus"),
    "cpuset_mems": ("cpuset", "cpuset.mems", "cpuset", "cpuset.mems"),
    "memory": ("memory", "memory.limit_in_bytes", "memory", "memory.max"),
    "memory_reservation": ("memory", "memory.soft_limit_in_bytes", "memory", "memory.low"),
    "memory_high": ("memory", "", "memory", "memory.high"),
    "memory_min": ("memory", "", "memory", "memory.min"),
    "memory_swap": ("memory", "memory.memsw.limit_in_bytes", "memory", "memory.swap.max"),
    "memory_swappiness": ("memory", "memory.swappiness", "memory", ""),
    "oom_kill_disable": ("memory", "memory.oom_control", "memory", ""),
    "oom_group": ("memory", "", "memory", "memory.oom.group"),
    "blkio_weight": ("blkio", "blkio.weight blkio.bfq.weight", "io", "io.weight io.bfq.weight"),
    "blkio_weight_devices": ("blkio", "blkio.weight_device blkio.bfq.weight_device", "io", "io.weight io.bfq.weight"),
    **{f"device_{way}_{unit}": ("blkio", _RATE.format(way=way, unit=unit), "io", "io.max")
        for way in ("read", "write") for unit in ("bps", "iops")},
    "pids": ("pids", "pids.max", "pids", "pids.max"),
    "hugepages": ("hugetlb", "hugetlb.", "hugetlb", "hugetlb."),
    "unified": ("", "", "", "cgroup.procs"),
}  # fmt: skip


def support(name: str) -> tuple[str, str]:
    """Return the kernel's file behind a limit, and why it cannot be set; one of them is empty.

    Args:
        name: A field of Limits.
    """
    hierarchy = layout.detect()
    controller, files = FILES[name][:2] if hierarchy.version == 1 else FILES[name][2:]
    if not files:
        return "", f"cgroup v{hierarchy.version} has no such limit"
    if controller and controller not in hierarchy.controllers:
        return "", f"this host's cgroups have no {controller} controller"
    directory = _sample(hierarchy.mounts[controller if hierarchy.version == 1 else UNIFIED], hierarchy.version)
    found = [file for file in files.split() if _has(directory, file)]
    if name == "memory_swap" and not found:
        return "", "this kernel does not account swap"
    return (found[0], "") if found else ("", f"this kernel has no {' or '.join(files.split())}")


def _has(directory: str, file: str) -> bool:
    if not directory:
        return True  # nothing to look at, so the kernel will say it
    if file.endswith("."):
        return any(name.startswith(file) for name in os.listdir(directory))
    return os.path.exists(f"{directory}/{file}")


def _sample(mount: str, version: int) -> str:
    """Return a group that has the files of all limits, which a root lacks: on v2 one with all controllers."""
    with os.scandir(mount) as entries:
        groups = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    if version == 1:
        return groups[0] if groups else ""
    return max(groups, key=lambda path: len(_controllers(path)), default="")


def _controllers(path: str) -> list[str]:
    try:
        with open(f"{path}/cgroup.controllers", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
