from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.containers.capacity import shortage
from engine.model.limits import DeviceRate, Limits
from tuicon.cli.failure import Usage
from tuicon.cli.metrics import parse_listen
from tuicon.model.profiles import matched, parse

EXAMPLE = Path(__file__).parents[2] / "docs/profiles/game-host.toml"
CPUS = os.cpu_count() or 1


def test_the_example_is_the_game_host() -> None:
    changes = matched(parse(EXAMPLE.read_text()), ["logic", "login", "database", "other"])
    assert set(changes) == {"logic", "login", "database"}
    assert changes["logic"](Limits(pids=5)) == Limits(cpus=0.4 * CPUS, memory=2 << 30, pids=5)
    assert changes["login"](Limits()) == Limits(cpus=0.1 * CPUS, memory=512 << 20)
    rates = {
        "device_read_bps": (DeviceRate("game-data", 200 << 20),),
        "device_write_bps": (DeviceRate("game-data", 100 << 20),),
    }
    assert changes["database"](Limits()) == Limits(cpus=0.3 * CPUS, memory=4 << 30, **rates)  # type: ignore[arg-type]


def test_a_name_goes_before_a_pattern() -> None:
    profile = parse('[containers."web-*"]\npids-limit = 5\n[containers.web-2]\npids-limit = 7')
    changes = matched(profile, ["web-1", "web-2", "db"])
    assert {name: change(Limits()).pids for name, change in changes.items()} == {"web-1": 5, "web-2": 7}


@pytest.mark.parametrize(
    "text",
    [
        "", "x = 1", "[containers]", "[containers.a]", "[containers.a]\nnothing = 1", "[containers.a]\ncpus = 'x'",
        "[containers.a]\nmemory = 'x'", "[containers.a]\ncpus = '400%'", "containers = 5", "[containers.a]\ncpus = 1985-05-05",
        "[containers.a]\ndevice-read-bps = {x = 'y'}", "not toml", "[containers.a]\ncpu = 1",
    ],
)  # fmt: skip
def test_a_malformed_profile_is_refused_with_one_sentence(text: str) -> None:
    with pytest.raises(Usage) as refusal:
        matched(parse(text), ["a"])["a"](Limits())
    assert len(str(refusal.value).splitlines()) == 1


def test_a_profile_must_fit_on_the_host() -> None:
    assert shortage([Limits(cpus=1.5, memory=1 << 30), Limits(cpus=0.5, memory=1 << 30)], 2, 2 << 30) == ""
    assert "2.1 CPUs" in shortage([Limits(cpus=1.5), Limits(cpus=0.6)], 2, 2 << 30)
    assert "3072 MiB" in shortage([Limits(memory=2 << 30), Limits(memory=1 << 30)], 2, 2 << 30)
    assert "protected" in shortage([Limits(memory_reservation=3 << 30)], 2, 2 << 30)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9580", ("127.0.0.1", 9580)),
        ("9580", ("127.0.0.1", 9580)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_metrics_listen_on_loopback_unless_told_otherwise(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4:", "1.2.3.4:99999"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        parse_listen(text)
