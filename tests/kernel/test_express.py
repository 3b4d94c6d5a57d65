"""A command that the container's monitor runs, with no launcher started for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.containers.session import Session
from engine.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound
from engine.linux import procfs
from engine.model.container import Container, ContainerSpec, ExecSpec
from engine.store import records
from tests.kernel.oci import eventually

IMAGE = "tuicon/demo"


def asked(*command: str, **more: Any) -> dict[str, Any]:
    given = {"env": (), "user": None, "workdir": None, "tty": False, "interactive": False, "privileged": False}
    return {**given, "command": command, **more}


def outcome(session: Session | None) -> tuple[bytes, int | None]:
    """Return what a command said on stdout, and how it ended."""
    assert session is not None
    said = b""
    with session:
        while found := session.read(120):
            said += found[1] if found[0] == "stdout" else b"(" + found[1] + b")"
    return said, session.exit_code


def other(engine: Engine) -> Engine:
    """Return a second engine on the same root, whose launcher is cold."""
    return Engine(engine.root)


def monitor_of(engine: Engine, container: Container) -> int:
    found = records.load_json(engine.run_root / "containers" / container.id / "state.json")
    return int(found["monitor_pid"])


WANTED = (
    asked("sh", "-c", "echo out; exit 7"),
    asked("sh", "-c", "echo err >&2"),
    asked("sh", "-c", "id; pwd; echo $A", user="7:8", workdir="/tmp", env=("A=b c",)),
    asked("sh", "-c", "tty >/dev/null && stty size; echo $TERM", tty=True),
    asked("sh", "-c", "grep -E 'Cap|NoNew|Seccomp:|Groups' /proc/self/status; cd /proc/self/fd; echo *"),
    asked("sh", "-c", "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status", privileged=True),
    asked("sh", "-c", "cat /proc/self/cgroup; ulimit -a; umask; trap"),
    asked("sh", "-c", "kill -9 $$"),
)


def test_a_command_by_the_monitor_is_as_one_by_the_launcher(engine: Engine) -> None:
    container = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000"), name="box", network="none"))
    with other(engine) as cold:
        by_monitor = [outcome(cold.execute("box", wanted, (30, 90))) for wanted in WANTED]
        assert outcome(cold.execute(container.id, WANTED[0])) == (b"out\n", 7)
        assert "_launcher" not in cold.__dict__
    by_launcher = [outcome(engine.containers.exec("box", ExecSpec(**wanted), size=(30, 90))) for wanted in WANTED]
    assert by_monitor == by_launcher
    assert all(said or code for said, code in by_monitor)


def test_input_reaches_the_command_and_the_events_tell_of_it(engine: Engine) -> None:
    engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000"), name="box", network="none"))
    session = engine.execute("box", asked("sh", "-c", "read line; echo got $line", interactive=True))
    session.write(b"one\n")
    assert outcome(session) == (b"got one\n", 0)
    eventually(
        lambda: [event.action for event in engine.events.list()][-3:] == ["exec_create", "exec_start", "exec_die"]
    )
    last = [event.attributes for event in engine.events.list()][-3:]
    assert len({attributes["execID"] for attributes in last}) == 1
    assert last[0]["command"] == "sh -c read line; echo got $line"


def test_what_cannot_be_is_said_as_the_engine_says_it(engine: Engine) -> None:
    engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000"), name="box", network="none"))
    with other(engine) as cold:
        with pytest.raises(CommandNotFound):
            cold.execute("box", asked("no-such-command"))
        with pytest.raises(CommandNotExecutable):
            cold.execute("box", asked("/etc/passwd"))
        assert "_launcher" not in cold.__dict__
        with pytest.raises(NotFound, match="no such container: nobody"):
            cold.execute("nobody", asked("true"))
        engine.containers.pause("box")
        with pytest.raises(Conflict, match="paused"):
            cold.execute("box", asked("true"))
        engine.containers.unpause("box")
        assert outcome(cold.execute("box", asked("echo", "x" * 40_000)))[0] == b"x" * 40_000 + b"\n"
        engine.containers.stop("box", timeout=0)
        with pytest.raises(Conflict, match="not running"):
            cold.execute("box", asked("true"))


def test_without_its_monitor_a_container_still_runs_commands(engine: Engine) -> None:
    container = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000"), network="none"))
    os.kill(monitor_of(engine, container), signal.SIGKILL)
    assert outcome(engine.execute(container.id, asked("sh", "-c", "exit 4"))) == (b"", 4)


def test_commands_hold_nothing_of_the_containers_streams_and_leave_no_zombies(engine: Engine) -> None:
    container = engine.containers.run(ContainerSpec(IMAGE, command=("cat",), interactive=True, network="none"))
    monitor = monitor_of(engine, container)
    for _ in range(3):
        assert outcome(engine.execute(container.id, asked("true"))) == (b"", 0)
    lasting = engine.execute(container.id, asked("sleep", "1000"))
    eventually(lambda: len(children_of(monitor)) == 2)  # the container's first process and the one command's
    assert not any(state == "Z" for state in children_of(monitor).values())
    with engine.containers.attach(container.id) as session:
        session.close_stdin()  # cat ends at the end of its input: nobody else may hold the pipe
        assert engine.containers.wait(container.id, timeout=120) == 0
    with lasting:
        assert outcome(lasting)[1] == 137


def children_of(parent: int) -> dict[int, str]:
    """Return the states of a process's children by pid."""
    found = {}
    for pid in procfs.process_ids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found[pid] = fields[0]
    return found
