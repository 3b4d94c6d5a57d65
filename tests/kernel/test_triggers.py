"""Triggers on pressure: on cgroup v2 of each container, on v1 of the host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers.triggers import Stalls
from engine.errors import NotSupported
from engine.linux import psi
from engine.model.groups import Stall
from engine.model.limits import Limits
from tests.kernel.test_command_line import ROOT
from tests.kernel.test_limits import BURN, run, until

RULE = """
interval = "1h"
[[rule]]
container = "starved"
when = "cpu-pressure > 40%"
for = "0s"
limit = "cpus"
step = "0.1"
at-most = "0.3"
cool-down = "1s"
"""


def first(stalls: Stalls, seconds: float = 90) -> Stall:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for stall in stalls.wait(1.0):
            return stall
    raise AssertionError("nothing stalled in time")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.v2
def test_a_container_that_waits_for_the_cpu_wakes_whoever_waits_for_that(engine: Engine) -> None:
    before = descriptors()
    run(engine, "sleep", "1000")
    stalls = engine.groups.stalls({"cpu": 30.0, "memory": 50.0})
    try:
        assert stalls.wait(0.1) == ()
        starved = run(engine, *BURN, limits=Limits(cpus=0.1))
        assert first(stalls) == Stall(starved, "cpu", 30.0)
        engine.containers.remove(starved, force=True)
        until(
            lambda: (
                not stalls.wait(0.1)
                and starved not in {getattr(key, "container_id", "") for key in stalls._triggers.registered()}
            )
        )
        again = run(engine, *BURN, limits=Limits(cpus=0.1))
        assert first(stalls).container_id == again
    finally:
        stalls.close()
    assert descriptors() <= before + 1  # the engine's launcher


@pytest.mark.v2
def test_only_the_containers_that_are_asked_for_are_watched(engine: Engine) -> None:
    starved, other = (run(engine, *BURN, limits=Limits(cpus=0.1)) for _ in range(2))
    stalls = engine.groups.stalls({"cpu": 30.0}, {engine.containers.get(other).name})
    try:
        assert {first(stalls).container_id for _ in range(3)} == {other}
        assert starved
    finally:
        stalls.close()


@pytest.mark.v2
def test_a_rule_on_pressure_acts_long_before_its_interval_is_over(engine: Engine, root: Path) -> None:
    starved = run(engine, *BURN, limits=Limits(cpus=0.1))
    engine.containers.rename(starved, "starved")
    root.joinpath("rules.toml").write_text(RULE)
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "autotune", str(root / "rules.toml")]
    tuner = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until(lambda: (engine.containers.get(starved).limits.cpus or 0) > 0.15, 300)
    finally:
        tuner.terminate()
        tuner.wait()


def test_the_host_wakes_whoever_waits_for_its_pressure_or_says_why_it_cannot(engine: Engine) -> None:
    if not Path("/proc/pressure/cpu").exists():
        with pytest.raises(NotSupported, match="does not measure pressure"):
            engine.groups.stalls()
        return
    before = descriptors()
    triggers = psi.Triggers()
    try:
        triggers.add("cpu", psi.host_file("cpu"), 20_000)
        with pytest.raises(OSError, match="Invalid argument"):
            triggers.add("cpu", psi.host_file("cpu"), 3_000_000)  # longer than the window
        loops = "while :; do :; done & " * (2 * (os.cpu_count() or 1))
        run(engine, "sh", "-c", f"{loops} wait")
        deadline = time.monotonic() + 90
        while not (found := triggers.wait(1.0)[0]):
            assert time.monotonic() < deadline
        assert found == ["cpu"]
    finally:
        triggers.close()
    assert descriptors() <= before + 1  # the engine's launcher
