"""The part of the fake backend that knows control groups and ends of containers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.containers.groups import classified
from engine.errors import NotFound
from engine.model.container import LogEntry, Process
from engine.model.death import Death, Evidence, OutOfMemory
from engine.model.event import Event
from engine.model.groups import GroupDetail, GroupFile, GroupLimits, GroupReading, HostGroup, HostPressure, Stall
from engine.model.health import HealthResult
from engine.model.usage import Pressure

if TYPE_CHECKING:
    from tests.fakes import FakeBackend

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_MIB, _GIB = 1 << 20, 1 << 30
_DOCKER, _PODMAN, _POD = "d0" * 32, "b0" * 32, "c0" * 32
_UID = "2f9e4a50-8d0a-4f0e-9b4c-0d6c1b7f6a11"
# path, name, tasks, CPU %, MiB, MB/s, limits, part of the time waited for cpu, memory, io
_GROUPS: tuple[tuple[str, str, int, float, float, float, GroupLimits, tuple[float, float, float]], ...] = (
    ("/", "", 412, 311, 9300, 190, GroupLimits(), (38, 2, 27)),
    ("/kubepods.slice", "", 9, 21, 610, 0, GroupLimits(cpu_weight=79), (3, 0, 0)),
    (f"/kubepods.slice/kubepods-pod{_UID.replace('-', '_')}.slice", "shop/web-7d9f", 9, 21, 610, 0, GroupLimits(1.0, _GIB, cpu_weight=39), (3, 0, 0)),
    (f"/kubepods.slice/kubepods-pod{_UID.replace('-', '_')}.slice/cri-containerd-{_POD}.scope", "web-7d9f/nginx", 9, 21, 610, 0,
        GroupLimits(1.0, _GIB, cpu_weight=39), (3, 0, 0)),
    ("/machine.slice", "", 4, 2, 84, 0, GroupLimits(cpu_weight=100), (0, 0, 0)),
    (f"/machine.slice/libpod-{_PODMAN}.scope", "wiki", 4, 2, 84, 0, GroupLimits(None, 512 * _MIB, pids=2048, cpu_weight=100), (0, 0, 0)),
    ("/system.slice", "", 160, 152, 2900, 171, GroupLimits(cpu_weight=100), (12, 0, 20)),
    ("/system.slice/backup.service", "", 5, 128, 210, 168, GroupLimits(cpu_weight=100), (9, 0, 31)),
    (f"/system.slice/docker-{_DOCKER}.scope", "registry", 11, 4, 96, 1, GroupLimits(None, 256 * _MIB, cpu_weight=100), (1, 0, 2)),
    ("/system.slice/ssh.service", "", 3, 0, 9, 0, GroupLimits(cpu_weight=100), (0, 0, 0)),
    ("/tuicon", "", 31, 118, 1180, 18, GroupLimits(cpu_weight=100), (30, 6, 22)),
)  # fmt: skip
_OURS = (
    (1, 44.0, 120.0, 0.0, GroupLimits(0.5, 256 * _MIB, pids=64, cpu_weight=59), (62.0, 0.0, 1.0)),
    (2, 31.0, 640.0, 17.0, GroupLimits(None, 2 * _GIB, cpu_weight=200), (11.0, 0.0, 58.0)),
    (4, 12.0, 31.0, 0.4, GroupLimits(0.5, 32 * _MIB, cpu_weight=20), (4.0, 23.0, 0.5)),
    (8, 3.0, 40.0, 0.0, GroupLimits(cpu_weight=100), (0.0, 0.0, 0.0)),
)


def _pressure(part: float, tick: int) -> Pressure:
    return Pressure(
        part, part * 0.8, part * 0.5, int(part * 1e4 * tick), part / 3, part / 5, part / 9, int(part / 3 * 1e4 * tick)
    )


class FakeGroups:
    """A host whose groups do the same in every second."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._tick = 0
        self.measures_groups = True

    def _group(self, path: str, tasks: int, cpu: float, mib: float, moved: float, limits: GroupLimits, waits: tuple[float, ...],
        **more: Any) -> HostGroup:  # fmt: skip
        tick = self._tick
        stalls = [_pressure(part, tick) if self.measures_groups or path == "/" else None for part in waits]
        held = 60 if limits.cpus and cpu > 85 * limits.cpus else 0
        group = HostGroup(
            path, tasks=tasks, cpu_ns=int(cpu * 1e7 * tick), memory_bytes=int(mib * _MIB), limits=limits,
            devices=(("8:0", int(moved * 5e5 * tick), int(moved * 5e5 * tick)),) if moved else (),
            throttled_ns=int(held * 1e7 * tick), cpu_pressure=stalls[0], memory_pressure=stalls[1], io_pressure=stalls[2],
        )  # fmt: skip
        found = classified(group)
        known = {name: value for name, value in more.items() if value}
        return HostGroup(**{name: getattr(found, name) for name in HostGroup.__dataclass_fields__} | known)

    def read(self) -> GroupReading:
        self._tick += 1
        found = [self._group(path, *rest, name=name) for path, name, *rest in _GROUPS]  # type: ignore[arg-type]
        for number, cpu, mib, moved, limits, waits in _OURS:
            container_id = f"{number:064x}"
            item = next((item for item in self._backend.items if item.id == container_id), None)
            if item is not None:
                found.append(
                    self._group(
                        f"/tuicon/{container_id}", 6, cpu, mib, moved, limits, waits, name=item.name, is_ours=True
                    )
                )
        first = found[0]
        reason = "" if self.measures_groups else "this kernel measures the pressure of groups on cgroup v2 only"
        pressure = HostPressure(
            first.cpu_pressure, first.memory_pressure, first.io_pressure, self.measures_groups, reason
        )
        return GroupReading(self._tick * 10**9, 2, tuple(found), pressure)

    def stalls(self) -> FakeStalls:
        return FakeStalls(self._backend)

    def inspect(self, path: str) -> GroupDetail:
        self._backend.calls.append(("inspect_group", path))
        if "gone" in path:
            raise NotFound("control group", path)
        files = (
            GroupFile("", "cgroup.procs", "41"),
            GroupFile("", "cpu.max", "50000 100000"),
            GroupFile("", "memory.events", "low 0\nmax 3"),
        )
        return GroupDetail(path, files, (Process(41, 1, 0, "root", "serve --port 80", "S", 1.0, _MIB, _NOW),))


class FakeStalls:
    """Has what a test puts into the backend's `stalls`."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def wait(self, seconds: float) -> tuple[Stall, ...]:
        if self._backend.stalls:
            return (self._backend.stalls.pop(0),)
        threading.Event().wait(min(seconds, 0.05))
        return ()

    def close(self) -> None:
        self._backend.calls.append(("close_stalls",))


class FakeCauses:
    """Everything ends for lack of memory."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def why(self, ref: str, at: datetime | None = None) -> Death:
        self._backend.calls.append(("why", ref, at))
        if "why" in self._backend.failures:
            raise self._backend.failures["why"]
        item = self._backend.containers.get(ref)
        ended = _NOW - timedelta(minutes=3)

        def before(seconds: float) -> datetime:
            return ended - timedelta(seconds=seconds)

        evidence = (
            Evidence(before(190), "limits", "its limits were changed by ann (update): memory 134217728 -> 67108864"),
            Evidence(before(41), "health", "its health became unhealthy"),
            Evidence(before(41), "health", "a health check failed with exit code 1: connection refused"),
            Evidence(before(2), "pressure", "in the last 60 s it waited for memory 37 % of the time"),
            Evidence(before(1), "memory", "its memory grew from 21 to 64 MiB in the last 60 s"),
        )
        last = tuple(
            LogEntry(before(3 - number), "stderr" if number == 2 else "stdout", text + "\n")
            for number, text in enumerate(
                ("loading table users", "loading table orders", "warning: cache is over budget")
            )
        )
        sentence = "The kernel killed it for lack of memory: its own memory limit of 64 MiB was reached (peak 64 MiB)."
        return Death(
            item.id, item.name, "memory", sentence, before(3720), ended, 137, 9,
            out_of_memory=OutOfMemory(1, f"/tuicon/{item.id}", 64 << 20, 64 << 20, is_own=True), evidence=evidence, last_lines=last,
            health=(HealthResult(before(41), before(41), 1, "connection refused"),),
            decision="It has no restart policy, so it stays down.",
        )  # fmt: skip


def some_events(container_id: str, now: datetime) -> list[Event]:
    """Return two minutes in the life of a container."""

    def event(ago: float, action: str, **attributes: str) -> Event:
        return Event(
            f"1:{1000 - ago:g}", now - timedelta(seconds=ago), "container", action, container_id, "gateway", attributes
        )

    return [
        event(112, "start", by="ann", **{"from": "192.0.2.7"}),
        event(101, "health_status: healthy"),
        event(84, "exec_create", command="top -b", user="root", by="bob"),
        event(70, "update", memory="268435456 -> 134217728", how="trial", by="ann"),
        event(54, "update", memory="134217728 -> 268435456", how="revert", by="ann"),
        event(30, "oom", kills="1", where="/tuicon/c", limit="67108864", peak="67108864"),
        event(29, "die", exitCode="137", signal="9"),
        event(28, "start", restart="1"),
        event(9, "health_status: unhealthy"),
    ]
