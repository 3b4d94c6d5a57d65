from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.containers.records import State
from engine.errors import Conflict, NotFound
from engine.model.container import Container, ContainerSpec, RestartPolicy
from engine.model.status import Status
from tests.kernel.test_lifecycle import IMAGE, output, until
from tuicon.cli import containers as cli
from tuicon.cli.parser import build


def run(engine: Engine, policy: str, script: str, attempts: int = 0, network: str = "none") -> Container:
    spec = ContainerSpec(IMAGE, command=("sh", "-c", script), network=network, stop_timeout=0.1)
    return engine.containers.run(replace(spec, restart=RestartPolicy(policy, attempts)))


def restarts(engine: Engine, container: Container) -> int:
    return engine.containers.get(container.id).restart_count


def waiting(engine: Engine, container: Container) -> State:
    """Return the state of a container that waits long enough for its next start to be met there."""
    until(lambda: restarts(engine, container) >= 4)
    until(lambda: engine.containers.get(container.id).status is Status.RESTARTING)
    state = engine._registry.state(container.id)
    assert state is not None
    return state


def test_a_container_that_fails_is_started_so_often_and_its_last_code_stays(engine: Engine) -> None:
    container = run(engine, "on-failure", "echo run; exit 7", attempts=2)
    assert engine.containers.wait(container.id, timeout=120) == 7
    found = engine.containers.get(container.id)
    assert (found.status, found.exit_code, found.restart_count) == (Status.EXITED, 7, 2)
    assert output(engine, container.id) == "run\n" * 3
    inspected = engine.containers.inspect(container.id)
    assert (inspected["RestartCount"], inspected["State"]["Restarting"]) == (2, False)


def test_success_is_no_failure(engine: Engine) -> None:
    container = run(engine, "on-failure", "echo run")
    assert engine.containers.wait(container.id, timeout=120) == 0
    assert (restarts(engine, container), output(engine, container.id)) == (0, "run\n")


def test_a_container_keeps_its_address_and_files_and_is_stopped_for_good(engine: Engine) -> None:
    script = "echo x >>/kept; wc -l </kept; hostname -i 2>/dev/null || grep $(hostname) /etc/hosts; sleep 0.1"
    container = run(engine, "always", script, network="bridge")
    until(lambda: restarts(engine, container) >= 2)
    address = container.endpoints[0].address
    until(lambda: output(engine, container.id).count(address) >= 3)
    assert output(engine, container.id).split()[0] == "1"
    assert "3" in output(engine, container.id).split()
    engine.containers.stop(container.id)
    assert engine.containers.get(container.id).status is Status.EXITED
    assert not engine._registry.is_running(container.id)
    assert engine.system.check().found == ()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_running_container_that_is_ended_by_its_user_stays_down(engine: Engine, end: str) -> None:
    container = run(engine, "always", "exec sleep 1000")
    actions: dict[str, Callable[[str], object]] = {"stop": engine.containers.stop, "kill": engine.containers.kill}
    actions[end](container.id)
    found = engine.containers.get(container.id)
    assert (found.status, found.exit_code, found.restart_count) == (Status.EXITED, 137, 0)
    assert not engine._registry.is_running(container.id)


def test_a_container_killed_from_outside_is_started_again(engine: Engine) -> None:
    container = run(engine, "unless-stopped", "exec sleep 1000")
    os.kill(container.pid, signal.SIGKILL)
    until(lambda: engine.containers.get(container.id).status is Status.RUNNING and restarts(engine, container) == 1)
    assert engine.containers.get(container.id).pid != container.pid


def test_between_two_runs_it_can_be_stopped_started_and_removed(engine: Engine) -> None:
    container = run(engine, "always", "exit 1")
    state = waiting(engine, container)
    assert engine.containers.list(all=False)[0].status is Status.RESTARTING
    engine.containers.stop(container.id)
    assert engine.containers.get(container.id).status is Status.EXITED
    assert not state.has_monitor
    engine.containers.start(container.id)
    assert restarts(engine, container) <= 1
    second = waiting(engine, container)
    engine.containers.start(container.id)
    assert not second.has_monitor
    third = waiting(engine, container)
    engine.containers.remove(container.id, force=True)
    assert not third.has_monitor
    with pytest.raises(NotFound):
        engine.containers.get(container.id)


def test_a_stop_at_any_moment_of_a_restart_ends_it(engine: Engine) -> None:
    container = run(engine, "always", "exit 1")
    for _ in range(15):
        until(lambda: restarts(engine, container) >= 1)
        engine.containers.stop(container.id)
        assert engine.containers.get(container.id).status is Status.EXITED
        assert not engine._registry.is_running(container.id)
        engine.containers.start(container.id)


def test_a_kill_between_two_runs_ends_it(engine: Engine) -> None:
    container = run(engine, "always", "exit 1")
    state = waiting(engine, container)
    engine.containers.kill(container.id)
    assert engine.containers.get(container.id).status is Status.EXITED
    assert not state.has_monitor


def test_a_restart_that_cannot_start_ends_with_its_reason(engine: Engine) -> None:
    script = "rm /bin/sh; exit 5"
    container = run(engine, "always", script)
    assert engine.containers.wait(container.id, timeout=120) == 127
    found = engine.containers.get(container.id)
    assert (found.status, found.exit_code, found.restart_count) == (Status.EXITED, 127, 1)
    assert "sh" in found.error
    codes = [event.attributes["exitCode"] for event in engine.events.list() if event.action == "die"]
    assert codes == ["5", "127"]


def test_the_policy_can_be_changed_while_the_container_runs(engine: Engine) -> None:
    container = run(engine, "no", "exec sleep 1000")
    assert update(engine, "--restart", "on-failure:1", container.id) == 0
    assert engine.containers.inspect(container.id)["HostConfig"]["RestartPolicy"] == {"Name": "on-failure",
        "MaximumRetryCount": 1}  # fmt: skip
    os.kill(container.pid, signal.SIGKILL)
    until(lambda: engine.containers.get(container.id).status is Status.RUNNING and restarts(engine, container) == 1)
    os.kill(engine.containers.get(container.id).pid, signal.SIGKILL)
    assert engine.containers.wait(container.id, timeout=120) == 137
    assert restarts(engine, container) == 1


def test_a_container_that_waits_for_its_next_start_stays_down_once_its_policy_is_no(engine: Engine) -> None:
    container = run(engine, "always", "exit 3")
    waiting(engine, container)
    assert update(engine, "--restart", "no", container.id) == 0
    assert engine.containers.wait(container.id, timeout=120) == 3
    assert not engine._registry.is_running(container.id)


def test_a_container_that_is_removed_when_it_ends_takes_no_policy(engine: Engine) -> None:
    container = engine.containers.create(ContainerSpec(IMAGE, command=("true",), network="none", auto_remove=True))
    with pytest.raises(Conflict, match="removed when it ends"):
        engine.containers.set_restart(container.id, RestartPolicy("always"))


def update(engine: Engine, *words: str) -> int:
    return cli.update(engine, build().parse_args(["update", *words]))
