from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.containers.history import advice, finest
from engine.model.history import Advice, Sample
from engine.model.limits import Limits
from engine.sandbox import ring

START = 1_790_000_000 - 1_790_000_000 % 60


def values(**given: float) -> tuple[float, ...]:
    return tuple(float(given.get(name, 0)) for name in ring.FIELDS)


def of(sample: tuple[int, float, tuple[float, ...]], name: str) -> float:
    return sample[2][ring.FIELDS.index(name)]


def write(fd: int, seconds: range, cpu: float = 1.0) -> None:
    last = 0
    for second in seconds:
        ring.put(fd, second, values(cpu=cpu, cpu_max=cpu, memory=1 << 30, oom_kills=1), 1.0, last)
        last = second


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history"


def test_a_history_keeps_its_size_and_each_ring_its_time_over_days(path: Path) -> None:
    fd = ring.open_ring(str(path))
    size = path.stat().st_size
    end = START + 15 * 86400
    last = 0
    for minute in range(START, end, 60):  # a sample each minute fills the coarse ring; the last hour has all seconds
        seconds = range(minute, minute + 60, 60 if minute < end - 3600 else 1)
        for second in seconds:
            ring.put(fd, second, values(cpu=second % 7), 1.0, last)
            last = second
    assert path.stat().st_size == size
    fine, middle, coarse = (ring.samples(str(path), step, 0, end) for step in (1, 10, 60))
    assert [sample[0] for sample in fine] == list(range(end - 900, end))
    assert coarse[0][0] == end - 14 * 86400
    assert [sample[0] for sample in coarse] == list(range(end - 14 * 86400, end - 60, 60))  # the last one is not over
    assert middle[-1][0] == end - 20
    assert {sample[0] % 10 for sample in middle} == {0}
    by_hand = sum(second % 7 for second in range(end - 120, end - 60)) / 60
    assert of(coarse[-1], "cpu") == pytest.approx(by_hand, rel=1e-5)


def test_coarser_samples_are_means_peaks_and_sums_of_the_finer(path: Path) -> None:
    fd = ring.open_ring(str(path))
    rng = random.Random(6)
    cpus = [rng.random() for _ in range(61)]
    last = 0
    for offset, cpu in enumerate(cpus):
        ring.put(fd, START + offset, values(cpu=cpu, cpu_max=cpu, oom_kills=offset == 5), 1.0, last)
        last = START + offset
    (minute,) = ring.samples(str(path), 60, START, START + 60)
    assert of(minute, "cpu") == pytest.approx(sum(cpus[:60]) / 60, rel=1e-5)
    assert of(minute, "cpu_max") == pytest.approx(max(cpus[:60]), rel=1e-5)
    assert of(minute, "oom_kills") == 1
    assert minute[1] == pytest.approx(60)


def test_a_gap_is_a_gap_and_what_is_older_than_the_ring_is_gone(path: Path) -> None:
    fd = ring.open_ring(str(path))
    write(fd, range(START, START + 30))
    write(fd, range(START + 3600, START + 3630))
    found = ring.samples(str(path), 1, 0, START + 3630)
    assert [sample[0] for sample in found] == list(range(START + 3600, START + 3630))
    assert [sample[0] - START for sample in ring.samples(str(path), 10, 0, START + 3630)] == [0, 10, 3600, 3610]


def test_another_writer_goes_on_and_sums_up_what_the_first_did_not_live_to(path: Path) -> None:
    write(ring.open_ring(str(path)), range(START, START + 25))
    fd = ring.open_ring(str(path))
    ring.sum_up_newest(fd)
    found = ring.samples(str(path), 10, START, START + 60)
    assert [(sample[0] - START, sample[1]) for sample in found] == [(0, 10), (10, 10), (20, 5)]
    write(fd, range(START + 25, START + 41))
    found = ring.samples(str(path), 10, START, START + 60)
    assert [(sample[0] - START, sample[1]) for sample in found] == [(0, 10), (10, 10), (20, 10), (30, 10)]


def test_a_clock_that_is_set_back_writes_over_the_future(path: Path) -> None:
    fd = ring.open_ring(str(path))
    write(fd, range(START + 100, START + 110), cpu=9)
    write(fd, range(START, START + 105), cpu=1)
    found = ring.samples(str(path), 1, START, START + 105)
    assert len(found) == 105
    assert {of(sample, "cpu") for sample in found} == {1.0}


@pytest.mark.parametrize("content", [b"", b"short", b"TUIRING\0" + bytes(4000)])
def test_a_file_that_is_no_history_is_not_read_and_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert ring.samples(str(path), 1, 0, START) == []
    write(ring.open_ring(str(path)), range(START, START + 2))
    assert len(ring.samples(str(path), 1, 0, START + 2)) == 2


def test_the_finest_ring_that_goes_back_far_enough_is_taken() -> None:
    spans = (timedelta(minutes=15), timedelta(minutes=16), timedelta(hours=6), timedelta(days=1), timedelta(days=90))
    assert [finest(span) for span in spans] == [1, 10, 10, 60, 60]


def a_sample(place: int, **given: float) -> Sample:
    return Sample(datetime.fromtimestamp(START + 60 * place, UTC), 60.0, *values(**given))


def advised(limits: Limits, samples: tuple[Sample, ...], hours: float = 24) -> Advice:
    return advice("id", "name", limits, samples, timedelta(hours=hours), 0.15)


def test_advice_is_the_95th_percentile_of_cpu_and_the_peak_of_memory_with_headroom() -> None:
    samples = tuple(
        a_sample(n, cpu=0.2 if n % 100 < 97 else 1.9, memory=90 << 20, memory_max=100 << 20) for n in range(1440)
    )
    found = advised(Limits(cpus=2, memory=1 << 30), samples)
    assert found.confidence == "high"
    assert found.cpus == pytest.approx(0.2 * 1.15, abs=0.011)
    assert found.memory is not None
    assert 115 << 20 <= found.memory <= 131 << 20  # rounded up to 16 MiB


def test_advice_never_goes_below_a_limit_that_was_hit() -> None:
    samples = tuple(
        a_sample(n, cpu=0.5, throttled=60, memory=60 << 20, memory_max=60 << 20, oom_kills=n == 3) for n in range(60)
    )
    found = advised(Limits(cpus=0.5, memory=64 << 20), samples, hours=1)
    assert found.confidence == "medium"
    assert found.cpus == pytest.approx(0.5 * 1.6)
    assert found.memory is not None
    assert found.memory > 64 << 20
    assert len(found.evidence) == 2


@pytest.mark.parametrize(
    ("minutes", "hours", "confidence"), [(0, 1, "none"), (5, 1, "low"), (20, 24, "low"), (400, 8, "high")]
)
def test_confidence_comes_from_how_much_is_known(minutes: int, hours: float, confidence: str) -> None:
    samples = tuple(a_sample(n, cpu=0.1, memory=1 << 20, memory_max=1 << 20) for n in range(minutes))
    assert advised(Limits(), samples, hours).confidence == confidence
