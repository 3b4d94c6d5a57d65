"""The containers of a state root: the room's front."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.containers.exchange import Exchange
from engine.containers.records import Registry
from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported, StoreError
from engine.model.container import Container, ContainerSpec, ExecSpec, LogEntry, Process, RestartPolicy
from engine.model.health import HealthCheck
from engine.model.limits import Limits, LimitsChanged
from engine.model.reach import Reach
from engine.model.status import Status
from engine.model.usage import Counters
from engine.model.value import asdict, replace
from engine.store import records
from engine.store.actor import actor
from engine.store.journal import Journal
from engine.store.paths import Paths

if TYPE_CHECKING:
    from engine.containers.boot import Boot
    from engine.containers.causes import Causes
    from engine.containers.check import Check
    from engine.containers.create import Creator
    from engine.containers.history import History
    from engine.containers.launch import Launcher
    from engine.containers.lifecycle import Lifecycle
    from engine.containers.networking import Connections
    from engine.containers.session import Session
    from engine.containers.tuning import Tuning
    from engine.containers.usage import Sampler
    from engine.containers.views import Views
    from engine.images.images import ImageStore
    from engine.networks.networks import NetworkStore
    from engine.volumes.volumes import VolumeStore


class Rooms(Protocol):
    """The rooms beside this one, each loaded when it is first asked for."""

    @property
    def images(self) -> ImageStore:
        """Images."""
        ...

    @property
    def networks(self) -> NetworkStore:
        """Networks."""
        ...

    @property
    def volumes(self) -> VolumeStore:
        """Volumes."""
        ...


class Containers(Exchange):
    """Create, run, watch and retune containers. A ref is a name, an id, or a unique prefix of an id."""

    def __init__(self, paths: Paths, journal: Journal, registry: Registry, rooms: Rooms, launcher: Launcher) -> None:
        self._paths = paths
        self._journal = journal
        self._registry = registry
        self._rooms = rooms
        self._launcher = launcher

    @cached_property
    def _creator(self) -> Creator:
        from engine.containers.create import Creator

        return Creator(
            self._paths, self._journal, self._registry, self._rooms.images, self._rooms.networks, self._rooms.volumes,
            self._launcher,
        )  # fmt: skip

    @cached_property
    def _lifecycle(self) -> Lifecycle:
        from engine.containers.lifecycle import Lifecycle

        return Lifecycle(
            self._paths, self._journal, self._registry, self._creator, self._launcher, self._rooms.networks,
            self._rooms.volumes,
        )  # fmt: skip

    @cached_property
    def _views(self) -> Views:  # type: ignore[override] # made when it is first used
        from engine.containers.views import Views

        return Views(self._paths, self._registry, self._creator, self._lifecycle, self._launcher)

    @property
    def checker(self) -> Check:
        """What looks for leftovers of crashes."""
        from engine.containers.check import Check

        rooms = self._rooms
        return Check(
            self._paths, self._registry, self._lifecycle, self._creator, rooms.images, rooms.networks, rooms.volumes
        )

    @property
    def booter(self) -> Boot:
        """What starts and stops containers with the host."""
        from engine.containers.boot import Boot

        return Boot(self._paths, self._registry, self._lifecycle)

    @cached_property
    def tuning(self) -> Tuning:
        """What moves limits: on trial, for several containers at once, with previews and undo."""
        from engine.containers.tuning import Tuning

        volumes = self._rooms.volumes
        return Tuning(self._paths, self._journal, self._registry, self._lifecycle, volumes, lambda: self.connections)

    @property
    def causes(self) -> Causes:
        """Why containers ended."""
        from engine.containers.causes import Causes

        return Causes(self._journal, self._registry, self.history, self.logs)

    @property
    def history(self) -> History:
        """What monitors have written down of the use of containers."""
        from engine.containers.history import History

        return History(self._paths, self._registry)

    def create(self, spec: ContainerSpec) -> Container:
        """Create a container without starting it.

        Raises:
            EngineError: Something asked for is wrong or missing; nothing is left.
        """
        return self._registry.container(self._creator.create(spec))

    def start(self, ref: str) -> Container:
        """Start a container; it is fine when it runs already.

        Raises:
            StartFailed: Its process could not be started (CommandNotFound, CommandNotExecutable).
        """
        container_id = self._registry.resolve(ref)
        self._lifecycle.start(container_id)
        try:
            return self._registry.container(container_id)
        except NotFound:  # it was quick, and is removed when it ends
            raise Conflict(f"container {ref} has ended and is removed") from None

    def start_attached(self, ref: str, *, size: tuple[int, int] | None = None, stdin: bool = False) -> Session:
        """Start a container with a session that misses none of its output.

        Args:
            ref: The container.
            size: Rows and columns of its terminal.
            stdin: Whether input will come; without it the container's stdin is closed.
        """
        from engine.containers import session as sessions
        from engine.containers.session import Session

        ours, theirs = sessions.socket_pair()
        session = Session(ours)
        try:
            with theirs:
                self._lifecycle.start(self._registry.resolve(ref), theirs, size)
        except BaseException:
            session.close()
            raise
        if not stdin:
            session.close_stdin()
        return session

    def run(self, spec: ContainerSpec) -> Container:
        """Create and start a container; one that cannot start is removed when the spec says auto_remove."""
        created = self.create(spec)
        try:
            self._lifecycle.start(created.id)
        except BaseException:
            if spec.auto_remove:
                self.remove(created.id, force=True, volumes=True)
            raise
        try:
            return self._registry.container(created.id)
        except NotFound:
            return created

    def stop(self, ref: str, *, timeout: float | None = None, signal: str | None = None) -> Container:
        """Stop a container: its stop signal, then KILL.

        Args:
            ref: The container.
            timeout: Seconds between the two; None takes the container's, below 0 waits for ever.
            signal: Instead of its stop signal.
        """
        container_id = self._registry.resolve(ref)
        before = self._registry.container(container_id)
        self._lifecycle.stop(container_id, timeout, signal)
        try:
            return self._registry.container(container_id)
        except NotFound:  # it was to be removed when it ends
            return replace(before, status=Status.EXITED, pid=0)

    def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal to a container's first process.

        Raises:
            Conflict: It is not running.
        """
        self._lifecycle.signal(self._registry.resolve(ref), signal)

    def restart(self, ref: str, *, timeout: float | None = None) -> Container:
        """Stop a container if it runs, and start it."""
        container_id = self._registry.resolve(ref)
        if self._registry.record(container_id).spec.auto_remove:
            raise Conflict(f"container {ref} is removed when it ends, so it cannot be restarted")
        self._lifecycle.stop(container_id, timeout, None)
        self._lifecycle.start(container_id)
        container = self._registry.container(container_id)
        self._journal.append("container", "restart", container_id, container.name)
        return container

    def pause(self, ref: str) -> None:
        """Freeze all processes of a container."""
        self._lifecycle.pause(self._registry.resolve(ref), frozen=True)

    def unpause(self, ref: str) -> None:
        """Let a paused container go on."""
        self._lifecycle.pause(self._registry.resolve(ref), frozen=False)

    def rename(self, ref: str, name: str) -> None:
        """Give a container another name."""
        self._lifecycle.rename(self._registry.resolve(ref), name)

    def wait(self, ref: str, *, timeout: float | None = None) -> int:
        """Wait for a container's end; return its exit code.

        Raises:
            TimeoutError: It has not ended in time.
        """
        return self._lifecycle.wait(self._registry.resolve(ref), timeout)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container.

        Args:
            ref: The container.
            force: Kill it when it runs.
            volumes: Remove its anonymous volumes too.
        """
        self._lifecycle.remove(self._registry.resolve(ref), force=force, volumes=volumes)

    def exec(self, ref: str, spec: ExecSpec, *, size: tuple[int, int] | None = None) -> Session | None:
        """Run a command in a running container; return its session, None when it is detached.

        Raises:
            Conflict: The container is not running, or paused.
            StartFailed: The command cannot be started (CommandNotFound, CommandNotExecutable).
        """
        from engine.containers import runtimes
        from engine.containers import session as sessions
        from engine.containers.session import Session

        container_id = self._registry.resolve(ref)
        known = self._registry.known(container_id)
        record, state = known.record, known.state
        if state is None:
            raise Conflict(f"container {record.name} is not running")
        if known.status is Status.PAUSED:
            raise Conflict(f"container {record.name} is paused", hint="unpause it first")
        if not spec.command:
            raise InvalidArgument("no command was given")
        if runtimes.has_kernel_of_its_own(record.spec):
            raise NotSupported(f"commands cannot be run in a container of the runtime {record.spec.runtime}")
        bundle = self._paths.container(container_id)
        request = {
            "action": "exec", "id": container_id, "name": record.name, "pid": state.pid, "pid_start": state.pid_start,
            "cgroup": state.cgroup, "bundle": str(bundle), "asked": asdict(spec), "size": list(size) if size else None,
            "seccomp": records.load_json(bundle / "monitor.json").get("seccomp") or "", "journal": str(self._paths.journal),
            "user": record.spec.user, "by": actor(),
        }  # fmt: skip
        if spec.detach:
            self._launcher.ask(request)
            return None
        ours, theirs = sessions.socket_pair()
        try:
            with theirs:
                self._launcher.ask(request, theirs)
        except BaseException:
            ours.close()
            raise
        session = Session(ours)
        if not spec.interactive:
            session.close_stdin()
        return session

    def attach(self, ref: str) -> Session:
        """Attach to a running container: its output from now on, and its input when the caller writes.

        Raises:
            Conflict: It is not running.
        """
        from engine.containers import session as sessions

        container_id = self._registry.resolve(ref)
        known = self._registry.known(container_id)
        if known.state is None:
            raise Conflict(f"container {known.record.name} is not running")
        self._journal.append("container", "attach", container_id, known.record.name)
        return sessions.connect(self._paths.running(container_id) / "attach.sock")

    def logs(
        self, ref: str, *, follow: bool = False, since: datetime | None = None, until: datetime | None = None,
        tail: int | None = None, stop: threading.Event | None = None,
    ) -> Iterator[LogEntry]:  # fmt: skip
        """Yield a container's output.

        Args:
            ref: The container.
            follow: Go on until it ends.
            since: Only newer entries.
            until: Only older entries.
            tail: Only so many from the end.
            stop: Stop soon after it is set.
        """
        from engine.containers import logs as log_reader

        container_id = self._registry.resolve(ref)
        driver = self._registry.record(container_id).spec.log.driver
        wanted: dict[str, Any] = {"follow": follow, "since": since, "until": until, "tail": tail, "stop": stop,
            "is_running": lambda: self._registry.is_running(container_id)}  # fmt: skip
        if driver == "journald":
            from engine.containers import journals

            return journals.read(container_id, **wanted)
        if driver != "json-file":
            raise Conflict(f"container {ref} keeps no log")
        return log_reader.read(self._paths.container(container_id) / "log.json", **wanted)

    def top(self, ref: str) -> tuple[Process, ...]:
        """Return the processes of a running container.

        Raises:
            Conflict: It is not running.
        """
        from engine.containers import top as processes

        group, state = self._lifecycle.group(self._registry.resolve(ref))
        return processes.processes(group.all_pids(), state.pid)

    def get(self, ref: str) -> Container:
        """Return a container.

        Raises:
            NotFound: There is none.
        """
        return self._registry.container(self._registry.resolve(ref))

    def list(self, *, all: bool = True) -> tuple[Container, ...]:  # noqa: A002 - docker's word
        """Return the containers, newest first; only those with processes unless `all`.

        One whose record is damaged is left out: a check of the system names it.
        """
        found = []
        for container_id in self._registry.ids():
            try:
                container = self._registry.container(container_id)
            except (NotFound, StoreError):
                continue  # removed meanwhile, or damaged
            if all or container.status.is_alive:
                found.append(container)
        return tuple(sorted(found, key=lambda container: container.created_at, reverse=True))

    def sizes(self, ref: str) -> tuple[int, int]:
        """Return the bytes that a container's own files occupy, and those of all its files, the image's included.

        Raises:
            NotFound: It is gone, or its image is.
        """
        from engine.containers.disk import sizes

        container = self.get(ref)
        try:
            return sizes(self._paths, container.id, self._rooms.images.get(container.image_id))
        except FileNotFoundError:
            raise NotFound("container", ref) from None

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return a container in docker's JSON shape."""
        from engine.containers import inspect as inspection
        from engine.store.drivers.drivers import driver_of

        container = self.get(ref)
        record = self._registry.record(container.id)
        volumes: Any = []
        for name, target, read_only, _ in record.volumes:
            mountpoint = str(self._paths.volumes / name / "data")
            volumes.append(
                {"Type": "volume", "Name": name, "Source": mountpoint, "Destination": target, "RW": not read_only}
            )
        directory = self._paths.container(container.id)
        driver = driver_of(self._paths).familiar_name
        exposes = self._exposed_by_image(record.image_id)
        return inspection.document(container, volumes, str(directory), _apparmor_profile(directory), driver, exposes)

    def _exposed_by_image(self, image_id: str) -> tuple[str, ...]:
        try:
            return self._rooms.images.get(image_id).settings.exposed_ports
        except NotFound:
            return ()

    def update(self, ref: str, change: Callable[[Limits], Limits]) -> LimitsChanged:
        """Change the limits of a container, in the kernel at once when it runs; all or nothing.

        Args:
            ref: The container.
            change: From the limits in force to those wanted.

        Raises:
            InvalidArgument: No kernel would take them.
            Conflict: The memory limit would be below what is in use.
            CgroupError: This kernel refuses them; nothing is changed.
        """
        return self.tuning.update(ref, change)

    def set_restart(self, ref: str, policy: RestartPolicy) -> None:
        """Give a container another restart policy, a running one too.

        Raises:
            Conflict: It is removed when it ends.
        """
        self._lifecycle.set_restart(self._registry.resolve(ref), policy)

    def set_health(self, ref: str, wanted: HealthCheck) -> None:
        """Change how the health of a container is checked, of a running one too; what is not named stays.

        Raises:
            InvalidArgument: It is malformed, or there is nothing to check.
        """
        self._lifecycle.set_health(self._registry.resolve(ref), wanted)

    @property
    def connections(self) -> Connections:
        """What connects containers to networks and disconnects them."""
        from engine.containers.networking import Connections, Networking

        networks = self._rooms.networks
        networking = Networking(self._paths, networks)
        return Connections(networking, self._registry, self._lifecycle, self._launcher, networks, self._journal)

    def reach(self, ref: str, target: str, port: int = 0) -> Reach:
        """Return how far packets get from a running container to another, the host, an address or a name.

        Raises:
            Conflict: It is not running.
        """
        from engine.containers.reach import Prober

        return Prober(self._paths, self._registry, self._rooms.networks, self._launcher).reach(ref, target, port)

    def counters(self, ref: str) -> Counters:
        """Return one reading of a running container's counters.

        Raises:
            Conflict: It is not running.
        """
        return self.tuning.counters(ref)

    def sampler(self) -> Sampler:
        """Return a sampler of all running containers."""
        from engine.containers.usage import Sampler

        return Sampler(self._paths, self._registry)

    def prune(self) -> tuple[str, ...]:
        """Remove all containers without processes; return their ids."""
        gone = tuple(container.id for container in self.list() if not container.status.is_alive)
        for container_id in gone:
            self.remove(container_id)
        return gone


def _apparmor_profile(bundle: Path) -> str:
    """Return the AppArmor profile that a container last started with; empty for none."""
    try:
        return str(records.load_json(bundle / "config.json")["process"].get("apparmorProfile") or "")
    except FileNotFoundError:
        return ""
