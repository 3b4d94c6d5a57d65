"""How a process runs: scheduler, I/O priority, CPUs, memory policy, execution domain (sched(7), set_mempolicy(2))."""

from __future__ import annotations

from engine.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6}  # fmt: skip
POLICY_FLAGS = {"SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64}  # fmt: skip
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_MODES = {"MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
DOMAINS = {"LINUX": 0, "LINUX32": 8}


class Refused(Exception):
    """A name is unknown, or the kernel refuses a value; str() is a sentence that names the field."""


def set_process(process: Document) -> None:
    """Set scheduler and I/O priority of the calling process where `process` has them.

    Raises:
        Refused: It cannot be.
    """
    scheduler: Document = process.get("scheduler") or {}
    priority: Document = process.get("ioPriority") or {}
    try:
        if scheduler:
            flags = sum(POLICY_FLAGS[str(name)] for name in scheduler.get("flags") or ())
            times = (int(scheduler.get("runtime") or 0), int(scheduler.get("deadline") or 0),
                int(scheduler.get("period") or 0))  # fmt: skip
            syscalls.sched_setattr(
                POLICIES[str(scheduler["policy"])], flags, int(scheduler.get("nice") or 0),
                int(scheduler.get("priority") or 0), times,
            )  # fmt: skip
        if priority:
            syscalls.ioprio_set(IO_CLASSES[str(priority["class"])] << 13 | int(priority.get("priority") or 0))
    except KeyError as error:
        raise Refused(f"process.scheduler or process.ioPriority: unknown value {error}") from error
    except OSError as error:
        raise Refused(f"cannot set process.scheduler or process.ioPriority: {error.strerror}") from error


def set_container(linux: Document) -> None:
    """Set memory policy and execution domain where `linux` has them; they pass on to all that the process starts.

    Raises:
        Refused: It cannot be.
    """
    policy: Document = linux.get("memoryPolicy") or {}
    domain: Document = linux.get("personality") or {}
    try:
        if policy:
            flags = sum(MEMORY_FLAGS[str(name)] for name in policy.get("flags") or ())
            nodes = sum(1 << number for number in numbers_of(str(policy.get("nodes") or "")))
            syscalls.set_mempolicy(MEMORY_MODES[str(policy["mode"])] | flags, nodes)
        if domain:
            syscalls.personality(DOMAINS[str(domain["domain"])])
    except KeyError as error:
        raise Refused(f"linux.memoryPolicy or linux.personality: unknown value {error}") from error
    except OSError as error:
        raise Refused(f"cannot set linux.memoryPolicy or linux.personality: {error.strerror}") from error


def numbers_of(text: str) -> set[int]:
    """Return the numbers of a list such as "0-3,5".

    Raises:
        ValueError: It is none.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found
