"""Why containers ended, against ends whose cause is known because the test made them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.errors import CommandNotFound, Conflict, NotFound
from engine.model.container import Container, ContainerSpec, ExecSpec, RestartPolicy
from engine.model.death import Death
from engine.model.health import HealthCheck
from engine.store.actor import actor
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_lifecycle import IMAGE, until


def run(engine: Engine, script: str, **more: object) -> Container:
    spec = ContainerSpec(IMAGE, command=("sh", "-c", script), network="none", stop_timeout=0.1)
    return engine.containers.run(replace(spec, **more))  # type: ignore[arg-type]


def end_of(engine: Engine, container: Container) -> Death:
    engine.containers.wait(container.id, timeout=60)
    return engine.containers.causes.why(container.id)


def test_a_signal_from_elsewhere_is_told_from_one_of_the_engine(engine: Engine) -> None:
    container = run(engine, "sleep 1000")
    os.kill(container.pid, signal.SIGKILL)
    found = end_of(engine, container)
    assert (found.kind, found.signal, found.by) == ("signal", 9, "")
    assert "did not come through the engine" in found.sentence
    engine.containers.start(container.id)
    engine.containers.kill(container.id)
    found = end_of(engine, container)
    assert (found.kind, found.signal, found.by) == ("stopped", 9, actor()["by"])
    assert f"It was stopped by {actor()['by']}" in found.sentence


def test_exit_codes_have_their_meaning(engine: Engine) -> None:
    found = end_of(engine, run(engine, "echo last words; exit 3"))
    assert (found.kind, found.exit_code) == ("failed", 3)
    assert found.sentence == "It ended by itself with exit code 3."
    assert found.last_lines[-1].text == "last words\n"
    assert end_of(engine, run(engine, "exit 0")).kind == "done"
    assert "a shell did not find the command" in end_of(engine, run(engine, "no-such-command")).sentence
    assert "a process that SIGKILL (9) ended" in end_of(engine, run(engine, "sh -c 'kill -9 $$'; exit $?")).sentence


def test_a_command_that_does_not_exist_was_never_started(engine: Engine) -> None:
    with pytest.raises(CommandNotFound):
        engine.containers.run(ContainerSpec(IMAGE, name="absent", command=("/no/such",), network="none"))
    found = engine.containers.causes.why("absent")
    assert (found.kind, found.exit_code) == ("not-started", 127)
    assert "/no/such" in found.sentence
    assert found.decision == "It has no restart policy, so it stays down."


def test_who_stopped_it_and_how_is_said_with_what_was_changed_before(engine: Engine) -> None:
    container = run(engine, "trap 'exit 4' TERM; echo ready; while true; do sleep 0.1; done", stop_timeout=60.0)
    until(lambda: [entry.text for entry in engine.containers.logs(container.id)] == ["ready\n"])
    engine.containers.update(container.id, lambda limits: replace(limits, pids=99))
    session = engine.containers.exec(container.id, ExecSpec(("true",), user="1"))
    assert session
    session.close()
    engine.containers.stop(container.id)
    found = end_of(engine, container)
    assert (found.kind, found.exit_code, found.by) == ("stopped", 4, actor()["by"])
    assert found.sentence.endswith("it took SIGTERM (15) and ended with exit code 4.")
    assert [one.kind for one in found.evidence] == ["limits", "exec", "stop"]
    assert "pids None -> 99" in found.evidence[0].sentence
    assert "true was run in it" in found.evidence[1].sentence
    assert found.evidence[1].sentence.endswith("as 1")


def test_a_stop_that_had_to_kill_an_ill_container_says_both(engine: Engine) -> None:
    check = HealthCheck(("CMD-SHELL", "echo no database; exit 7"), interval=0.1, timeout=60.0, retries=1)
    container = run(engine, "trap '' TERM; while true; do sleep 1; done", health=check)
    until(lambda: any(event.action == "health_status: unhealthy" for event in engine.events.list()))
    engine.containers.stop(container.id)
    found = end_of(engine, container)
    assert "while it was unhealthy: it did not end by SIGTERM (15) in time, so SIGKILL followed" in found.sentence
    assert found.health
    assert found.health[0].exit_code == 7
    assert any("exit code 7: no database" in one.sentence for one in found.evidence)


def test_the_end_of_a_container_whose_monitor_was_killed_is_lost(engine: Engine) -> None:
    container = run(engine, "sleep 1000", restart=RestartPolicy("always"))
    state = engine._registry.state(container.id)
    assert state
    os.kill(state.monitor_pid, signal.SIGKILL)
    until(lambda: not state.has_monitor)
    os.kill(container.pid, signal.SIGKILL)
    until(lambda: not state.is_alive)
    found = engine.containers.causes.why(container.id)
    assert found.kind == "lost"
    assert "its monitor was killed" in found.sentence.replace("because the monitor", "its monitor")
    engine.system.check(repair=True)
    assert engine.containers.causes.why(container.id).kind == "lost"


def test_the_restart_policy_has_the_last_word(engine: Engine) -> None:
    container = run(engine, "exit 3", restart=RestartPolicy("on-failure", 2))
    found = end_of(engine, container)
    assert found.decision == "The restart policy on-failure:2 has used up its attempts."
    first = next(event for event in engine.events.list() if event.action == "die" and event.id == container.id)
    assert engine.containers.causes.why(container.id, first.time).decision == (
        "The restart policy on-failure:2 started it again (restart 1)."
    )
    running = run(engine, "sleep 1000")
    with pytest.raises(Conflict, match="runs and has not ended yet"):
        engine.containers.causes.why(running.id)


def test_a_container_that_was_removed_when_it_ended_is_still_explained(engine: Engine) -> None:
    container = run(engine, "exit 6", name="brief", auto_remove=True)
    until(lambda: not engine.containers.list())
    for ref in ("brief", container.id[:12]):
        found = engine.containers.causes.why(ref)
        assert (found.container_id, found.kind, found.exit_code) == (container.id, "failed", 6)
    with pytest.raises(NotFound):
        engine.containers.causes.why("never-was")


def test_the_command_line_tells_it_and_obeys_nothing_of_it(engine: Engine) -> None:
    run(engine, r"printf '\033]0;title\007said\n'; exit 3", name="told")
    engine.containers.wait("told", timeout=60)
    found = tuicon(engine, "why", "told")
    assert found.returncode == 0, found.stderr
    assert "It ended by itself with exit code 3." in found.stdout
    assert r"\x1b]0;title\x07said" in found.stdout
    assert json.loads(tuicon(engine, "why", "--json", "told").stdout)["kind"] == "failed"
    engine.containers.create(ContainerSpec(IMAGE, name="fresh", command=("true",), network="none"))
    refused = tuicon(engine, "why", "fresh")
    assert refused.returncode == 1
    assert "was never started" in refused.stderr
