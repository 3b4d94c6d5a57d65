"""A backend for tests of the console: records what is asked of it, and does it to records in memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import NotFound
from engine.model.change import Change as FileChange
from engine.model.change import Copied
from engine.model.container import Container, ContainerSpec, ExecSpec, LogEntry, Process
from engine.model.contents import Advice, Change, Extracted, FileEntry, LayerSummary, Waste, WastedPath
from engine.model.event import Event
from engine.model.groups import Stall
from engine.model.image import Image, ImageSettings
from engine.model.limits import Limits
from engine.model.network import Endpoint
from engine.model.packages import (
    Database,
    Distribution,
    Inventory,
    Package,
    ScanResult,
    Severity,
    Vulnerability,
)
from engine.model.reach import Reach
from engine.model.status import Status
from engine.model.transfer import HistoryStep, Prunable, PrunePlan
from engine.model.usage import Counters, Pressure, Usage
from engine.model.volume import (
    Cloned,
    Measured,
    Synced,
    Volume,
    VolumePrunePlan,
    VolumeSnapshot,
    VolumeUse,
    Way,
    Wishes,
)
from tests.fake_groups import FakeCauses, FakeGroups
from tests.fake_networks import FakeConnections, FakeNetworks, a_reach, interfaces_of
from tests.fake_registries import FakeRegistries, some_images, some_steps
from tests.fake_tuning import FakeTuning, FakeUseHistory

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
        cpu_pressure=Pressure(), memory_pressure=Pressure(), io_pressure=Pressure(),
    )  # fmt: skip
    return Usage(
        counters, 1.0, cpu, cpu / 5, 1024.0 * number, 65536.0 * (tick % 5), 1, 2, 2048.0 * number, 512.0,
        cpu_pressure=max(0, cpu - 20) * 1.8, io_pressure=3.0 * (tick % 5),
    )  # fmt: skip


def an_inventory() -> Inventory:
    """Return the packages of an image of Debian with some of Python."""
    layer = "sha256:" + "cd" * 32
    packages = (
        Package("deb", "libssl3", "3.0.11-1~deb12u1", "amd64", "openssl", "3.0.11-1~deb12u1", ("Apache-2.0",),
            "Debian OpenSSL Team", "/var/lib/dpkg/status", layer, "", "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64"),
        Package("deb", "zlib1g", "1:1.2.13.dfsg-1", "amd64", "zlib", path="/var/lib/dpkg/status", layer=layer),
        Package("pypi", "requests", "2.30.0", licenses=("Apache-2.0",), path="/opt/requests.dist-info/METADATA", layer=layer),
    )  # fmt: skip
    name = "docker.io/tuicon/demo:latest"
    return Inventory(IMAGE_ID, name, Distribution("debian", "12", "bookworm", "Debian GNU/Linux 12"), packages)


def a_scan() -> ScanResult:
    """Return a scan that found something of each severity."""
    inventory = an_inventory()
    ssl, zlib, requests = inventory.packages
    found = (
        Vulnerability("DEBIAN-CVE-2023-5678", ("CVE-2023-5678", "DSA-5532-1"), ssl, Severity.CRITICAL, "3.0.11-1~deb12u2",
            9.8, "Checking long keys takes very long", "https://security-tracker.debian.org/tracker/CVE-2023-5678", "Debian"),
        Vulnerability("DEBIAN-CVE-2023-45853", ("CVE-2023-45853",), zlib, Severity.HIGH, "", 7.5, "MiniZip overflows", "", "Debian"),
        Vulnerability("GHSA-j8r2-6x86-q33q", ("CVE-2023-32681",), requests, Severity.MEDIUM, "2.31.0", 6.1,
            "Requests leaks proxy credentials", "https://github.com/advisories/GHSA-j8r2-6x86-q33q", "PyPI"),
        Vulnerability("DEBIAN-CVE-2011-1", ("CVE-2011-1",), ssl, Severity.NEGLIGIBLE, "", None, "An old one", "", "Debian"),
    )  # fmt: skip
    databases = tuple(Database(name, (name,), 100, NOW, NOW) for name in ("Debian", "PyPI"))
    return ScanResult(inventory, found, (), databases, ("no database has advisories of npm",))


class FakeSampler:
    """Usage of all that runs."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._tick = 0

    def sample(self) -> dict[str, Usage]:
        self._tick += 1
        running = (container for container in self._backend.items if container.status.is_alive)
        return {container.id: self._backend.usage(container, self._tick) for container in running}

    def close(self) -> None:
        self._backend.calls.append(("close_sampler",))


class FakeContainers:
    """Containers in memory."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.connections = FakeConnections(backend)
        self.tuning = FakeTuning(backend)
        self.history = FakeUseHistory(backend)

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
        self, ref: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[LogEntry]:  # fmt: skip
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

    def reach(self, ref: str, target: str, port: int = 0) -> Reach:
        self._do("reach", self.get(ref).name, target, port)
        return a_reach(self.get(ref).name, target, port)

    @property
    def causes(self) -> FakeCauses:
        return FakeCauses(self._backend)

    def sampler(self) -> FakeSampler:
        return FakeSampler(self._backend)


def a_file(path: str, size: int = 0, change: Change = Change.UNCHANGED, kind: str = "-", **more: Any) -> FileEntry:
    """Return a file of an image."""
    mode = more.pop("mode", 0o755 if kind == "d" else 0o644)
    return FileEntry(path, kind, size, size, mode, 0, 0, 0, more.pop("link", ""), change, more.pop("layer", 0))


class FakeContents:
    """Three layers, the upper two with changes."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    @property
    def layers(self) -> tuple[LayerSummary, ...]:
        commands = (
            "/bin/sh -c #(nop) ADD file:7c0f in /",
            "RUN apt-get update && apt-get install -y nginx",
            "COPY conf /etc/nginx",
        )
        return tuple(
            LayerSummary(number, f"sha256:{number}" + "c" * 63, f"sha256:{number}" + "d" * 63, command, NOW, size, 40 * size >> 20, size // 3)
            for number, (command, size) in enumerate(zip(commands, (74 << 20, 18 << 20, 12 << 10), strict=True))
        )  # fmt: skip

    def tree(self, layer: int | None = None, since: int | None = None) -> tuple[FileEntry, ...]:
        self._backend.calls.append(("tree", layer, since))
        if self._backend.many_files:
            names = (
                f"/d{number // 1000}" + (f"/file{number:06d}" if number % 1000 else "")
                for number in range(self._backend.many_files)
            )
            return tuple(a_file(name, 10, kind="-" if "/file" in name else "d") for name in names)
        changed = Change.CHANGED if layer == 2 else Change.UNCHANGED
        return (
            a_file("/bin", 1 << 20, kind="d"), a_file("/bin/bash", 1 << 20, mode=0o4755), a_file("/bin/sh", kind="l", link="bash"),
            a_file("/etc", 9000, Change.INSIDE, "d"), a_file("/etc/nginx", 8000, Change.INSIDE, "d"),
            a_file("/etc/nginx/nginx.conf", 8000, changed), a_file("/etc/nginx/sites", 300, Change.REMOVED, layer=layer or 0),
            a_file("/etc/\x1b[31mred", 5), a_file("/usr", 17 << 20, Change.ADDED, "d"), a_file("/usr/sbin", 17 << 20, Change.ADDED, "d"),
            a_file("/usr/sbin/nginx", 17 << 20, Change.ADDED, mode=0o755),
        )  # fmt: skip

    def waste(self) -> Waste:
        paths = (WastedPath("/var/lib/dpkg/status", 2, 900_000), WastedPath("/etc/nginx/nginx.conf", 2, 16_000))
        return Waste(0.981, 92 << 20, 18 << 20, 916_000, paths)

    def advice(self) -> tuple[Advice, ...]:
        remedy = "run rm -rf /var/lib/apt/lists/* in the step that installs"
        return (
            Advice("cache", 1, self.layers[1].command, 8 << 20, 12, "apt's package lists: 12 files", remedy, ("/var/lib/apt/lists/main",)),
        )  # fmt: skip

    def open(self, path: str, *, layer: int | None = None) -> BinaryIO:
        self._backend.calls.append(("open", path, layer))
        return io.BytesIO(b"worker_processes 4;\n")

    def extract(self, path: str, target: Path, *, layer: int | None = None) -> Extracted:
        self._backend.calls.append(("extract", path, str(target), layer))
        return Extracted(1, 8000, 0)


class FakeImages:
    """One image, unless there is none, and what a test adds."""

    def contents(self, ref: str) -> FakeContents:
        if ref in self._backend.failures:
            raise self._backend.failures[ref]
        return FakeContents(self._backend)

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def list(self) -> tuple[Image, ...]:
        more = tuple(self._backend.more_images)
        if not self._backend.has_image:
            return more
        names = ("docker.io/tuicon/demo:latest",)
        made = NOW - timedelta(hours=3)
        return (Image(IMAGE_ID, names, made, "amd64", "linux", 1_983_000, ("c",), ("d",), ImageSettings()), *more)

    def inspect(self, ref: str) -> dict[str, Any]:
        return {"Id": ref, "RepoTags": ["tuicon/demo:latest"]}

    def packages(self, ref: str) -> Inventory:
        self._backend.calls.append(("packages", ref))
        return an_inventory()

    def scan(self, ref: str) -> ScanResult:
        self._backend.calls.append(("scan", ref))
        error = self._backend.failures.get("scan")
        if error:
            raise error
        return a_scan()

    def remove(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        self._backend.calls.append(("remove_image", ref, force))
        self._backend.more_images = [image for image in self._backend.more_images if image.id != ref]
        self._backend.news.set()
        return ()

    def history(self, ref: str) -> tuple[HistoryStep, ...]:
        layers = next((image.layers for image in self.list() if image.id == ref), ())
        return tuple(step for step in some_steps() if step.layer in ("", *layers))

    def tag(self, ref: str, reference: str) -> None:
        self._backend.calls.append(("tag", ref, reference))

    def reclaimable(self, refs: tuple[str, ...]) -> int:
        return sum(image.size for image in self.list() if image.id in refs)

    def plan_prune(self, *, takes_unused: bool = False) -> PrunePlan:
        used = {container.image_id for container in self._backend.items}
        gone = [
            Prunable(image, "unused" if image.references else "without a name")
            for image in self.list()
            if image.id not in used and (takes_unused or not image.references)
        ]
        return PrunePlan(tuple(gone), sum(item.image.size for item in gone))

    def prune(self, plan: PrunePlan) -> tuple[str, ...]:
        self._backend.calls.append(("prune", tuple(item.image.id for item in plan.images)))
        return tuple(f"Deleted: {item.image.id}" for item in plan.images)

    def save(self, refs: tuple[str, ...], target: Path) -> None:
        self._backend.calls.append(("save", refs, target))

    def load(self, source: Path) -> tuple[Image, ...]:
        self._backend.calls.append(("load", source))
        return tuple(some_images()[:1])


class FakeVolumes:
    """A volume that is used and one that is not, unless there are more."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.items = [
            Volume("data", "local", "/x", NOW - timedelta(days=2), used_by=(f"{1:064x}",)),
            Volume("old", "local", "/y", NOW - timedelta(days=9)),
        ]
        self.kept: list[VolumeSnapshot] = []

    def list(self) -> tuple[Volume, ...]:
        return tuple(self.items)

    def inspect(self, name: str) -> dict[str, Any]:
        return {"Name": name, "Driver": "local"}

    def create(self, name: str = "") -> Volume:
        self._do("volume_create", name)
        self.items.append(Volume(name or "f" * 64, "local", "/z", NOW, anonymous=not name))
        return self.items[-1]

    def remove(self, name: str) -> None:
        self._do("volume_remove", name)
        self.items = [volume for volume in self.items if volume.name != name]

    def uses(self, name: str) -> tuple[VolumeUse, ...]:
        found = next(volume for volume in self.items if volume.name == name)
        names = {container.id: container.name for container in self._backend.items}
        return tuple(VolumeUse(one, names.get(one, one[:12]), "/var/lib/data", False, True) for one in found.used_by)

    def files(self, name: str, path: str = "/") -> tuple[FileEntry, ...]:
        self._do("volume_files", name, path)
        return tuple(entry for entry in VOLUME_FILES if entry.path.rpartition("/")[0] == path.rstrip("/"))

    def open(self, name: str, path: str) -> io.BytesIO:
        self._do("volume_open", name, path)
        return io.BytesIO(b"listen_addresses = '*'\nmax_connections = 100\n")

    def measure(self, name: str, path: str = "", *, stop: threading.Event | None = None) -> Measured:
        self._do("measure", name, path)
        return Measured(48 << 20 if path else {"data": 3 << 30, "old": 120 << 20}.get(name, 4096), 12)

    def copy_out(self, name: str, path: str, target: str) -> Copied:
        self._do("volume_copy_out", name, path, target)
        return Copied(3, 4096)

    def export(self, name: str, target: Path) -> Copied:
        self._do("volume_export", name, str(target))
        return Copied(12, 1 << 20)

    def import_(self, name: str, source: Path, *, replaces: bool = False) -> Copied:
        self._do("volume_import", name, str(source), replaces)
        return Copied(12, 1 << 20)

    def plan_prune(self, *, takes_named: bool = False) -> VolumePrunePlan:
        chosen = [volume for volume in self.items if not volume.used_by and (takes_named or volume.anonymous)]
        measured = tuple(replace(volume, size=self.measure(volume.name).size) for volume in chosen)
        return VolumePrunePlan(measured, sum(volume.size or 0 for volume in measured))

    def prune(self, plan: VolumePrunePlan) -> tuple[str, ...]:
        self._do("volume_prune", *(volume.name for volume in plan.volumes))
        return tuple(volume.name for volume in plan.volumes)

    def snapshots(self, name: str) -> tuple[VolumeSnapshot, ...]:
        return tuple(one for one in self.kept if one.volume == name)

    def snapshot(self, name: str, snapshot_name: str = "") -> VolumeSnapshot:
        self._do("volume_snapshot", name, snapshot_name)
        self.kept.append(VolumeSnapshot(snapshot_name or "20261126-120000.000", name, NOW, "reflink"))
        return self.kept[-1]

    def restore(self, name: str, snapshot_name: str) -> None:
        self._do("volume_restore", name, snapshot_name)

    def clone(self, name: str, target: str) -> Cloned:
        self._do("volume_clone", name, target)
        return Cloned(Volume(target, "local", "/c", NOW), "copy")

    def resize(self, name: str, size: int) -> Volume:
        self._do("volume_resize", name, size)
        return Volume(name, "local", "/x", NOW, quota=size)

    def sync(self, source: str, target: str, wishes: Wishes, way: Way | None = None) -> Synced:
        self._do("volume_sync", source, target, wishes.deletes, wishes.is_dry)
        return Synced(9, 2, 1, 0, 4096, (FileChange("A", "/new"), FileChange("C", "/\x1b[31mred")))

    def _do(self, *call: Any) -> None:
        self._backend.calls.append(call)
        failure = self._backend.failures.get(call[0])
        if failure:
            raise failure
        self._backend.news.set()


def _volume_file(path: str, kind: str, size: int = 0, mode: int = 0o644, link: str = "") -> FileEntry:
    return FileEntry(path, kind, size, 0, mode, 999, 999, int(NOW.timestamp()) - size, link, Change.UNCHANGED, 0)


VOLUME_FILES = (
    _volume_file("/base", "d", mode=0o700), _volume_file("/base/1", "d", mode=0o700), _volume_file("/base/1/112", "-", 8192, 0o600),
    _volume_file("/pg_wal", "d", mode=0o700), _volume_file("/PG_VERSION", "-", 3, 0o600),
    _volume_file("/postgresql.conf", "-", 30694, 0o600), _volume_file("/postmaster.pid", "-", 36, 0o600),
    _volume_file("/current", "l", 6, 0o777, "base/1"), _volume_file("/\x1b[31mred", "-", 5),
)  # fmt: skip


def with_volumes() -> FakeBackend:
    """Return a backend with volumes of all kinds."""
    backend = eight()
    backend.volumes.items = [
        Volume("data", "local", "/var/lib/tuicon/volumes/data/data", NOW - timedelta(days=2), labels={"team": "shop", "tier": "db"}, used_by=(f"{1:064x}", f"{2:064x}")),
        Volume("media", "local", "/var/lib/tuicon/volumes/media/data", NOW - timedelta(days=40), quota=10 << 30, used_by=(f"{3:064x}",)),
        Volume("old", "local", "/var/lib/tuicon/volumes/old/data", NOW - timedelta(days=9)),
        Volume("3f" * 32, "local", "/var/lib/tuicon/volumes/3f/data", NOW - timedelta(hours=5), anonymous=True),
    ]  # fmt: skip
    backend.volumes.kept = [VolumeSnapshot("before-upgrade", "data", NOW - timedelta(hours=3), "reflink")]
    return backend


class FakeEvents:
    """Wakes the feed when something was changed."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def list(self, since: datetime | None = None) -> tuple[Event, ...]:
        return tuple(self._backend.journal)

    def follow(self, *, since: datetime | None = None, stop: threading.Event | None = None) -> Iterator[Event]:
        yield from self._backend.past
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
        self.many_files = 0
        self.more_images: list[Image] = []
        self.news = threading.Event()
        self.journal: list[Event] = []
        self.containers = FakeContainers(self)
        self.images = FakeImages(self)
        self.registries = FakeRegistries(self)
        self.networks = FakeNetworks(self)
        self.volumes = FakeVolumes(self)
        self.events = FakeEvents(self)
        self.system = FakeSystem(self)
        self.groups = FakeGroups(self)
        self.past: list[Event] = []
        self.stalls: list[Stall] = []

    def warm(self) -> None:
        self.calls.append(("warm",))

    def disk(self) -> str:
        return "/dev/vda"

    def usage(self, container: Container, tick: int) -> Usage:
        number = int(container.id, 16)
        found = a_usage(number, tick)
        return replace(found, counters=replace(found.counters, interfaces=interfaces_of(container, number, tick)))

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


def with_images() -> FakeBackend:
    """Return a backend with eight containers, two of them on the first of five images."""
    backend = eight()
    backend.more_images = some_images()
    web = backend.more_images[0].id
    backend.items = [
        replace(item, image_id=web, image="registry.example.com/shop/web:2.4.1")
        if item.name in ("gateway", "worker")
        else item
        for item in backend.items
    ]
    return backend
