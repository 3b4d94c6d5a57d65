"""Health checks, run by the monitor; the rules are those of docker's HEALTHCHECK reference."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument
from engine.model.container import Container, ContainerSpec, ExecSpec, RestartPolicy
from engine.model.health import Health, HealthCheck
from tests.kernel.test_features import execute
from tests.kernel.test_lifecycle import IMAGE, until
from tuicon.cli.listing import status_text

QUICK = HealthCheck(interval=0.1, timeout=60.0, retries=2)


def run(engine: Engine, script: str, check: HealthCheck = QUICK, **more: Any) -> Container:
    spec = ContainerSpec(IMAGE, command=("sleep", "10000"), network="none", stop_timeout=0.1)
    return engine.containers.run(replace(spec, health=replace(check, test=("CMD-SHELL", script)), **more))


def health(engine: Engine, container: Container) -> Health:
    found = engine.containers.get(container.id).health
    return found or Health("none")


def becomes(engine: Engine, container: Container, status: str) -> None:
    until(lambda: health(engine, container).status == status)


def text_of(engine: Engine, container: Container) -> str:
    return status_text(engine.containers.get(container.id), datetime.now(UTC))


def events(engine: Engine, container: Container) -> list[str]:
    return [event.action for event in engine.events.list() if event.id == container.id and "health" in event.action]


def test_a_container_becomes_healthy_ill_and_healthy_again(engine: Engine) -> None:
    script = "echo said; echo warned >&2; test -e /ok"
    container = run(engine, script, env=("WHO=me",), user="1:1")
    becomes(engine, container, "unhealthy")
    assert text_of(engine, container).endswith("(unhealthy)")
    execute(engine, container, "touch /ok", user="0")
    becomes(engine, container, "healthy")
    assert text_of(engine, container).endswith("(healthy)")
    until(lambda: len(health(engine, container).log) == 5)
    until(lambda: all(result.exit_code == 0 for result in health(engine, container).log))
    execute(engine, container, "rm /ok", user="0")
    becomes(engine, container, "unhealthy")
    found = engine.containers.inspect(container.id)
    assert found["Config"]["Healthcheck"] == {"Test": ["CMD-SHELL", script], "Interval": 100_000_000,
        "Timeout": 60_000_000_000, "Retries": 2}  # fmt: skip
    state = found["State"]["Health"]
    assert (state["Status"], len(state["Log"])) == ("unhealthy", 5)
    assert state["FailingStreak"] >= 2
    last = state["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (1, "said\nwarned\n")
    assert last["Start"] <= last["End"]
    assert events(engine, container) == [f"health_status: {word}" for word in ("unhealthy", "healthy", "unhealthy")]
    engine.containers.stop(container.id)
    assert engine.containers.inspect(container.id)["State"]["Health"]["Status"] == "unhealthy"


def test_a_check_is_a_process_of_the_container(engine: Engine) -> None:
    script = "id -u; echo $WHO; cat /proc/self/cgroup; grep -E 'Seccomp:|CapEff' /proc/self/status; readlink /proc/self/ns/mnt; hostname"
    container = run(engine, script, env=("WHO=me",), user="7", workdir="/tmp", hostname="inside")
    becomes(engine, container, "healthy")
    seen = health(engine, container).log[-1].output
    assert seen == execute(engine, container, script)
    assert seen.splitlines()[:2] == ["7", "me"]


def test_a_check_that_takes_too_long_is_killed_with_all_it_started(engine: Engine) -> None:
    script = "echo began; sleep 5432 & sleep 5432; echo never"
    container = run(engine, script, replace(QUICK, timeout=1.0))
    becomes(engine, container, "unhealthy")
    last = health(engine, container).log[-1]
    assert (last.exit_code, last.output) == (-1, "Health check exceeded timeout (1s): began\n")

    def sleepers() -> list[str]:
        return [process.command for process in engine.containers.top(container.id) if "5432" in process.command]

    until(lambda: len(sleepers()) <= 3)  # those of one check at most, shell and all
    assert (last.finished_at - last.started_at).total_seconds() >= 1.0


def test_output_is_cut_and_a_command_that_is_missing_is_a_failure(engine: Engine) -> None:
    container = run(engine, "head -c 100000 /dev/zero | tr '\\0' x")
    becomes(engine, container, "healthy")
    assert health(engine, container).log[-1].output == "x" * 4096
    spec = ContainerSpec(IMAGE, command=("sleep", "10000"), network="none")
    other = engine.containers.run(replace(spec, health=replace(QUICK, test=("CMD", "no-such-program"))))
    becomes(engine, other, "unhealthy")
    last = health(engine, other).log[-1]
    assert last.exit_code == -1
    assert "no-such-program" in last.output


def test_failures_in_the_start_period_do_not_count(engine: Engine) -> None:
    check = replace(QUICK, start_period=3600.0, start_interval=0.1, interval=3600.0)
    container = run(engine, "test -e /ok", check)
    until(lambda: len(health(engine, container).log) == 5)
    found = health(engine, container)
    assert (found.status, found.failing_streak) == ("starting", 0)
    assert text_of(engine, container).endswith("(health: starting)")
    execute(engine, container, "touch /ok")
    becomes(engine, container, "healthy")


def test_a_paused_container_is_not_checked_and_goes_on_afterwards(engine: Engine) -> None:
    container = run(engine, "echo x >>/checks")
    becomes(engine, container, "healthy")
    engine.containers.pause(container.id)
    assert text_of(engine, container).endswith("(Paused)")
    last: list[datetime] = []

    def is_still() -> bool:
        """Whether no result has come for many intervals; one check may have been under way."""
        last.append(health(engine, container).log[-1].finished_at)
        return last[-20:].count(last[-1]) == 20 and (datetime.now(UTC) - last[-1]).total_seconds() > 1

    until(is_still)
    engine.containers.unpause(container.id)
    until(lambda: health(engine, container).log[-1].finished_at > last[-1])
    assert health(engine, container).status == "healthy"


def test_each_run_starts_anew(engine: Engine) -> None:
    container = run(engine, "false", restart=RestartPolicy("on-failure", 1))
    becomes(engine, container, "unhealthy")
    os.kill(container.pid, signal.SIGKILL)
    until(lambda: engine.containers.get(container.id).restart_count == 1)
    again = engine.containers.get(container.id)
    becomes(engine, again, "unhealthy")
    assert again.started_at is not None
    assert min(result.started_at for result in health(engine, again).log) >= again.started_at
    assert events(engine, container) == ["health_status: unhealthy"] * 2


def test_a_check_is_given_changed_and_taken_away_while_the_container_runs(engine: Engine) -> None:
    container = engine.containers.run(
        ContainerSpec(IMAGE, command=("sleep", "10000"), network="none", stop_timeout=0.1, name="changed")
    )
    with pytest.raises(InvalidArgument, match="changed has no health check"):
        engine.containers.set_health("changed", QUICK)
    assert (
        update(engine, "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1", "changed")
        == 0
    )
    becomes(engine, container, "unhealthy")
    execute(engine, container, "touch /ok")
    becomes(engine, container, "healthy")
    assert update(engine, "--health-interval", "200ms", "changed") == 0
    assert health(engine, container).status == "healthy"
    found = engine.containers.inspect("changed")["Config"]["Healthcheck"]
    assert (found["Test"], found["Interval"]) == (["CMD-SHELL", "test -e /ok"], 200_000_000)
    assert update(engine, "--health-cmd", "test ! -e /ok", "changed") == 0
    becomes(engine, container, "unhealthy")
    assert update(engine, "--no-healthcheck", "changed") == 0
    assert engine.containers.get("changed").health is None
    said = events(engine, container)
    engine.containers.restart("changed")
    assert engine.containers.get("changed").health is None
    assert update(engine, "--health-cmd", "true", "changed") == 0
    becomes(engine, container, "healthy")
    assert said == [f"health_status: {word}" for word in ("unhealthy", "healthy", "unhealthy")]
    assert update(engine, "--trial", "5s", "--cpus", "1", "--health-cmd", "true", "changed") != 0


def update(engine: Engine, *words: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tuicon", "--root", str(engine.root), "update", *words], check=False
    ).returncode


def image_with_check(engine: Engine, check: dict[str, Any], saved: Callable[[io.BytesIO], None]) -> str:
    """Save the demo image, add a HEALTHCHECK to its config as docker writes it, and load that."""
    from hashlib import sha256

    buffer = io.BytesIO()
    saved(buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        files = {
            member.name: (archive.extractfile(member) or io.BytesIO()).read() for member in archive if member.isfile()
        }
    manifest = json.loads(files["manifest.json"])
    config = json.loads(files[manifest[0]["Config"]])
    config["config"]["Healthcheck"] = check
    data = json.dumps(config).encode()
    name = f"{sha256(data).hexdigest()}.json"
    manifest[0].update(Config=name, RepoTags=["checked:latest"])
    kept = {layer: files[layer] for layer in manifest[0]["Layers"]}
    kept |= {name: data, "manifest.json": json.dumps(manifest).encode()}
    changed = io.BytesIO()
    with tarfile.open(fileobj=changed, mode="w") as archive:
        for path, content in kept.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    changed.seek(0)
    engine.images.load(changed)
    return "checked:latest"


def test_the_check_of_an_image_is_honoured_unless_it_is_refused(engine: Engine) -> None:
    check = {"Test": ["CMD", "test", "-e", "/etc/passwd"], "Interval": 1_000_000, "Retries": 7}
    image = image_with_check(engine, check, lambda target: engine.images.save(("tuicon/demo",), target))
    spec = ContainerSpec(image, command=("sleep", "10000"), network="none")
    container = engine.containers.run(spec)
    becomes(engine, container, "healthy")
    assert engine.containers.inspect(container.id)["Config"]["Healthcheck"] == check
    plain = engine.containers.run(replace(spec, health=HealthCheck(("NONE",))))
    own = engine.containers.run(replace(spec, health=HealthCheck(("CMD", "false"), retries=1)))
    becomes(engine, own, "unhealthy")
    assert engine.containers.get(plain.id).health is None
    assert "Health" not in engine.containers.inspect(plain.id)["State"]


def test_a_monitor_that_is_killed_leaves_no_check_and_no_good_word(engine: Engine) -> None:
    container = run(engine, "sleep 5432 >/dev/null & true")
    becomes(engine, container, "healthy")
    state = engine._registry.state(container.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    becomes(engine, container, "unhealthy")
    session = engine.containers.exec(container.id, ExecSpec(("true",)))
    assert session is not None
    session.close()
    engine.containers.remove(container.id, force=True)
