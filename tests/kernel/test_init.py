"""--init: what process 1 does, and that it gives nothing away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import CommandNotExecutable, CommandNotFound
from engine.model.container import Container, ContainerSpec, LogOptions
from tests.kernel.test_features import DEFAULT_CAPABILITIES, execute, running, status_of
from tests.kernel.test_lifecycle import IMAGE, finish, output, until


def spec(script: str, **more: Any) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, command=("sh", "-c", script), network="none", init=True), **more)


def processes(engine: Engine, container: Container) -> list[tuple[int, int, str]]:
    return [(found.container_pid, found.parent_pid, found.command) for found in engine.containers.top(container.id)]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_it_ends_as_its_child_does(engine: Engine, script: str, code: int) -> None:
    assert finish(engine, spec(f"echo $$; {script}")) == (code, "2\n")


def test_a_command_that_cannot_be_executed_is_told_as_ever(engine: Engine) -> None:
    with pytest.raises(CommandNotFound, match="no-such-command"):
        engine.containers.run(replace(spec(""), command=("no-such-command",)))
    with pytest.raises(CommandNotExecutable):
        engine.containers.run(replace(spec(""), command=("/etc/passwd",)))


def test_orphans_are_reaped_and_do_not_end_it(engine: Engine) -> None:
    script = "i=0; while [ $i -lt 20 ]; do (sh -c 'exit 3' & ) & i=$((i+1)); done; wait; (sleep 4321 &); echo made; exec sleep 9999"
    container = engine.containers.run(spec(script))
    until(lambda: "made" in output(engine, container.id))
    wanted = {f"/sbin/tuicon-init -- sh -c {script}", "sleep 4321", "sleep 9999"}
    until(lambda: {command for _, _, command in processes(engine, container)} == wanted)
    found = {command: (pid, parent) for pid, parent, command in processes(engine, container)}
    assert found["sleep 9999"][0] == 2
    assert found["sleep 4321"][1] == container.pid


def test_every_signal_that_can_be_caught_is_passed_on(engine: Engine) -> None:
    numbers = [number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD)]
    traps = "; ".join(f"trap 'echo got {number}' {number}" for number in numbers)
    container = engine.containers.run(spec(f"{traps}; echo ready; while :; do sleep 0.05; done"))
    until(lambda: "ready" in output(engine, container.id))
    for number in numbers:
        engine.containers.kill(container.id, str(number))
        until(lambda number=number: f"got {number}\n" in output(engine, container.id))  # type: ignore[misc]
    engine.containers.kill(container.id)
    assert engine.containers.wait(container.id, timeout=60) == 137


def test_stop_reaches_a_command_that_would_ignore_it_as_process_1(engine: Engine) -> None:
    container = engine.containers.run(replace(spec(""), command=("sleep", "1000"), stop_timeout=3600.0))
    assert engine.containers.stop(container.id).exit_code == 143


def test_it_has_the_rights_of_the_command_and_nothing_of_the_host(engine: Engine) -> None:
    with running(engine, init=True) as container:
        status = status_of(container.pid)
        assert (int(status["CapEff"], 16), status["Seccomp"], status["NoNewPrivs"]) == (DEFAULT_CAPABILITIES, "2", "1")
        assert status["Threads"] == "1"
        maps = Path(f"/proc/{container.pid}/maps").read_text().splitlines()
        files = {line.split(maxsplit=5)[5] for line in maps if len(line.split()) > 5}
        assert {name for name in files if not name.startswith("[")} == {"/memfd:tuicon-init (deleted)"}
        assert not [line for line in maps if "wx" in line.split()[1]]
        assert len(os.listdir(f"/proc/{container.pid}/fd")) == 3
        script = "cat /proc/1/exe | wc -c; (echo x >>/proc/1/exe) 2>&1 | grep -c -i -E 'permitted|denied|busy'; ls /sbin/tuicon-init 2>&1 | wc -l"
        size, refused, _ = execute(engine, container, script).split()
        assert 0 < int(size) < 1000
        assert refused == "1"
        assert status_of(container.pid)["State"].startswith("S")


def test_it_works_for_a_user_without_rights_in_a_user_namespace_and_beside_the_hosts_processes(engine: Engine) -> None:
    script = "id -u; (sleep 0.2; echo late) & exit 5"
    code, text = finish(engine, spec(script, user="65534", cap_drop=("ALL",), read_only=True))
    assert (code, text.split()[0]) == (5, "65534")
    code, text = finish(engine, spec(script, userns="auto"))
    assert (code, text.split()[0]) == (5, "0")
    container = engine.containers.run(spec("(sleep 1234 &); exec sleep 9999", pid_mode="host"))
    until(lambda: ("sleep 1234", container.pid) in
        [(command, parent) for _, parent, command in processes(engine, container)])  # fmt: skip
    engine.containers.remove(container.id, force=True)


def frames(engine: Engine, script: str) -> Iterator[bytes]:
    created = engine.containers.create(spec(script, tty=True, interactive=True, log=LogOptions("none")))
    with engine.containers.start_attached(created.id, stdin=True) as session:
        while (read := session.read(timeout=120)) is not None:
            yield read[1]
            if b"ready" in read[1]:
                session.write(b"\x03")
    assert session.exit_code == 7


def test_a_terminals_interrupt_reaches_the_command(engine: Engine) -> None:
    script = "trap 'echo interrupted; exit 7' INT; echo rea''dy; while :; do sleep 0.05; done"
    assert b"interrupted" in b"".join(frames(engine, script))
