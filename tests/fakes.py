"""A backend for tests of the console: records what is asked of it, and does it to records in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.errors import NotFound
from engine.model.change import Copied
from engine.model.container import Container, ContainerSpec, ExecSpec, LogEntry, Process
from engine.model.event import Event
from engine.model.image import Image, ImageSettings
from engine.model.limits import Limits, LimitsChanged
from engine.model.network import Endpoint, Network
from engine.model.status import Status
from engine.model.usage import Counters, Usage
from engine.model.volume import Volume

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IMAGE_ID = "sha256:" + "ab" * 32


def a_container(number: int, name: str = "", status: Status = Status.RUNNING, **more: Any) -> Container:
    """Return a container that started some minutes before NOW."""
    name = name or f"service-{number:03d}"
    limits = more.pop("limits", Limits(cpus=0.5, memory=256 << 20) if number % 2 else Limits())
    alive = status in (Status.RUNNING, Status.PAUSED)
    spec = ContainerSpec("tuicon/demo:latest", name=name, command=("serve", "--port", "80"), limits=limits)
    values: dict[str, Any] = {
        "id": f"{number:064x}", "name": name, "image_id": IMAGE_ID, "image": "tuicon/demo:latest",
        "command": ("serve", "--port", "80"), "spec": spec, "limits": limits, "status": status,
        "created_at": NOW - timedelta(minutes=10 * number + 5), "started_at": NOW - timedelta(minutes=10 * number + 4),
        "finished_at": None if alive else NOW - timedelta(minutes=3), "pid": 1000 + number if alive else 0,
        "exit_code": None if alive else number % 3,
        "endpoints": (Endpoint("bridge", f"10.88.0.{number + 2}", 16, "10.88.0.1"),) if alive else (),
    }  # fmt: skip
    return Container(**(values | more))


def a_usage(number: int, tick: int) -> Usage:
    """Return a usage that moves with time, the same in every run."""
    cpu = (number * 17 + tick * 7) % 50
    memory = ((number * 31 + tick * 3) % 200 + 20) << 20
    counters = Counters(
        taken_ns=tick * 10**9, cpu_ns=tick * 10**8, memory_bytes=memory, memory_cache_bytes=5 << 20, pids=number % 7 + 1,
        memory_limit_bytes=256 << 20 if number % 2 else None, read_bytes=tick * 4096, write_bytes=tick * 8192,
    )  # fmt: skip
    return Usage(counters, 1.0, cpu, cpu / 5, 1024.0 * number, 65536.0 * (tick % 5), 1, 2, 2048.0 * number, 512.0)


class FakeSampler:
    """Usage of all that runs."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._tick = 0

    def sample(self) -> dict[str, Usage]:
        self._tick += 1
        running = (container for container in self._backend.items if container.status.is_alive)
        return {container.id: a_usage(int(container.id, 16), self._tick) for container in running}

    def close(self) -> None:
        self._backend.calls.append(("close_sampler",))


class FakeContainers:
    """Containers in memory."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def _change(self, ref: str, **values: Any) -> Container:
        found = self.get(ref)
        changed = replace(found, **values)
        self._backend.items = [changed if item.id == found.id else item for item in self._backend.items]
        self._backend.news.set()
        return changed

    def _do(self, *call: Any) -> None:
        self._backend.calls.append(call)
        error = self._backend.failures.get(call[0])
        if error:
            raise error

    def list(self) -> tuple[Container, ...]:
        return tuple(self._backend.items)

    def get(self, ref: str) -> Container:
        for item in self._backend.items:
            if ref in (item.id, item.name):
                return item
        raise NotFound("container", ref)

    def start(self, ref: str) -> Container:
        self._do("start", self.get(ref).name)
        return self._change(ref, status=Status.RUNNING, pid=1, exit_code=None)

    def run(self, spec: ContainerSpec) -> Container:
        self._do("run", spec)
        made = a_container(len(self._backend.items) + 100, spec.name or "made", limits=spec.limits)
        self._backend.items.append(made)
        self._backend.news.set()
        return made

    def stop(self, ref: str) -> Container:
        self._do("stop", self.get(ref).name)
        return self._change(ref, status=Status.EXITED, pid=0, exit_code=0)

    def restart(self, ref: str) -> Container:
        self._do("restart", self.get(ref).name)
        return self._change(ref, status=Status.RUNNING)

    def kill(self, ref: str, signal: str = "KILL") -> None:
        self._do("kill", self.get(ref).name, signal)
        self._change(ref, status=Status.EXITED, pid=0, exit_code=137)

    def pause(self, ref: str) -> None:
        self._do("pause", self.get(ref).name)
        self._change(ref, status=Status.PAUSED)

    def unpause(self, ref: str) -> None:
        self._do("unpause", self.get(ref).name)
        self._change(ref, status=Status.RUNNING)

    def rename(self, ref: str, name: str) -> None:
        self._do("rename", self.get(ref).name, name)
        self._change(ref, name=name)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        self._do("remove", self.get(ref).name, force, volumes)
        self._backend.items = [item for item in self._backend.items if ref not in (item.id, item.name)]
        self._backend.news.set()

    def commit(self, ref: str, reference: str = "") -> Image:
        self._do("commit", self.get(ref).name, reference)
        return self._backend.images.list()[0]

    def copy_out(self, ref: str, path: str, target: str) -> Copied:
        self._do("copy_out", self.get(ref).name, path, target)
        return Copied(2, 3 << 20, ("one is left out: it is a socket", "two is left out: it is a device"))

    def exec(self, ref: str, spec: ExecSpec, *, size: tuple[int, int] | None = None) -> None:
        self._do("exec", self.get(ref).name, spec, size)

    def logs(
        self, ref: str, *, follow: bool = False, tail: int | None = None, stop: threading.Event | None = None
    ) -> Iterator[LogEntry]:
        name = self.get(ref).name
        for number in range(self._backend.log_lines):
            stream = "stderr" if number % 7 == 6 else "stdout"
            yield LogEntry(
                NOW + timedelta(milliseconds=number * 250),
                stream,
                f"{name}: request {number} took {number * 13 % 90} ms\n",
            )
        if follow and stop:
            stop.wait()

    def top(self, ref: str) -> tuple[Process, ...]:
        pid = self.get(ref).pid
        return (
            Process(pid, 1, 1, "root", "serve --port 80", "S", 12.5, 20 << 20, NOW),
            Process(pid + 1, 7, pid, "nobody", "worker", "R", 65.0, 8 << 20, NOW),
        )

    def inspect(self, ref: str) -> dict[str, Any]:
        found = self.get(ref)
        return {"Id": found.id, "Name": f"/{found.name}", "State": {"Status": str(found.status), "Pid": found.pid}}

    def update(self, ref: str, change: Callable[[Limits], Limits]) -> LimitsChanged:
        before = self.get(ref).limits
        self._do("update", self.get(ref).name, change(before))
        self._change(ref, limits=change(before))
        return LimitsChanged(self.get(ref).id, before, change(before))

    def sampler(self) -> FakeSampler:
        return FakeSampler(self._backend)


class FakeImages:
    """One image, unless there is none."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def list(self) -> tuple[Image, ...]:
        if not self._backend.has_image:
            return ()
        names = ("docker.io/tuicon/demo:latest",)
        made = NOW - timedelta(hours=3)
        return (Image(IMAGE_ID, names, made, "amd64", "linux", 1_983_000, ("c",), ("d",), ImageSettings()),)

    def inspect(self, ref: str) -> dict[str, Any]:
        return {"Id": ref, "RepoTags": ["tuicon/demo:latest"]}

    def remove(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        self._backend.calls.append(("remove_image", ref, force))
        return ()


class FakeNetworks:
    """The three builtin ones."""

    def list(self) -> tuple[Network, ...]:
        bridge = Network(
            "1" * 64,
            "bridge",
            "bridge",
            NOW,
            subnet="10.88.0.0/16",
            gateway="10.88.0.1",
            bridge="tuicon0",
            builtin=True,
        )
        return (
            bridge,
            Network("2" * 64, "host", "host", NOW, builtin=True),
            Network("3" * 64, "none", "null", NOW, builtin=True),
        )

    def inspect(self, ref: str) -> dict[str, Any]:
        return {"Id": ref}

    def remove(self, ref: str) -> None:
        raise NotFound("network", ref)


class FakeVolumes:
    """Two volumes."""

    def list(self) -> tuple[Volume, ...]:
        return (
            Volume("data", "local", "/x", NOW - timedelta(days=2), used_by=(f"{1:064x}",)),
            Volume("old", "local", "/y", NOW - timedelta(days=9)),
        )

    def inspect(self, name: str) -> dict[str, Any]:
        return {"Name": name, "Driver": "local"}

    def remove(self, name: str) -> None:
        raise NotFound("volume", name)


class FakeEvents:
    """Wakes the feed when something was changed."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def follow(self, *, stop: threading.Event | None = None) -> Iterator[Event]:
        while not (stop and stop.is_set()):
            if self._backend.news.wait(0.05):
                self._backend.news.clear()
                yield Event("1:1", NOW, "container", "start", "x", "x")


class FakeSystem:
    """A host that has all it takes, unless told otherwise."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def check_permissions(self) -> tuple[str, ...]:
        return self._backend.missing

    def demo_up(self) -> tuple[Container, ...]:
        self._backend.calls.append(("demo_up",))
        self._backend.items = [
            a_container(number, f"demo-{name}") for number, name in enumerate(("cpu", "memory", "io"), 1)
        ]
        self._backend.has_image = True
        self._backend.news.set()
        return tuple(self._backend.items)

    def demo_down(self) -> None:
        self._backend.calls.append(("demo_down",))
        self._backend.items = []
        self._backend.news.set()


class FakeBackend:
    """Fits tuicon.backend.Backend."""

    def __init__(self, *containers: Container, log_lines: int = 12, missing: tuple[str, ...] = ()) -> None:
        self.items = list(containers)
        self.calls: list[tuple[Any, ...]] = []
        self.failures: dict[str, Exception] = {}
        self.log_lines = log_lines
        self.missing = missing
        self.has_image = bool(containers)
        self.news = threading.Event()
        self.containers = FakeContainers(self)
        self.images = FakeImages(self)
        self.networks = FakeNetworks()
        self.volumes = FakeVolumes()
        self.events = FakeEvents(self)
        self.system = FakeSystem(self)

    def warm(self) -> None:
        self.calls.append(("warm",))

    def disk(self) -> str:
        return "/dev/vda"

    def asked(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]


def eight() -> FakeBackend:
    """Return a backend with eight containers in all states."""
    states = [
        Status.RUNNING,
        Status.RUNNING,
        Status.PAUSED,
        Status.RUNNING,
        Status.EXITED,
        Status.EXITED,
        Status.CREATED,
        Status.RUNNING,
    ]
    names = ("gateway", "database", "cache", "worker", "migrate", "backup", "spare", "metrics")
    items = [
        a_container(number, name, status) for number, (name, status) in enumerate(zip(names, states, strict=True), 1)
    ]
    return FakeBackend(*items)
