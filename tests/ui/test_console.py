from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from engine.api import Engine
from engine.model.container import Container, ContainerSpec
from engine.model.limits import Limits
from engine.model.status import Status
from tests.fakes import FakeBackend, a_container, eight
from tuicon.app import Console
from tuicon.backend import Backend
from tuicon.config import Config
from tuicon.dialogs.ask import Choose, Confirm, Help
from tuicon.dialogs.run import RunForm
from tuicon.feed import Feed
from tuicon.model.snapshot import Snapshot
from tuicon.screens.detail import Detail
from tuicon.screens.first import Missing, Welcome
from tuicon.screens.main import MainScreen
from tuicon.screens.tuning import TuningScreen
from tuicon.widgets.log_view import LogView
from tuicon.widgets.table import RecordTable

Body = Callable[[Pilot[int], FakeBackend], Any]


async def until(pilot: Pilot[int], condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await pilot.pause(0.02)


def console(backend: FakeBackend, keys: dict[str, str] | None = None) -> Console:
    return Console(backend, Config(keys=keys or {}))


def main_of(pilot: Pilot[int]) -> MainScreen:
    app = pilot.app
    assert isinstance(app, Console)
    return app.main


def table(pilot: Pilot[int], name: str = "containers") -> RecordTable:
    return main_of(pilot).query_one(f"#{name}", RecordTable)


async def with_console(
    backend: FakeBackend, body: Body, size: tuple[int, int] = (160, 50), keys: dict[str, str] | None = None
) -> None:
    async with console(backend, keys).run_test(size=size) as pilot:
        if not backend.missing:
            await until(pilot, lambda: main_of(pilot).is_mounted and len(table(pilot).rows) == len(backend.items))
        await body(pilot, backend)


def highlighted(pilot: Pilot[int]) -> str:
    found = main_of(pilot).snapshot.container(table(pilot).cursor_key)
    return found.name if found else ""


def test_the_engine_is_a_backend() -> None:
    backend: type[Backend] = Engine
    assert backend is Engine


async def test_moving_with_letters_and_arrows() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        names = [container.name for container in main_of(pilot).snapshot.containers]
        assert highlighted(pilot) == names[0]
        await pilot.press("j", "j", "k", "down")
        await until(pilot, lambda: highlighted(pilot) == names[2])
        await pilot.press("G")
        await until(pilot, lambda: highlighted(pilot) == names[-1])
        await pilot.press("g")
        await until(pilot, lambda: highlighted(pilot) == names[0])

    await with_console(eight(), body)


@pytest.mark.parametrize(
    ("key", "name", "call"),
    [("S", "gateway", ("stop", "gateway")), ("s", "migrate", ("start", "migrate")), ("r", "gateway", ("restart", "gateway")),
        ("p", "gateway", ("pause", "gateway")), ("p", "cache", ("unpause", "cache"))],
)  # fmt: skip
async def test_a_key_asks_the_engine(key: str, name: str, call: tuple[str, str]) -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        table(pilot).cursor_key = backend.containers.get(name).id
        await pilot.press(key)
        await until(pilot, lambda: call in backend.calls)

    await with_console(eight(), body)


async def test_what_cannot_be_done_is_said_and_not_done() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        table(pilot).cursor_key = backend.containers.get("migrate").id
        await pilot.press("S")
        await until(pilot, lambda: any("does not run" in toast.message for toast in pilot.app._notifications))
        assert backend.asked("stop") == []

    await with_console(eight(), body)


async def test_a_change_is_seen_in_the_list() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("S")
        await until(pilot, lambda: main_of(pilot).snapshot.containers[0].status is Status.EXITED)
        await until(pilot, lambda: table(pilot).rows[0].cells[0].text == "○ exit 0")

    await with_console(eight(), body)


async def test_removing_asks_first_and_names_what_goes() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        assert backend.asked("remove") == []
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("remove") == [("remove", "gateway", True, True)])
        await until(pilot, lambda: len(table(pilot).rows) == 7)

    await with_console(eight(), body)


async def test_marks_make_one_key_do_many_things() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("space", "space", "S")
        await until(pilot, lambda: len(backend.asked("stop")) == 2)
        assert {call[1] for call in backend.asked("stop")} == {"gateway", "database"}
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).marked == set())

    await with_console(eight(), body)


async def test_killing_asks_for_the_signal() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("K")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("j", "enter")
        await until(pilot, lambda: backend.asked("kill") == [("kill", "gateway", "INT")])

    await with_console(eight(), body)


async def test_the_filter_narrows_while_typing_and_escape_drops_it() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("slash", *"data")
        await until(pilot, lambda: [row.cells[1].text for row in table(pilot).rows] == ["database"])
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.focused is table(pilot))
        assert len(table(pilot).rows) == 1
        await pilot.press("escape")
        await until(pilot, lambda: len(table(pilot).rows) == 8)

    await with_console(eight(), body)


async def test_a_slash_can_be_typed_into_the_filter() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("slash", "a", "slash", "b")
        await until(pilot, lambda: main_of(pilot).query_one("#filter", Input).value == "a/b")

    await with_console(eight(), body)


async def test_digits_and_tab_go_to_the_panes() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("2")
        await until(pilot, lambda: main_of(pilot).pane == "images")
        await pilot.press("tab")
        await until(pilot, lambda: main_of(pilot).pane == "networks")
        await pilot.press("shift+tab", "shift+tab")
        await until(pilot, lambda: main_of(pilot).pane == "containers")
        await pilot.press("4")
        await until(pilot, lambda: main_of(pilot).query_one(Detail).border_title == "data")

    await with_console(eight(), body)


async def test_the_log_is_shown_and_searched() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        log = main_of(pilot).query_one("#logs", LogView)
        await until(pilot, lambda: log.count == 12)
        await until(pilot, lambda: "gateway: request 11 took" in log.visible_text())
        await pilot.press("l", "slash", *"request 1", "enter")
        await until(pilot, lambda: log.search_summary == "/request 1 3/3")
        await pilot.press("n")
        await until(pilot, lambda: log.search_summary == "/request 1 1/3")
        await pilot.press("N")
        await until(pilot, lambda: log.search_summary == "/request 1 3/3")
        await pilot.press("w", "T")
        await until(pilot, lambda: log.wrap and log.timestamps)

    await with_console(eight(), body)


async def test_tabs_show_graphs_limits_processes_and_inspect() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        detail = main_of(pilot).query_one(Detail)
        for tab in ("logs", "graphs", "limits", "processes", "inspect"):
            await until(pilot, lambda tab=tab: detail.tab == tab)  # type: ignore[misc]
            await pilot.press("right_square_bracket")
        detail.tab = "processes"
        processes = detail.query_one("#processes", RecordTable)
        await until(pilot, lambda: len(processes.rows) == 2)

    await with_console(eight(), body)


def test_a_stopped_feed_delivers_nothing() -> None:
    backend = eight()
    delivered: list[Snapshot] = []
    feed = Feed(cast("Backend", backend), delivered.append)
    taken = backend.containers.list

    def stop_meanwhile() -> tuple[Container, ...]:
        feed._stop.set()
        return taken()

    backend.containers.list = stop_meanwhile  # type: ignore[method-assign]
    feed._read()
    assert delivered == []


async def test_an_engine_error_is_a_toast_and_the_console_lives() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.failures["stop"] = RuntimeError("something unforeseen")
        await pilot.press("S")
        await until(pilot, lambda: any("something unforeseen" in toast.message for toast in pilot.app._notifications))
        await pilot.press("j")
        await until(pilot, lambda: highlighted(pilot) == "database")

    await with_console(eight(), body)


async def test_a_container_that_vanishes_leaves_the_cursor_on_its_neighbour() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("j")
        await until(pilot, lambda: highlighted(pilot) == "database")
        backend.items = [item for item in backend.items if item.name != "database"]
        backend.news.set()
        await until(pilot, lambda: len(table(pilot).rows) == 7)
        await until(pilot, lambda: highlighted(pilot) == "cache")

    await with_console(eight(), body)


async def test_the_first_run_offers_the_demo_and_starts_it() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Welcome))
        await pilot.press("enter")
        await until(pilot, lambda: ("demo_up",) in backend.calls)
        await until(pilot, lambda: len(table(pilot).rows) == 3)

    await with_console(FakeBackend(), body)


async def test_without_root_it_says_what_is_missing() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, Missing))
        await pilot.press("q")

    backend = FakeBackend(missing=("Containers need root. Start it with: sudo tuicon",))
    await with_console(backend, body)


async def test_help_lists_the_users_own_keys() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await pilot.press("f9")
        await until(pilot, lambda: backend.asked("stop") == [("stop", "gateway")])

    await with_console(eight(), body, keys={"stop": "f9"})


async def test_a_form_runs_a_new_container() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunForm))
        pilot.app.screen.query_one("#field-command", Input).value = "sleep 60"
        pilot.app.screen.query_one("#field-memory", Input).value = "64m"
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("run"))
        spec = backend.asked("run")[0][1]
        assert isinstance(spec, ContainerSpec)
        assert (spec.command, spec.limits) == (("sleep", "60"), Limits(memory=64 << 20))

    await with_console(eight(), body)


async def test_an_image_is_made_and_files_are_copied_by_commands_without_keys() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        async def answer(title: str, text: str) -> None:
            await until(
                pilot, lambda: title in str([label.border_title for label in pilot.app.screen.query(".dialog")])
            )
            await until(pilot, lambda: pilot.app.screen.query(Input))
            pilot.app.screen.query_one(Input).value = text
            await pilot.press("enter")

        name = highlighted(pilot)
        main_of(pilot).run_command("commit")
        await answer("Name of the image", "made:1")
        await until(pilot, lambda: backend.asked("commit") == [("commit", name, "made:1")])
        main_of(pilot).run_command("copy_out")
        await answer(f"Path in {name}", "/etc")
        await answer("path of the host", "/tmp/etc")
        await until(pilot, lambda: backend.asked("copy_out") == [("copy_out", name, "/etc", "/tmp/etc")])
        await until(pilot, lambda: any("3.00MiB; one" in toast.message for toast in pilot.app._notifications))

    await with_console(eight(), body)


async def test_the_palette_finds_a_command_by_name() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
        await pilot.press(*"restart")
        found = pilot.app.screen.query(OptionList).first()
        await until(pilot, lambda: found.option_count > 0 and "estart" in str(found.get_option_at_index(0).prompt))
        await until(pilot, lambda: found.highlighted == 0)
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("restart") == [("restart", "gateway")])

    await with_console(eight(), body)


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (300, 90)])
async def test_it_lives_in_any_size(size: tuple[int, int]) -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("right_square_bracket")
        await pilot.resize_terminal(100, 30)
        await pilot.resize_terminal(*size)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, TuningScreen))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await pilot.press("S")
        await until(pilot, lambda: backend.asked("stop"))

    await with_console(eight(), body, size=size)


async def test_themes_change_at_once() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        assert {"tuicon-dark", "tuicon-light", "tuicon-high-contrast"} <= set(pilot.app.available_themes)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: pilot.app.theme != "tuicon-dark")

    await with_console(eight(), body)


async def test_sorting_by_use_puts_the_busiest_first() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        main_of(pilot).sort_by = "cpu"

        def cpu() -> list[float]:
            place = [column.id for column in table(pilot)._columns].index("cpu")
            return [float(row.cells[place].sort or 0) for row in table(pilot).rows]

        await until(pilot, lambda: cpu() == sorted(cpu(), reverse=True) and len(set(cpu())) > 1)

    await with_console(FakeBackend(*(a_container(number) for number in range(1, 20))), body)


async def test_a_filter_that_looks_like_markup_is_a_filter() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("slash", "left_square_bracket", "slash", "b")
        await until(pilot, lambda: main_of(pilot).pattern == "[/b" and not table(pilot).rows)

    await with_console(eight(), body)
