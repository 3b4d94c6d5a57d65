"""A change on trial: trial.json in a container's volatile directory, which its monitor watches.

The record keeps the confirmed limits meanwhile; so whatever dies, and whenever the container starts again, those are in
force. The monitor puts `resources` in force when the time is over (engine.sandbox.recorder).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.model.limits import Limits
from engine.model.value import Value, field
from engine.store import records


class Trial(Value, frozen=True):
    """What trial.json says.

    Attributes:
        pid, pid_start: The container's first process: another one has started with the confirmed limits.
        until: The end, in seconds of the clock that counts from boot.
        after: The limits on trial.
        resources: `linux.resources` that revert them.
        limits_traffic: Whether traffic has to be limited as before.
        attributes: What the journal says of the revert.
        began: When it was made.
    """

    pid: int
    pid_start: int
    until: float
    after: Limits
    resources: dict[str, Any]
    attributes: dict[str, str] = field(default_factory=dict)
    limits_traffic: bool = False
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def is_of(self, pid: int, pid_start: int) -> bool:
        """Return whether it is about the run of the container that began with this process."""
        return (self.pid, self.pid_start) == (pid, pid_start)

    def is_over(self) -> bool:
        """Return whether its time is over."""
        return self.seconds_left() <= 0

    def seconds_left(self) -> float:
        """Return the seconds until it is reverted."""
        return self.until - time.clock_gettime(time.CLOCK_BOOTTIME)


def _path(directory: Path) -> Path:
    return directory / "trial.json"


def load(directory: Path) -> Trial | None:
    """Return the trial in a container's volatile directory; None when there is none."""
    try:
        return records.load(_path(directory), Trial)
    except FileNotFoundError:
        return None


def save(directory: Path, trial: Trial) -> None:
    """Begin a trial, or go on with one."""
    records.save(_path(directory), trial)


def end_after(seconds: float) -> float:
    """Return the time so many seconds from now, in seconds of the clock that counts from boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) + seconds


def drop(directory: Path) -> None:
    """End the trial; it is fine when there is none."""
    _path(directory).unlink(missing_ok=True)
