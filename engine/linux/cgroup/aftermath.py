"""What a group's counters say at the end of a container, before the group goes."""

from __future__ import annotations

from engine.linux.cgroup import effective
from engine.linux.cgroup.layout import UNIFIED
from engine.linux.cgroup.values import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.group import Group

_NEAR = 1 << 20
HOST = "/"
"""The place of a lack that no group's limit made."""


def lack_of_memory(group: Group) -> dict[str, str]:
    """Return how processes were killed for lack of memory, as a journal's attributes; empty when none was.

    Returns:
        "kills": how many; "where": the group whose limit was hit, HOST when the host had no memory left; "limit" and
        "peak" in bytes, where they are known.
    """
    kills = group.oom_kills()
    if not kills:
        return {}
    limit, where = _own_limit(group) if _hit_own(group) else effective.memory_limit(group, with_own=False)
    peak = _text(group, "memory.max_usage_in_bytes", "memory.peak")
    found = {"kills": str(kills), "where": where or HOST, "limit": str(limit or ""), "peak": peak}
    return {name: value for name, value in found.items() if value}


def _hit_own(group: Group) -> bool:
    """Return whether the group's own limit was in the way.

    On v2 the killer was called for it. On v1 newer kernels no longer count that (memory.failcnt stays 0), but the use
    went up to the limit.
    """
    if group.version == 1:
        for kind in ("", "memsw."):
            peak, limit = (_text(group, f"memory.{kind}{name}_in_bytes", "") for name in ("max_usage", "limit"))
            if peak.isdigit() and limit.isdigit() and int(peak) + _NEAR >= int(limit):
                return True
        return False
    events = dict(line.split(" ", 1) for line in _text(group, "", "memory.events").splitlines() if " " in line)
    return events.get("oom", "0") != "0"


def _own_limit(group: Group) -> tuple[int | None, str]:
    text = _text(group, "memory.limit_in_bytes", "memory.max")
    return int(text) if text.isdigit() else None, group.inner_path


def _text(group: Group, on_v1: str, on_v2: str) -> str:
    directory, name = (group.paths.get(UNIFIED), on_v2) if group.version == 2 else (group.paths.get("memory"), on_v1)
    try:
        return read(f"{directory}/{name}") if directory and name else ""
    except OSError:
        return ""
