"""Start, stop, kill, pause, wait, remove: what changes the state of a container."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal as signals
import socket
import time
from datetime import UTC, datetime

from engine.containers.create import Creator, cgroup_name, signal_number
from engine.containers.launch import Launcher
from engine.containers.records import Exit, Known, Record, Registry, State
from engine.errors import Conflict, NotFound
from engine.linux import files, procfs
from engine.linux.cgroup.group import Group, group_for
from engine.model.status import Status
from engine.networks.networks import NetworkStore
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

_ENDS_WITHIN = 20.0


class Lifecycle:
    """Changes states; one container at a time is changed by one caller, under its lock."""

    def __init__(
        self,
        paths: Paths,
        journal: Journal,
        registry: Registry,
        creator: Creator,
        launcher: Launcher,
        networks: NetworkStore,
        volumes: VolumeStore,
    ) -> None:
        self._paths = paths
        self._journal = journal
        self._registry = registry
        self._creator = creator
        self._launcher = launcher
        self._networks = networks
        self._volumes = volumes

    def lock(self, container_id: str) -> files.FileLock:
        """Return the lock of a container."""
        return files.FileLock(self._paths.lock(f"container-{container_id}"))

    def start(
        self, container_id: str, session: socket.socket | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """Start a container; it is fine when it runs already.

        Raises:
            StartFailed: Its process could not be started; the container stays and says why.
            Conflict: It is paused.
        """
        with self.lock(container_id):
            known = self._registry.known(container_id)
            if known.status is Status.PAUSED:
                raise Conflict(f"container {known.record.name} is paused", hint="unpause it first")
            if known.status is Status.RUNNING:
                return
            self._wait_for_monitor(self._registry.state(container_id))
            directory = self._paths.container(container_id)
            starting = directory / "starting"
            starting.touch(mode=0o600)
            try:
                directory.joinpath("exit.json").unlink(missing_ok=True)
                self._sweep(container_id)
                self._creator.prepare_start(known.record)
                if size:
                    self._set_size(container_id, size)
                self._launcher.ask({"action": "start", "bundle": str(directory), "id": container_id}, session)
            except BaseException:
                self._networks.release(container_id)
                self._forget_run(container_id)
                raise
            finally:
                starting.unlink(missing_ok=True)

    def _set_size(self, container_id: str, size: tuple[int, int]) -> None:
        path = self._paths.container(container_id) / "monitor.json"
        settings = json.loads(path.read_bytes())
        settings["size"] = list(size)
        files.write_atomic(path, json.dumps(settings).encode())

    def _sweep(self, container_id: str) -> None:
        """Remove what a killed monitor may have left: the cgroup and the state record."""
        parent = self._registry.record(container_id).spec.cgroup_parent
        group = group_for(cgroup_name(self._paths, container_id, parent))
        group.kill()
        group.remove()
        self._paths.running(container_id).joinpath("state.json").unlink(missing_ok=True)

    def _forget_run(self, container_id: str) -> None:
        files.remove_tree(self._paths.running(container_id))

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to the container's first process.

        Raises:
            Conflict: It is not running.
            InvalidArgument: There is no such signal.
        """
        number = signal_number(name)
        known, state = self._running(container_id)
        self._journal.append("container", "kill", container_id, known.record.name, signal=str(number))
        self._send(state, number)
        if number == signals.SIGKILL:
            self._group(state).thaw() if known.status is Status.PAUSED else None
            self._wait_end(container_id, state, _ENDS_WITHIN)

    @staticmethod
    def _send(state: State, number: int) -> None:
        try:
            pidfd = procfs.open_process(state.pid, state.pid_start)
        except ProcessLookupError:
            return
        try:
            signals.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)

    def stop(self, container_id: str, timeout: float | None, signal: str | None) -> None:
        """Send the stop signal, and KILL after the timeout; it is fine when it is not running."""
        known = self._registry.known(container_id)
        state = known.state
        if state is None:
            self._wait_for_monitor(self._registry.state(container_id))
            return
        number = signal_number(signal or known.record.stop_signal)
        patience = known.record.spec.stop_timeout if timeout is None else timeout
        self._send(state, number)
        if known.status is Status.PAUSED:
            self._group(state).thaw()
        if not self._wait_end(container_id, state, None if patience < 0 else patience):
            self._send(state, signals.SIGKILL)
            self._wait_end(container_id, state, _ENDS_WITHIN)
        self._journal.append("container", "stop", container_id, known.record.name)

    def pause(self, container_id: str, *, frozen: bool) -> None:
        """Freeze or thaw all processes.

        Raises:
            Conflict: It is not running, or already in that state.
        """
        with self.lock(container_id):
            known, state = self._running(container_id)
            if (known.status is Status.PAUSED) == frozen:
                raise Conflict(f"container {known.record.name} is {'already' if frozen else 'not'} paused")
            group = self._group(state)
            if frozen:
                group.freeze()
            else:
                group.thaw()
        self._journal.append("container", "pause" if frozen else "unpause", container_id, known.record.name)

    def rename(self, container_id: str, name: str) -> None:
        """Give a container another name.

        Raises:
            Conflict: The name is taken.
        """
        with self.lock(container_id):
            record = self._registry.record(container_id)
            self._creator.rename(record, name)
            self._update_monitor_name(container_id, name)
        self._journal.append("container", "rename", container_id, name, oldName=record.name)

    def _update_monitor_name(self, container_id: str, name: str) -> None:
        """Keep monitor.json true for the next start; a running monitor looks its link up by the container's id."""
        path = self._paths.container(container_id) / "monitor.json"
        if path.exists():
            settings = json.loads(path.read_bytes())
            settings.update(name=name, name_link=str(self._paths.names / name))
            files.write_atomic(path, json.dumps(settings).encode())

    def wait(self, container_id: str, timeout: float | None) -> int:
        """Wait until a container has ended; return its exit code.

        Raises:
            TimeoutError: It has not ended in time.
        """
        known = self._registry.known(container_id)
        if known.status is Status.CREATED:
            raise Conflict(f"container {known.record.name} was never started")
        state = known.state or self._registry.state(container_id)
        if state is not None and not self._wait_end(container_id, state, timeout):
            raise TimeoutError(f"container {known.record.name} has not ended in time")
        return self._exit_code(container_id, known)

    def _exit_code(self, container_id: str, known: Known) -> int:
        try:
            found = self._registry.known(container_id).exit
        except NotFound:  # --rm: the journal still knows
            found = None
        if found:
            return found.exit_code
        for event in reversed(self._journal.between(known.record.created_at)):
            if event.id == container_id and event.action == "die":
                return int(event.attributes["exitCode"])
        return 255

    def remove(self, container_id: str, *, force: bool, volumes: bool) -> None:
        """Remove a container, running or not, with everything that is its own.

        Raises:
            Conflict: It is running and `force` is not given.
        """
        known = self._registry.known(container_id)
        name = known.record.name
        if known.status.is_alive and not force:
            raise Conflict(f"container {name} is {known.status}", hint="stop it first, or use -f")
        if known.state:
            self._send(known.state, signals.SIGKILL)
            if known.status is Status.PAUSED:
                self._group(known.state).kill()
        with self.lock(container_id):
            state = self._registry.state(container_id)
            if state:
                if force:
                    self._send(state, signals.SIGKILL)
                self._wait_end(container_id, state, _ENDS_WITHIN)
                self._wait_for_monitor(state)
            self._remove_files(known.record, volumes=volumes)
        self._paths.lock(f"container-{container_id}").unlink(missing_ok=True)
        self._journal.append("container", "destroy", container_id, name)

    def _remove_files(self, record: Record, *, volumes: bool) -> None:
        self._creator.drop_name(record)
        group = group_for(cgroup_name(self._paths, record.id, record.spec.cgroup_parent))
        group.kill()
        group.remove()
        self._networks.release(record.id)
        self._forget_run(record.id)
        with contextlib.suppress(FileNotFoundError):  # --rm: the monitor was faster
            self._paths.discard(self._paths.container(record.id))
        for name, _, _, anonymous in record.volumes if volumes else ():
            if anonymous:
                self._volumes.remove(name, force=True)

    def _running(self, container_id: str) -> tuple[Known, State]:
        known = self._registry.known(container_id)
        if known.state is None:
            raise Conflict(f"container {known.record.name} is not running")
        return known, known.state

    @staticmethod
    def _group(state: State) -> Group:
        return Group.from_paths(state.cgroup["version"], state.cgroup["paths"])

    def group(self, container_id: str) -> tuple[Group, State]:
        """Return a running container's cgroup and state.

        Raises:
            Conflict: It is not running.
        """
        _, state = self._running(container_id)
        return self._group(state), state

    def _wait_end(self, container_id: str, state: State, timeout: float | None) -> bool:
        """Wait until the first process has ended and its monitor has cleaned up; return whether it has."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not _wait_process(state.pid, state.pid_start, deadline):
            return False
        self._wait_for_monitor(state)
        if not state.has_monitor:
            self._end_orphan(container_id, state)
        return True

    @staticmethod
    def _wait_for_monitor(state: State | None) -> None:
        if state:
            _wait_process(state.monitor_pid, state.monitor_start, time.monotonic() + _ENDS_WITHIN)

    def _end_orphan(self, container_id: str, state: State) -> None:
        """Write down the end of a container whose monitor was killed; nobody knows its exit code."""
        directory = self._paths.container(container_id)
        if not directory.exists() or self._registry.exit(container_id):
            return
        text = "the monitor was killed, so the exit code is unknown"
        lost = Exit(255, datetime.now(UTC), error=text, started_at=state.started_at)
        records.save(directory / "exit.json", lost)
        group = self._group(state)
        group.kill()
        group.remove()
        self._networks.release(container_id)
        self._paths.running(container_id).joinpath("state.json").unlink(missing_ok=True)
        self._journal.append("container", "die", container_id, self._registry.record(container_id).name, exitCode="255")


def _wait_process(pid: int, start: int, deadline: float | None) -> bool:
    """Wait until a process has ended; return False when the time is up first."""
    try:
        pidfd = procfs.open_process(pid, start)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        return bool(poll.poll(left))
    finally:
        os.close(pidfd)
