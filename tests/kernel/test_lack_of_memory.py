"""Ends for lack of memory, which each version of cgroups tells in its own way."""

from __future__ import annotations

from engine.api import Engine
from engine.linux.cgroup.group import group_for
from engine.model.limits import Limits
from tests.kernel.test_causes import end_of, run

HUNGRY = "x=a; while true; do x=$x$x; done"


def test_it_was_killed_for_lack_of_memory_by_its_own_limit(engine: Engine) -> None:
    container = run(engine, f"echo eating; {HUNGRY}", limits=Limits(memory=24 << 20, memory_swap=24 << 20))
    found = end_of(engine, container)
    assert (found.kind, found.exit_code, found.signal) == ("memory", 137, 9)
    assert found.out_of_memory
    assert found.out_of_memory.is_own
    assert found.out_of_memory.kills == 1
    assert found.out_of_memory.limit == 24 << 20
    assert "its own memory limit of 24 MiB" in found.sentence
    assert [entry.text for entry in found.last_lines] == ["eating\n"]
    assert found.decision == "It has no restart policy, so it stays down."


def test_it_was_killed_for_lack_of_memory_by_the_limit_of_a_group_above(engine: Engine) -> None:
    name = f"{engine._paths.host_name}/narrow"
    parent = group_for(f"/{name}")
    parent.create()
    try:
        parent.apply({"memory": {"limit": 24 << 20, "swap": 24 << 20}})
        found = end_of(engine, run(engine, HUNGRY, cgroup_parent=f"/{name}"))
    finally:
        parent.remove()
    assert found.kind == "memory"
    assert found.out_of_memory
    assert not found.out_of_memory.is_own
    assert found.out_of_memory.limit == 24 << 20
    assert f"the group /{name} was reached" in found.sentence


def test_a_child_that_was_killed_for_lack_of_memory_is_named_beside_the_exit_code(engine: Engine) -> None:
    container = run(engine, f"sh -c '{HUNGRY}'; exit 5", limits=Limits(memory=24 << 20, memory_swap=24 << 20))
    found = end_of(engine, container)
    assert (found.kind, found.exit_code) == ("memory", 5)
    assert "exit code 5 after the kernel killed one of its processes" in found.sentence
