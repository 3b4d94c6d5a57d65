from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from engine.model.event import Event
from engine.model.limits import DeviceRate, Limits
from tests.fake_tuning import a_sample
from tuicon.model import curve, tuning
from tuicon.model.changes import changes_of, difference
from tuicon.model.relative import parse_relative

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAN = float("nan")


def test_percentages_scale_what_is_set_and_nothing_else() -> None:
    change = parse_relative("cpus +20%, memory -50% , device-write-bps +100%")
    before = Limits(
        cpu_quota=50_000, memory=1 << 30, memory_swap=1 << 30, device_write_bps=(DeviceRate("/dev/vda", 1000),)
    )
    after = change(before)
    assert (after.cpus, after.cpu_quota, after.memory, after.memory_swap) == (0.6, None, 1 << 29, 1 << 30)
    assert after.device_write_bps == (DeviceRate("/dev/vda", 2000),)
    assert parse_relative("cpus +20% memory -50%")(Limits()) == Limits()


@pytest.mark.parametrize("text", ["", "cpus", "cpus 20%", "cpus -100%", "hugepages +5%", "cpus +20% nothing"])
def test_what_is_no_list_of_percentages_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as cpus \+20%"):
        parse_relative(text)


def test_changes_are_read_from_the_journal_with_who_and_why() -> None:
    texts = {"memory": "None -> 268435456", "device_read_bps": "() -> (DeviceRate(device='/dev/vda', rate=1048576),)",
        "how": "autotune", "by": "root", "why": "busy \x1b[31m"}  # fmt: skip
    events = [Event("1", NOW, "container", action, "x", "web", texts) for action in ("update", "start")]
    (found,) = changes_of([*events, Event("2", NOW, "container", "update", "x", "web", {"nofile": "1:2"})], "x")
    assert found.what == ("memory none → 256MiB", "read bps none → 1.00MiB/s")
    assert (found.how, found.by, found.why) == ("autotune", "root", "busy \\x1b[31m")
    assert difference(Limits(cpus=0.5), Limits(cpus=0.4)) == "cpus 0.5 → 0.4"


def test_the_moves_of_one_trial_are_one_change() -> None:
    steps = [{"cpus": "0.5 -> 0.45"}, {"cpus": "0.45 -> 0.4"}, {"pids": "9 -> 8"}]
    events = [
        Event("1", NOW, "container", "update", "x", "web", {**step, "how": "trial", "by": "ada"}) for step in steps
    ]
    end = Event("2", NOW, "container", "update", "x", "web", {"cpus": "0.4 -> 0.5", "how": "revert", "by": "ada"})
    found = changes_of([*events, end], "x")
    assert [change.what for change in found] == [("cpus 0.5 → 0.4", "pids 9 → 8"), ("cpus 0.4 → 0.5",)]


def test_samples_lie_where_their_time_is_and_gaps_stay_gaps() -> None:
    window = curve.Window("10 s", "5 s", 10, 1)
    samples = [a_sample(NOW - timedelta(seconds=ago), 1, 0) for ago in (8, 7, 2, 60)]
    found = curve.laid_out(samples, "memory", window, NOW)
    assert [math.isfinite(value) for value in found] == [False, False, True, True, *[False] * 4, True, False]


def test_columns_show_the_highest_of_what_shares_them() -> None:
    assert curve.spread([1, 5, 2, 3], 4, 2) == [5, 3]
    assert curve.spread([7.0], 1, 3) == [7, 7, 7]
    assert math.isnan(curve.spread([5.0], 4, 4)[0])


def test_the_area_of_a_curve_is_filled_with_dots_from_below() -> None:
    assert curve.dots([1.0, 0.5], 1.0, 1, is_filled=True) == [[0x47 | 0xA0]]
    assert curve.dots([NAN, 1.0], 1.0, 2, is_filled=True) == [[0xB8], [0xB8]]
    assert curve.dots([1.0, 1.0], 1.0, 1, is_filled=False) == [[0x01 | 0x08]]


@pytest.mark.parametrize("height", [3, 8, 30])
def test_the_value_of_a_row_lies_in_that_row(height: int) -> None:
    for row in range(height):
        assert curve.row_of(curve.value_at(row, 60.0, height), 60.0, height) == row


def test_typed_values_have_the_units_of_their_limit() -> None:
    knobs = {one.id: one for one in tuning.tunables(4, 8 << 30, ("/dev/vda",))}
    assert tuning.parse_value(knobs["cpus"], "40%") == 1.6
    assert tuning.parse_value(knobs["burst"], "20ms") == 20_000
    assert tuning.parse_value(knobs["memory"], "1.5g") == 1.5 * (1 << 30)
    assert tuning.parse_value(knobs["cpuset"], "0-2,5") == "0-2,5"
    for name, text in (("cpuset", "0--2"), ("cpus", "9"), ("memory", "x"), ("swap", "-2"), ("pids", "0")):
        with pytest.raises(ValueError, match=r"goes from|no list|no value of Memory max"):
            tuning.parse_value(knobs[name], text)
