from __future__ import annotations

import csv
import io
import json
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.api import Engine
from engine.linux.cgroup import layout
from engine.model.container import ContainerSpec, RestartPolicy
from engine.model.history import Sample
from engine.model.limits import Limits
from tests.kernel.test_limits import BURN, IMAGE, run, until
from tuicon.cli import main, parser

IS_V2 = layout.detect().version == 2


def samples(engine: Engine, container: str) -> tuple[Sample, ...]:
    return engine.containers.history.samples(container, datetime.now(UTC) - timedelta(minutes=15))


def test_the_monitor_writes_what_the_container_uses_while_no_engine_looks(engine: Engine) -> None:
    script = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/f bs=65536 count=16 conv=fsync 2>/dev/null; done"
    container = run(engine, "sh", "-c", script, limits=Limits(cpus=0.3))
    until(lambda: len(samples(engine, container)) >= 4)
    found = samples(engine, container)
    assert 0 < max(sample.cpu for sample in found) < 0.45
    assert max(sample.throttled for sample in found) > 0
    assert all(sample.pids >= 1 and sample.memory > 0 for sample in found)
    times = [sample.time for sample in found]
    assert times == sorted(set(times))
    counted = engine.containers.counters(container)
    assert sum(sample.cpu * sample.seconds for sample in found) <= counted.cpu_ns / 1e9
    if IS_V2:
        assert counted.cpu_pressure
        assert max(sample.cpu_pressure for sample in found) > 0


def test_the_history_goes_on_over_restarts_and_goes_with_the_container(engine: Engine) -> None:
    spec = ContainerSpec(IMAGE, command=BURN, network="none", restart=RestartPolicy("always"))
    container = engine.containers.run(spec)
    until(lambda: len(samples(engine, container.id)) >= 2)
    before = len(samples(engine, container.id))
    os.kill(container.pid, signal.SIGKILL)
    until(lambda: len(samples(engine, container.id)) >= before + 2)
    engine.containers.restart(container.id, timeout=0)
    more = len(samples(engine, container.id))
    until(lambda: len(samples(engine, container.id)) >= more + 2)
    directory = engine._paths.container(container.id)
    assert directory.joinpath("history").exists()
    engine.containers.remove(container.id, force=True)
    assert not directory.exists()


def shown(engine: Engine, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.run(engine, parser.build([*words]).parse_args(words)) == 0
    return capsys.readouterr().out


def test_a_history_is_shown_and_exported(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.5))
    until(lambda: len(samples(engine, container)) >= 3)
    assert "CPU P95" in shown(engine, capsys, "stats", "--since", "10m", container)
    as_csv = shown(engine, capsys, "stats", "--since", "10m", "--export", "csv", container)
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert len(rows) >= 3
    assert all(0 <= float(row["cpu"]) < 0.75 and row["container"] == container for row in rows)
    lines = shown(engine, capsys, "stats", "--since", "10m", "--json", container).splitlines()
    assert [set(row) for row in (json.loads(lines[0]),)] == [{"container", "name", *Sample.__dataclass_fields__}]
    text = shown(engine, capsys, "stats", "--since", "10m", "--export", "openmetrics", container)
    assert text.endswith("# EOF\n")
    assert text.count("# TYPE tuicon_history_cpu_cores gauge") == 1
    assert json.loads(shown(engine, capsys, "advise", "--json", container))[0]["confidence"] in ("none", "low")


def test_the_effect_of_a_change_is_what_was_before_and_after_it(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.1))
    until(lambda: len(samples(engine, container)) >= 4)
    engine.containers.tuning.update(container, lambda limits: replace(limits, cpus=0.6), seconds=600)
    trial = engine.containers.tuning.on_trial(container)
    assert trial
    until(lambda: (found := engine.containers.history.effect(container, trial.began)) and found.seconds >= 4)
    effect = engine.containers.history.effect(container, trial.began)
    assert effect
    assert effect.cpu_p95_before < effect.cpu_p95_after


@pytest.mark.v2
def test_pressure_memory_and_events_are_read_on_v2(engine: Engine) -> None:
    script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); while :; do sleep 1; done"
    container = run(engine, "sh", "-c", script, limits=Limits(memory_high=12 << 20))
    until(lambda: engine.containers.counters(container).high_events > 0)
    found = engine.containers.counters(container)
    assert found.memory_pressure
    assert found.memory_usage_bytes >= found.memory_bytes
    until(lambda: (pressure := engine.containers.counters(container).memory_pressure) and pressure.some_total_us > 0)
