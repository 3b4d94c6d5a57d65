from __future__ import annotations

import argparse
import os
from typing import Any

import pytest

from engine.errors import InvalidArgument
from engine.linux.cgroup.plan import plan
from engine.model.limits import DeviceRate, HugepageLimit, Limits
from engine.oci.resources import resources, validate
from tuicon.cli.failure import Usage
from tuicon.model import limit_flags as flags

CPUS = os.cpu_count() or 1
PAGES = (HugepageLimit("2MB", 64 << 20),)


def number(_device: str) -> tuple[int, int]:
    return 8, 0


def change(text: str, before: Limits | None = None) -> Limits:
    parser = argparse.ArgumentParser()
    flags.add_flags(parser)
    return flags.change_of(parser.parse_args(text.split()))(before or Limits())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("--cpus 50%", Limits(cpus=CPUS / 2)),
        ("--cpu-shares 50%", Limits(cpu_shares=512 * CPUS)),
        ("--cpus 0.5 --cpu-burst 10000", Limits(cpus=0.5, cpu_burst=10_000)),
        ("--cpu-idle", Limits(cpu_idle=True)),
        (
            "--net-rate-in 1m --net-burst-in 256k --net-delay 50ms --net-loss 1.5%",
            Limits(net_rate_in=1 << 20, net_burst_in=256 << 10, net_delay=50_000, net_loss=1.5),
        ),
        ("--no-cpu-idle", Limits(cpu_idle=False)),
        (
            "--memory-high 64m --memory-min 8m --oom-group",
            Limits(memory_high=64 << 20, memory_min=8 << 20, oom_group=True),
        ),
        ("--hugetlb 2MB:64m", Limits(hugepages=PAGES)),
        ("--cgroup-conf io.weight=50", Limits(unified=(("io.weight", "50"),))),
        ("--device-write-bps pgdata:10m", Limits(device_write_bps=(DeviceRate("pgdata", 10 << 20),))),
    ],
)
def test_a_flag_sets_its_limit(text: str, wanted: Limits) -> None:
    assert change(text) == wanted


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("--cpus 0", Limits(cpus=1, cpu_burst=5000), Limits()),
        ("--net-rate-in 0 --net-delay 0", Limits(net_rate_in=1 << 20, net_burst_in=1 << 20, net_delay=1), Limits()),
        ("--memory-high 0", Limits(memory_high=64 << 20), Limits()),
        ("--hugetlb 2MB:-1", Limits(hugepages=PAGES), Limits()),
        ("--cgroup-conf io.weight=", Limits(unified=(("io.weight", "50"),)), Limits()),
        ("--device-write-bps /dev/a:0", Limits(device_write_bps=(DeviceRate("/dev/a", 1),)), Limits()),
        ("--memory 64m", Limits(cpus=1), Limits(cpus=1, memory=64 << 20)),
    ],
)
def test_nothing_takes_a_limit_away_and_others_stay(text: str, before: Limits, after: Limits) -> None:
    assert change(text, before) == after


@pytest.mark.parametrize("text", ["--cpus 0%", "--cpus 101%", "--cpu-shares 200%", "--cpus x"])
def test_a_percentage_is_of_the_host(text: str) -> None:
    with pytest.raises(SystemExit):
        change(text)


@pytest.mark.parametrize("text", ["--hugetlb 2MB", "--cgroup-conf memory.high", "--device-write-bps 10m"])
def test_malformed_lists_are_refused(text: str) -> None:
    with pytest.raises(Usage):
        change(text)


@pytest.mark.parametrize(
    "wrong",
    [
        Limits(cpus=CPUS + 1), Limits(cpus=0), Limits(cpus=-1), Limits(cpu_quota=(CPUS + 1) * 100_000),
        Limits(cpu_burst=1000), Limits(cpus=0.1, cpu_burst=10_001), Limits(cpu_idle=True, cpu_shares=5),
        Limits(memory=-5), Limits(memory_high=1), Limits(memory=64 << 20, memory_min=65 << 20), Limits(pids=-2),
        Limits(device_write_bps=(DeviceRate("/dev/a", 0),)), Limits(hugepages=(HugepageLimit("2", 1),)),
        Limits(unified=(("cgroup.procs", "1"),)), Limits(unified=(("../memory.max", "1"),)),
        Limits(unified=(("memory.max", "1\n2"),)),
    ],
)  # fmt: skip
def test_what_no_kernel_would_take_is_refused_with_one_sentence(wrong: Limits) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        validate(wrong, CPUS)
    assert len(str(refusal.value).splitlines()) == 1


def written(limits: Limits, before: Limits | None = None) -> dict[str, str]:
    return {name: value for _, name, value in plan(2, resources(limits, number, before))}


# What was set and is not wanted any more gets the kernel's default again (cgroup-v2: the default of each file).
TAKEN_BACK: list[tuple[Limits, dict[str, str]]] = [
    (Limits(cpus=1, cpu_burst=5000), {"cpu.max": "max 100000", "cpu.max.burst": "0"}),
    (Limits(cpu_idle=True), {"cpu.idle": "0"}),
    (Limits(cpu_shares=7), {"cpu.weight": "100"}),
    (Limits(memory=1 << 30, memory_reservation=1), {"memory.max": "max", "memory.low": "0"}),
    (Limits(memory_high=1 << 30, memory_min=5, oom_group=True),
        {"memory.high": "max", "memory.min": "0", "memory.oom.group": "0"}),
    (Limits(pids=5), {"pids.max": "max"}),
    (Limits(blkio_weight=50), {"io.bfq.weight": "default 100"}),
    (Limits(device_write_bps=(DeviceRate("/dev/a", 1),)), {"io.max": "8:0 wbps=max"}),
    (Limits(hugepages=PAGES), {"hugetlb.2MB.max": str(1 << 62), "hugetlb.2MB.rsvd.max": str(1 << 62)}),
    (Limits(unified=(("memory.swap.high", "5"), ("io.latency", "8:0 target=5"))), {"memory.swap.high": "max"}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "expected"), TAKEN_BACK, ids=lambda value: str(value)[:60])
def test_a_limit_that_is_taken_away_gets_the_kernels_default(before: Limits, expected: dict[str, str]) -> None:
    assert written(Limits(), before) == expected


def test_a_named_file_that_is_taken_away_leaves_the_limit_beside_it() -> None:
    before = Limits(memory=64 << 20, unified=(("memory.max", "1000"),))
    assert written(Limits(memory=64 << 20), before) == {"memory.max": str(64 << 20)}


def test_limits_on_v1_that_are_taken_away_get_their_defaults() -> None:
    before = Limits(memory_swappiness=5, oom_kill_disable=True, cpu_rt_runtime=7, cpu_rt_period=9)
    made: dict[str, Any] = resources(Limits(), number, before)
    assert {name: value for _, name, value in plan(1, made)} == {
        "memory.swappiness": "60", "memory.oom_control": "0", "cpu.rt_runtime_us": "0", "cpu.rt_period_us": "1000000",
    }  # fmt: skip
