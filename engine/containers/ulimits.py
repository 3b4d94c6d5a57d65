"""Resource limits (ulimits) of processes that run (prlimit(2))."""

from __future__ import annotations

import resource
from pathlib import Path

from engine.containers.isolation import check_ulimits as check
from engine.errors import NotPermitted
from engine.linux.cgroup.group import Group
from engine.model.container import Ulimit
from engine.oci.runtime_config import rlimits
from engine.store import records

__all__ = ["check", "keep", "set_all"]


def set_all(group: Group, wanted: tuple[Ulimit, ...]) -> None:
    """Limit every process of a group, those that are forked meanwhile too.

    Raises:
        NotPermitted: The kernel does not allow one; all have their old limits again.
    """
    old: dict[tuple[int, int], tuple[int, int]] = {}
    seen: set[int] = set()
    while new := set(group.all_pids()) - seen:
        seen |= new
        for pid in sorted(new):
            for limit in wanted:
                kind = getattr(resource, f"RLIMIT_{limit.name.upper()}")
                try:
                    old[pid, kind] = resource.prlimit(pid, kind, (_number(limit.soft), _number(limit.hard)))
                except ProcessLookupError:
                    continue
                except (PermissionError, ValueError):
                    _restore(old)
                    raise NotPermitted(
                        f"the ulimit {limit.name} cannot be raised above {_text(resource.prlimit(pid, kind)[1])}:"
                        " this host's engine does not have CAP_SYS_RESOURCE"
                    ) from None


def _restore(old: dict[tuple[int, int], tuple[int, int]]) -> None:
    for (pid, kind), limits in old.items():
        try:
            resource.prlimit(pid, kind, limits)
        except (OSError, ValueError):
            continue  # it ended, or its hard limit was lowered and cannot be raised by us


def keep(config: Path, ulimits: tuple[Ulimit, ...]) -> None:
    """Keep config.json true, which exec and a monitor's next start read."""
    if config.exists():
        document = records.load_json(config)
        document["process"]["rlimits"] = rlimits(ulimits)
        records.save(config, document)


def _number(value: int) -> int:
    return resource.RLIM_INFINITY if value < 0 else value


def _text(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
