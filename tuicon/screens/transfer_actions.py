"""What the commands about registries and archives do; what takes its time goes on in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.screen import ModalScreen

from engine.api import check_platform, full_reference
from engine.errors import EngineError, NotAuthorized
from engine.model.image import Image
from engine.model.transfer import Pulled, SearchResult, Update
from tuicon.commands.registry import BY_ID, key_text
from tuicon.dialogs.ask import Choose, Confirm, Prompt
from tuicon.dialogs.login import Login, LoginForm
from tuicon.dialogs.pull import PullAids, PullForm, PullWish
from tuicon.dialogs.search import Search
from tuicon.dialogs.transfers import TransferView
from tuicon.messages import TransferFinished
from tuicon.model.images import name_of, short
from tuicon.model.transfers import State, TransferEnded
from tuicon.screens.actions import Actions
from tuicon.transfers import Transfers
from tuicon.widgets.transfer_strip import TransferStrip

_RECENT = 8
_SHOWS_EVERY = 0.25


class TransferActions(Actions):
    """The doing of what moves images: pull, push, save, load, and what registries know."""

    chosen_images: tuple[Image, ...]
    keys: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.transfers = Transfers(self._tell)
        self.newer: dict[str, bool] = {}
        self._recent: list[str] = []

    def _tell(self, ended: TransferEnded) -> None:
        self.post_message(TransferFinished(ended))

    def on_mount(self) -> None:
        """Begin to show transfers."""
        self.set_interval(_SHOWS_EVERY, self.show_transfers)

    def on_unmount(self) -> None:
        """Call off what goes on, so that nothing half made is left."""
        self.transfers.close()

    # -- transfers ---------------------------------------------------------------------------------

    def show_transfers(self) -> None:
        """Show what goes on in the background."""
        active = [item for item in self.transfers.list() if item.is_active]
        self.query_one(TransferStrip).show(active, key_text(self.keys.get("transfers", BY_ID["transfers"].keys)))

    def _watch(self, transfer_id: str) -> None:
        self.show_transfers()
        self.app.push_screen(TransferView(self.transfers, transfer_id))

    def do_transfers(self) -> None:
        """Show all transfers."""
        self.app.push_screen(TransferView(self.transfers))

    def on_transfer_finished(self, message: TransferFinished) -> None:
        """Say how a transfer ended, and go on with what waited for it."""
        ended = message.ended
        self.show_transfers()
        kind, name = ended.progress.kind, ended.progress.name
        if ended.progress.state is State.DONE:
            self.notify(_said(ended), title=f"{kind} done", timeout=4)
            if isinstance(ended.result, Pulled):
                self.newer.pop(ended.result.image.id, None)
            if ended.then is not None:
                ended.then(ended.result)
        elif ended.progress.state is State.CANCELLED:
            self.notify(ended.progress.outcome, timeout=4)
        else:
            self.notify(ended.progress.outcome, title=f"{kind} of {name} failed", severity="error", timeout=10)
            if isinstance(ended.error, NotAuthorized) and not isinstance(self.app.screen, ModalScreen):
                self._ask_login(name.partition("/")[0])

    def do_pull(self) -> None:
        """Ask what to pull, and pull it; an image of which a newer one exists is offered."""
        chosen = next((image for image in self.chosen_images if self.newer.get(image.id) and image.references), None)
        names = [name for image in self.snapshot.images for name in image.references]
        recent = list(dict.fromkeys([*self._recent, *map(short, names)]))[:_RECENT]
        aids = PullAids(full_reference, check_platform, self._platforms_of)
        form = PullForm(aids, recent, short(chosen.references[0]) if chosen else "")
        self.app.push_screen(form, lambda wish: self._watch(self._pull(wish)) if wish else None)

    def _pull(self, wish: PullWish, then: Callable[[object], None] | None = None) -> str:
        name = short(wish.reference)
        title = f"{name} for {wish.platform}" if wish.platform else name
        self._recent = list(dict.fromkeys([name, *self._recent]))[:_RECENT]
        pull = self.backend.registries.pull
        return self.transfers.start(
            "pull", title, lambda watch, stop: pull(wish.reference, platform=wish.platform, watch=watch, stop=stop),
            then,
        )  # fmt: skip

    def _platforms_of(self, reference: str) -> tuple[str, ...]:
        found = self.backend.registries.manifest(reference).get("manifests", [])
        platforms = [item.get("platform") or {} for item in found]
        texts = [
            "/".join(str(item[key]) for key in ("os", "architecture", "variant") if item.get(key)) for item in platforms
        ]
        return tuple(dict.fromkeys(text for text in texts if text and not text.startswith("unknown")))

    def do_push(self) -> None:
        """Ask under which name to push, give the image that name if it lacks it, and push."""
        image = self.chosen_images[0]

        def push(text: str | None) -> None:
            if not text:
                return
            reference = full_reference(text)

            def call(watch: object, stop: object) -> object:
                if reference not in image.references:
                    self.backend.images.tag(image.id, reference)
                return self.backend.registries.push(reference, watch=watch, stop=stop)  # type: ignore[arg-type]

            self._watch(self.transfers.start("push", short(reference), call))

        value = short(image.references[0]) if image.references else ""
        self.app.push_screen(Prompt(f"Push {name_of(image)} as", value, "registry/name:tag", full_reference), push)

    def do_search(self) -> None:
        """Look for images in a registry; what is chosen is pulled."""

        def search(term: str) -> tuple[SearchResult, ...]:
            return self.backend.registries.search(term, limit=100)

        def pull(reference: str | None) -> None:
            if reference:
                self._watch(self._pull(PullWish(full_reference(reference))))

        self.app.push_screen(Search(search, self.backend.registries.tags), pull)

    def do_save(self) -> None:
        """Ask for a file, and write the chosen images into one archive."""
        images = self.chosen_images
        names = tuple(image.id for image in images)
        title = name_of(images[0]) if len(images) == 1 else f"{len(images)} images"
        stem = name_of(images[0]).replace("/", "_").replace(":", "_") if len(images) == 1 else "images"

        def save(text: str | None) -> None:
            if not text:
                return
            path = Path(text).expanduser().absolute()

            def start(is_sure: bool | None) -> None:
                if is_sure:
                    call = partial(self.backend.images.save, names, path)
                    self.transfers.start("save", f"{title} to {path}", lambda _watch, _stop: call())
                    self.show_transfers()

            if path.exists():
                self.app.push_screen(Confirm(f"Write over {path}?", ()), start)
            else:
                start(is_sure=True)

        self.app.push_screen(Prompt(f"Save {title} to the file", f"{stem}.tar"), save)

    def do_load(self) -> None:
        """Ask for an archive, and load its images."""

        def load(text: str | None) -> None:
            if text:
                path = Path(text).expanduser().absolute()
                self.transfers.start("load", str(path), lambda _watch, _stop: self.backend.images.load(path))
                self.show_transfers()

        self.app.push_screen(Prompt("Load images from the file", "", "docker archive, OCI archive or OCI layout"), load)

    # -- registries --------------------------------------------------------------------------------

    def do_newer(self) -> None:
        """Ask the registries whether they have newer images than the chosen ones."""
        self._check(self.chosen_images)

    def do_newer_all(self) -> None:
        """Ask the registries about all images that came from one."""
        self._check(tuple(image for image in self.snapshot.images if image.repo_digests))

    def _check(self, images: tuple[Image, ...]) -> None:
        names = [name for image in images for name in image.references]
        if not names:
            self.notify("There is no name to ask a registry about", severity="warning")
        for name in names:
            self.operate(f"look for a newer {short(name)}", partial(self.backend.registries.check, name))

    def checked(self, update: Update) -> None:
        """Mark the image, and say what the registry has."""
        name = short(update.reference)
        image = next((image for image in self.snapshot.images if update.reference in image.references), None)
        if not update.remote:
            self.notify(f"The registry has no {name}", severity="warning", timeout=4)
        elif update.is_available:
            key = key_text(self.keys.get("pull", BY_ID["pull"].keys))
            self.notify(f"A newer {name} exists, {key} pulls it", timeout=4)
        else:
            self.notify(f"{name} is the newest", timeout=2)
        if image is not None and update.remote:
            self.newer[image.id] = update.is_available
            self.show_marks()

    def do_login(self) -> None:
        """Ask for a registry, user and password, and log in."""
        self._ask_login("")

    def _ask_login(self, registry: str) -> None:
        try:
            accounts = self.backend.registries.accounts()
        except (EngineError, OSError) as error:
            self.notify(str(error), severity="error")
            return
        host = registry if "." in registry or ":" in registry or registry == "localhost" else ""
        self.app.push_screen(LoginForm(host, accounts), self._log_in)

    def _log_in(self, login: Login | None) -> None:
        if login is None:
            return

        def call() -> str:
            kept = self.backend.registries.login(login.registry, login.user, login.password)
            return f"Logged in to {login.registry}; " + (f"kept in {kept}" if kept else "kept by a credential helper")

        self.operate(f"log in to {login.registry}", call)

    def do_logout(self) -> None:
        """Choose a registry, and forget its credentials."""
        try:
            accounts = self.backend.registries.accounts()
        except (EngineError, OSError) as error:
            self.notify(str(error), severity="error")
            return

        def log_out(name: str | None) -> None:
            if name:
                self.operate(f"log out of {name}", lambda: self._log_out(name))

        if accounts:
            self.app.push_screen(Choose("Log out of", [(name, name) for name in accounts]), log_out)
        else:
            self.notify("There are no credentials of any registry")

    def _log_out(self, name: str) -> str:
        self.backend.registries.logout(name)
        return f"The credentials of {name} are gone"

    def show_marks(self) -> None:
        """Show anew which images have newer ones."""
        raise NotImplementedError


def _said(ended: TransferEnded) -> str:
    if isinstance(ended.result, Pulled):
        what = "is here" if ended.result.is_new else "was the newest already"
        return f"{ended.progress.name} {what}"
    if isinstance(ended.result, tuple):  # what an archive had
        names = [name_of(image) for image in ended.result]
        return f"Loaded {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ended.progress.outcome
