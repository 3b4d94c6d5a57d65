from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import Conflict
from tests.fakes import FakeBackend, with_volumes
from tests.ui.test_console import table, until, with_console
from tests.ui.test_images_pane import dialog, said
from tuicon.dialogs.ask import Choose, Confirm, Help, Prompt
from tuicon.dialogs.document import Document
from tuicon.dialogs.prune import PruneVolumes
from tuicon.screens.main import MainScreen
from tuicon.screens.volume_browser import VolumeBrowser
from tuicon.widgets.document import DocumentView
from tuicon.widgets.table import RecordTable

P = Pilot[int]


async def in_volumes(body: Callable[[P, FakeBackend], Awaitable[None]], size: tuple[int, int] = (120, 40)) -> None:
    async def inside(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("4")
        await until(pilot, lambda: table(pilot, "volumes").cursor_key == "data")
        await body(pilot, backend)

    await with_console(with_volumes(), inside, size)


async def in_files(pilot: P) -> VolumeBrowser:
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, VolumeBrowser) and names(pilot))
    screen = pilot.app.screen
    assert isinstance(screen, VolumeBrowser)
    return screen


def names(pilot: P) -> list[str]:
    screen = pilot.app.screen
    return (
        [row.key for row in screen.query_one("#volume-files", RecordTable).rows]
        if isinstance(screen, VolumeBrowser)
        else []
    )


def cells(pilot: P, key: str) -> list[str]:
    return next(([cell.text for cell in row.cells] for row in table(pilot, "volumes").rows if row.key == key), [])


async def test_the_list_in_use_has_sizes_and_the_detail_says_who_uses_the_volume_where() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        await until(pilot, lambda: cells(pilot, "data")[1:4] == ["local", "3.00G", "gateway, database"])
        info = pilot.app.screen.query_one("#info", DocumentView)
        wanted = ("team=shop", "gateway: /var/lib/data (runs)", "before-upgrade", "ago, reflink")
        await until(pilot, lambda: all(text in info.visible_text() for text in wanted))
        await pilot.press("1")
        await until(pilot, lambda: len(cells(pilot, "data")) == 3)

    await in_volumes(body, (160, 50))


async def test_files_are_walked_viewed_measured_and_extracted() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        screen = await in_files(pilot)
        assert names(pilot)[:2] == ["/base", "/pg_wal"]
        await pilot.press("enter")
        await until(pilot, lambda: names(pilot) == ["/base/1"])
        await pilot.press("backspace")
        await until(pilot, lambda: screen.table.cursor_key == "/base" and len(names(pilot)) == 7)
        await pilot.press("s")
        await until(pilot, lambda: "48.0M" in [cell.text for cell in screen.table.rows[0].cells])
        await pilot.press("o")
        await until(pilot, lambda: names(pilot)[2] == "/postgresql.conf")
        await pilot.press("slash", *"conf", "enter")
        await until(pilot, lambda: names(pilot) == ["/postgresql.conf"])
        await pilot.press("v")
        shown = await dialog(pilot, Document)
        await until(pilot, lambda: "max_connections" in shown.query_one(DocumentView).visible_text())
        await pilot.press("escape", "e")
        (await dialog(pilot, Prompt)).query_one(Input).value = "/tmp/there"
        await pilot.press("enter")
        await until(
            pilot,
            lambda: backend.asked("volume_copy_out") == [("volume_copy_out", "data", "/postgresql.conf", "/tmp/there")],
        )
        await until(pilot, lambda: "Extracted 3 files" in said(pilot))
        await pilot.press("question_mark")
        await dialog(pilot, Help)
        await pilot.press("escape", "escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))

    await in_volumes(body)


async def test_a_removal_asks_and_says_who_uses_the_volume() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("d")
        question = await dialog(pilot, Confirm)
        text = " ".join(str(line) for line in question._consequences)
        assert "gateway uses it at /var/lib/data" in text
        assert "with its 1 snapshot gateway" in text
        await pilot.press("n")
        assert backend.asked("volume_remove") == []
        backend.failures["volume_remove"] = Conflict("volume data is used by container gateway")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await pilot.press("d")
        await dialog(pilot, Confirm)
        await pilot.press("y")
        await until(pilot, lambda: "used by container gateway" in said(pilot))

    await in_volumes(body)


async def test_a_prune_shows_what_goes_first() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("D")
        shown = await dialog(pilot, PruneVolumes)
        rows = shown.query_one(RecordTable)
        await until(pilot, lambda: [row.key for row in rows.rows] == ["3f" * 32])
        await pilot.press("a")
        await until(pilot, lambda: [row.key for row in rows.rows] == ["old", "3f" * 32])
        assert backend.asked("volume_prune") == []
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("volume_prune") == [("volume_prune", "old", "3f" * 32)])
        await until(pilot, lambda: "2 volumes removed, 120MiB freed" in said(pilot))

    await in_volumes(body)


async def test_volumes_are_made_cloned_kept_restored_and_archived(tmp_path: Path) -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        async def answer(key: str, text: str, name: str) -> None:
            await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
            await pilot.press(key)
            (await dialog(pilot, Prompt)).query_one(Input).value = text
            await pilot.press("enter")
            if name:
                await until(pilot, lambda: backend.asked(name))

        await answer("n", "fresh", "volume_create")
        await answer("c", "second", "volume_clone")
        await answer("t", "now", "volume_snapshot")
        await answer("u", "20g", "volume_resize")
        await until(pilot, lambda: "data may hold 20.0GiB" in said(pilot))
        await answer("s", str(tmp_path / "data.tar"), "volume_export")
        await answer("L", str(tmp_path / "data.tar"), "")
        await dialog(pilot, Choose)
        await pilot.press("down", "enter")
        await until(pilot, lambda: backend.asked("volume_import"))
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await pilot.press("R")
        await dialog(pilot, Choose)
        await pilot.press("enter")
        question = await dialog(pilot, Confirm)
        assert "what is in it now goes" in question._consequences
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("volume_restore"))
        archive = str(tmp_path / "data.tar")
        wanted = [
            ("volume_create", "fresh"), ("volume_clone", "data", "second"), ("volume_snapshot", "data", "now"), ("volume_resize", "data", 20 << 30),
            ("volume_export", "data", archive), ("volume_import", "data", archive, True), ("volume_restore", "data", "now"),
        ]  # fmt: skip
        assert [call for call in backend.calls if call in wanted] == wanted

    await in_volumes(body)


async def test_a_sync_shows_what_it_would_change_before_it_does() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        async def ask(*keys: str) -> None:
            await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
            await pilot.press("P")
            (await dialog(pilot, Prompt)).query_one(Input).value = "there:copy"
            await pilot.press("enter")
            await dialog(pilot, Choose)
            await pilot.press(*keys)

        await ask("down", "down", "enter")
        shown = (await dialog(pilot, Document)).query_one(DocumentView)
        await until(pilot, lambda: "A /new" in shown.visible_text())
        assert "\\x1b[31mred" in shown.visible_text()
        await pilot.press("escape")
        await ask("enter")
        await until(pilot, lambda: len(backend.asked("volume_sync")) == 2)
        wanted = [
            ("volume_sync", "data", "there:copy", True, True),
            ("volume_sync", "data", "there:copy", False, False),
        ]
        assert backend.asked("volume_sync") == wanted
        await until(pilot, lambda: "2 sent (4.00KiB), 1 changed, 0 removed" in said(pilot))

    await in_volumes(body)
