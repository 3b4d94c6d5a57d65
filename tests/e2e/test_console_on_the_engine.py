from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from tests.e2e.screen import ConsoleScreen
from tests.kernel.conftest import engine, root  # noqa: F401 - fixtures

pytestmark = pytest.mark.kernel


@pytest.fixture
def empty(root: Path) -> Iterator[Engine]:  # noqa: F811 - a fixture
    with Engine(root / "state") as opened:
        yield opened
        opened.system.reset()


def test_from_the_first_screen_to_a_retuned_container(empty: Engine) -> None:
    screen = ConsoleScreen(str(empty.root))
    screen.until("Welcome to tuicon")
    screen.press("\r")
    screen.until(lambda seen: seen.count("● running") == 3)
    assert len(empty.containers.list(all=False)) == 3

    screen.press("/cpu\r")
    screen.until("containers 1/3")
    screen.until("cpu: 50 rounds")

    screen.press("t")
    screen.until("Retune demo-cpu")
    screen.press("hh")
    screen.until("0.40 cores")
    screen.until(lambda _seen: empty.containers.get("demo-cpu").limits.cpus == 0.4)
    group, _ = empty.containers._lifecycle.group(empty.containers.get("demo-cpu").id)
    quota = (
        Path(group.paths["unified"], "cpu.max") if group.version == 2 else Path(group.paths["cpu"], "cpu.cfs_quota_us")
    )
    assert quota.read_text().split()[0] == "40000"
    screen.press("u")
    screen.until(lambda _seen: empty.containers.get("demo-cpu").limits.cpus == 0.5)
    screen.press("q")
    screen.until(lambda seen: "Retune demo-cpu" not in seen)

    screen.press("e")
    screen.until("a shell in demo-cpu")
    screen.press("echo in-$(hostname)\r")
    screen.until(f"in-{empty.containers.get('demo-cpu').short_id}")
    screen.press("exit\r")
    screen.until("containers 1/3")

    screen.press("S")
    screen.until(lambda seen: re.search(r"○ exit \d+ +demo-cpu", seen))
    screen.press("q")
    assert screen.close() == 0
    assert {container.name for container in empty.containers.list(all=False)} == {"demo-memory", "demo-io"}


def test_a_trial_is_taken_back_when_the_console_is_killed(empty: Engine) -> None:
    empty.system.demo_up()
    screen = ConsoleScreen(str(empty.root), rows=24, columns=80)
    screen.until(lambda seen: seen.count("● running") == 3)
    screen.press("/cpu\r")
    screen.until("containers 1/3")
    screen.press("t")
    screen.until("Retune demo-cpu")
    screen.press("t--")
    screen.until("The next change is on trial for 10 s")
    screen.press("h")
    screen.until(lambda seen: re.search(r"On trial, \d+ s left · cpus 0.5 → 0.45", seen))
    assert empty.containers.tuning.on_trial("demo-cpu") is not None
    screen.kill()
    deadline = time.monotonic() + 120
    while empty.containers.get("demo-cpu").limits.cpus != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_killed_console_leaves_the_containers_and_the_next_one_sees_them(empty: Engine) -> None:
    empty.system.demo_up()
    first = ConsoleScreen(str(empty.root))
    first.until(lambda seen: seen.count("● running") == 3)
    first.kill()
    assert len(empty.containers.list(all=False)) == 3
    second = ConsoleScreen(str(empty.root), rows=24, columns=80)
    second.until(lambda seen: seen.count("● running") == 3)
    second.until("io: wrote")
    second.press("q")
    assert second.close() == 0
