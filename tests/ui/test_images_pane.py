from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from engine.errors import NotAuthorized, NotFound, RegistryError
from engine.model.container import Container, ContainerSpec
from engine.model.limits import Limits
from engine.model.network import Attachment, PortMapping
from tests.fakes import FakeBackend, with_images
from tests.ui.test_console import main_of, table, until, with_console
from tuicon.dialogs.ask import Choose, Confirm, Help, Prompt
from tuicon.dialogs.login import Login, LoginForm
from tuicon.dialogs.prune import Prune
from tuicon.dialogs.pull import PullForm
from tuicon.dialogs.run import RunForm
from tuicon.dialogs.search import Search
from tuicon.dialogs.transfers import TransferView
from tuicon.screens.detail import Detail
from tuicon.widgets.document import DocumentView
from tuicon.widgets.table import RecordTable
from tuicon.widgets.transfer_strip import TransferStrip

P = Pilot[int]
WEB, WORKER, DEBIAN, NAMELESS = range(1, 5)


async def in_images(
    body: Callable[[P, FakeBackend], Any], backend: FakeBackend | None = None, size: tuple[int, int] = (160, 50)
) -> None:
    """Run a test in the image list, with the cursor on its first image."""

    async def begin(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("2")
        await until(pilot, lambda: len(images(pilot).rows) == len(backend.images.list()))
        await until(pilot, lambda: main_of(pilot).pane == "images")
        await body(pilot, backend)

    await with_console(backend or with_images(), begin, size)


def images(pilot: P) -> RecordTable:
    return table(pilot, "images")


async def on(pilot: P, number: int) -> None:
    images(pilot).cursor_key = f"sha256:{number:064x}"
    await until(pilot, lambda: [image.id for image in main_of(pilot).chosen_images] == [f"sha256:{number:064x}"])


async def dialog(pilot: P, kind: type[Any]) -> Any:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind) and pilot.app.screen.is_mounted)
    return pilot.app.screen


def said(pilot: P) -> str:
    return "\n".join(toast.message for toast in pilot.app._notifications)


def shown(pilot: P, place: str) -> str:
    return str(pilot.app.screen.query_one(place, Static).render())


def cells(found: RecordTable) -> list[list[str]]:
    return [[cell.text.strip() for cell in row.cells] for row in found.rows]


async def test_the_list_shows_names_ids_ages_sizes_and_users() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        found = cells(images(pilot))
        assert found[1][:4] == ["", "registry.example.com/shop/web", "2.4.1 +1", "000000000000"]
        assert found[1][5:] == ["212M", "2"]
        assert found[3][1:3] == ["debian", "bookworm-slim"]
        assert found[4][:3] == ["○", "<none>", "<none>"]

    await in_images(body)


async def test_the_detail_tells_config_history_and_who_uses_the_image() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        detail = main_of(pilot).query_one(Detail)

        async def text(tab: str, *words: str) -> None:
            detail.tab = tab
            view = detail.query_one(f"#{tab}", DocumentView)
            await until(pilot, lambda: all(word in view.visible_text() for word in words))

        await on(pilot, WEB)
        await text(
            "info",
            "shop/web:latest",
            "8080/tcp",
            "/docker-entrypoint.sh",
            "LANG=C.UTF-8",
            "stage=production",
            "www",
            "/data",
            "@sha256:",
        )
        await text("history", "apt-get install -y --no-install-recommends nginx", "125M", 'CMD ["bash"]')
        await text(
            "usage", "gateway", "worker", "registry.example.com/shop/worker:2.4.0", "2 of 3, 200M", "12.0MiB of 212MiB"
        )
        await on(pilot, DEBIAN)
        await text("usage", "none", "registry.example.com/shop/web:2.4.1")
        assert detail.border_title == "debian:bookworm-slim"

    await in_images(body)


async def test_a_reference_is_checked_while_it_is_typed_and_a_wrong_one_is_not_pulled() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("p")
        await dialog(pilot, PullForm)
        await pilot.press(*"shop/Web")
        await until(pilot, lambda: "must be lowercase" in shown(pilot, "#pull-check"))
        await pilot.press("enter")
        assert backend.asked("pull") == []
        pilot.app.screen.query_one("#pull-reference", Input).value = "busybox"
        await until(pilot, lambda: "docker.io/library/busybox:latest" in shown(pilot, "#pull-check"))
        pilot.app.screen.query_one("#pull-platform", Input).value = "linux/arm 64"
        await until(pilot, lambda: "malformed platform" in shown(pilot, "#pull-check"))
        pilot.app.screen.query_one("#pull-platform", Input).value = "linux/arm64"
        await pilot.press("enter")
        await until(
            pilot, lambda: backend.asked("pull") == [("pull", "docker.io/library/busybox:latest", "linux/arm64")]
        )
        await until(pilot, lambda: "busybox:latest for linux/arm64 is here" in said(pilot))

    await in_images(body)


async def test_a_recent_name_and_a_platform_of_the_registry_can_be_taken() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("p")
        form = await dialog(pilot, PullForm)
        await pilot.press("tab", "tab")
        await until(pilot, lambda: isinstance(pilot.app.focused, OptionList))
        await pilot.press("down", "enter")
        await until(
            pilot, lambda: form.query_one("#pull-reference", Input).value == "registry.example.com/shop/web:2.4.1"
        )
        await pilot.press("ctrl+l")
        await until(pilot, lambda: form.query_one(OptionList).option_count == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: form.query_one("#pull-platform", Input).value == "linux/arm64")
        await pilot.press("enter")
        await until(
            pilot, lambda: backend.asked("pull") == [("pull", "registry.example.com/shop/web:2.4.1", "linux/arm64")]
        )

    await in_images(body)


async def pull(pilot: P, name: str) -> TransferView:
    await pilot.press("p")
    form = await dialog(pilot, PullForm)
    form.query_one("#pull-reference", Input).value = name
    await pilot.press("enter")
    view: TransferView = await dialog(pilot, TransferView)
    return view


async def test_a_pull_shows_each_layer_and_goes_on_in_the_background() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.gate.clear()
        view = await pull(pilot, "one")
        layers = view.query_one("#transfer-layers", RecordTable)
        await until(pilot, lambda: len(layers.rows) == 5)
        assert [row[1] for row in cells(layers)] == [
            "Already exists", "Downloading", "Unpacking", "Retrying: the registry cut the connection", "Waiting",
        ]  # fmt: skip
        assert cells(layers)[1][3] == "12.0M/48.0M"
        await until(pilot, lambda: "25% of 63.0M" in shown(pilot, "#transfer-total"))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        strip = main_of(pilot).query_one(TransferStrip)
        await until(pilot, lambda: strip.display and "pulling one:latest" in str(strip.render()))
        await pull(pilot, "two")
        await pilot.press("b")
        await until(pilot, lambda: "b shows all 2" in str(strip.render()))
        backend.registries.gate.set()
        await until(pilot, lambda: not strip.display)
        await until(pilot, lambda: "one:latest is here" in said(pilot) and "two:latest is here" in said(pilot))

    await in_images(body)


async def test_a_pull_can_be_called_off_and_begun_again() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.gate.clear()
        view = await pull(pilot, "one")
        transfers = view.query_one("#transfer-list", RecordTable)
        await pilot.press("c")
        await until(pilot, lambda: cells(transfers)[0][-1] == "called off")
        await until(pilot, lambda: "nothing of it is left" in shown(pilot, "#transfer-total"))
        assert len(backend.images.list()) == 5
        backend.registries.gate.set()
        await pilot.press("r")
        await until(pilot, lambda: cells(transfers)[0][-1] == "done")
        await pilot.press("x")
        await until(pilot, lambda: not transfers.rows)

    await in_images(body)


async def test_a_failed_pull_says_in_one_sentence_what_is_wrong() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.failure = RegistryError("the host nowhere.example cannot be found")
        await pull(pilot, "nowhere.example/one")
        await until(pilot, lambda: "the host nowhere.example cannot be found" in shown(pilot, "#transfer-total"))
        await until(pilot, lambda: "the host nowhere.example cannot be found" in said(pilot))

    await in_images(body)


async def test_a_registry_that_wants_credentials_is_asked_for_them() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.gate.clear()
        await pull(pilot, "ghcr.io/one")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        backend.registries.failure = NotAuthorized("ghcr.io denies access to one")
        backend.registries.gate.set()
        form = await dialog(pilot, LoginForm)
        assert form.query_one("#login-registry", Input).value == "ghcr.io"
        backend.registries.failure = None
        form.query_one("#login-user", Input).value = "me"
        box = form.query_one("#login-password", Input)
        box.focus()
        await pilot.press(*"secret")
        assert box.value == "secret"
        assert "secret" not in str(box.render_line(0).text)
        await pilot.press("enter")
        await until(pilot, lambda: "Logged in to ghcr.io; kept in /root/.docker/config.json" in said(pilot))
        assert "secret" not in repr(backend.calls) + said(pilot) + repr(Login("a", "b", "secret"))
        await pilot.press("O")
        await dialog(pilot, Choose)
        await pilot.press("enter")
        await until(pilot, lambda: backend.registries.known == [])

    await in_images(body)


async def test_leaving_asks_while_something_is_transferred_and_calls_it_off() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.gate.clear()
        await pull(pilot, "one")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        await pilot.press("q")
        question = await dialog(pilot, Confirm)
        assert "pulling one:latest is called off" in str(question.query("Label")[1].render())
        await pilot.press("y")
        await until(pilot, lambda: not pilot.app.is_running or main_of(pilot).transfers.active == 0)

    await in_images(body)


async def test_a_search_leads_over_tags_to_a_pull() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("f")
        view = await dialog(pilot, Search)
        await pilot.press(*"localhost:5000/", "enter")
        names, tags = (view.query_one(f"#search-{name}", RecordTable) for name in ("names", "tags"))
        await until(
            pilot, lambda: [row.key for row in names.rows] == ["localhost:5000/shop/web", "localhost:5000/shop/worker"]
        )
        await until(pilot, lambda: pilot.app.focused is names)
        await pilot.press("j", "enter")
        await until(pilot, lambda: [row.key for row in tags.rows] == ["latest", "1.0", "1.1"])
        await until(pilot, lambda: pilot.app.focused is tags)
        await pilot.press("j", "enter")
        await until(pilot, lambda: backend.asked("pull") == [("pull", "localhost:5000/shop/worker:1.0", "")])

    await in_images(body)


async def test_a_refused_search_is_said_in_the_dialog() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.failure = RegistryError("localhost:5000 does not list its repositories (status 401)")
        await pilot.press("f")
        await dialog(pilot, Search)
        await pilot.press(*"localhost:5000/", "enter")
        await until(pilot, lambda: "does not list its repositories" in shown(pilot, "#search-state"))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    await in_images(body)


async def test_a_push_under_a_new_name_gives_the_image_that_name_first() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, DEBIAN)
        await pilot.press("P")
        prompt = await dialog(pilot, Prompt)
        prompt.query_one(Input).value = "localhost:5000/debian:mine"
        await until(pilot, lambda: "→ localhost:5000/debian:mine" in shown(pilot, "#prompt-check"))
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("push") == [("push", "localhost:5000/debian:mine")])
        assert backend.asked("tag") == [("tag", f"sha256:{DEBIAN:064x}", "localhost:5000/debian:mine")]

    await in_images(body)


async def test_a_newer_image_is_marked_and_offered_to_pull() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.registries.newer = {"docker.io/library/debian:bookworm-slim"}
        await on(pilot, DEBIAN)
        await pilot.press("u")
        await until(pilot, lambda: cells(images(pilot))[3][0] == "↑")
        assert "A newer debian:bookworm-slim exists, p pulls it" in said(pilot)
        await on(pilot, WORKER)
        await pilot.press("u")
        await until(pilot, lambda: cells(images(pilot))[2][0] == "✓")
        await on(pilot, DEBIAN)
        await pilot.press("p")
        form = await dialog(pilot, PullForm)
        assert form.query_one("#pull-reference", Input).value == "debian:bookworm-slim"

    await in_images(body)


async def test_removing_says_who_uses_the_image_and_what_it_frees() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, WORKER)
        await pilot.press("d")
        question = await dialog(pilot, Confirm)
        text = "\n".join(str(label.render()) for label in question.query("Label"))
        assert "registry.example.com/shop/worker:2.4.0" in text
        assert "frees 180MiB on the disk" in text
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("remove_image") == [("remove_image", f"sha256:{WORKER:064x}", True)])
        await until(pilot, lambda: len(images(pilot).rows) == 4)

    await in_images(body)


async def test_one_of_several_names_can_be_removed_alone() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, WEB)
        await pilot.press("d")
        await dialog(pilot, Choose)
        await pilot.press("j", "enter")
        await until(
            pilot,
            lambda: backend.asked("remove_image") == [("remove_image", "registry.example.com/shop/web:latest", False)],
        )
        await pilot.press("d")
        await dialog(pilot, Choose)
        await pilot.press("j", "j", "enter")
        question = await dialog(pilot, Confirm)
        text = "\n".join(str(label.render()) for label in question.query("Label"))
        assert "used by gateway, worker" in text

    await in_images(body)


async def test_marked_images_are_removed_and_saved_together(tmp_path: Path) -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, WORKER)
        await pilot.press("space", "space", "s")
        prompt = await dialog(pilot, Prompt)
        prompt.query_one(Input).value = str(tmp_path / "two.tar")
        await pilot.press("enter")
        both = (f"sha256:{WORKER:064x}", f"sha256:{DEBIAN:064x}")
        await until(pilot, lambda: backend.asked("save") == [("save", both, tmp_path / "two.tar")])
        await until(pilot, lambda: "is done" in said(pilot))
        await pilot.press("d")
        await dialog(pilot, Confirm)
        await pilot.press("y")
        await until(pilot, lambda: {call[1] for call in backend.asked("remove_image")} == set(both))

    await in_images(body)


async def test_saving_over_a_file_asks_first(tmp_path: Path) -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        target = tmp_path / "there.tar"
        target.touch()
        await pilot.press("s")
        prompt = await dialog(pilot, Prompt)
        prompt.query_one(Input).value = str(target)
        await pilot.press("enter")
        await dialog(pilot, Confirm)
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        assert backend.asked("save") == []

    await in_images(body)


async def test_an_archive_is_loaded_and_its_images_are_named() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("L")
        await dialog(pilot, Prompt)
        await pilot.press(*"/tmp/x.tar", "enter")
        await until(pilot, lambda: backend.asked("load") == [("load", Path("/tmp/x.tar"))])
        await until(pilot, lambda: "Loaded registry.example.com/shop/web:2.4.1" in said(pilot))

    await in_images(body)


async def test_a_name_is_added() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, DEBIAN)
        await pilot.press("t")
        prompt = await dialog(pilot, Prompt)
        prompt.query_one(Input).value = "shop/Base"
        await pilot.press("enter")
        await until(pilot, lambda: "must be lowercase" in shown(pilot, "#prompt-check"))
        assert backend.asked("tag") == []
        prompt.query_one(Input).value = "shop/base:1"
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("tag") == [("tag", f"sha256:{DEBIAN:064x}", "shop/base:1")])

    await in_images(body)


async def test_a_prune_shows_what_goes_before_it_does() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("D")
        view = await dialog(pilot, Prune)
        rows = view.query_one(RecordTable)
        await until(pilot, lambda: [row.key for row in rows.rows] == [f"sha256:{NAMELESS:064x}"])
        await until(pilot, lambda: "1 image; frees 179MiB" in shown(pilot, "#prune-total"))
        await pilot.press("a")
        await until(pilot, lambda: len(rows.rows) == 3)
        await pilot.press("a")
        await until(pilot, lambda: len(rows.rows) == 1)
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("prune") == [("prune", (f"sha256:{NAMELESS:064x}",))])
        await until(pilot, lambda: "1 image removed, 179MiB freed" in said(pilot))

    await in_images(body)


async def test_an_image_is_run_and_the_cursor_jumps_to_its_container() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on(pilot, DEBIAN)
        await pilot.press("n")
        form = await dialog(pilot, RunForm)
        assert form.query_one("#field-image", Input).value == "debian:bookworm-slim"
        form.query_one("#field-env", Input).value = "A=1 B"
        await pilot.press("enter")
        await until(pilot, lambda: "B is no NAME=VALUE" in shown(pilot, "#field-env-wrong"))
        form.query_one("#field-ports", Input).value = "80:http"
        form.query_one("#field-env", Input).value = ""
        await pilot.press("enter")
        await until(pilot, lambda: "invalid port '80:http'" in shown(pilot, "#field-ports-wrong"))
        assert form.focused is form.query_one("#field-ports", Input)
        for name, value in {
            "name": "shell",
            "command": "sleep 60",
            "env": "A=1 B='x y'",
            "pids": "50",
            "networks": "backend vault",
            "ports": "127.0.0.1:8080:80 53/udp",
        }.items():
            form.query_one(f"#field-{name}", Input).value = value
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("run"))
        spec = backend.asked("run")[0][1]
        assert spec == ContainerSpec(
            "debian:bookworm-slim",
            name="shell",
            command=("sleep", "60"),
            env=("A=1", "B=x y"),
            limits=Limits(pids=50),
            network="backend",
            attachments=(Attachment("vault"),),
            ports=(PortMapping(80, host_ip="127.0.0.1", first=8080, last=8080), PortMapping(53, "udp")),
        )
        await until(pilot, lambda: main_of(pilot).pane == "containers")
        await until(pilot, lambda: main_of(pilot).query_one(Detail).border_title == "shell")

    await in_images(body)


async def test_an_image_that_is_not_here_is_pulled_before_it_runs() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        run = backend.containers.run

        def needs_image(spec: ContainerSpec) -> Container:
            if not backend.asked("pull"):
                raise NotFound("image", spec.image)
            return run(spec)

        backend.containers.run = needs_image  # type: ignore[method-assign]
        await pilot.press("n")
        form = await dialog(pilot, RunForm)
        form.query_one("#field-image", Input).value = "busybox"
        form.query_one("#field-name", Input).value = "fresh"
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("pull") == [("pull", "docker.io/library/busybox:latest", "")])
        await until(pilot, lambda: main_of(pilot).query_one(Detail).border_title == "fresh")
        assert pilot.app.screen is main_of(pilot)

    await in_images(body)


async def test_the_palette_reaches_what_needs_no_image_from_any_list() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        main_of(pilot).run_command("pull")
        await dialog(pilot, PullForm)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        main_of(pilot).run_command("push")
        await until(pilot, lambda: "this is for images" in said(pilot))

    await with_console(with_images(), body)


async def test_the_help_lists_the_keys_of_images() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        await pilot.press("question_mark")
        found = await dialog(pilot, Help)
        text = str(found.query(Static).first().render())
        assert all(sentence in text for sentence in ("Pull an image from a registry.", "Look for images in a registry"))

    await in_images(body)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (300, 90)])
async def test_every_dialog_lives_in_any_size(size: tuple[int, int]) -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        for key in ("p", "f", "l", "D", "b", "n", "t", "s"):
            await pilot.press(key)
            await until(pilot, lambda: pilot.app.screen is not main_of(pilot))
            await pilot.resize_terminal(*size)
            await pilot.press("escape")
            await until(pilot, lambda: pilot.app.screen is main_of(pilot))

    await in_images(body, size=size)
