"""Pressure and its causes, on loads whose cause is known because the test made them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.model.groups import HostGroup
from engine.model.limits import Limits
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_groups import ours
from tests.kernel.test_limits import BURN, run, until
from tuicon.model import groups, pressure
from tuicon.model.pressure import Host, Sufferer


def sufferer(engine: Engine, container: str, seconds_of: Callable[[HostGroup], float], seconds: float) -> Sufferer:
    """Look until so many seconds of something have passed for the container, however long that takes."""
    older = engine.groups.read()
    start = seconds_of(ours(engine, container))
    until(lambda: seconds_of(ours(engine, container)) - start > seconds)
    newer = engine.groups.read()
    containers = {one.id: one for one in engine.containers.list()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    host = Host(os.cpu_count() or 1, memory, newer.pressure)
    listed = pressure.sufferers(groups.uses(older, newer), containers, host)
    return next(one for one in listed if one.use.group.container_id == container)


def test_a_container_at_its_cpu_limit_is_held_back_by_it(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.1))
    found = sufferer(engine, container, lambda group: group.throttled_ns / 1e9, 0.5)
    assert found.worst == "cpu"
    assert (found.causes[0].resource, found.causes[0].kind) == ("cpu", "limit")
    assert found.causes[0].sentence.startswith("its own CPU limit of 0.1 held it back")


def waited(group: HostGroup) -> float:
    return group.cpu_pressure.some_total_us / 1e6 if group.cpu_pressure else 0.0


@pytest.mark.v2
def test_a_neighbour_that_takes_all_cpus_is_named(engine: Engine) -> None:
    loops = "while :; do :; done & " * (os.cpu_count() or 1)
    hog = run(engine, "sh", "-c", f"{loops} wait")
    victim = run(engine, *BURN, limits=Limits(cpu_shares=2))
    named = engine.containers.get(hog).name
    seen: list[Sufferer] = []

    def is_named() -> bool:
        seen.append(sufferer(engine, victim, waited, 2.0))
        return [(one.kind, one.name) for one in seen[-1].causes[:1]] == [("neighbour", named)]

    until(is_named)  # a virtual machine that gets little CPU itself looks idle now and then
    assert seen[-1].levels["cpu"] > 20
    assert seen[-1].use.group.cpu_pressure


def test_the_pressure_of_the_host_is_what_the_kernel_says_or_the_reason_is_said(engine: Engine) -> None:
    found = engine.groups.read().pressure
    try:
        Path("/proc/pressure/cpu").read_text()
    except OSError:
        assert found.cpu is None
        assert "does not measure pressure" in found.reason
        return
    before = total("cpu")
    found = engine.groups.read().pressure
    assert found.cpu
    assert before <= found.cpu.some_total_us <= total("cpu")
    assert found.of_groups == Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert bool(found.reason) != found.of_groups


def total(resource: str) -> int:
    return int(Path(f"/proc/pressure/{resource}").read_text().split()[4].removeprefix("total="))


def test_the_command_line_says_who_waits(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.1))
    found = tuicon(engine, "pressure", "--over", "0.5")
    assert found.returncode == 0, found.stderr
    assert engine.containers.get(container).name in found.stdout
    until(lambda: _causes(engine, container)[:1] == ["limit"])


def _causes(engine: Engine, container: str) -> list[str]:
    document = json.loads(tuicon(engine, "pressure", "--over", "0.5", "--json").stdout)
    mine = next(one for one in document["containers"] if one["id"] == container)
    assert mine["owner"] == "tuicon"
    return [cause["kind"] for cause in mine["causes"]]
