from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.errors import Conflict, InvalidArgument
from engine.model.limits import Limits
from tests.fakes import FakeBackend, eight
from tests.ui.test_console import Body, main_of, table, until, with_console
from tuicon.dialogs.ask import Choose, Prompt
from tuicon.dialogs.previews import Previews
from tuicon.screens.tuning import TuningScreen
from tuicon.widgets.knob import Knob
from tuicon.widgets.limit_graph import LimitGraph


def pane(pilot: Pilot[int]) -> TuningScreen:
    screen = pilot.app.screen
    assert isinstance(screen, TuningScreen)
    return screen


def knob(pilot: Pilot[int], name: str) -> Knob:
    return pane(pilot).query_one(f"#knob-{name}", Knob)


def line(pilot: Pilot[int], name: str) -> str:
    return str(pane(pilot).query_one(f"#{name}", Static).render())


def limits(backend: FakeBackend, name: str = "gateway") -> Limits:
    return backend.containers.get(name).limits


async def tuned(body: Body, backend: FakeBackend | None = None, size: tuple[int, int] = (112, 36)) -> None:
    async def open_pane(pilot: Pilot[int], backend: FakeBackend) -> None:
        await until(pilot, lambda: main_of(pilot).snapshot.usages)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, TuningScreen) and bool(pilot.app.screen.query(Knob)))
        await until(pilot, lambda: pane(pilot)._facts.advice is not None)
        await body(pilot, backend)

    await with_console(backend or eight(), open_pane, size=size)


async def test_a_knob_changes_the_limit_at_once_and_undo_takes_it_back() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        before = limits(backend)
        await pilot.press("l", "l")
        await until(pilot, lambda: limits(backend).cpus == 0.6)
        knob(pilot, "memory").focus()
        await pilot.press(*"64m", "enter")
        await until(pilot, lambda: limits(backend).memory == 64 << 20)
        await pilot.press("u")
        await until(pilot, lambda: limits(backend) == Limits(cpus=0.6, memory=256 << 20))
        await pilot.press("l", "l")
        await until(pilot, lambda: limits(backend).memory != 256 << 20)
        await pilot.press("U")
        await until(pilot, lambda: limits(backend) == before)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    await tuned(body)


async def test_an_undo_follows_a_change_whose_result_is_not_back_yet() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        before = limits(backend)
        gate = backend.containers.tuning.gate = threading.Event()
        await pilot.press("h")
        await until(pilot, lambda: limits(backend).cpus == 0.45)  # the kernel has it, the console does not know
        await pilot.press("u")
        assert backend.asked("undo") == []
        gate.set()
        await until(pilot, lambda: limits(backend) == before)
        await until(pilot, lambda: knob(pilot, "cpus").value == 0.5)

    await tuned(body)


async def test_what_the_fingers_still_move_is_not_asked_for_when_it_is_undone() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        pane(pilot)._rest = lambda: None  # type: ignore[method-assign]
        await pilot.press("h", "u")
        await until(pilot, lambda: knob(pilot, "cpus").value == 0.5)
        assert backend.asked("update") == backend.asked("undo") == []

    await tuned(body)


async def test_undo_works_outside_the_pane_too() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        before = limits(backend)
        await pilot.press("x")
        await until(pilot, lambda: limits(backend).cpus is None)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await pilot.press("u")
        await until(pilot, lambda: limits(backend) == before)
        await pilot.press("u")
        await until(pilot, lambda: any("no change of limits" in toast.message for toast in pilot.app._notifications))

    await tuned(body)


async def test_every_knob_takes_what_is_typed() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        typed = {
            "cpus": "10%", "shares": "2048", "burst": "20ms", "cpuset": "0-1,3", "high": "200m", "low": "64m",
            "swap": "-1", "swappiness": "0", "read": "50m", "write": "512k", "write-ops": "900", "io-weight": "300", "pids": "99", "net-in": "10m",
        }  # fmt: skip
        cpus = main_of(pilot).snapshot.host.cpus
        for name, text in typed.items():
            knob(pilot, name).focus()
            await until(pilot, lambda name=name: pilot.app.focused is knob(pilot, name))  # type: ignore[misc]
            await pilot.press(*text, "enter")
        await until(pilot, lambda: limits(backend).net_rate_in == 10 << 20)
        found = limits(backend)
        assert found.cpus == round(0.1 * cpus, 2)
        assert (found.cpu_shares, found.cpu_burst, found.cpuset_cpus) == (2048, 20_000, "0-1,3")
        assert (found.memory_high, found.memory_reservation, found.memory_swap) == (200 << 20, 64 << 20, -1)
        assert (found.memory_swappiness, found.blkio_weight, found.pids) == (0, 300, 99)
        assert found.device_read_bps[0].rate == 50 << 20
        assert found.device_write_bps[0].rate == 512 << 10
        assert found.device_write_iops[0].rate == 900

    await tuned(body, size=(100, 30))


async def test_keys_that_come_at_once_go_to_the_limit_they_are_meant_for() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        for key in ("j", "j", "j", "j", "j", "6", "4", "m", "enter"):
            pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: limits(backend).memory == 64 << 20)
        assert limits(backend).cpus == 0.5

    await tuned(body)


async def test_what_is_off_the_scale_is_said_beside_the_knob_and_not_asked_for() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press(*"999", "enter")
        await until(pilot, lambda: "goes from" in knob(pilot, "cpus").problem)
        assert backend.asked("update") == []

    await tuned(body)


async def test_a_limit_this_kernel_has_not_says_why_and_does_not_move() -> None:
    backend = eight()
    backend.containers.tuning.why_not["memory_high"] = "cgroup v1 has no such limit"

    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        knob(pilot, "high").focus()
        await pilot.press("h", *"64m", "enter")
        await until(pilot, lambda: "cgroup v1 has no such limit" in str(knob(pilot, "high").render()))
        assert backend.asked("update") == []

    await tuned(body, backend)


async def test_what_would_be_in_force_is_shown_before_it_is_asked_for() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await until(pilot, lambda: "in force: 0.50 cores · 25.0% of the host" in line(pilot, "preview"))
        await pilot.press("1", ".", "5")
        await until(pilot, lambda: "would be in force: 1.50 cores" in line(pilot, "preview"))
        knob(pilot, "shares").focus()
        await pilot.press(*"3072")
        await until(pilot, lambda: "50.0% of the host when all want it" in line(pilot, "preview"))
        await pilot.press("escape")
        await until(pilot, lambda: "would" not in line(pilot, "preview"))
        assert backend.asked("update") == []

    await tuned(body)


async def test_what_the_engine_refuses_is_said_and_the_knob_goes_back() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.failures["update"] = InvalidArgument("no such path: /[/b]x")
        await pilot.press("L")
        await until(pilot, lambda: knob(pilot, "cpus").problem == "no such path: /[/b]x")
        assert knob(pilot, "cpus").value == 0.5
        assert line(pilot, "note") == "no such path: /[/b]x"
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await pilot.press("u")
        await until(pilot, lambda: any("no change of limits" in toast.message for toast in pilot.app._notifications))

    await tuned(body)


async def test_a_line_is_dragged_with_the_mouse_and_asked_for_when_it_is_dropped() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        graph = pane(pilot).query_one(LimitGraph)
        await until(pilot, lambda: graph.picture.lines)
        row = next(y for y in range(graph.size.height) if "max 0.50 cores" in graph.text().split("\n")[y])
        knob(pilot, "memory").focus()
        knob(pilot, "cpus").focus()
        await pilot.pause()
        await pilot.mouse_down(graph, offset=(30, row + 1))
        await pilot.hover(graph, offset=(30, row + 4))
        await until(pilot, lambda: "would be" in line(pilot, "preview"))
        assert backend.asked("update") == []
        await pilot.mouse_up(graph, offset=(30, row + 4))
        await until(pilot, lambda: (limits(backend).cpus or 1) < 0.5)

    await tuned(body)


async def test_a_trial_is_kept_with_enter_and_taken_back_with_escape() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        before = limits(backend)
        await pilot.press("t", "plus")
        await until(pilot, lambda: "on trial for 60 s" in line(pilot, "note"))
        await pilot.press("h")
        await until(pilot, lambda: "On trial, 60 s left · cpus 0.5 → 0.45" in line(pilot, "note"))
        await pilot.press("escape")
        await until(pilot, lambda: limits(backend) == before)
        await until(pilot, lambda: "On trial" not in line(pilot, "note"))
        await pilot.press("t", "h")
        await until(pilot, lambda: "On trial" in line(pilot, "note"))
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("confirm") == [("confirm", "gateway")])
        await until(pilot, lambda: "On trial" not in line(pilot, "note"))
        assert limits(backend).cpus == 0.45
        await pilot.press("h")
        await until(pilot, lambda: limits(backend).cpus == 0.4)
        assert backend.containers.tuning.trials == {}

    await tuned(body)


async def test_a_trial_that_the_monitor_has_taken_back_is_seen() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        found = backend.containers.get("gateway")
        await pilot.press("t", "h")
        await until(pilot, lambda: "On trial" in line(pilot, "note"))
        backend.containers.tuning.trials.clear()
        backend.containers._change("gateway", limits=replace(found.limits))
        await until(pilot, lambda: knob(pilot, "cpus").value == 0.5)
        await until(pilot, lambda: "The trial is over" in line(pilot, "note"))

    await tuned(body)


async def test_memory_below_the_use_offers_to_step_down_which_can_be_called_off() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.failures["update"] = Conflict("container gateway uses 100 MiB, more than the memory limit of 64 MiB")
        knob(pilot, "memory").focus()
        await pilot.press(*"64m", "enter")
        await until(pilot, lambda: "d steps down to it bit by bit · f sets memory.high" in line(pilot, "note"))
        gate = backend.containers.tuning.gate = threading.Event()
        await pilot.press("d")
        await until(pilot, lambda: "Stepping down to 64.0MiB" in line(pilot, "note"))
        await pilot.press("escape")
        await until(pilot, lambda: "called off" in line(pilot, "note"))
        assert limits(backend).memory == 256 << 20
        gate.set()
        await pilot.press(*"64m", "enter")
        await until(pilot, lambda: "d steps down" in line(pilot, "note"))
        await pilot.press("d")
        await until(pilot, lambda: limits(backend).memory == 64 << 20)

    await tuned(body)


async def test_advice_is_put_on_trial() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await until(pilot, lambda: "Advice 0.66 cores, 192MiB" in line(pilot, "side-advice"))
        await pilot.press("a")
        await until(pilot, lambda: "On trial" in line(pilot, "note"))
        assert (limits(backend).cpus, limits(backend).memory) == (0.66, 192 << 20)

    await tuned(body)


async def test_other_windows_are_read_from_the_history() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        graph = pane(pilot).query_one(LimitGraph)
        for title, step in (("15 min", 1), ("6 h", 10), ("14 d", 60)):
            await pilot.press("w")
            await until(pilot, lambda title=title: graph.picture.window.title == title)  # type: ignore[misc]
            await until(pilot, lambda step=step: ("samples", "gateway", step) in backend.calls)  # type: ignore[misc]
            await until(pilot, lambda title=title: f"{title} ago" in graph.text())  # type: ignore[misc]

    await tuned(body)


async def test_changes_by_others_are_seen() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.containers.tuning.update_all({"gateway": lambda limits: replace(limits, cpus=0.9)}, how="autotune")
        await until(pilot, lambda: knob(pilot, "cpus").value == 0.9)
        await until(pilot, lambda: "cpus 0.5 → 0.9  autotune by root" in line(pilot, "changes"))

    await tuned(body)


async def test_the_pane_closes_when_the_container_ends() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.containers.stop("gateway")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        assert table(pilot).cursor_key

    await tuned(body)


async def test_marked_containers_are_changed_relative_to_each_in_one_step() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.containers._change("database", limits=Limits(cpus=2.0))
        await until(pilot, lambda: main_of(pilot).snapshot.containers[1].limits.cpus == 2.0)
        await pilot.press("space", "space", "t")
        await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
        await pilot.press(*"cpus +500%")
        await until(
            pilot, lambda: "gateway, database" in str(pilot.app.screen.query_one("#prompt-check", Static).render())
        )
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Previews))
        await pilot.press("n")
        assert backend.asked("update") == []
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
        await pilot.press(*"cpus -50%, memory +10%", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Previews))
        await pilot.press("y")
        await until(pilot, lambda: limits(backend, "database") == Limits(cpus=1.0))
        assert limits(backend) == Limits(cpus=0.25, memory=round(1.1 * (256 << 20)))
        await until(pilot, lambda: len(main_of(pilot)._retuned) == 2)
        await pilot.press("u")
        await until(pilot, lambda: limits(backend, "database").cpus == 2.0)

    await with_console(eight(), body)


async def test_a_profile_is_chosen_shown_and_put_on_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    directory = tmp_path / "tuicon/profiles"
    directory.mkdir(parents=True)
    directory.joinpath("night.toml").write_text(
        '[containers."*e*"]\ncpus = 0.1\n[containers.gateway]\nmemory = "64m"\n'
    )
    directory.joinpath("too-much.toml").write_text("[containers.gateway]\ncpus = 9\n")

    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("f")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Previews))
        await pilot.press("y")
        assert isinstance(pilot.app.screen, Previews)
        assert not pilot.app.screen.is_possible
        await pilot.press("n", "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Previews))
        await pilot.press("t")
        await until(pilot, lambda: limits(backend, "cache").cpus == 0.1)
        await until(pilot, lambda: limits(backend).memory == 64 << 20)
        assert {trial.seconds_left for trial in backend.containers.tuning.trials.values()} == {60.0}

    await with_console(eight(), body)


async def test_a_profile_that_is_none_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("f")
        await until(pilot, lambda: isinstance(pilot.app.screen, Prompt))
        pilot.app.screen.query_one(Input).value = str(tmp_path / "none.toml")
        await pilot.press("enter")
        await until(pilot, lambda: any("cannot read" in toast.message for toast in pilot.app._notifications))

    await with_console(eight(), body)
