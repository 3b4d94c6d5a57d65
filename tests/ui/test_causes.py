from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.errors import Conflict
from engine.model.event import Event
from engine.model.groups import Stall
from tests.fake_groups import some_events
from tests.fakes import FakeBackend, eight
from tests.ui.test_console import main_of, table, until, with_console
from tuicon.dialogs.document import Document
from tuicon.feed import Feed
from tuicon.model.causes import column_of, marks_of, with_sizes
from tuicon.model.snapshot import Snapshot
from tuicon.screens.detail import Detail
from tuicon.screens.groups import GroupsScreen
from tuicon.screens.pressure import PressureScreen
from tuicon.screens.why import WhyScreen
from tuicon.widgets.cause_strip import Graphs
from tuicon.widgets.log_view import LogView
from tuicon.widgets.table import RecordTable


def names(pilot: Pilot[int]) -> list[str]:
    return [row.cells[0].text.strip(" ▾▸◆▤⚙○▣●·") for row in pilot.app.screen.query_one(RecordTable).rows]


def text_of(pilot: Pilot[int], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


async def open_pressure(pilot: Pilot[int]) -> None:
    await pilot.press("P")
    await until(pilot, lambda: isinstance(pilot.app.screen, PressureScreen) and names(pilot))


async def test_those_who_wait_most_stand_first_with_who_is_in_the_way() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await open_pressure(pilot)
        assert names(pilot)[:3] == ["gateway", "database", "worker"]
        assert "its own CPU limit of 0.5" in text_of(pilot, "#pressure-facts")
        await pilot.press("j")
        await until(pilot, lambda: "backup.service moves" in text_of(pilot, "#pressure-facts"))
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, GroupsScreen))
        await until(pilot, lambda: pilot.app.screen.query_one(RecordTable).cursor_key == "/system.slice/backup.service")
        await pilot.press("escape", "slash", *"wiki", "enter")
        await until(pilot, lambda: names(pilot) == ["wiki"])
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 7)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    await with_console(eight(), body)


async def test_from_the_pressure_the_limits_of_ours_are_one_key_away_and_others_are_only_looked_at() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await open_pressure(pilot)
        pressure = pilot.app.screen
        await pilot.press("j", "enter")
        await until(pilot, lambda: pilot.app.screen not in (pressure, main_of(pilot)))
        assert main_of(pilot).selected == backend.containers.get("database").id
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is pressure)
        pressure.query_one(RecordTable).cursor_key = next(
            key for key in (row.key for row in pressure.query_one(RecordTable).rows) if "libpod" in key
        )
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, GroupsScreen))
        assert any("can only be looked at" in toast.message for toast in pilot.app._notifications)

    await with_console(eight(), body)


async def test_without_pressure_of_groups_the_reason_is_said_and_use_is_shown() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await open_pressure(pilot)
        assert "on cgroup v2 only" in text_of(pilot, "#pressure-host")
        assert "held 60%" in [row.cells[1].text for row in pilot.app.screen.query_one(RecordTable).rows]

    backend = eight()
    backend.groups.measures_groups = False
    await with_console(backend, body, (80, 24))


async def test_the_tree_of_groups_is_folded_sorted_filtered_and_looked_into() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, GroupsScreen) and len(names(pilot)) == 15)
        tree = pilot.app.screen.query_one(RecordTable)
        tree.cursor_key = "/system.slice"
        await pilot.press("space")
        await until(pilot, lambda: "backup.service" not in names(pilot))
        await pilot.press("l")
        await until(pilot, lambda: "backup.service" in names(pilot))
        await pilot.press("f")
        await until(pilot, lambda: len(names(pilot)) == 5)
        await pilot.press("f", "o")
        await until(pilot, lambda: names(pilot)[1] == "system.slice")
        await pilot.press("slash", *"hello")
        assert pilot.app.screen.query_one(Input).value == "hello"
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 15)
        tree.cursor_key = "/system.slice/ssh.service"
        await pilot.press("t")
        await until(pilot, lambda: any("can only be looked at" in toast.message for toast in pilot.app._notifications))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Document))
        assert backend.asked("inspect_group") == [("inspect_group", "/system.slice/ssh.service")]
        assert "memory.events:" in pilot.app.screen.query_one(LogView).visible_text()

    await with_console(eight(), body)


async def test_why_is_told_and_leads_to_the_log_at_the_end() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, WhyScreen) and pilot.app.screen.death)
        gateway = backend.containers.get("gateway").id
        assert backend.asked("why") == [("why", gateway, None)]
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await until(pilot, lambda: isinstance(main_of(pilot).focused, LogView))
        assert not main_of(pilot).query_one("#logs", LogView).following
        table(pilot).focus()
        table(pilot).cursor_key = backend.containers.get("migrate").id
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, WhyScreen) and pilot.app.screen.death)
        await pilot.press("s")
        await until(pilot, lambda: ("start", "migrate") in backend.calls)

    await with_console(eight(), body)


async def test_what_cannot_be_explained_says_so() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend) -> None:
        await pilot.press("w")
        await until(pilot, lambda: "has not ended yet" in pilot.app.export_screenshot().replace("&#160;", " "))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    backend = eight()
    backend.failures["why"] = Conflict("container gateway runs and has not ended yet")
    await with_console(backend, body)


async def test_marks_are_moved_over_and_lead_to_the_log_of_that_moment() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        main = main_of(pilot)
        await until(pilot, lambda: len(main.snapshot.events) == 9)
        main.query_one(Detail).tab = "graphs"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(main.focused, Graphs))
        graphs = main.query_one(Graphs)
        await until(pilot, lambda: len(graphs._visible) == 9)
        await pilot.press("comma")
        assert graphs.selected
        assert graphs.selected.title == "became unhealthy"
        await pilot.press("comma", "comma")
        assert graphs.selected.title == "ended with exit code 137"
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, WhyScreen))
        await until(pilot, lambda: backend.asked("why"))
        assert backend.asked("why")[0][2] == graphs.selected.time
        await pilot.press("escape", "full_stop", "enter")
        await until(pilot, lambda: isinstance(main.focused, LogView) and main.focused.id == "logs")
        assert main.query_one("#logs", LogView).timestamps
        assert main.query_one(Detail).tab == "logs"

    backend = eight()
    # Ahead of the clock they stand at the right end of the axis, however slow this machine is.
    backend.past = some_events(backend.containers.get("gateway").id, datetime.now(UTC) + timedelta(hours=1))
    await with_console(backend, body)


def test_marks_stand_where_their_time_is_on_the_axis() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    marks = marks_of(some_events("c" * 64, now), "c" * 64)
    assert column_of(now, now, 120, 61) == 60
    assert [column_of(mark.time, now, 120, 61) for mark in marks] == [4, 10, 18, 25, 33, 45, 46, 46, 56]
    assert column_of(marks[0].time, now, 60, 61) is None
    assert marks_of(some_events("c" * 64, now), "d" * 64) == ()


def test_a_mark_says_who_did_what_and_obeys_nothing_of_it() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    hostile = Event(
        "1:1",
        now,
        "container",
        "exec_create",
        "c" * 64,
        "web",
        {"command": "\x1b[2J[red]", "by": "ann", "from": "192.0.2.7"},
    )
    (mark,) = marks_of([hostile], "c" * 64)
    assert mark.detail == r"by ann from 192.0.2.7 command \x1b[2J[red]"
    pull = replace(
        hostile, type="image", action="pull", id="sha256:1", name="docker.io/library/nginx:latest", attributes={}
    )
    assert [one.title for one in marks_of([pull], "c" * 64)] == ["an image was pulled"]
    assert with_sizes("memory None -> 67108864, cpus 1.0 -> None") == "memory none → 64.0MiB, cpus 1.0 -> None"


def test_an_event_that_comes_again_is_remembered_once() -> None:
    backend = eight()
    backend.past = some_events("c" * 64, datetime.now(UTC))
    delivered: list[Snapshot] = []
    keep: Callable[[Snapshot], None] = delivered.append
    feed = Feed(backend, keep)
    for event in (*backend.past, *backend.past):
        feed._take_event(event)
    assert len(feed._events) == 9


async def test_a_stall_is_told_once_and_marked_below_the_graphs() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        stall = Stall(backend.containers.get("gateway").id, "io", 40.0)
        backend.stalls += [stall, stall, Stall("", "memory", 10.0)]
        await until(pilot, lambda: len(_toasts(pilot)) == 2 and not backend.stalls)
        assert _toasts(pilot) == [
            "gateway waits for io; P shows who is in the way",
            "The host is short of memory; P shows who waits",
        ]
        await until(pilot, lambda: [event.action for event in main_of(pilot).snapshot.events] == ["pressure"])
        (mark,) = marks_of(main_of(pilot).snapshot.events, stall.container_id)
        assert (mark.title, mark.detail) == ("pressure", "waits for io, more than 40% of the time")

    await with_console(eight(), body)


def _toasts(pilot: Pilot[int]) -> list[str]:
    return [toast.message for toast in pilot.app._notifications if "P shows" in toast.message]
