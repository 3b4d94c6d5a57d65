from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.errors import ImageError
from tests.fakes import IMAGE_ID, FakeBackend, eight
from tests.ui.test_console import table, until, with_console
from tuicon.dialogs.ask import Help
from tuicon.dialogs.document import Document
from tuicon.screens.browser import LayerBrowser
from tuicon.screens.main import MainScreen
from tuicon.widgets.document import DocumentView
from tuicon.widgets.file_table import FileTable
from tuicon.widgets.table import RecordTable

Body = Callable[[Pilot[int], FakeBackend, LayerBrowser], Awaitable[None]]


def browser(pilot: Pilot[int]) -> LayerBrowser:
    screen = pilot.app.screen
    assert isinstance(screen, LayerBrowser)
    return screen


def shown(screen: LayerBrowser) -> list[str]:
    found = screen.query_one(FileTable)
    return [row.key for row in found.rows]


def document_text(pilot: Pilot[int]) -> str:
    views = pilot.app.screen.query(DocumentView) if isinstance(pilot.app.screen, Document) else ()
    return "".join(view.visible_text() for view in views)


async def with_browser(body: Body, backend: FakeBackend | None = None, size: tuple[int, int] = (160, 50)) -> None:
    async def inside(pilot: Pilot[int], backend: FakeBackend) -> None:
        await pilot.press("2")
        await until(pilot, lambda: table(pilot, "images").cursor_key)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LayerBrowser) and shown(browser(pilot)))
        await body(pilot, backend, browser(pilot))

    await with_console(backend or eight(), inside, size)


async def test_enter_on_an_image_shows_its_layers_and_the_files_of_the_highest() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend, screen: LayerBrowser) -> None:
        layers = screen.query_one("#layers", RecordTable)
        assert [row.cells[3].text for row in layers.rows] == [
            "ADD file:7c0f in /", "RUN apt-get update && apt-get install -y nginx", "COPY conf /etc/nginx",
        ]  # fmt: skip
        assert backend.asked("tree") == [("tree", 2, 1)]
        assert shown(screen) == ["/bin", "/etc", "/usr"]
        await pilot.press("k")
        await until(pilot, lambda: backend.asked("tree")[-1] == ("tree", 1, 0))

    await with_browser(body)


async def test_directories_fold_and_unfold_one_by_one_and_all() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("tab", "j", "enter")
        await until(pilot, lambda: shown(screen) == ["/bin", "/etc", "/etc/nginx", "/etc/\x1b[31mred", "/usr"])
        assert screen.query_one(FileTable).cursor_key == "/etc"
        await pilot.press("space")
        await until(pilot, lambda: shown(screen) == ["/bin", "/etc", "/usr"])
        await pilot.press("f")
        await until(pilot, lambda: len(shown(screen)) == 11)
        await pilot.press("f")
        await until(pilot, lambda: len(shown(screen)) == 3)

    await with_browser(body)


async def test_changes_can_be_of_the_layer_or_of_all_and_alone() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("c")
        await until(pilot, lambda: shown(screen)[:3] == ["/etc", "/etc/nginx", "/etc/nginx/nginx.conf"])
        marks = {row.key: row.cells[0].text for row in screen.query_one(FileTable).rows}
        assert (marks["/etc/nginx/sites"], marks["/etc/nginx/nginx.conf"], marks["/usr/sbin/nginx"]) == ("D", "C", "A")
        await pilot.press("a")
        await until(pilot, lambda: backend.asked("tree")[-1] == ("tree", 2, None))

    await with_browser(body)


async def test_the_largest_come_first_and_a_filter_unfolds_what_fits() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("o")
        await until(pilot, lambda: shown(screen) == ["/usr", "/bin", "/etc"])
        await pilot.press("slash", *"conf")
        await until(pilot, lambda: shown(screen) == ["/etc", "/etc/nginx", "/etc/nginx/nginx.conf"])
        await pilot.press("enter")
        await until(pilot, lambda: not screen.query_one("#filter", Input).display)
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(screen)) == 3)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))

    await with_browser(body)


async def test_a_file_is_viewed_as_the_layer_has_it_and_a_removed_one_as_it_was() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend, screen: LayerBrowser) -> None:
        files = screen.query_one(FileTable)
        await pilot.press("c", "tab")
        for path, layer in (("/etc/nginx/nginx.conf", 2), ("/etc/nginx/sites", 1)):
            files.cursor_key = path
            await pilot.press("v")
            await until(pilot, lambda: "worker_processes" in document_text(pilot))
            assert backend.asked("open")[-1] == ("open", path, layer)
            await pilot.press("escape")
            await until(pilot, lambda: pilot.app.screen is screen)

    await with_browser(body)


async def test_a_file_is_extracted_where_the_user_says() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("tab", "e")
        await until(pilot, lambda: pilot.app.screen is not screen)
        pilot.app.screen.query_one(Input).value = "/tmp/there"
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("extract") == [("extract", "/bin", "/tmp/there", 2)])

    await with_browser(body)


async def test_waste_and_advice_have_tabs_and_a_wasted_path_leads_to_its_file() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("tab", "right_square_bracket")
        await until(pilot, lambda: len(screen.query_one("#wasted", RecordTable).rows) == 2)
        assert "98.10%" in str(screen.query_one("#score", Static).render())
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "apt-get install" in str(screen.query_one("#remedy", Static).render()))
        await pilot.press("left_square_bracket", "j", "enter")
        await until(pilot, lambda: screen.tab == "files" and "/etc/nginx/nginx.conf" in shown(screen))

    await with_browser(body)


async def test_names_with_control_characters_are_written_out() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        await pilot.press("f")
        await until(pilot, lambda: len(shown(screen)) == 11)
        names = [row.cells[-1].text for row in screen.query_one(FileTable).rows]
        assert any("\\x1b[31mred" in name for name in names)
        assert "\x1b[31mred" not in pilot.app.export_screenshot()
        await pilot.press("slash", "left_square_bracket", "slash", "b", "right_square_bracket")
        await until(pilot, lambda: screen.pattern == "[/b]" and shown(screen) == [])
        await pilot.press("escape")
        pilot.app.push_screen(Document("/[/b", "text"))
        await until(pilot, lambda: document_text(pilot) == "text")

    await with_browser(body)


async def test_help_and_footer_come_from_the_commands() -> None:
    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        assert {binding.binding.description for binding in screen.active_bindings.values() if binding.binding.show} >= {
            "layer/all", "changed", "fold", "view", "find", "help", "back",
        }  # fmt: skip
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))

    await with_browser(body)


async def test_an_image_that_cannot_be_read_is_told_in_a_sentence() -> None:
    async def body(pilot: Pilot[int], backend: FakeBackend) -> None:
        backend.failures[IMAGE_ID] = ImageError("the image misses a layer")
        await pilot.press("2", "e")
        await until(pilot, lambda: any("misses a layer" in toast.message for toast in pilot.app._notifications))

    await with_console(eight(), body)


async def test_a_hundred_thousand_files_unfold_filter_and_scroll() -> None:
    backend = eight()
    backend.many_files = 100_000

    async def body(pilot: Pilot[int], _backend: FakeBackend, screen: LayerBrowser) -> None:
        files = screen.query_one(FileTable)
        await pilot.press("tab", "f")
        await until(pilot, lambda: len(files.rows) == 100_000)
        await pilot.press("G", "k", "k", "ctrl+u", "g", "j", "j")
        await until(pilot, lambda: files.cursor == 2)
        await pilot.press("slash", *"file099999")
        await until(pilot, lambda: shown(screen) == ["/d99", "/d99/file099999"])

    await with_browser(body, backend, (80, 24))
