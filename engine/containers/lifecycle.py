"""Start, stop, kill, pause, wait, remove: what changes the state of a container."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal as signals
import socket
import time
from collections.abc import Iterator

from engine.containers import runtimes
from engine.containers.create import STOPPING, Creator, cgroup_name, check_health, health_settings, signal_number
from engine.containers.launch import Launcher
from engine.containers.records import HEALTH, Known, Record, Registry, State
from engine.errors import Conflict, InvalidArgument, LauncherLost, NotFound, StoreError
from engine.linux import files, procfs
from engine.linux.cgroup.group import Group, group_for
from engine.model.container import RestartPolicy
from engine.model.health import HealthCheck
from engine.model.status import Status
from engine.model.value import asdict, replace
from engine.networks.networks import NetworkStore
from engine.store import records
from engine.store.actor import actor
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

    @contextlib.contextmanager
    def lock(self, container_id: str) -> Iterator[files.FileLock]:
        """Hold the lock of a container; the lock goes with the container.

        Raises:
            NotFound: The container was removed meanwhile, as one does by itself when it was started so.
        """
        path = self._paths.lock(f"container-{container_id}")
        with files.FileLock(path) as lock:
            try:
                yield lock
            except FileNotFoundError as error:
                if self._registry.has_directory(container_id):
                    raise
                raise NotFound("container", container_id[:12]) from error
            finally:
                if not self._registry.has_directory(container_id):
                    path.unlink(missing_ok=True)

    def start(
        self, container_id: str, session: socket.socket | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """Start a container; it is fine when it runs already.

        Raises:
            StartFailed: Its process could not be started; the container stays and says why.
            Conflict: It is paused.
        """
        with self.lock(container_id) as lock:
            known = self._registry.known(container_id)
            if known.status is Status.PAUSED:
                raise Conflict(f"container {known.record.name} is paused", hint="unpause it first")
            if known.status is Status.RUNNING:
                return
            if known.record.spec.auto_remove and known.status is Status.EXITED:
                raise Conflict(f"container {known.record.name} has ended, and is removed because of that")
            self._end_pause(self._registry.state(container_id))
            self._wait_for_monitor(self._registry.state(container_id))
            directory = self._paths.container(container_id)
            starting = directory / "starting"
            starting.touch(mode=0o600)
            try:
                self._sweep(container_id)
                self._creator.prepare_start(known.record)
                if size:
                    self._update_monitor(container_id, size=list(size))
                for mark in (
                    directory / "exit.json",
                    directory / "stopped",
                    self._paths.running(container_id) / STOPPING,
                ):
                    mark.unlink(missing_ok=True)
                request = {"action": "start", "bundle": str(directory), "id": container_id, "by": actor()}
                self._launcher.ask(request, *((lock, session) if session else (lock,)))
            except LauncherLost:
                self._sweep(container_id)
                self._give_back(container_id)
                raise
            except BaseException:
                self._give_back(container_id)
                raise
            finally:
                starting.unlink(missing_ok=True)

    def _sweep(self, container_id: str) -> None:
        """Remove what a killed monitor may have left: the cgroup and the state record."""
        group = self._group_by_name(container_id)
        group.kill()
        group.remove()
        self._paths.running(container_id).joinpath("state.json").unlink(missing_ok=True)

    def _group_by_name(self, container_id: str) -> Group:
        """Return the cgroup a container has by its record, whether it runs or not."""
        try:
            parent = self._registry.record(container_id).spec.cgroup_parent
        except (NotFound, StoreError):  # --rm: the monitor was faster; or the record is damaged
            parent = ""
        return group_for(cgroup_name(self._paths, container_id, parent))

    def _give_back(self, container_id: str) -> None:
        self._networks.release(container_id)
        files.remove_tree(self._paths.running(container_id))

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to the container's first process.

        Raises:
            Conflict: It is not running.
            InvalidArgument: There is no such signal.
        """
        number = signal_number(name)
        if number == signals.SIGKILL and self._registry.known(container_id).status is Status.RESTARTING:
            self.stop(container_id, 0, name)
            return
        known, state = self._running(container_id)
        if number in (signals.SIGKILL, signal_number(known.record.stop_signal)):
            self._mark_stopped(container_id, for_good=True)
        self._send_and_say(known, state, number)
        if number == signals.SIGKILL:
            self._group(state).thaw() if known.status is Status.PAUSED else None
            self._wait_record(container_id, state, _ENDS_WITHIN)

    def _send_and_say(self, known: Known, state: State, number: int) -> None:
        """Send a signal; the journal says so before, since the end that follows asks who did it."""
        self._journal.append("container", "kill", known.record.id, known.record.name, signal=str(int(number)))
        self._send(state, number)

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

    def stop(self, container_id: str, timeout: float | None, signal: str | None, *, for_good: bool = True) -> None:
        """Send the stop signal, and KILL after the timeout; it is fine when it is not running.

        Args:
            container_id: The container.
            timeout: Seconds; None takes the container's own, below 0 waits for ever.
            signal: Instead of the container's own.
            for_good: Whether a container that restarts unless it is stopped stays down at the next boot.
        """
        self._mark_stopped(container_id, for_good=for_good)
        known = self._registry.known(container_id)
        if known.status is Status.RESTARTING:
            if self._stop_restarting(known):
                return
            known = self._registry.known(container_id)  # its next start had just begun
        state = known.state
        if state is None:
            self._wait_for_monitor(self._registry.state(container_id))
            return
        number = signal_number(signal or known.record.stop_signal)
        patience = known.record.spec.stop_timeout if timeout is None else timeout
        self._send_and_say(known, state, number)
        if known.status is Status.PAUSED:
            self._group(state).thaw()
        if not self._wait_record(container_id, state, None if patience < 0 else patience):
            self._send_and_say(known, state, signals.SIGKILL)
            self._wait_record(container_id, state, _ENDS_WITHIN)
        self._journal.append("container", "stop", container_id, known.record.name)

    def _mark_stopped(self, container_id: str, *, for_good: bool) -> None:
        """Tell the monitor not to start the container again, and for good the next boot too."""
        marks = [self._paths.running(container_id) / STOPPING]
        marks += [self._paths.container(container_id) / "stopped"] if for_good else []
        for mark in marks:
            with contextlib.suppress(FileNotFoundError):  # it does not run, or was removed meanwhile
                mark.touch(mode=0o600)

    def _stop_restarting(self, known: Known) -> bool:
        """End a container that waits for its next start; return False when that has just begun."""
        with self.lock(known.record.id):
            state = self._registry.state(known.record.id)
            if state and state.is_alive:
                return False
            self._end_pause(state)
            self._end_orphan(known.record.id, state)
        self._journal.append("container", "stop", known.record.id, known.record.name)
        return True

    @staticmethod
    def _end_pause(state: State | None) -> None:
        """End a monitor that waits to start its container again; the container's lock is held, so it has not begun."""
        if state is None or state.status != "restarting":
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = procfs.open_process(state.monitor_pid, state.monitor_start)
            try:
                signals.pidfd_send_signal(pidfd, signals.SIGKILL)
            finally:
                os.close(pidfd)
        _wait_process(state.monitor_pid, state.monitor_start, time.monotonic() + _ENDS_WITHIN)

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
            # For the next start; a running monitor looks its link up by the container's id.
            self._update_monitor(container_id, name=name, name_link=str(self._paths.names / name))
        self._journal.append("container", "rename", container_id, name, oldName=record.name)

    def set_restart(self, container_id: str, policy: RestartPolicy) -> None:
        """Give a container another restart policy; its monitor looks when the container ends.

        Raises:
            Conflict: It is removed when it ends.
        """
        with self.lock(container_id):
            record = self._registry.record(container_id)
            if record.spec.auto_remove and policy.name != "no":
                raise Conflict(f"container {record.name} is removed when it ends, so it cannot have a restart policy")
            spec = replace(record.spec, restart=policy)
            records.save(self._paths.container(container_id) / "record.json", replace(record, spec=spec))
            self._update_monitor(container_id, restart=asdict(policy))
        self._journal.append("container", "update", container_id, record.name, restart=policy.name)

    def set_health(self, container_id: str, wanted: HealthCheck) -> None:
        """Change how a container's health is checked; the monitor of a running one notices within a second.

        Args:
            container_id: The container.
            wanted: What is other than before; ("NONE",) checks no more.

        Raises:
            InvalidArgument: It is malformed, or there is nothing to check.
            NotSupported: Commands cannot be run in a container of its runtime.
        """
        check_health(wanted)
        with self.lock(container_id):
            record = self._registry.record(container_id)
            before = record.spec.health
            check = wanted if wanted.test == ("NONE",) else wanted.completed_by(before)
            if not check.is_wanted and wanted.test != ("NONE",):
                raise InvalidArgument(
                    f"container {record.name} has no health check that could be changed: name a command"
                )
            spec = replace(record.spec, health=check)
            runtimes.check(spec)
            records.save(self._paths.container(container_id) / "record.json", replace(record, spec=spec))
            if check.test != before.test:  # what was found is of another check
                self._paths.running(container_id).joinpath(HEALTH).unlink(missing_ok=True)
            self._update_monitor(container_id, health=health_settings(check, self._paths.running(container_id)))
        self._journal.append("container", "update", container_id, record.name, health=" ".join(check.test))

    def _update_monitor(self, container_id: str, **changes: object) -> None:
        """Write something else into monitor.json, once there is one."""
        path = self._paths.container(container_id) / "monitor.json"
        if path.exists():
            files.write_atomic(path, json.dumps({**json.loads(path.read_bytes()), **changes}).encode())

    def wait(self, container_id: str, timeout: float | None) -> int:
        """Wait until a container has ended; return its exit code.

        Raises:
            TimeoutError: It has not ended in time.
        """
        known = self._registry.known(container_id)
        if known.status is Status.CREATED:
            raise Conflict(f"container {known.record.name} was never started")
        state = known.state or self._registry.state(container_id)
        if state is not None and not self._wait_over(container_id, state, timeout):
            raise TimeoutError(f"container {known.record.name} has not ended in time")
        return self._exit_code(container_id, known)

    def _wait_over(self, container_id: str, state: State, timeout: float | None) -> bool:
        """Wait until a container has ended and is not started again; return whether that is so in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not _wait_process(state.monitor_pid, state.monitor_start, deadline):
            return False
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._wait_record(container_id, self._registry.state(container_id) or state, left)

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
        try:
            known = self._registry.known(container_id)
        except StoreError:
            if not force:
                raise
            self.forget(container_id, damaged=True)
            return
        name = known.record.name
        if known.status.is_alive and not force:
            raise Conflict(f"container {name} is {known.status}", hint="stop it first, or use -f")
        if force:
            self._mark_stopped(container_id, for_good=True)
        if known.state:
            self._send_and_say(known, known.state, signals.SIGKILL)
            if known.status is Status.PAUSED:
                self._group(known.state).kill()
        elif force and self._registry.is_running(container_id):  # it is being started
            self._group_by_name(container_id).kill()
        with self.lock(container_id):
            state = self._registry.state(container_id)
            if state:
                self._end_pause(state)
                if force:
                    self._send(state, signals.SIGKILL)
                self._wait_end(state, _ENDS_WITHIN)
            self._remove_files(known.record, volumes=volumes)
        self._journal.append("container", "destroy", container_id, name)

    def _remove_files(self, record: Record, *, volumes: bool) -> None:
        """Remove what a container has, its directory before its name: a name without a container is free for others."""
        self._sweep(record.id)
        self._give_back(record.id)
        with contextlib.suppress(FileNotFoundError):  # --rm: the monitor was faster
            self._paths.discard(self._paths.container(record.id))
        self._creator.drop_name(record.name, record.id)
        for name, _, _, anonymous in record.volumes if volumes else ():
            if anonymous:
                with contextlib.suppress(Conflict):  # another container has it too
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

    def _wait_record(self, container_id: str, state: State, timeout: float | None) -> bool:
        """Wait until a container has ended and that is written down; return whether it has."""
        if not self._wait_end(state, timeout):
            return False
        if self._paths.container(container_id).exists() and not self._registry.exit(container_id):
            self.settle(container_id)
        return True

    def _wait_end(self, state: State, timeout: float | None) -> bool:
        """Wait until the first process has ended and its monitor has cleaned up; return whether it has."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not _wait_process(state.pid, state.pid_start, deadline):
            return False
        self._wait_for_monitor(state)
        return True

    @staticmethod
    def _wait_for_monitor(state: State | None) -> None:
        if state:
            _wait_process(state.monitor_pid, state.monitor_start, time.monotonic() + _ENDS_WITHIN)

    def wait_for_monitor(self, container_id: str) -> None:
        """Wait until all processes of a container that has ended are gone; its lock is held."""
        state = self._registry.state(container_id)
        if state and not state.is_alive and state.status != "restarting":
            self._wait_for_monitor(state)

    def wants_start_at_boot(self, known: Known) -> bool:
        """Return whether a container's restart policy has it started when the host was booted."""
        if known.status.is_alive or known.status is Status.CREATED:
            return False
        policy = known.record.spec.restart.name
        is_stopped = self._paths.container(known.record.id).joinpath("stopped").exists()
        return policy == "always" or (policy == "unless-stopped" and not is_stopped)

    def settle(self, container_id: str) -> None:
        """Write down the end of a container whose monitor was killed, and clean up after it."""
        with self.lock(container_id):
            state = self._registry.state(container_id)
            if state is None or not (state.is_alive or state.has_monitor):
                self._end_orphan(container_id, state)

    def forget(self, container_id: str, *, damaged: bool = False) -> None:
        """Remove what is left of a container that has no record: its processes, leases and directories.

        Args:
            container_id: The container.
            damaged: Whether to do so although it has one.
        """
        with self.lock(container_id):
            if damaged or not self._paths.container(container_id).joinpath("record.json").exists():
                self._sweep(container_id)
                self._give_back(container_id)
                with contextlib.suppress(FileNotFoundError):
                    self._paths.discard(self._paths.container(container_id))

    def _end_orphan(self, container_id: str, state: State | None) -> None:
        """Write down the end of a container whose monitor was killed; nobody knows its exit code."""
        directory = self._paths.container(container_id)
        if not directory.exists():
            return
        lost = None if self._registry.exit(container_id) else self._registry.lost(container_id, state)
        self._sweep(container_id)
        self._give_back(container_id)
        directory.joinpath("starting").unlink(missing_ok=True)
        if lost:
            records.save(directory / "exit.json", lost)
            name = self._registry.record(container_id).name
            attributes = {"exitCode": str(lost.exit_code), "error": lost.error}
            self._journal.write("container", "die", container_id, name, attributes)


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
