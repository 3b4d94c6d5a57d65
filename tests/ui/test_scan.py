from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from engine.errors import InvalidArgument
from tests.fakes import IMAGE_ID, FakeBackend, eight
from tests.ui.test_console import console, main_of, table, until
from tuicon.screens.scan import ScanScreen
from tuicon.widgets.table import RecordTable

Body = Callable[[Pilot[int], ScanScreen], Any]


async def with_scan(backend: FakeBackend, body: Body, size: tuple[int, int] = (120, 40)) -> None:
    async with console(backend).run_test(size=size) as pilot:
        await until(pilot, lambda: main_of(pilot).is_mounted and table(pilot, "images").rows)
        await pilot.press("2", "v")
        await until(pilot, lambda: isinstance(pilot.app.screen, ScanScreen))
        screen = pilot.app.screen
        assert isinstance(screen, ScanScreen)
        await until(pilot, lambda: shown(screen))
        await body(pilot, screen)


def shown(screen: ScanScreen) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in screen.query_one(RecordTable).rows]


def text(screen: ScanScreen, name: str) -> str:
    return str(screen.query_one(f"#scan-{name}", Static).render())


async def test_a_scan_shows_what_is_vulnerable_worst_first_and_what_fixes_it() -> None:
    async def body(pilot: Pilot[int], screen: ScanScreen) -> None:
        assert [row[:5] for row in shown(screen)][:2] == [
            ["critical", "CVE-2023-5678", "libssl3", "3.0.11-1~deb12u1", "3.0.11-1~deb12u2"],
            ["high", "CVE-2023-45853", "zlib1g", "1:1.2.13.dfsg-1", "not fixed"],
        ]
        assert (
            "3 packages, 4 known vulnerabilities: 1 critical, 1 high, 1 medium, 1 negligible (by Debian, PyPI)"
            in text(screen, "title")
        )
        assert "no database has advisories of npm" in text(screen, "title")
        await until(pilot, lambda: "DSA-5532-1" in text(screen, "facts"))
        await pilot.press("j")
        await until(pilot, lambda: "MiniZip" in text(screen, "facts"))

    backend = eight()
    await with_scan(backend, body)
    assert backend.asked("scan") == [("scan", IMAGE_ID)]


async def test_it_shows_what_can_be_mended_what_fits_and_the_packages() -> None:
    async def body(pilot: Pilot[int], screen: ScanScreen) -> None:
        await pilot.press("f")
        await until(pilot, lambda: [row[1] for row in shown(screen)] == ["CVE-2023-5678", "CVE-2023-32681"])
        await pilot.press("f", "slash", *"zlib", "enter")
        await until(pilot, lambda: [row[2] for row in shown(screen)] == ["zlib1g"])
        await until(pilot, lambda: "MiniZip" in text(screen, "facts"))
        await pilot.press("escape", "tab")
        await until(pilot, lambda: [row[1] for row in shown(screen)] == ["libssl3", "zlib1g", "requests"])
        await until(pilot, lambda: "pkg:deb/debian/libssl3" in text(screen, "facts"))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    await with_scan(eight(), body)


async def test_without_advisories_it_shows_the_packages_and_how_to_get_some() -> None:
    async def body(pilot: Pilot[int], screen: ScanScreen) -> None:
        assert [row[1] for row in shown(screen)] == ["libssl3", "zlib1g", "requests"]
        await until(pilot, lambda: "there is no database; import one" in text(screen, "title"))

    backend = eight()
    backend.failures["scan"] = InvalidArgument("there is no database", hint="import one")
    await with_scan(backend, body, (80, 24))
