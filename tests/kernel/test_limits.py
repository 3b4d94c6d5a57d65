from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.api import Engine, disk_of
from engine.errors import InvalidArgument
from engine.linux.cgroup.layout import CgroupError
from engine.model.container import ContainerSpec
from engine.model.limits import DeviceRate, Limits

IMAGE = "tuicon/demo"
BURN = ("sh", "-c", "while :; do :; done")


def run(engine: Engine, *command: str, limits: Limits = Limits()) -> str:  # noqa: B008 - frozen
    return engine.containers.run(ContainerSpec(IMAGE, command=command, network="none", limits=limits)).id


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def uses_cpu(engine: Engine, container: str, seconds: float) -> None:
    """Wait until the container has used some CPU time, however long that takes on a busy host."""
    start = engine.containers.counters(container).cpu_ns
    until(lambda: engine.containers.counters(container).cpu_ns - start > seconds * 1e9)


def used_per_period(engine: Engine, container: str) -> float:
    """Return the CPU time in ns per enforcement period: what a quota bounds, whatever else the host does."""
    before = engine.containers.counters(container)
    until(lambda: engine.containers.counters(container).periods >= before.periods + 10)
    after = engine.containers.counters(container)
    return (after.cpu_ns - before.cpu_ns) / (after.periods - before.periods)


def rate_of_writes(engine: Engine, container: str, size: int, credit: int = 1) -> float:
    """Return bytes per second while `size` bytes are written, after `credit` that the kernel grants from before."""
    start = engine.containers.counters(container)
    until(lambda: engine.containers.counters(container).write_bytes >= start.write_bytes + credit)
    before = engine.containers.counters(container)
    until(lambda: engine.containers.counters(container).write_bytes >= before.write_bytes + size)
    after = engine.containers.counters(container)
    return (after.write_bytes - before.write_bytes) / (after.taken_ns - before.taken_ns) * 1e9


def test_a_memory_limit_kills_and_the_kill_is_counted(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "x=a; while :; do x=$x$x; done", limits=Limits(memory=16 << 20))
    assert engine.containers.wait(container, timeout=120) in (137, 2)
    found = engine.containers.get(container)
    assert found.oom_killed
    assert any(event.action == "oom" for event in engine.events.list())


def test_a_cpu_limit_holds_and_throttling_is_counted(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.2))
    until(lambda: engine.containers.counters(container).throttled_periods > 2)
    assert used_per_period(engine, container) < 30e6  # 20 ms, and what each CPU may have left of its slice


def test_a_cpu_limit_moves_while_it_runs_and_comes_back(engine: Engine) -> None:
    container = run(engine, *BURN)
    uses_cpu(engine, container, 0.2)
    assert engine.containers.counters(container).throttled_periods == 0
    change = engine.containers.update(container, lambda limits: replace(limits, cpus=0.1))
    until(lambda: engine.containers.counters(container).throttled_periods > 2)
    assert used_per_period(engine, container) < 20e6
    engine.containers.update(container, lambda _limits: change.before)
    throttled = engine.containers.counters(container).throttled_periods
    uses_cpu(engine, container, 0.3)
    assert engine.containers.counters(container).throttled_periods == throttled


def test_a_pids_limit_refuses_forks(engine: Engine) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo never; wait"
    container = run(engine, "sh", "-c", script, limits=Limits(pids=4))
    assert engine.containers.wait(container, timeout=120) not in (0, None)
    text = "".join(entry.text for entry in engine.containers.logs(container))
    assert "fork" in text
    assert "never" not in text


def test_disk_writes_are_held_to_their_rate_and_counted(engine: Engine) -> None:
    disk = disk_of(str(engine.root))
    if not disk:
        pytest.skip("the temporary directory is not on a disk: set TUICON_TEST_ROOT to one that is")
    rate = 2 << 20
    limits = Limits(device_write_bps=(DeviceRate(disk, rate),))
    container = run(
        engine, "sh", "-c", "while :; do dd if=/dev/zero of=/f bs=65536 count=64 oflag=direct; done", limits=limits
    )
    assert rate_of_writes(engine, container, 4 * rate) < 2 * rate
    lower = rate // 4
    engine.containers.update(container, lambda limits: replace(limits, device_write_bps=(DeviceRate(disk, lower),)))
    assert rate_of_writes(engine, container, 4 * lower, credit=2 * rate) < 2 * lower


def test_a_cpuset_is_seen_by_its_processes_and_can_be_taken_back(engine: Engine) -> None:
    container = run(
        engine,
        "sh",
        "-c",
        "while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.2; done",
        limits=Limits(cpuset_cpus="0"),
    )

    def last() -> str:
        entries = [entry.text.split()[-1] for entry in engine.containers.logs(container)]
        return entries[-1] if entries else ""

    until(lambda: last() == "0")
    engine.containers.update(container, lambda limits: replace(limits, cpuset_cpus=None))
    until(lambda: last() != "0")


def test_memory_moves_up_and_down_while_it_runs(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", limits=Limits(memory=32 << 20))
    for size in (64 << 20, 16 << 20, 48 << 20):
        engine.containers.update(container, lambda limits, size=size: replace(limits, memory=size))  # type: ignore[misc]
        assert engine.containers.counters(container).memory_limit_bytes == size
    engine.containers.update(container, lambda limits: replace(limits, memory=None))
    assert engine.containers.counters(container).memory_limit_bytes is None


def test_an_update_that_the_kernel_refuses_changes_nothing(engine: Engine) -> None:
    container = run(engine, "sleep", "1000", limits=Limits(memory=32 << 20, pids=50))
    with pytest.raises(CgroupError):
        engine.containers.update(
            container, lambda limits: replace(limits, pids=60, memory=64 << 20, cpuset_cpus="4095")
        )
    assert engine.containers.get(container).limits == Limits(memory=32 << 20, pids=50)
    counters = engine.containers.counters(container)
    assert (counters.memory_limit_bytes, counters.pids_limit) == (32 << 20, 50)


@pytest.mark.parametrize(
    "wrong",
    [
        Limits(memory=1 << 20),
        Limits(cpus=0.0001),
        Limits(cpus=10_000),
        Limits(memory_swap=1 << 30),
        Limits(cpuset_cpus="x"),
    ],
)
def test_impossible_limits_are_refused_with_a_reason(engine: Engine, wrong: Limits) -> None:
    with pytest.raises(InvalidArgument):
        engine.containers.create(ContainerSpec(IMAGE, command=("true",), limits=wrong))


def test_updated_limits_survive_a_restart(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    engine.containers.update(container, lambda limits: replace(limits, pids=33))
    engine.containers.restart(container, timeout=0)
    assert engine.containers.counters(container).pids_limit == 33


def test_the_sampler_gives_rates_and_forgets_what_ended(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(cpus=0.5))
    sampler = engine.containers.sampler()
    sampler.sample()
    time.sleep(1)
    usage = sampler.sample()[container]
    assert 0 < usage.cpu_percent < 75  # at most one period more than 50 %; at least something on a busy host
    assert usage.counters.pids == 1
    engine.containers.remove(container, force=True)
    assert sampler.sample() == {}
    sampler.close()
