"""Lowers a memory limit below what is in use without killing: bit by bit, as fast as the container can give up memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from engine.containers.tuning import Tuning, Wanted
from engine.errors import Conflict
from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import CgroupError
from engine.model.limits import LimitsChanged
from engine.model.usage import Counters
from engine.model.value import replace

_STEP = 0.9
_SETTLES_WITHIN = 3.0
_TRIAL = 60.0
_MOST_PRESSURE = 40.0


def step_down(
    tuning: Tuning,
    ref: str,
    memory: int,
    within: float,
    watch: Callable[[int], object] = lambda _used: None,
    stop: threading.Event | None = None,
) -> LimitsChanged:
    """Lower the memory limit of a running container, and keep it; on failure the limits are as before.

    On v2 memory.high goes down first, which reclaims and slows down; v1 has only the limit itself, which the kernel
    refuses to set below what it cannot reclaim. Each step is a trial, so the monitor takes it back if we die.

    Args:
        tuning: What moves limits.
        ref: The container.
        memory: The limit wanted, in bytes.
        within: Seconds after which it is given up.
        watch: Is told the bytes in use now, again and again.
        stop: Is looked at now and then; when it is set, it is given up.

    Raises:
        Conflict: The container needs the memory: it did not give it up in time, or waits for memory most of the time;
            or it was called off.
    """
    deadline = time.monotonic() + within
    is_v2 = layout.detect().version == 2
    is_on_trial = False

    def look() -> Counters:
        if stop is not None and stop.is_set():
            raise Conflict("lowering the memory limit was called off, the limits are as before")
        found = tuning.counters(ref)
        watch(found.memory_usage_bytes)
        return found

    try:
        while (used := look().memory_usage_bytes) > memory:
            step = max(memory, int(used * _STEP))
            tuning.update(ref, _to(step, is_v2=is_v2), force=True, seconds=_TRIAL)
            is_on_trial = True
            _settle(look, step, deadline)
        if is_on_trial:
            tuning.undo(ref)
            is_on_trial = False
        return tuning.update(ref, lambda limits: replace(limits, memory=memory))
    except CgroupError as error:
        raise Conflict(f"the memory limit cannot be lowered: {error}") from error
    finally:
        if is_on_trial:
            with contextlib.suppress(Conflict):
                tuning.undo(ref)


def _to(step: int, *, is_v2: bool) -> Wanted:
    if is_v2:
        return lambda limits: replace(limits, memory_high=step)
    return lambda limits: replace(limits, memory=step)


def _settle(look: Callable[[], Counters], step: int, deadline: float) -> None:
    """Wait until the use has come down to a step, or for a while."""
    soon = min(time.monotonic() + _SETTLES_WITHIN, deadline)
    while time.monotonic() < soon:
        found = look()
        if found.memory_usage_bytes <= step:
            return
        if found.memory_pressure and found.memory_pressure.some_avg10 > _MOST_PRESSURE:
            raise Conflict("the container waits for memory most of the time: it needs what it has")
        time.sleep(0.05)
    if time.monotonic() >= deadline:
        raise Conflict("the container does not give up enough memory in the time given")
