"""What is kept of a container, and what is true of it now.

record.json says what was asked for; state.json (the monitor's, volatile) and exit.json say what happened. The status
is derived from them each time, never stored, so no crash can leave it wrong.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from engine.containers import trial as trials
from engine.errors import Ambiguous, NotFound, StoreError
from engine.linux import files, procfs
from engine.model.container import Container, ContainerSpec
from engine.model.health import Health
from engine.model.limits import Limits
from engine.model.network import Endpoint, InForce, PublishedPort
from engine.model.status import Status
from engine.model.value import Value, field, names, replace
from engine.store import records
from engine.store.paths import Paths, find

HEALTH = "health.json"
NETWORKING = "networking.json"
"""Beside state.json: the endpoints and leases of a container whose networks were changed while it runs."""
_HEX = re.compile(r"[0-9a-f]{1,64}")
_LOST = "the end was not seen, because the monitor was killed or the host went down; the exit code is unknown"


class Record(Value, frozen=True):
    """record.json: all that is asked for, resolved.

    Attributes:
        volumes: (volume name, target, read only, anonymous) of its volumes.
    """

    id: str
    name: str
    image_id: str
    image: str
    command: tuple[str, ...]
    stop_signal: str
    spec: ContainerSpec
    limits: Limits
    created_at: datetime
    volumes: tuple[tuple[str, str, bool, bool], ...] = ()


class State(Value, frozen=True):
    """state.json, as the monitor writes it."""

    pid: int
    pid_start: int
    monitor_pid: int
    monitor_start: int
    boot_id: str
    started_at: datetime
    cgroup: dict[str, Any]
    status: str = "running"
    restarts: int = 0
    endpoints: tuple[dict[str, Any], ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    resolver: tuple[str, int] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the container's first process lives."""
        return procfs.is_same_process(self.pid, self.pid_start) and self.boot_id == _boot_id()

    @property
    def has_monitor(self) -> bool:
        """Whether its monitor lives."""
        return procfs.is_same_process(self.monitor_pid, self.monitor_start) and self.boot_id == _boot_id()


@cache
def _boot_id() -> str:
    """Return the id of this boot, which no process outlives: a pid and start time of an earlier one mean nothing."""
    return files.boot_id()


class Exit(Value, frozen=True):
    """exit.json, as the monitor writes it."""

    exit_code: int
    finished_at: datetime
    signal: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: datetime | None = None
    restarts: int = 0


class Known(Value, frozen=True):
    """All that is known of a container at one moment."""

    record: Record
    status: Status
    state: State | None = None
    exit: Exit | None = None
    unknown: dict[str, Any] = field(default_factory=dict)


class Registry:
    """Finds and reads containers."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all containers."""
        try:
            return tuple(name for name in os.listdir(self._paths.containers) if len(name) == 64)  # noqa: PTH208 - faster
        except FileNotFoundError:
            return ()

    def has_directory(self, container_id: str) -> bool:
        """Return whether a container's directory is there."""
        return self._paths.container(container_id).exists()

    def resolve(self, ref: str) -> str:
        """Return the id of a container by name, id or unique id prefix.

        Raises:
            NotFound: There is none.
            Ambiguous: The prefix fits several.
        """
        name = ref.removeprefix("/")
        if name and "/" not in name:
            try:
                found = os.readlink(self._paths.names / name)
            except (OSError, ValueError):  # no such name, or one with a null byte
                found = ""
            if found and self._paths.container(found).exists():
                return found
        if _HEX.fullmatch(ref):
            matches = [container_id for container_id in self.ids() if container_id.startswith(ref)]
            if len(matches) > 1:
                raise Ambiguous("container", ref, tuple(sorted(match[:12] for match in matches)))
            if matches:
                return matches[0]
        raise NotFound("container", ref)

    def record(self, container_id: str) -> Record:
        """Return a record.

        Raises:
            NotFound: The container is gone.
        """
        try:
            return records.load(self._paths.container(container_id) / "record.json", Record)
        except FileNotFoundError:
            raise NotFound("container", container_id[:12]) from None

    def state(self, container_id: str) -> State | None:
        """Return what the monitor recorded; None when it is not running."""
        try:
            return records.load(self._paths.running(container_id) / "state.json", State)
        except FileNotFoundError:
            return None

    def exit(self, container_id: str) -> Exit | None:
        """Return how the last run ended; None when it did not, or when a power failure cut the record off."""
        try:
            return records.load(self._paths.container(container_id) / "exit.json", Exit)
        except (FileNotFoundError, StoreError):
            return None

    def known(self, container_id: str) -> Known:
        """Return all that is known of a container.

        Raises:
            NotFound: It is gone.
        """
        record = self.record(container_id)
        state = self.state(container_id)
        if state and state.is_alive:
            return Known(record, Status.PAUSED if is_frozen(state) else Status.RUNNING, state)
        has_monitor = state is not None and state.has_monitor  # asked first: it writes the record, then ends
        exit_record = self.exit(container_id)
        if state and has_monitor and state.status == "restarting":
            return Known(record, Status.RESTARTING, None, exit_record)
        if exit_record:
            return Known(record, Status.EXITED, None, exit_record)
        if has_monitor:  # it has seen the end and is about to write it down
            return Known(record, Status.EXITED, None, None)
        lost = self.lost(container_id, state)
        return Known(record, Status.EXITED if lost else Status.CREATED, None, lost)

    def lost(self, container_id: str, state: State | None) -> Exit | None:
        """Return the end of a run that nobody wrote down; None when there was none, or it is starting.

        Its monitor was killed, or the host went down; the time is that of the last sign of life.
        """
        directory = self._paths.container(container_id)
        signs = [path.stat().st_mtime for name in ("monitor.json", "log.json") if (path := directory / name).exists()]
        if state is None and (not signs or self._is_starting(container_id)):
            return None
        started = state.started_at if state else None
        times = [datetime.fromtimestamp(sign, UTC) for sign in signs]
        ended = max([*times, *([started] if started else [])])
        return Exit(255, ended, error=_LOST, started_at=started)

    def container(self, container_id: str) -> Container:
        """Return a container.

        Raises:
            NotFound: It is gone.
        """
        return self.describe(self.known(container_id))

    def describe(self, known: Known) -> Container:
        """Return the public record of what is known."""
        record, state, exit_record = known.record, known.state, known.exit
        return Container(
            id=record.id,
            name=record.name,
            image_id=record.image_id,
            image=record.image,
            command=record.command,
            spec=record.spec,
            limits=self.limits(known),
            status=known.status,
            created_at=record.created_at,
            started_at=state.started_at if state else (exit_record.started_at if exit_record else None),
            finished_at=exit_record.finished_at if exit_record else None,
            pid=state.pid if state else 0,
            exit_code=exit_record.exit_code if exit_record else None,
            oom_killed=bool(exit_record and exit_record.oom_killed),
            error=exit_record.error if exit_record else "",
            restart_count=state.restarts if state else (exit_record.restarts if exit_record else 0),
            health=self._health(record, state) if record.spec.health.is_wanted else None,
            endpoints=tuple(_endpoint(item) for item in self.endpoints(record.id, state)),
            log_path=str(self._paths.container(record.id) / "log.json"),
            ports=state.ports if state else (),
        )

    def _health(self, record: Record, state: State | None) -> Health | None:
        """Return what the health checks say; "unhealthy", as in docker, when nobody checks any more."""
        try:
            found = records.load(self._paths.running(record.id) / HEALTH, Health)
        except (FileNotFoundError, StoreError):
            return None
        return found if state and state.has_monitor else replace(found, status="unhealthy")

    def limits(self, known: Known) -> Limits:
        """Return the limits in force: those on trial, or else those of the record."""
        trial = self.trial(known)
        return trial.after if trial else known.record.limits

    def trial(self, known: Known) -> trials.Trial | None:
        """Return the change that is on trial in a container that runs; None when there is none."""
        state = known.state
        found = trials.load(self._paths.running(known.record.id)) if state else None
        return found if found and state and found.is_of(state.pid, state.pid_start) else None

    def users_of_image(self, image_id: str) -> tuple[str, ...]:
        """Return the ids of the containers made from an image, or with a mount of it."""
        return tuple(record.id for record in self._records() if _uses_image(record, image_id))

    def users_of_volume(self, name: str) -> tuple[str, ...]:
        """Return the ids of the containers that mount a volume."""
        return tuple(record.id for record in self._records() if any(volume[0] == name for volume in record.volumes))

    def endpoints(self, container_id: str, state: State | None) -> tuple[dict[str, Any], ...]:
        """Return the endpoints of a running container, as its monitor knows them."""
        try:
            return (
                tuple(records.load_json(self._paths.running(container_id) / NETWORKING)["endpoints"]) if state else ()
            )
        except FileNotFoundError:
            return state.endpoints if state else ()

    def in_force(self) -> InForce:
        """Return the published ports and the resolvers of the containers that run."""
        ports: list[PublishedPort] = []
        resolvers: list[tuple[str, int]] = []
        for path in find(self._paths.run, "containers/*/state.json"):
            state = self.state(path.parent.name)
            if state and (state.ports or state.resolver) and state.is_alive:
                ports += state.ports
                resolvers += [state.resolver] if state.resolver else []
        return InForce(tuple(ports), tuple(resolvers))

    def is_running(self, container_id: str) -> bool:
        """Return whether a container has processes, or is about to have them."""
        state = self.state(container_id)
        if state:
            return state.is_alive or state.has_monitor
        return self._is_starting(container_id)

    def _is_starting(self, container_id: str) -> bool:
        return self._paths.container(container_id).joinpath("starting").exists() and self._is_locked(container_id)

    def _is_locked(self, container_id: str) -> bool:
        """Return whether somebody is changing a container; a starter that was killed, with its monitor, is not."""
        try:
            with files.FileLock(self._paths.lock(f"container-{container_id}"), blocking=False):
                return False
        except BlockingIOError:
            return True

    def _records(self) -> tuple[Record, ...]:
        found = []
        for container_id in self.ids():
            try:
                found.append(self.record(container_id))
            except (NotFound, StoreError):
                continue
        return tuple(found)


def _uses_image(record: Record, image_id: str) -> bool:
    mounted = {mount.source for mount in record.spec.mounts if mount.kind == "image"}
    return image_id in {record.image_id, *mounted}


def is_frozen(state: State) -> bool:
    """Return whether a container is paused, from the one file that says so."""
    paths = state.cgroup.get("paths") or {}
    try:
        if state.cgroup.get("version") == 2:
            return Path(paths["unified"], "cgroup.freeze").read_text().strip() == "1"
        return "freezer" in paths and Path(paths["freezer"], "freezer.state").read_text().strip() != "THAWED"
    except (OSError, KeyError):
        return False


def _endpoint(item: dict[str, Any]) -> Endpoint:
    known = names(Endpoint)
    return Endpoint(**{name: value for name, value in item.items() if name in known})
