"""Kills each process of the engine at each of its calls into the kernel: the truth is told, and all can be removed.

A run takes as many steps of each operation as a second allows, at least two; TUICON_EVERY_STEP=1 takes all.
"""

from __future__ import annotations

import io
import os
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers import launch
from engine.errors import EngineError, NotFound
from engine.linux import nfnetlink, procfs
from engine.linux.cgroup import group as cgroups
from engine.linux.cgroup import layout
from engine.model.container import Container, ContainerSpec, ExecSpec, Mount
from engine.model.network import Attachment, PortMapping
from engine.model.status import Status
from tests.conftest import IS_PURE_V2
from tests.kernel import faults
from tests.kernel.test_images import docker_archive, entry, tar_of

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "tuicon/demo"
DEMO = "docker.io/tuicon/demo:latest"
EVERY_STEP = os.environ.get("TUICON_EVERY_STEP") == "1"
LEAST, SECONDS = 2, 1.0
LAUNCHER = "import sys; sys.path.insert(0, {{root!r}}); from tests.kernel import faults; faults.launcher({role!r}, {number}, {marker!r})"
Action = Callable[[Engine], object]


def spec(*command: str, **more: object) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, name="victim", command=command), **more)  # type: ignore[arg-type]


LONG = ("sleep", "1000")
MEMORY = Mount("volume", "/memory", driver="tmpfs")
BIG = spec(*LONG, mounts=(Mount("volume", "/etc"), Mount("volume", "/data", "named")))


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def archive() -> io.BytesIO:
    return io.BytesIO(docker_archive(tar_of(entry("file", content=b"text"), entry("other", content=b"x" * 5000))))


def execute(engine: Engine) -> None:
    session = engine.containers.exec("victim", ExecSpec(("true",)))
    assert session is not None
    with session:
        while session.read(120):
            pass


def remove_loaded(engine: Engine) -> None:
    for image in engine.images.list():
        others = [name for name in image.references if name != DEMO]
        for name in others or ([] if image.references else [image.id]):
            engine.images.remove(name, force=True)


def paused(engine: Engine) -> None:
    engine.containers.run(spec(*LONG))
    engine.containers.pause("victim")


NOTHING: Action = lambda engine: None  # noqa: E731 - the empty set-up
CREATED: Action = lambda engine: engine.containers.create(spec(*LONG))  # noqa: E731
RUNNING: Action = lambda engine: engine.containers.run(spec(*LONG))  # noqa: E731


def meshed(engine: Engine) -> None:
    engine.networks.create("mesh", ipv6=True)
    engine.containers.run(spec(*LONG))


def connected(engine: Engine) -> None:
    meshed(engine)
    engine.containers.connections.connect("victim", Attachment("mesh"))


def published(engine: Engine) -> None:
    engine.networks.create("mesh")
    engine.containers.run(spec(*LONG, ports=(PortMapping(80),)))


def move_ports(engine: Engine) -> None:
    """Unpublish, publish in another network, and have the ports follow into the first one again."""
    connections = engine.containers.connections
    connections.disconnect("victim", "bridge")
    connections.connect("victim", Attachment("mesh"))
    connections.connect("victim", Attachment("bridge"))
    connections.disconnect("victim", "mesh")


def remove_network(engine: Engine) -> None:
    engine.containers.remove("victim", force=True)
    engine.networks.remove("mesh")


OPERATIONS: dict[str, tuple[Action, Action]] = {
    "create": (NOTHING, lambda engine: engine.containers.create(BIG)),
    "start": (CREATED, lambda engine: engine.containers.start("victim")),
    "exec": (RUNNING, execute),
    "stop": (RUNNING, lambda engine: engine.containers.stop("victim", signal="KILL")),
    "kill": (RUNNING, lambda engine: engine.containers.kill("victim")),
    "remove": (lambda engine: engine.containers.create(BIG), lambda engine: engine.containers.remove("victim", volumes=True)),
    "remove-running": (lambda engine: engine.containers.run(BIG), lambda engine: engine.containers.remove("victim", force=True, volumes=True)),
    "pause": (RUNNING, lambda engine: engine.containers.pause("victim")),
    "unpause": (paused, lambda engine: engine.containers.unpause("victim")),
    "rename": (RUNNING, lambda engine: engine.containers.rename("victim", "other")),
    "update": (RUNNING, lambda engine: engine.containers.update("victim", lambda limits: replace(limits, pids=50))),
    "load": (NOTHING, lambda engine: engine.images.load(archive())),
    "rmi": (lambda engine: engine.images.load(archive()), remove_loaded),
    "tag": (NOTHING, lambda engine: engine.images.tag(IMAGE, "more:names")),
    "volume-create": (NOTHING, lambda engine: engine.volumes.create("named")),
    "volume-rm": (lambda engine: engine.volumes.create("named"), lambda engine: engine.volumes.remove("named")),
    "network-create": (NOTHING, lambda engine: engine.networks.create("mesh", ipv6=True)),
    "connect": (meshed, lambda engine: engine.containers.connections.connect("victim", Attachment("mesh"))),
    "disconnect": (connected, lambda engine: engine.containers.connections.disconnect("victim", "mesh")),
    "move-ports": (published, move_ports),
    "network-rm": (lambda engine: (engine.networks.create("mesh"), engine.containers.run(spec("true", network="mesh"))), remove_network),
    "check": (CREATED, lambda engine: engine.system.check(repair=True)),
}  # fmt: skip
IN_THE_KERNEL = ("start", "exec", "stop", "remove-running", "pause", "network-rm")
"""The operations that the version of cgroups, or the kernel, makes a difference to."""
RUNTIME = "crun" if IS_PURE_V2 else "runc"
STARTS = spec("sh", "-c", "echo out; exit 3")
CHILDREN: dict[str, tuple[str, Action, Action]] = {
    "launcher-start": ("launcher", NOTHING, lambda engine: run_to_end(engine, STARTS)),
    "launcher-exec": ("launcher", RUNNING, execute),
    "monitor-whole-run": ("monitor", lambda engine: engine.networks.create("mesh", ipv6=True), lambda engine: run_to_end(engine, replace(STARTS, network="mesh", ports=(PortMapping(80),)))),
    "monitor-auto-remove": ("monitor", NOTHING, lambda engine: run_to_end(engine, replace(STARTS, auto_remove=True, mounts=(*BIG.mounts, MEMORY)))),
    "monitor-terminal": ("monitor", NOTHING, lambda engine: engine.containers.run(spec(*LONG, tty=True))),
    "monitor-failed-start": ("monitor", NOTHING, lambda engine: engine.containers.run(spec("no-such-command"))),
    "monitor-of-a-runtime": ("monitor", NOTHING, lambda engine: run_to_end(engine, replace(STARTS, runtime=RUNTIME))),
    "init-start": ("init", NOTHING, lambda engine: run_to_end(engine, STARTS)),
    "exec": ("exec", RUNNING, execute),
    "exec-child": ("enter", RUNNING, execute),
}  # fmt: skip


def run_to_end(engine: Engine, wanted: ContainerSpec) -> None:
    container = engine.containers.run(wanted)
    try:
        until(lambda: not engine.containers.get(container.id).status.is_alive)
    except NotFound:
        return


def world(state: Path) -> set[str]:
    """Return all that a state root is: its files, but for contents, and what it has in the kernel."""
    found = {
        str(path.relative_to(state)) for path in state.rglob("*") if not {"diff", "tree", "rootfs"} & {*path.parts}
    }
    found = {name for name in found if "journal" not in name and not re.fullmatch("locks/[a-z]+", name)}
    mark = leftovers_mark(state)
    found |= {f"cgroup {name}" for name in cgroups.groups_below(mark)}
    found |= {f"published {element}" for name in nfnetlink.MAPS for element in nfnetlink.dump(mark, name)}
    bridge = f"tui{mark.removeprefix('tuicon_')}"
    return found | {f"port {path.name}" for path in Path("/sys/class/net", bridge).glob("brif/*")}


def leftovers_mark(state: Path) -> str:
    import hashlib

    return f"tuicon_{hashlib.sha256(str(state).encode()).hexdigest()[:6]}"


def engine_processes() -> set[int]:
    """Return the launchers and monitors of this checkout."""
    found = set()
    for pid in procfs.process_ids():
        try:
            command = procfs.command_line(pid)
        except OSError:
            continue
        if "-I -S -c" in command and str(ROOT) in command:
            found.add(pid)
    return found


class Site:
    """A state root with a history, and how it looks when nothing is on it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state = engine.root
        engine.containers.run(spec("true"))
        engine.containers.remove("victim", force=True)
        engine.images.load(archive())
        remove_loaded(engine)
        until(lambda: not any(name.startswith("port ") for name in world(self.state)))
        self.before = world(self.state)
        self.processes = engine_processes()
        self.marker = self.state.parent / "marker"

    def was_killed(self) -> bool:
        return self.marker.exists()

    def come_to_rest(self) -> None:
        """Wait for what still goes on without the one that was killed."""
        until(lambda: engine_processes() <= self.processes or self.engine.containers.list(all=False))

    def clean(self) -> None:
        """Ask what is true, use what runs, remove everything; nothing may be left."""
        engine = self.engine
        for container in engine.containers.list():
            assert container.status in (Status.CREATED, Status.EXITED, Status.RUNNING, Status.PAUSED)
            if container.status.is_alive and procfs.start_time(container.pid) is None:
                assert not engine.containers.get(container.id).status.is_alive  # it ended after it was listed
            if container.status is Status.PAUSED:
                engine.containers.unpause(container.id)
        for container in engine.containers.list():
            self._use(container)
            engine.containers.remove(container.id, force=True, volumes=True)
        assert engine.containers.list() == ()
        until(lambda: engine_processes() <= self.processes)
        checked = engine.system.check(repair=True, deep=True)
        assert (checked.left, checked.errors) == ((), ())
        remove_loaded(engine)
        for network in engine.networks.list():
            if not network.builtin:
                engine.networks.remove(network.name)
        for volume in engine.volumes.list():
            engine.volumes.remove(volume.name)
        assert world(self.state) == self.before

    def _use(self, container: Container) -> None:
        """A container that still runs can be used, whatever happened to its monitor and its engine."""
        try:
            if self.engine.containers.get(container.id).status is Status.RUNNING:
                session = self.engine.containers.exec(container.id, ExecSpec(("echo", "alive")))
                assert session is not None
                with session:
                    while session.read(120):
                        pass
        except EngineError:  # it is dying: the one that was killed had killed it
            until(lambda: not self.engine.containers.get(container.id).status.is_alive)
        assert list(self.engine.containers.logs(container.id)) is not None


@pytest.fixture
def site(engine: Engine) -> Site:
    return Site(engine)


def steps(name: str, attempt: Callable[[int], None], site: Site) -> Iterator[int]:
    """Yield the steps to kill at, after one run that counts them."""
    attempt(0)
    site.come_to_rest()
    total = int(site.marker.read_text())
    site.marker.unlink()
    site.clean()
    print(f"{name}: {total} steps")
    if EVERY_STEP:
        yield from range(1, total + 1)
        return
    deadline = time.monotonic() + SECONDS
    for count, number in enumerate(random.sample(range(1, total + 1), total)):
        if count >= LEAST and time.monotonic() > deadline:
            return
        yield number


def operate(site: Site, operation: Action, number: int) -> None:
    """Do something in a process of its own, which is killed before its N-th call into the kernel."""
    pid = os.fork()
    if pid == 0:
        try:
            with Engine(site.state) as victim:
                faults.arm(number, str(site.marker))
                operation(victim)
                sys.setprofile(None)
        except BaseException:  # noqa: BLE001 - the child must not return
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if number and site.was_killed() else 0)


def walk(name: str, attempt: Callable[[int], None], site: Site) -> None:
    for number in steps(name, attempt, site):
        attempt(number)
        site.come_to_rest()
        what = site.marker.read_text() if site.was_killed() else "nobody was killed"
        site.marker.unlink(missing_ok=True)
        try:
            site.clean()
        except BaseException as error:
            raise AssertionError(f"{name}, step {number} ({what}): {error}") from error


@pytest.mark.parametrize("name", OPERATIONS if layout.detect().version == 1 else IN_THE_KERNEL)
def test_an_engine_killed_at_any_step_leaves_the_truth_and_nothing_else(site: Site, name: str) -> None:
    prepare, operation = OPERATIONS[name]

    def attempt(number: int) -> None:
        prepare(site.engine)
        operate(site, operation, number)

    walk(name, attempt, site)


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_killed_at_any_step_leaves_the_truth_and_nothing_else(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, prepare, operation = CHILDREN[name]

    def attempt(number: int) -> None:
        prepare(site.engine)
        code = LAUNCHER.format(role=role, number=number, marker=str(site.marker))
        with monkeypatch.context() as patched, Engine(site.state) as victim:
            patched.setattr(launch, "_CODE", code)
            try:
                operation(victim)
            except EngineError as error:
                if not number and "no-such-command" not in str(error):
                    raise

    walk(name, attempt, site)
