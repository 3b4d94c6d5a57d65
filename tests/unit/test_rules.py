from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from engine.model import rules
from engine.model.limits import DeviceRate, Limits
from engine.model.rules import Memory, Observation, Rule
from engine.model.usage import Counters, Usage

UP = Rule("up", "logic", "logic", "cpu", True, 80, 60, "cpus", 0.2, 1.2, 300)
DOWN = Rule("down", "logic", "logic", "cpu", False, 30, 120, "cpus", -0.2, 0.4, 300)


def observed(cpu_cores: float, limits: Limits, **more: float) -> Observation:
    usage = replace(Usage(Counters(1), 1.0, cpu_percent=100 * cpu_cores), **more)  # type: ignore[arg-type]
    return Observation(usage, limits, host_cpus=2, host_memory=4 << 30)


def simulate(
    demand: Callable[[int], float], seconds: int, given: tuple[Rule, ...] = (UP, DOWN), start: float = 0.6
) -> list[tuple[int, float]]:
    """Let a load that wants so many cores at each second meet the rules; return when the limit became what."""
    limits, memory = Limits(cpus=start), Memory()
    moves = []
    for now in range(0, seconds, 5):
        seen = {"logic": observed(min(demand(now), limits.cpus or 2), limits)}
        for action in rules.decide(given, seen, memory, float(now)):
            limits = rules.changed(limits, action)
            moves.append((now, limits.cpus or 0))
    return moves


def test_a_busy_container_gets_more_step_by_step_up_to_the_bound() -> None:
    moves = simulate(lambda _: 2.0, 3600)
    assert [limit for _, limit in moves] == pytest.approx([0.8, 1.0, 1.2])
    assert moves[0][0] == 60
    assert all(later - earlier >= 300 for (earlier, _), (later, _) in pairwise(moves))


def test_a_spike_that_is_shorter_than_the_rule_moves_nothing() -> None:
    assert simulate(lambda now: 2.0 if now % 120 < 55 else 0.3, 7200) == []


def test_an_idle_container_gives_back_to_its_bound() -> None:
    moves = simulate(lambda _: 0.01, 7200, start=1.2)
    assert moves[-1][1] == pytest.approx(0.4)
    assert len(moves) == 4


@pytest.mark.parametrize("demand", [0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9, 1.1, 1.9])
def test_a_steady_load_comes_to_rest_wherever_it_is(demand: float) -> None:
    for given in ((UP, DOWN), (UP, replace(DOWN, threshold=79))):  # thresholds far apart, and dangerously near
        moves = simulate(lambda _: demand, 86_400, given)
        late = [move for move in moves if move[0] > 43_200]
        assert late == []
        directions = [later[1] > earlier[1] for earlier, later in pairwise([(0, 0.6), *moves])]
        assert sum(first != second for first, second in pairwise(directions)) <= 1


def test_a_swinging_load_is_followed_less_and_less() -> None:
    moves = simulate(lambda now: 1.0 + 0.99 * math.copysign(1, math.sin(now / 700)), 2 * 86_400)
    first, last = (sum(day * 86_400 <= at < day * 86_400 + 43_200 for at, _ in moves) for day in (0, 1))
    assert last < first
    assert last <= 12


def test_noise_moves_nothing() -> None:
    rng = random.Random(7)
    assert simulate(lambda _: rng.uniform(0.2, 0.47), 86_400) == []


def test_one_containers_pressure_lowers_anothers_disk_rate_down_to_the_bound() -> None:
    rule = Rule("room", "a", "b", "io-pressure", True, 20, 30, "device-write-bps", -50e6, 100e6, 60, "/dev/vda")
    limits, memory = Limits(device_write_bps=(DeviceRate("/dev/vda", 200_000_000),)), Memory()
    rates = []
    for now in range(0, 600, 5):
        seen = {"a": observed(0.1, limits), "b": observed(0.1, Limits(), io_pressure=40.0)}
        for action in rules.decide((rule,), seen, memory, float(now)):
            limits = rules.changed(limits, action)
            rates.append(limits.device_write_bps[0].rate)
    assert rates == [150_000_000, 100_000_000]


def test_what_does_not_run_is_left_alone_and_its_time_begins_anew() -> None:
    memory = Memory()
    busy = {"logic": observed(0.6, Limits(cpus=0.6))}
    assert rules.decide((UP,), busy, memory, 0.0) == ()
    assert rules.decide((UP,), {}, memory, 30.0) == ()
    assert rules.decide((UP,), busy, memory, 70.0) == ()
    assert len(rules.decide((UP,), busy, memory, 130.0)) == 1


@pytest.mark.parametrize(
    "wrong",
    [replace(UP, device="/dev/vda"), replace(UP, step=0), replace(UP, pause=5), replace(UP, limit="device-read-bps")],
)
def test_rules_that_make_no_sense_are_named(wrong: Rule) -> None:
    assert len(list(rules.conflicts((wrong,)))) >= 1
    assert list(rules.conflicts((UP, DOWN))) == []
    assert len(list(rules.conflicts((UP, UP)))) == 1
