"""The tree of the host's control groups, against the files themselves and against other engines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import NotFound
from engine.linux.cgroup.group import Group, group_for
from engine.model.groups import HostGroup, cpu_shares
from engine.model.limits import Limits
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_limits import BURN, run, until
from tuicon.model import groups


def ours(engine: Engine, container: str) -> HostGroup:
    return next(group for group in engine.groups.read().groups if group.container_id == container)


def raw(engine: Engine, container: str, controller: str, on_v1: str, on_v2: str) -> str:
    state = engine._registry.state(container)
    assert state
    group = Group.from_paths(state.cgroup["version"], state.cgroup["paths"])
    directory = group.paths["unified" if group.version == 2 else controller]
    return Path(directory, on_v2 if group.version == 2 else on_v1).read_text().strip()


def is_share_as_tuning_says(engine: Engine, container: str, path: str) -> bool:
    share = engine.containers.tuning.effective(container).cpu_share
    return cpu_shares(engine.groups.read().groups)[path] == pytest.approx(share)


def test_a_container_stands_in_the_tree_with_its_name_limits_use_and_share(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.5, memory=64 << 20, pids=50, cpu_shares=512))
    found = ours(engine, container)
    assert (found.kind, found.owner, found.is_ours) == ("container", "tuicon", True)
    assert found.name == engine.containers.get(container).name
    assert (found.limits.cpus, found.limits.memory, found.limits.pids) == (0.5, 64 << 20, 50)
    assert str(found.limits.cpu_weight) == raw(engine, container, "cpu", "cpu.shares", "cpu.weight")
    older = engine.groups.read()
    until(lambda: ours(engine, container).cpu_ns > found.cpu_ns + 10**8)
    newer = engine.groups.read()
    use = groups.uses(older, newer)[found.path]
    assert 0 < use.cpu_percent < 90
    assert use.group.tasks == int(raw(engine, container, "pids", "pids.current", "pids.current"))
    assert use.group.parent in {group.path for group in newer.groups}
    until(lambda: is_share_as_tuning_says(engine, container, found.path))  # others come and go on this host
    engine.containers.rename(container, "renamed")
    until(lambda: ours(engine, container).name == "renamed")


def test_limits_that_move_are_seen_and_groups_that_go_are_gone(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    assert ours(engine, container).limits.memory is None
    engine.containers.update(container, lambda _limits: Limits(memory=48 << 20))
    until(lambda: ours(engine, container).limits.memory == 48 << 20)
    path = ours(engine, container).path
    engine.containers.remove(container, force=True)
    assert path not in {group.path for group in engine.groups.read().groups}
    with pytest.raises(NotFound):
        engine.groups.inspect(path)
    with pytest.raises(NotFound):
        engine.groups.inspect("/../../../etc")


def test_any_group_can_be_looked_into_with_all_files_and_processes(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", limits=Limits(pids=33))
    found = engine.groups.inspect(ours(engine, container).path)
    files = {(file.controller, file.name): file.text for file in found.files}
    assert {text for (_, name), text in files.items() if name == "pids.max"} == {"33"}
    assert not {name for _, name in files} & {
        "cgroup.kill",
        "memory.reclaim",
        "cgroup.event_control",
        "memory.force_empty",
    }
    assert [process.command for process in found.processes] == ["sleep 1000"]
    foreign = group_for(f"/{engine._paths.host_name}/foreign")
    foreign.create()
    try:
        assert engine.groups.inspect(foreign.inner_path).processes == ()
        group = next(one for one in engine.groups.read().groups if one.path == foreign.inner_path)
        assert (group.is_ours, group.tasks) == (False, 0)
    finally:
        foreign.remove()


def test_the_command_line_prints_the_tree_and_a_group(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", limits=Limits(memory=64 << 20))
    name = engine.containers.get(container).name
    found = tuicon(engine, "cgroups", "--over", "0.1", "--filter", name)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:4]][-1] == ["●", name, "tuicon"]
    assert "64.0M" in lines[3]
    document = json.loads(tuicon(engine, "cgroups", "--over", "0.1", "--json").stdout)
    mine = next(one for one in document["groups"] if one["container_id"] == container)
    assert (mine["name"], mine["limits"]["memory"]) == (name, 64 << 20)
    assert document["version"] == (2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1)
    assert "memory.max" in (text := tuicon(engine, "cgroups", mine["path"]).stdout) or "memory.limit_in_bytes" in text
    assert tuicon(engine, "cgroups", "/no/such").returncode == 1
