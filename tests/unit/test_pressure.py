from __future__ import annotations

from typing import Any

from engine.containers.groups import classified
from engine.model.groups import GroupLimits, HostGroup, HostPressure
from engine.model.limits import DeviceRate, Limits
from engine.model.usage import Pressure
from tests.fakes import a_container
from tuicon.model import pressure
from tuicon.model.groups import Use
from tuicon.model.pressure import Host

HOST = Host(4, 8 << 30, HostPressure(of_groups=True))
NONE, UNLIMITED = Pressure(), GroupLimits()


def use(
    path: str, *, limits: GroupLimits = UNLIMITED, memory: int = 64 << 20, measured: bool = True, **rates: Any
) -> Use:
    stalls = dict.fromkeys(("cpu_pressure", "memory_pressure", "io_pressure"), NONE if measured else None)
    group = HostGroup(path, tasks=1, memory_bytes=memory, limits=limits, devices=(("8:0", 1, 1),), **stalls)
    return Use(classified(group), **rates)


def container(number: int) -> str:
    return f"/tuicon/{number:064x}"


def root(cpu: float = 0.0, memory: int = 1 << 30) -> Use:
    return use("/", cpu_percent=cpu, memory=memory)


def judged(*found: Use, limits: Limits = Limits()) -> list[pressure.Sufferer]:  # noqa: B008 - frozen
    containers = {f"{1:064x}": a_container(1, limits=limits)}
    return list(pressure.sufferers({one.group.path: one for one in found}, containers, HOST))


def test_those_who_wait_most_come_first_whatever_they_wait_for() -> None:
    found = judged(root(), use(container(1), io_pressure=20.0), use(container(2), cpu_pressure=50.0), use(container(3)))
    assert [one.use.group.path for one in found] == [container(2), container(1), container(3)]
    assert [one.worst for one in found[:2]] == ["cpu", "io"]
    assert found[2].causes == ()


def test_a_full_host_names_the_neighbour_that_uses_most_cpu() -> None:
    hog = use("/system.slice/backup.service", cpu_percent=300.0)
    found = judged(
        root(400.0),
        use("/system.slice"),
        hog,
        use(container(1), cpu_pressure=60.0, cpu_percent=50.0),
        use(container(2), cpu_percent=50.0),
    )
    (cause,) = found[0].causes
    assert (cause.resource, cause.kind, cause.name) == ("cpu", "neighbour", "backup.service")
    assert cause.part == 300 / 350
    assert cause.sentence == "backup.service used 300% of 400% CPU meanwhile"


def test_cpu_time_of_no_group_counts_too() -> None:
    (cause,) = judged(root(400.0), use(container(1), cpu_pressure=60.0, cpu_percent=50.0))[0].causes
    assert (cause.kind, cause.name) == ("neighbour", "processes outside of groups")


def test_a_limit_comes_before_neighbours_and_may_be_that_of_a_group_above() -> None:
    own = use(container(1), limits=GroupLimits(cpus=0.5), cpu_pressure=60.0, cpu_percent=50.0, throttled=55.0)
    (cause,) = judged(root(400.0), own, use(container(2), cpu_percent=350.0))[0].causes
    assert (cause.kind, cause.path) == ("limit", container(1))
    assert cause.sentence == "its own CPU limit of 0.5 held it back 55% of the time"
    above = use("/tuicon", limits=GroupLimits(cpus=1.0))
    below = use(container(1), limits=GroupLimits(cpus=2.0), cpu_pressure=60.0, throttled=55.0)
    (cause,) = judged(root(400.0), above, below)[0].causes
    assert (cause.kind, cause.path) == ("limit", "/tuicon")


def test_an_idle_host_is_not_blamed() -> None:
    (cause,) = judged(root(100.0), use(container(1), cpu_pressure=60.0, cpu_percent=90.0))[0].causes
    assert cause.kind == "itself"


def test_disks_are_blamed_on_who_moves_most_on_the_same_one() -> None:
    near = use(container(2), devices=(("8:0", 150e6),), io_rate=150e6)
    far = use(container(3), devices=(("8:16", 900e6),), io_rate=900e6)
    hurt = use(container(1), io_pressure=40.0, devices=(("8:0", 1e6),), io_rate=1e6)
    (cause,) = judged(root(), hurt, near, far)[0].causes
    assert (cause.kind, cause.path, cause.part) == ("neighbour", container(2), 1.0)
    assert "on the same disk" in cause.sentence
    (cause,) = judged(root(), hurt, far)[0].causes
    assert cause.kind == "itself"
    (cause,) = judged(root(), hurt, near, limits=Limits(device_read_bps=(DeviceRate("/dev/sda", 1_000_000),)))[0].causes
    assert (cause.kind, cause.sentence) == ("limit", "its own limit of 977K/s for a disk is used up")


def test_memory_is_blamed_on_the_limit_or_on_who_grows_on_a_full_host() -> None:
    tight = use(container(1), limits=GroupLimits(memory=64 << 20), memory=63 << 20, memory_pressure=30.0)
    (cause,) = judged(root(), tight)[0].causes
    assert (cause.kind, cause.sentence) == ("limit", "its own memory limit of 64.0MiB is nearly used up")
    hurt = use(container(1), memory_pressure=30.0)
    grower, holder = use(container(2), growth=50e6), use(container(3), memory=6 << 30)
    found = judged(root(memory=(8 << 30) - 1), hurt, grower, holder)
    assert found[0].causes[0].path == container(2)
    assert judged(root(memory=(8 << 30) - 1), hurt, holder)[0].causes[0].path == container(3)
    assert judged(root(), hurt, grower)[0].causes[0].kind == "itself"


def test_groups_inside_a_container_are_not_neighbours_of_it() -> None:
    inner = use(f"{container(1)}/inner", cpu_percent=390.0)
    hurt = use(container(1), cpu_pressure=60.0, cpu_percent=390.0)
    (cause,) = judged(root(400.0), hurt, inner, use(container(2), cpu_percent=10.0))[0].causes
    assert cause.name == classified(HostGroup(container(2))).name


def test_without_pressure_of_groups_there_is_something_to_see_all_the_same() -> None:
    held = use(container(1), limits=GroupLimits(cpus=0.5), measured=False, throttled=70.0, cpu_percent=50.0)
    full = use(container(2), limits=GroupLimits(memory=64 << 20), memory=63 << 20, measured=False)
    found = judged(root(), full, held, use(container(3), measured=False))
    assert [one.use.group.path for one in found] == [container(2), container(1), container(3)]
    assert [one.causes[0].kind for one in found[:2]] == ["limit", "limit"]
    for width in (80, 160):
        columns = pressure.columns_for(width)
        assert len(pressure.pressure_rows(tuple(found), columns)[0].cells) == len(columns)
    assert [word for word, _ in pressure.facts(found[1])] == ["why cpu", "use"]
