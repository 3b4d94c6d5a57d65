"""The use that all this is for, from the command line: profiles, rules and metrics on running containers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.api import Engine
from engine.model.limits import Limits
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_limits import until, used_per_period

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """
[containers.logic]
cpus = 0.4
memory = "64m"
[containers.login]
cpus = 0.1
memory = "32m"
"""
RULES = """
interval = "0.5s"
[[rule]]
name = "busy"
container = "logic"
when = "cpu > 1%"
for = "1s"
limit = "cpus"
step = "0.2"
at-most = "0.8"
cool-down = "2s"
"""


def start(engine: Engine, name: str, *command: str) -> None:
    done = tuicon(engine, "run", "-d", "--name", name, "--network", "none", "tuicon/demo", *command)
    assert done.returncode == 0, done.stderr


@contextmanager
def service(engine: Engine, *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), *words]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def moves(engine: Engine) -> list[dict[str, str]]:
    return [event.attributes for event in engine.events.list() if event.attributes.get("how") == "autotune"]


def test_a_profile_is_applied_while_all_runs_and_rules_move_the_limits(engine: Engine, tmp_path: Path) -> None:
    for name in ("logic", "login"):
        start(engine, name, "sh", "-c", "while :; do :; done")
    file = tmp_path / "profile.toml"
    file.write_text(PROFILE)
    shown = tuicon(engine, "profile", "apply", "--dry-run", str(file))
    assert (shown.returncode, "cpus none → 0.4" in shown.stdout) == (0, True), shown.stderr
    assert engine.containers.get("logic").limits == Limits()
    assert tuicon(engine, "profile", "apply", str(file)).returncode == 0
    assert engine.containers.get("logic").limits == Limits(cpus=0.4, memory=64 << 20)
    assert used_per_period(engine, "login") < 20e6
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with service(engine, "autotune", str(rules)):
        until(lambda: len(moves(engine)) == 2)
    assert [move["cpus"] for move in moves(engine)] == ["0.4 -> 0.6", "0.6 -> 0.8"]
    assert "cpu of logic is" in moves(engine)[0]["why"]
    assert tuicon(engine, "update", "--undo", "logic").returncode == 0
    assert engine.containers.get("logic").limits.cpus == 0.6


def test_a_profile_that_does_not_fit_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    for name in ("logic", "login"):
        start(engine, name, "sleep", "1000")
    file = tmp_path / "profile.toml"
    file.write_text("[containers.logic]\ncpus = '60%'\n[containers.login]\ncpus = '50%'\npids-limit = 9")
    refused = tuicon(engine, "profile", "apply", str(file))
    assert (refused.returncode, "the CPU limits come to" in refused.stderr) == (1, True)
    file.write_text("[containers.logic]\npids-limit = 9\n[containers.login]\ncpuset-cpus = '4095'")
    assert tuicon(engine, "profile", "apply", str(file)).returncode == 1
    assert [engine.containers.get(name).limits for name in ("logic", "login")] == [Limits(), Limits()]


def test_metrics_are_what_the_counters_say_and_prometheus_takes_them(engine: Engine) -> None:
    start(engine, "logic", "sleep", "1000")
    engine.containers.update("logic", lambda _: Limits(cpus=0.5, memory=64 << 20, pids=20))
    container = engine.containers.get("logic")
    with service(engine, "metrics", "--listen", "127.0.0.1:0") as process:
        assert process.stdout
        address = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
        request = urllib.request.Request(address, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            openmetrics = answer.read().decode()
    labels = f'{{id="{container.id}",name="logic",image="tuicon/demo"}}'
    assert f"container_spec_memory_limit_bytes{labels} {64 << 20}" in text
    assert f"container_spec_cpu_quota{labels} 50000" in text
    assert f"container_threads{labels} 1" in text
    assert "# TYPE container_cpu_usage_seconds_total counter" in text
    assert "# TYPE container_cpu_usage_seconds counter" in openmetrics
    assert openmetrics.endswith("# EOF\n")
    if shutil.which("promtool"):
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=False, capture_output=True)
        assert "error" not in lint.stderr.lower(), lint.stderr
