from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument, NotPermitted, NotSupported
from engine.linux.cgroup import layout
from engine.linux.cgroup.group import Group
from engine.model.container import ContainerSpec, ExecSpec, RestartPolicy, Ulimit
from engine.model.limits import DeviceRate, Limits
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_limits import BURN, IMAGE, run, until, uses_cpu
from tuicon.model import limit_flags

IS_V2 = layout.detect().version == 2
SLEEP = ("sleep", "1000")


def file_of(engine: Engine, container: str, controller: str, on_v1: str, on_v2: str) -> str:
    """Return what the kernel says, read beside the engine."""
    state = engine._registry.state(container)
    assert state
    group = Group.from_paths(state.cgroup["version"], state.cgroup["paths"])
    path = group.paths["unified" if IS_V2 else controller]
    return Path(path, on_v2 if IS_V2 else on_v1).read_text().strip()


# Each knob: the flags, the controller, and the file with what is in it on v1 and on v2; None where there is none.
KNOBS: list[tuple[str, str, tuple[str, str] | None, tuple[str, str] | None]] = [
    ("--cpus 50%", "cpu", ("cpu.cfs_quota_us", f"{(os.cpu_count() or 1) * 50_000}"),
        ("cpu.max", f"{(os.cpu_count() or 1) * 50_000} 100000")),
    ("--cpu-period 50000 --cpu-quota 20000", "cpu", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")),
    ("--cpus 0.5 --cpu-burst 7000", "cpu", ("cpu.cfs_burst_us", "7000"), ("cpu.max.burst", "7000")),
    ("--cpu-idle", "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
    ("--cpu-shares 512", "cpu", ("cpu.shares", "512"), ("cpu.weight", "59")),
    ("--cpuset-cpus 0", "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus.effective", "0")),
    ("--cpuset-mems 0", "cpuset", ("cpuset.mems", "0"), ("cpuset.mems.effective", "0")),
    ("--memory 64m --memory-reservation 32m", "memory", ("memory.soft_limit_in_bytes", str(32 << 20)),
        ("memory.low", str(32 << 20))),
    ("--memory 64m --memory-swap 96m", "memory", ("memory.memsw.limit_in_bytes", str(96 << 20)),
        ("memory.swap.max", str(32 << 20))),
    ("--memory-swappiness 7", "memory", ("memory.swappiness", "7"), None),
    ("--oom-kill-disable", "memory", ("memory.oom_control", "oom_kill_disable 1"), None),
    ("--memory-high 96m", "memory", None, ("memory.high", str(96 << 20))),
    ("--memory-min 8m", "memory", None, ("memory.min", str(8 << 20))),
    ("--oom-group", "memory", None, ("memory.oom.group", "1")),
    ("--pids-limit 77", "pids", ("pids.max", "77"), ("pids.max", "77")),
    ("--cgroup-conf memory.high=104857600", "memory", None, ("memory.high", "104857600")),
]  # fmt: skip


def wanted_by(text: str) -> Callable[[Limits], Limits]:
    parser = argparse.ArgumentParser()
    limit_flags.add_flags(parser)
    return limit_flags.change_of(parser.parse_args(text.split()))


def test_every_knob_is_set_while_it_runs_and_taken_back_or_refused(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    tuning = engine.containers.tuning
    for text, controller, on_v1, on_v2 in KNOBS:
        here = _here(on_v1, on_v2)
        if here is None:
            with pytest.raises(NotSupported, match=r"cgroup v\d has no such limit"):
                tuning.update(container, wanted_by(text))
            continue
        before = file_of(engine, container, controller, *_names(on_v1, on_v2))
        tuning.update(container, wanted_by(text))
        assert file_of(engine, container, controller, *_names(on_v1, on_v2)).splitlines()[0] == here[1], text
        tuning.undo(container)
        assert file_of(engine, container, controller, *_names(on_v1, on_v2)) == before, text
    assert engine.containers.get(container).limits == Limits()


def test_knobs_that_were_turned_while_it_ran_are_so_after_a_restart(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    kept = [knob for knob in KNOBS if _here(*knob[2:]) and "idle" not in knob[0] and "quota" not in knob[0]]
    kept = [knob for knob in kept if "--cpus 50%" not in knob[0] and "cgroup-conf" not in knob[0]]
    for text, *_ in kept:
        engine.containers.update(container, wanted_by(text))
    engine.containers.restart(container, timeout=0)
    for text, controller, on_v1, on_v2 in kept:
        here = _here(on_v1, on_v2)
        assert here
        assert file_of(engine, container, controller, *_names(on_v1, on_v2)).splitlines()[0] == here[1], text


def _here(on_v1: tuple[str, str] | None, on_v2: tuple[str, str] | None) -> tuple[str, str] | None:
    return on_v2 if IS_V2 else on_v1


def _names(on_v1: tuple[str, str] | None, on_v2: tuple[str, str] | None) -> tuple[str, str]:
    return (on_v1 or ("", ""))[0], (on_v2 or ("", ""))[0]


def test_limits_that_moved_stay_when_the_monitor_starts_the_container_again(engine: Engine) -> None:
    spec = ContainerSpec(IMAGE, command=("sh", "-c", "sleep 1000"), network="none", restart=RestartPolicy("always"))
    container = engine.containers.run(spec)
    engine.containers.update(container.id, lambda limits: replace(limits, pids=33))
    os.kill(container.pid, signal.SIGKILL)
    until(
        lambda: (
            engine.containers.get(container.id).restart_count == 1 and engine.containers.get(container.id).is_running
        )
    )
    assert file_of(engine, container.id, "pids", "pids.max", "pids.max") == "33"


def reverts(engine: Engine) -> list[dict[str, str]]:
    return [event.attributes for event in engine.events.list() if event.attributes.get("how") == "revert"]


def test_a_trial_reverts_by_itself_when_whoever_asked_is_gone(engine: Engine) -> None:
    container = run(engine, *BURN, limits=Limits(pids=50))
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "update", "--trial", "10s", "--cpus", "0.1",
        "--pids-limit", "40", container]  # fmt: skip
    process = subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    # The trial is written down before it is in force.
    until(lambda: file_of(engine, container, "pids", "pids.max", "pids.max") == "40")
    assert engine.containers.get(container).limits == Limits(pids=40, cpus=0.1)
    process.kill()
    process.wait()
    until(lambda: engine.containers.get(container).limits == Limits(pids=50))
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "50"
    assert file_of(engine, container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
    until(lambda: reverts(engine))  # the trial itself is not journalled when whoever asked died in the middle of it
    assert reverts(engine)[0]["pids"] == "40 -> 50"


def test_a_trial_that_is_confirmed_stays_and_can_be_undone(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    tuning = engine.containers.tuning
    tuning.update(container, lambda limits: replace(limits, pids=40), seconds=600)
    with pytest.raises(Conflict, match=r"on trial for \d+ s more"):
        engine.containers.update(container, lambda limits: replace(limits, pids=41))
    found = tuning.on_trial(container)
    assert found
    assert (found.confirmed, found.after, 0 < found.seconds_left <= 600) == (Limits(), Limits(pids=40), True)
    assert tuning.confirm(container).after == Limits(pids=40)
    assert tuning.on_trial(container) is None
    with pytest.raises(Conflict):
        tuning.confirm(container)
    engine.containers.update(container, lambda limits: replace(limits, cpus=0.5))
    assert tuning.undo(container).after == Limits(pids=40)
    assert tuning.undo(container).after == Limits()
    with pytest.raises(Conflict, match="no change"):
        tuning.undo(container)
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "max"


def test_a_trial_does_not_outlive_its_run_and_undo_ends_it_at_once(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    tuning = engine.containers.tuning
    tuning.update(container, lambda limits: replace(limits, pids=40), seconds=600)
    engine.containers.restart(container, timeout=0)
    assert engine.containers.get(container).limits == Limits()
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "max"
    tuning.update(container, lambda limits: replace(limits, pids=40), seconds=600)
    assert tuning.undo(container).after == Limits()
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "max"


def test_a_trial_needs_a_monitor_that_reverts_it(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    state = engine._registry.state(container)
    assert state
    os.kill(state.monitor_pid, signal.SIGKILL)
    state = engine._registry.state(container)
    assert state
    until(lambda: not state.has_monitor)
    with pytest.raises(Conflict, match="no monitor"):
        engine.containers.tuning.update(container, lambda limits: replace(limits, pids=40), seconds=60)
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "max"


def test_changes_of_several_containers_are_made_together_or_not_at_all(engine: Engine) -> None:
    first, second = run(engine, *SLEEP), run(engine, *SLEEP)
    changes: dict[str, Callable[[Limits], Limits]] = {
        first: lambda limits: replace(limits, pids=40),
        second: lambda limits: replace(limits, pids=41, cpuset_cpus="4095"),
    }
    with pytest.raises(OSError, match="cpuset"):
        engine.containers.tuning.update_all(changes)
    for container in (first, second):
        assert engine.containers.get(container).limits == Limits()
        assert file_of(engine, container, "pids", "pids.max", "pids.max") == "max"
    changes[second] = lambda limits: replace(limits, pids=41)
    engine.containers.tuning.update_all(changes, how="profile")
    assert [engine.containers.get(container).limits.pids for container in (first, second)] == [40, 41]


def hold(engine: Engine, mebibytes: int) -> str:
    """Run a container that holds memory which the kernel cannot take back where there is no swap."""
    script = f"x=$(head -c {mebibytes << 20} /dev/zero | tr '\\0' x); while :; do sleep 1; done"
    container = run(engine, "sh", "-c", script)
    until(lambda: engine.containers.counters(container).memory_anon_bytes > mebibytes << 20)
    return container


def test_a_memory_limit_below_what_is_in_use_is_refused_before_it_kills(engine: Engine) -> None:
    container = hold(engine, 12)
    with pytest.raises(Conflict, match=r"uses \d+ MiB, more than"):
        engine.containers.update(container, lambda limits: replace(limits, memory=8 << 20))
    assert engine.containers.get(container).limits == Limits()
    assert engine.containers.counters(container).memory_limit_bytes is None
    preview = engine.containers.tuning.preview(container, lambda limits: replace(limits, memory=8 << 20))
    assert "more than the memory limit" in preview.refusal


def test_a_trial_is_not_reverted_into_a_kill(engine: Engine) -> None:
    script = "while [ ! -e /go ]; do sleep 0.1; done; x=$(head -c 16777216 /dev/zero | tr '\\0' x); while :; do sleep 1; done"
    container = run(engine, "sh", "-c", script, limits=Limits(memory=8 << 20, pids=30))
    tuning = engine.containers.tuning
    tuning.update(container, lambda limits: replace(limits, memory=128 << 20), seconds=3600)
    engine.containers.exec(container, ExecSpec(("touch", "/go"), detach=True))
    until(lambda: engine.containers.counters(container).memory_anon_bytes > 16 << 20)
    tuning.update(container, lambda limits: replace(limits, pids=40), seconds=1)
    until(
        lambda: any("put back when that fits" in event.attributes.get("message", "") for event in engine.events.list())
    )
    assert file_of(engine, container, "pids", "pids.max", "pids.max") == "30"
    counters = engine.containers.counters(container)
    assert (counters.memory_limit_bytes, counters.oom_kills) == (128 << 20, 0)
    with pytest.raises(Conflict, match="more than the memory limit"):
        tuning.undo(container)
    assert engine.containers.get(container).is_running


def test_stepping_down_takes_back_what_can_be_had_and_keeps_the_limit(engine: Engine) -> None:
    script = "dd if=/dev/zero of=/big bs=1048576 count=32 2>/dev/null; cat /big >/dev/null; sleep 1000"
    container = run(engine, "sh", "-c", script)
    until(lambda: engine.containers.counters(container).memory_usage_bytes > 28 << 20)
    done = tuicon(engine, "update", "--step-down", "--memory", "16m", container)
    assert done.returncode == 0, done.stderr
    assert engine.containers.get(container).limits == Limits(memory=16 << 20)
    counters = engine.containers.counters(container)
    assert counters.memory_limit_bytes == 16 << 20
    assert (counters.oom_kills, engine.containers.get(container).is_running) == (0, True)


def test_memory_can_be_reclaimed_without_a_limit(engine: Engine) -> None:
    script = "dd if=/dev/zero of=/big bs=1048576 count=48 2>/dev/null; sync; cat /big >/dev/null; sleep 1000"
    container = run(engine, "sh", "-c", script)
    until(lambda: engine.containers.counters(container).memory_usage_bytes > 44 << 20)
    before = engine.containers.counters(container).memory_usage_bytes
    engine.containers.tuning.reclaim(container, 32 << 20)
    assert engine.containers.counters(container).memory_usage_bytes < before - (16 << 20)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (Limits(device_write_bps=(DeviceRate("/dev/nothing", 5),)), "no such device"),
        (Limits(device_write_bps=(DeviceRate("nobody", 5),)), "no such device or volume"),
        (Limits(device_read_iops=(DeviceRate("/proc", 5),)), "not on a block device"),
        (Limits(device_read_iops=(DeviceRate("999:999", 5),)), "no such block device"),
    ],
)
def test_an_unknown_device_is_refused_at_create_and_update(engine: Engine, wrong: Limits, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        engine.containers.create(ContainerSpec(IMAGE, command=("true",), limits=wrong))
    container = run(engine, *SLEEP)
    with pytest.raises(InvalidArgument, match=sentence):
        engine.containers.update(container, lambda _: wrong)
    assert engine.containers.get(container).limits == Limits()


def test_a_disk_can_be_named_by_a_volume_on_it(engine: Engine) -> None:
    if not engine.disk():
        pytest.skip("the temporary directory is not on a disk: set TUICON_TEST_ROOT to one that is")
    engine.volumes.create("pgdata")
    container = run(engine, *SLEEP)
    engine.containers.update(
        container, lambda limits: replace(limits, device_write_bps=(DeviceRate("pgdata", 1 << 20),))
    )
    assert engine.containers.get(container).limits.device_write_bps == (DeviceRate(engine.disk(), 1 << 20),)
    expected = file_of(engine, container, "blkio", "blkio.throttle.write_bps_device", "io.max")
    assert str(1 << 20) in expected


def test_what_this_host_cannot_set_is_said_beforehand(engine: Engine) -> None:
    knobs = {knob.name: knob for knob in engine.containers.tuning.knobs()}
    assert set(knobs) == set(Limits.__dataclass_fields__)
    assert knobs["memory"].is_supported
    assert knobs["memory_high"].is_supported == IS_V2
    assert knobs["memory_swappiness"].is_supported != IS_V2
    impossible = Limits(memory_swappiness=5) if IS_V2 else Limits(memory_high=64 << 20)
    with pytest.raises(NotSupported, match=r"cgroup v\d has no such limit"):
        engine.containers.create(ContainerSpec(IMAGE, command=("true",), limits=impossible))


def test_the_effective_limit_is_the_tightest_and_the_share_that_of_the_weights(engine: Engine) -> None:
    first, second = run(engine, *BURN), run(engine, *BURN, limits=Limits(cpu_shares=3072))
    uses_cpu(engine, first, 0.01)
    tuning = engine.containers.tuning
    state = engine._registry.state(first)
    assert state
    group = Group.from_paths(state.cgroup["version"], state.cgroup["paths"])
    parent = Path(group.paths["unified" if IS_V2 else "pids"]).parent
    parent.joinpath("pids.max").write_text("500")
    found = tuning.effective(first)
    assert (found.pids, found.pids_by.rpartition("/")[2]) == (500, parent.name)
    other = tuning.effective(second).cpu_share
    assert other / found.cpu_share == pytest.approx(236 / 100 if IS_V2 else 3, rel=0.05)
    preview = tuning.preview(first, lambda limits: replace(limits, pids=100, cpu_shares=3072))
    assert preview.effective
    assert preview.effective.pids == 100
    assert preview.effective.cpu_share == pytest.approx((found.cpu_share + other) / 2, rel=0.05)
    assert engine.containers.get(first).limits == Limits()
    shown = tuicon(engine, "update", "--dry-run", "--pids-limit", "100", first)
    assert "pids none → 100" in shown.stdout
    parent.joinpath("pids.max").write_text("max")


def test_ulimits_of_running_processes_move_and_stay(engine: Engine) -> None:
    container = run(engine, *SLEEP)
    pid = engine.containers.get(container).pid
    done = tuicon(engine, "update", "--ulimit", "nofile=200:300", container)
    assert done.returncode == 0, done.stderr
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (200, 300)
    engine.containers.restart(container, timeout=0)
    assert resource.prlimit(engine.containers.get(container).pid, resource.RLIMIT_NOFILE) == (200, 300)
    with pytest.raises(InvalidArgument):
        engine.containers.tuning.limit_processes(container, (Ulimit("nothing", 1, 1),))


def test_a_ulimit_that_may_not_be_raised_changes_nothing(engine: Engine) -> None:
    from engine.linux import capabilities

    if "SYS_RESOURCE" in capabilities.available():
        wanted = Ulimit("nofile", 1 << 40, 1 << 40)  # above fs.nr_open, which nobody may pass
    else:
        wanted = Ulimit("nproc", -1, -1)
    container = run(engine, *SLEEP)
    pid = engine.containers.get(container).pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE), resource.prlimit(pid, resource.RLIMIT_NPROC)
    with pytest.raises(NotPermitted, match="cannot be raised"):
        engine.containers.tuning.limit_processes(container, (Ulimit("nofile", 100, 100), wanted))
    spec = engine.containers.get(container).spec
    assert spec.ulimits == ()
    assert resource.prlimit(pid, resource.RLIMIT_NPROC) == before[1]
