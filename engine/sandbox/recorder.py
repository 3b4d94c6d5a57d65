"""What a monitor does each second beside its streams: writes the history, and reverts a change that was on trial."""

from __future__ import annotations

import os
import time

from engine.linux import files
from engine.linux.cgroup.readings import Readings
from engine.linux.light import json
from engine.sandbox import connect, ring
from engine.sandbox.streams import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

_LONGEST_SAMPLE = 10.0


class Recorder(Timer):
    """A timer in the loop of a monitor; nothing of it happens before the first second has passed."""

    def __init__(self, settings: Document, journal: Callable[..., None]) -> None:
        self._directory = os.path.dirname(str(settings["exit"]))
        self._trial = f"{os.path.dirname(str(settings['state']))}/trial.json"
        self._lock = str(settings["lock"])
        self._networking = str(settings["networking"])
        self._network: Document = settings.get("network") or {}
        self._journal = journal
        self._phase = 0.2 + 0.6 * (os.getpid() % 64) / 64  # monitors do not all wake at once
        self._ring = -1
        self._readings: Readings | None = None
        self._last: Document | None = None
        self._last_second = 0
        self._has_said = False

    def begin(self, group: Group, pid: int) -> None:
        """Watch a run of the container that has just begun."""
        self._group, self._pid = group, pid
        self._next = self._due_after(time.time())

    def _due_after(self, now: float) -> float:
        return int(now - self._phase) + 1 + self._phase

    def left(self) -> float:
        """Return the milliseconds until there is something to do."""
        return max(0.0, min(self._next - time.time(), 1.0)) * 1000

    def tick(self) -> None:
        """Do what is due; a history that cannot be written, as on a full disk, does not harm the container."""
        now = time.time()
        if now < self._next and self._next - now <= 1.0:  # else the clock was set back
            return
        self._next = self._due_after(now)
        try:
            self._record(int(now))
        except (OSError, ValueError) as error:
            self._say(error)
        try:
            self._revert()
        except (OSError, ValueError) as error:
            self._say(error)

    def end(self) -> None:
        """Sum up what there is; the run has ended."""
        try:
            if self._ring >= 0:
                ring.sum_up_newest(self._ring)
        except OSError as error:
            self._say(error)
        if self._readings:
            self._readings.close()
        if self._ring >= 0:
            os.close(self._ring)
        self._ring, self._readings, self._last = -1, None, None

    def _say(self, what: object) -> None:
        if not self._has_said:
            self._journal("error", message=f"history and trials: {what}")
        self._has_said = True

    def _record(self, second: int) -> None:
        if self._ring < 0:
            self._ring = ring.open_ring(f"{self._directory}/history")
            ring.sum_up_newest(self._ring)
        if self._readings is None:
            self._readings = Readings(self._group.version, self._group.paths, self._pid)
        try:
            new = self._readings.read()
        except ProcessLookupError:
            return
        old, self._last = self._last, new
        if old:
            seconds = (new["taken_ns"] - old["taken_ns"]) / 1e9
            if 0 < seconds < _LONGEST_SAMPLE:  # a longer one: the host slept
                ring.put(self._ring, second, ring.values_between(old, new, seconds), seconds, self._last_second)
                self._last_second = second

    def _revert(self) -> None:
        """Put the limits from before a trial in force when its time is over; whoever changes them now goes first."""
        if self._has_time_left(self._read_trial()):
            return
        try:
            with files.FileLock(self._lock, blocking=False):
                trial = self._read_trial()
                if trial and not self._has_time_left(trial) and self._put_back(trial):
                    os.unlink(self._trial)
                    self._journal("update", **trial["attributes"])
        except BlockingIOError:
            return

    def _put_back(self, trial: Document) -> bool:
        """Put limits in force; return whether that is all. A memory limit below what is in use would kill: it waits."""
        for endpoint in self._endpoints() if trial.get("limits_traffic") else []:
            if endpoint["bridge"]:
                connect.shape(endpoint)
        resources: Document = trial["resources"]
        limit = (resources.get("memory") or {}).get("limit") or 0
        if 0 < limit < (self._last or {}).get("memory_bytes", 0):
            self._group.apply({name: section for name, section in resources.items() if name != "memory"})
            self._say("the memory limit from before the trial is below what is in use: it is put back when that fits")
            return False
        self._group.apply(resources)
        return True

    def _endpoints(self) -> list[Document]:
        """Return the container's endpoints, whose rates are those that were confirmed."""
        try:
            found: Document = json.loads(files.read_file(self._networking))
        except FileNotFoundError:
            found = self._network
        return found.get("endpoints") or []

    def _read_trial(self) -> Document:
        try:
            found: Document = json.loads(files.read_file(self._trial))
        except FileNotFoundError:
            return {}
        return found if found["pid"] == self._pid else {}

    @staticmethod
    def _has_time_left(trial: Document) -> bool:
        return not trial or time.clock_gettime(time.CLOCK_BOOTTIME) < trial["until"]
