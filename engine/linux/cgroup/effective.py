"""What is in force for a group once all groups above it are counted, and its share of the CPU by weight."""

from __future__ import annotations

import os

from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import UNIFIED
from engine.linux.cgroup.values import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.linux.cgroup.group import Group

_UNLIMITED_V1 = 1 << 60
_IDLE_WEIGHT = 3  # the scheduler's weight of an idle group, where 1024 is usual (kernel/sched/sched.h)


def cpu_limit(group: Group, with_own: bool = True) -> tuple[float | None, str]:
    """Return the tightest CPU limit in cores on the way to the root, and the group that has it; with or without the group itself."""
    limits: list[tuple[float, str]] = []
    for path, name in _ancestors(group, "cpu", with_own):
        if group.version == 2:
            quota, _, period = _text(path, "cpu.max").partition(" ")
        else:
            quota, period = _text(path, "cpu.cfs_quota_us"), _text(path, "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            limits.append((int(quota) / int(period), name))
    return min(limits) if limits else (None, "")


def memory_limit(group: Group, with_own: bool = True) -> tuple[int | None, str]:
    """Return the tightest memory limit in bytes on the way to the root, and the group that has it."""
    return _tightest(group, "memory", "memory.limit_in_bytes", "memory.max", with_own)


def pids_limit(group: Group, with_own: bool = True) -> tuple[int | None, str]:
    """Return the tightest limit of tasks on the way to the root, and the group that has it."""
    return _tightest(group, "pids", "pids.max", "pids.max", with_own)


def _tightest(group: Group, controller: str, v1_file: str, v2_file: str, with_own: bool) -> tuple[int | None, str]:
    file = v1_file if group.version == 1 else v2_file
    texts = [(_text(path, file), name) for path, name in _ancestors(group, controller, with_own)]
    limits = [(int(text), name) for text, name in texts if text.isdigit() and int(text) < _UNLIMITED_V1]
    return min(limits) if limits else (None, "")


def cpu_share(group: Group, weight: int | None = None) -> float:
    """Return the part of the CPU, 0..1, that the weights give when every group with processes wants all of it.

    Args:
        group: The group.
        weight: Its weight if it were changed, in the kernel's unit (cpu.shares or cpu.weight).
    """
    share = 1.0
    for path, _ in _ancestors(group, "cpu"):
        own = _weight(path, group.version) if weight is None else weight
        weight = None
        others = sum(
            _weight(sibling, group.version) for sibling in _groups_in(os.path.dirname(path))
            if sibling != path and _is_populated(sibling, group.version)
        )  # fmt: skip
        share *= own / (own + others) if own + others else 1.0
    return share


def _ancestors(group: Group, controller: str, with_own: bool = True) -> Iterator[tuple[str, str]]:
    """Yield (directory, name) of a group and of those above it, or of these alone, without the hierarchy's root."""
    key = controller if group.version == 1 else UNIFIED
    path, mount = group.paths.get(key, ""), layout.detect().mounts.get(key, "")
    if not with_own:
        path = os.path.dirname(path)
    while mount and path.startswith(f"{mount}/"):
        yield path, path[len(mount) :]
        path = os.path.dirname(path)


def _groups_in(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_populated(path: str, version: int) -> bool:
    if version == 2:
        return "populated 1" in _text(path, "cgroup.events")
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if _text(current, "cgroup.procs"):
            return True
        waiting += _groups_in(current)
    return False


def _weight(path: str, version: int) -> int:
    text = _text(path, "cpu.shares" if version == 1 else "cpu.weight")
    if _text(path, "cpu.idle") == "1":
        return _IDLE_WEIGHT if version == 1 else 1
    return int(text) if text.isdigit() else 0


def _text(path: str, name: str) -> str:
    try:
        return read(f"{path}/{name}")
    except OSError:
        return ""
