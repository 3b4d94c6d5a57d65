"""What the commands about the images of the store do."""

from __future__ import annotations

from functools import partial

from engine.api import full_reference, parse_publish
from engine.errors import EngineError, NotFound
from engine.model.container import ContainerSpec
from engine.model.image import Image
from engine.model.transfer import PrunePlan, Update
from tuicon.dialogs.ask import Choose, Confirm, Prompt
from tuicon.dialogs.prune import Prune
from tuicon.dialogs.pull import PullWish
from tuicon.dialogs.run import RunForm
from tuicon.dialogs.transfers import TransferView
from tuicon.model import units
from tuicon.model.images import name_of, short
from tuicon.screens.transfer_actions import TransferActions

_EVERY_NAME = ""


class ImageActions(TransferActions):
    """The doing of what is asked of images that are here: name, remove, prune, run."""

    def do_tag(self) -> None:
        """Ask for one more name."""
        image = self.chosen_images[0]

        def tag(text: str | None) -> None:
            if text:
                self.operate(f"tag {name_of(image)}", partial(self.backend.images.tag, image.id, text))

        value = short(image.references[0]) if image.references else ""
        self.app.push_screen(Prompt(f"One more name for {name_of(image)}", value, "name:tag", full_reference), tag)

    def do_prune(self) -> None:
        """Show what would go, and remove it."""

        def plan(takes_unused: bool) -> PrunePlan:
            return self.backend.images.plan_prune(takes_unused=takes_unused)

        def prune(found: PrunePlan | None) -> None:
            if found:
                self.operate("prune images", partial(self._prune, found))

        self.app.push_screen(Prune(plan), prune)

    def _prune(self, plan: PrunePlan) -> str:
        lines = self.backend.images.prune(plan)
        count = sum(line.removeprefix("Deleted: ") in {item.image.id for item in plan.images} for line in lines)
        return f"{count} image{'s' * (count != 1)} removed, {units.size(plan.size)} freed"

    def do_remove(self) -> None:
        """Remove what is selected, after a question that names what goes."""
        if self.pane != "images":
            super().do_remove()
            return
        images = self.chosen_images
        if len(images) == 1 and len(images[0].references) > 1:
            options = [(name, f"only the name {short(name)}") for name in images[0].references]
            options.append((_EVERY_NAME, "the image, with all its names"))
            self.app.push_screen(
                Choose(f"Remove what of {name_of(images[0])}?", options), partial(self._remove_name, images[0])
            )
        else:
            self._ask_removal(images)

    def _remove_name(self, image: Image, name: str | None) -> None:
        if name == _EVERY_NAME:
            self._ask_removal((image,))
        elif name:
            self.operate(f"untag {short(name)}", partial(self.backend.images.remove, name))

    def _ask_removal(self, images: tuple[Image, ...]) -> None:
        def look() -> None:
            try:
                size = self.backend.images.reclaimable(tuple(image.id for image in images))
            except (EngineError, OSError):
                size = 0
            self.app.call_from_thread(self._confirm_removal, images, size)

        self.run_worker(look, thread=True, group="operations", exit_on_error=False)

    def _confirm_removal(self, images: tuple[Image, ...], size: int) -> None:
        lines, is_kept = [], False
        for image in images:
            users = [container for container in self.snapshot.containers if container.image_id == image.id]
            lines += [*map(short, image.references)] or [f"{image.short_id} (dangling)"]
            if users:
                is_kept = True
                names = ", ".join(container.name for container in users[:5]) + (", …" if len(users) > 5 else "")
                lines.append(f"  used by {names}: loses its names, its layers stay while they do")
        lines.append(f"frees {units.size(size)} on the disk" + (" once no container uses it" if is_kept else ""))
        what = "this image" if len(images) == 1 else f"these {len(images)} images"

        def remove(yes: bool | None) -> None:
            for image in images if yes else ():
                call = partial(self.backend.images.remove, image.id, force=True)
                self.operate(f"remove {name_of(image)}", call, key=image.id)

        self.app.push_screen(Confirm(f"Remove {what}?", lines), remove)

    # -- running -----------------------------------------------------------------------------------

    def do_new(self) -> None:
        """Ask for an image and a command, and run it; an image that is not here is pulled first."""
        chosen = self.chosen_images[0] if self.chosen_images else None
        name = next((short(reference) for image in self.snapshot.images for reference in image.references), "")
        if chosen is not None:
            name = name_of(chosen)
        networks = tuple(network.name for network in self.snapshot.networks)
        self.app.push_screen(RunForm(name, networks, parse_publish), lambda spec: self._run_new(spec) if spec else None)

    def _run_new(self, spec: ContainerSpec, *, may_pull: bool = True) -> None:
        def call() -> object:
            try:
                return self.backend.containers.run(spec)
            except NotFound as error:
                if error.kind == "image" and may_pull:
                    return spec  # to be pulled
                raise

        self.operate(f"run {spec.image}", call)

    def pull_and_run(self, spec: ContainerSpec) -> None:
        """Pull the image of a container, then run it."""
        try:
            reference = full_reference(spec.image)
        except EngineError as error:
            self.notify(str(error), severity="error")
            return
        self._watch(self._pull(PullWish(reference), lambda _pulled: self._run_pulled(spec)))

    def _run_pulled(self, spec: ContainerSpec) -> None:
        if isinstance(self.app.screen, TransferView):
            self.app.pop_screen()
        self._run_new(spec, may_pull=False)

    def took(self, result: object) -> None:
        """Take the result of an operation on images; what is none of these needs no word."""
        match result:
            case Update():
                self.checked(result)
            case ContainerSpec():
                self.pull_and_run(result)
            case str():
                self.notify(result, timeout=4)
