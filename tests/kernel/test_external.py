"""Containers that another OCI runtime makes, under our monitor: every verb works on them as on our own."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import CommandNotFound, InvalidArgument, NotSupported, StartFailed
from engine.linux import procfs
from engine.model.container import Container, ContainerSpec, ExecSpec, Mount, RestartPolicy
from engine.model.health import HealthCheck
from engine.model.limits import Limits
from engine.model.status import Status
from tests.conftest import IS_PURE_V2
from tests.kernel.conftest import leftovers
from tests.kernel.test_features import DEFAULT_CAPABILITIES, execute, status_of
from tests.kernel.test_lifecycle import IMAGE, finish, output, until

RUNTIME = "crun" if IS_PURE_V2 else "runc"  # crun refuses hybrid cgroups


def spec(script: str, runtime: str = RUNTIME, **more: Any) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, command=("sh", "-c", script), network="none", runtime=runtime), **more)


def kernels_view(engine: Engine, container: Container) -> str:
    group = engine.containers._lifecycle.group(container.id)[0]
    return Path(next(iter(group.paths.values())), "cgroup.procs").read_text()


def test_every_verb_works(engine: Engine, root: Path) -> None:
    script = "echo out; echo err >&2; trap 'exit 9' TERM; while :; do sleep 0.1; done"
    root.joinpath("data").mkdir()
    root.joinpath("data", "file").touch()
    root.joinpath("data").chmod(0o755)
    mounts = (Mount("bind", "/data", str(root / "data")), Mount("tmpfs", "/scratch", options=("size=1m",)))
    container = engine.containers.run(spec(script, network="bridge", limits=Limits(pids=55, memory=64 << 20),
        user="daemon", hostname="inside", mounts=mounts, env=("WHO=me",), workdir="/made/here"))  # fmt: skip
    until(lambda: output(engine, container.id) == "out\n" and output(engine, container.id, "stderr") == "err\n")
    status = status_of(container.pid)
    assert status["PPid"] == str(engine._registry.state(container.id).monitor_pid)  # type: ignore[union-attr]
    assert (int(status["CapBnd"], 16), status["Seccomp"], status["NoNewPrivs"]) == (DEFAULT_CAPABILITIES, "2", "1")
    assert str(container.pid) in kernels_view(engine, container).split()
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if container.id in line]
    text = execute(
        engine, container, "id -u; hostname; echo $WHO $HOME; pwd; cat /etc/hostname; ls /data; wc -l </proc/net/route"
    )
    assert text.split() == ["1", "inside", "me", "/", "/made/here", "inside", "file", "3"]
    assert execute(engine, container, "wget -q -O - http://127.0.0.1:1 2>&1 | grep -c refused") == "1\n"
    changed = engine.containers.update(container.id, lambda limits: replace(limits, pids=44))
    assert (changed.before.pids, engine.containers.counters(container.id).pids_limit) == (55, 44)
    engine.containers.pause(container.id)
    assert engine.containers.get(container.id).status is Status.PAUSED
    engine.containers.unpause(container.id)
    assert any("sleep" in process.command for process in engine.containers.top(container.id))
    with engine.containers.attach(container.id) as session:
        assert engine.containers.stop(container.id, timeout=60).exit_code == 9
        while session.read(timeout=60) is not None:
            pass
        assert session.exit_code == 9
    assert engine.containers.inspect(container.id)["HostConfig"]["Runtime"] == RUNTIME
    assert engine.system.check().found == ()
    engine.containers.start(container.id)
    assert execute(engine, engine.containers.get(container.id), "ls -d /made/here") == "/made/here\n"


def test_exit_codes_signals_terminals_and_restarts(engine: Engine) -> None:
    assert finish(engine, spec("exit 42")) == (42, "")
    killed = engine.containers.run(spec("sleep 1000"))
    engine.containers.kill(killed.id)
    assert engine.containers.wait(killed.id, timeout=60) == 137
    created = engine.containers.create(spec("tty; stty size; exit 3", tty=True))
    with engine.containers.start_attached(created.id, size=(33, 77)) as session:
        text = b""
        while (read := session.read(timeout=60)) is not None:
            text += read[1]
    assert (session.exit_code, text.split()[-2:]) == (3, [b"33", b"77"])
    again = engine.containers.run(
        spec("echo run >>/runs; wc -l </runs; exit 5", restart=RestartPolicy("on-failure", 2))
    )
    assert engine.containers.wait(again.id, timeout=120) == 5
    assert output(engine, again.id).split() == ["1", "2", "3"]


def test_health_is_checked_and_rm_ends_all(engine: Engine) -> None:
    check = HealthCheck(("CMD-SHELL", "id -u; test -e /ok"), interval=0.1, timeout=60.0, retries=1)
    container = engine.containers.run(spec("sleep 1000", health=check, auto_remove=True))
    until(lambda: getattr(engine.containers.get(container.id).health, "status", "") == "unhealthy")
    session = engine.containers.exec(container.id, ExecSpec(("touch", "/ok")))
    assert session is not None
    session.close()
    until(lambda: getattr(engine.containers.get(container.id).health, "status", "") == "healthy")
    engine.containers.kill(container.id)
    until(lambda: engine.containers.list() == ())


def test_what_a_runtime_says_when_it_fails_is_told(engine: Engine) -> None:
    with pytest.raises(CommandNotFound, match=f"{RUNTIME} failed: .*no-such-command") as caught:
        engine.containers.run(replace(spec(""), command=("no-such-command",)))
    assert "\n" not in str(caught.value)
    nobody = engine.containers.create(spec("true", user="nobody-of-that-name"))
    with pytest.raises(StartFailed, match="unable to find user"):
        engine.containers.start(nobody.id)
    assert engine.containers.get(nobody.id).status is Status.EXITED
    assert engine.system.check().found == ()


def test_what_is_no_runtime_or_cannot_be_combined_is_refused(engine: Engine, root: Path) -> None:
    with pytest.raises(InvalidArgument, match="no-such-runtime"):
        engine.containers.create(spec("true", "no-such-runtime"))
    combined: list[dict[str, Any]] = [{"init": True}, {"userns": "auto"}]
    for more in combined:
        with pytest.raises(NotSupported, match=f"runtime {RUNTIME}"):
            engine.containers.create(spec("true", **more))
    root.joinpath("runsc").symlink_to("/bin/true")  # a kernel of its own: nothing may be run beside it from outside
    with pytest.raises(NotSupported, match="health check"):
        engine.containers.create(spec("true", str(root / "runsc"), health=HealthCheck(("CMD", "true"))))
    with pytest.raises(StartFailed, match="ended with code 1 and wrote no reason"):
        engine.containers.run(spec("true", "/bin/false"))
    program = root / "mine"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with pytest.raises(StartFailed):
        engine.containers.run(spec("true", str(program)))
    program.unlink()
    gone = engine.containers.list()[0]
    with pytest.raises(InvalidArgument, match="neither a program"):
        engine.containers.start(gone.id)
    assert engine.system.check().found == ()


@pytest.fixture
def slow(root: Path) -> Path:
    """A runtime that waits for a file before each of its steps, so that its caller can be killed there."""
    program = root / "slow"
    program.write_text(f'#!/bin/sh\ncase "$*" in *" create "*) touch {root}/reached; while ! [ -e {root}/go ]; do sleep 0.05; done;; esac\n'
        f'exec {RUNTIME} "$@"\n')  # fmt: skip
    program.chmod(0o755)
    return program


def test_a_monitor_that_is_killed_leaves_nothing_that_cannot_be_cleaned(engine: Engine, root: Path) -> None:
    container = engine.containers.run(spec("sleep 1000"))
    state = engine._registry.state(container.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    until(lambda: [found.kind for found in engine.system.check().found] == ["monitor"])
    assert engine.containers.get(container.id).status is Status.RUNNING
    assert execute(engine, container, "echo here") == "here\n"
    engine.containers.stop(container.id, timeout=0)
    assert engine.containers.get(container.id).exit_code == 255
    engine.containers.start(container.id)
    state = engine._registry.state(container.id)
    assert state is not None
    for pid in (state.monitor_pid, state.pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not engine._registry.is_running(container.id))
    assert engine.system.check(repair=True).left == ()
    engine.containers.remove(container.id)
    assert not engine.containers.list()
    engine.system.reset()
    until(lambda: leftovers(root / "state") == [])


def test_a_kill_while_the_runtime_creates_leaves_nothing(engine: Engine, root: Path, slow: Path) -> None:
    created = engine.containers.create(spec("sleep 1000", str(slow)))
    errors: list[BaseException] = []

    def start() -> None:
        try:
            engine.containers.start(created.id)
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    until((root / "reached").exists)
    monitor = parent_of_the_runtime(slow)
    os.kill(monitor, signal.SIGKILL)
    thread.join(60)
    assert [type(error).__name__ for error in errors] == ["LauncherLost"]
    root.joinpath("go").touch()
    engine.system.check(repair=True)
    assert engine.system.check().found == ()
    engine.containers.start(created.id)
    assert engine.containers.get(created.id).status is Status.RUNNING
    engine.containers.remove(created.id, force=True)


def parent_of_the_runtime(program: Path) -> int:
    for pid in procfs.process_ids():
        try:
            if str(program) in procfs.command_line(pid) and " create " in procfs.command_line(pid):
                return int(procfs.status_of(pid)["PPid"])
        except OSError:
            continue
    raise AssertionError("the runtime does not run")
