"""Health checks: a command in the container every so often, and what its results mean.

The rules are docker's (HEALTHCHECK in the Dockerfile reference): time runs from the end of one check to the start of the
next; failures in the start period do not count; the first success ends it.
"""

from __future__ import annotations

import os
import select
import time

from engine.linux import files, procfs, syscalls
from engine.linux.light import json, signal
from engine.sandbox import protocol
from engine.sandbox.enter import Entry
from engine.sandbox.process import CannotStart
from engine.sandbox.security import Security
from engine.sandbox.streams import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.linux.cgroup.group import Group
    from engine.sandbox.streams import Streams

    Document = dict[str, Any]

LARGEST_OUTPUT = 4096
MOST_RESULTS = 5
_LOOKS_EVERY = 1.0
_SHORTEST_INTERVAL = 0.1  # an image may ask for less, but each check costs the host
_ROUNDS = 20
_KEPT_FD = 3


class Verdict:
    """What the results of the checks come to.

    Attributes:
        status: "starting", "healthy" or "unhealthy".
        streak: Failures in a row that count.
        log: The last results, oldest first.
    """

    def __init__(self, settings: Document) -> None:
        self.status = "starting"
        self.streak = 0
        self.log: list[Document] = []
        self.change(settings)

    def change(self, settings: Document) -> None:
        """Judge by other numbers from now on."""
        self._retries = int(settings.get("retries") or 0) or 3
        self._start_period = float(settings.get("start_period") or 0)

    def add(self, result: Document, since_start: float) -> bool:
        """Take a result; return whether the status is another one now.

        Args:
            result: "exit_code", "output" and the two times.
            since_start: Seconds from the container's start to that of the check.
        """
        before = self.status
        self.log = [*self.log, result][-MOST_RESULTS:]
        if result["exit_code"] == 0:
            self.status, self.streak = "healthy", 0
        elif self.status != "starting" or since_start >= self._start_period:
            self.streak += 1
            if self.streak >= self._retries:
                self.status = "unhealthy"
        return self.status != before


class HealthChecks(Timer):
    """Checks one container, as a timer and a descriptor in the loop of its monitor, which never waits for a check.

    The settings may be changed while it runs: they are read again when the file that has them is another one.
    """

    def __init__(
        self, read: Callable[[], Document | None], process: Document, seccomp: str, report: Callable[[str], None]
    ) -> None:
        """Prepare; nothing is checked before begin.

        Args:
            read: Returns the check, {} for none, with "path": where its state is kept; None when it was not written anew.
            process: `process` of the config.
            seccomp: The path of the compiled filter; empty for none.
            report: Is told each new status.
        """
        self._read_settings = read
        self._container_process = self._process = process
        self._seccomp = seccomp
        self._report = report
        self._settings: Document = {}
        self._verdict = Verdict({})
        self._checker = self._result = -1
        self._said = b""
        self._interval = self._start_interval = self._timeout = self._due = self._looks_at = 0.0
        self._look()

    def _look(self) -> bool:
        """Read the settings; return whether they have changed."""
        self._looks_at = time.monotonic() + _LOOKS_EVERY
        try:
            settings = self._read_settings()
        except (OSError, ValueError):  # somebody removes the container
            return False
        if settings is None or settings == self._settings:
            return False
        before, self._settings = self._settings, settings
        arguments = command_of(list(settings.get("test") or []))
        self._process = {**self._container_process, "terminal": False, "args": arguments}
        self._interval = max(float(settings.get("interval") or 30), _SHORTEST_INTERVAL)
        self._start_interval = max(float(settings.get("start_interval") or 5), _SHORTEST_INTERVAL)
        self._timeout = float(settings.get("timeout") or 30)
        if settings.get("test") == before.get("test"):
            self._verdict.change(settings)
        else:
            self._verdict = Verdict(settings)
        return True

    def reset(self) -> None:
        """Forget the results of an earlier run, before the next is seen."""
        self._look()
        self._verdict = Verdict(self._settings)
        self._save()

    def begin(self, pid: int, group: Group, streams: Streams) -> None:
        """Check a container that has just been started."""
        self._pid, self._pid_start = pid, procfs.start_time(pid) or 0
        self._group, self._streams = group, streams
        self._began = time.monotonic()
        self._plan()

    def end(self) -> None:
        """Check no more; the container has ended."""
        if self._checker > 0:
            os.kill(self._checker, signal.SIGKILL)
            self._forget()

    def left(self) -> float | None:
        """Return the milliseconds until there is something to do; None while a check runs, and when there is none."""
        if self._checker > 0 or not self._settings:
            return None  # the recorder has the loop look once a second
        return max(0.0, self._due - time.monotonic()) * 1000

    def tick(self) -> None:
        """Start a check when it is time, but none in a container that is paused."""
        if self._checker > 0:
            return
        if time.monotonic() >= self._looks_at and self._look():
            self._save()
            self._plan()
        if not self._settings or time.monotonic() < self._due:
            return
        if self._group.is_frozen():
            self._plan()
            return
        self._check_began = time.monotonic()
        self._said = b""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._checker = os.fork()
        except OSError:  # the host has no room for one more process now
            protocol.close_all([ours, theirs])
            self._plan()
            return
        if self._checker == 0:
            self._be_checker(theirs)
        os.close(theirs)
        self._result = ours
        self._streams.watch(self._result, self._read_result)

    def _plan(self) -> None:
        in_start_period = time.monotonic() - self._began < float(self._settings.get("start_period") or 0)
        is_starting = self._verdict.status == "starting" and in_start_period
        self._due = time.monotonic() + (self._start_interval if is_starting else self._interval)

    def _read_result(self) -> None:
        if data := os.read(self._result, 64 << 10):
            self._said += data
            return
        said = self._said
        self._forget()
        if said.endswith(b"}"):  # else the checker was killed
            if self._verdict.add(json.loads(said), self._check_began - self._began):
                self._report(self._verdict.status)
            self._save()
        self._plan()

    def _forget(self) -> None:
        self._streams.unwatch(self._result)
        os.close(self._result)
        os.waitpid(self._checker, 0)
        self._checker = self._result = -1

    def _save(self) -> None:
        if not self._settings:
            return
        found = {"status": self._verdict.status, "failing_streak": self._verdict.streak, "log": self._verdict.log}
        try:
            files.write_atomic(str(self._settings["path"]), json.dumps(found).encode())
        except OSError:
            return  # a full disk must not end the monitor, nor somebody who removes the container meanwhile

    def _be_checker(self, result: int) -> None:
        """Run one check in this forked process and write its result; never returns."""
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(result, _KEPT_FD, inheritable=False)
            os.closerange(_KEPT_FD + 1, 1 << 20)  # the container's streams and sessions are the monitor's alone
            started = files.rfc3339(time.time_ns())
            exit_code, output = self._run()
            said = {"started_at": started, "finished_at": files.rfc3339(time.time_ns()), "exit_code": exit_code,
                "output": output.decode(errors="replace")}  # fmt: skip
            files.write_all(_KEPT_FD, json.dumps(said).encode())
        finally:
            os._exit(0)

    def _run(self) -> tuple[int, bytes]:
        """Return the check's exit code, -1 for one that did not end by itself, and the first of its output."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        entry = Entry(self._process, Security(self._process, {}, self._seccomp))
        try:
            entry.start(self._pid, self._pid_start, self._group, (null, writing, writing))
        except (CannotStart, OSError) as error:
            return -1, f"the health check cannot run: {error}".encode()[:LARGEST_OUTPUT]
        os.close(writing)
        has_ended, output = self._follow(reading, entry.pid)
        if not has_ended:
            _kill_session(self._group, entry.pid)
            text = f"Health check exceeded timeout ({self._timeout:g}s)".encode()
            return -1, (text + b": " + output if output else text)[:LARGEST_OUTPUT]
        _, status = os.waitpid(entry.pid, 0)
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), output

    def _follow(self, reading: int, pid: int) -> tuple[bool, bytes]:
        """Read until the check ends; return whether it did in time, and the first of its output."""
        os.set_blocking(reading, False)
        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + self._timeout
        output = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0 and self._group.is_frozen():
                deadline, left = deadline + self._timeout, self._timeout
            ready = [fd for fd, _ in poll.poll(max(0.0, left) * 1000)]
            if reading in ready:
                data = os.read(reading, 64 << 10)
                output = (output + data)[:LARGEST_OUTPUT]
                if not data:
                    poll.unregister(reading)
            elif ready:
                return True, output
            elif left <= 0:
                return False, output


def command_of(test: list[str]) -> list[str]:
    """Return the arguments of ("CMD", program, argument…) or ("CMD-SHELL", line)."""
    return test[1:] if test[:1] == ["CMD"] else ["/bin/sh", "-c", *test[1:]]


def _kill_session(group: Group, leader: int) -> None:
    """End a check and what it started in its session, and wait until that is gone."""
    for _ in range(_ROUNDS):
        found = [pid for pid in group.all_pids() if procfs.session_of(pid) == leader]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not found:
            break
    os.waitpid(leader, 0)
