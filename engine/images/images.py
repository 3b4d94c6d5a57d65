"""The image store: load, import, list, inspect, tag, remove, prune; pull and push through `registries`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from engine.errors import Conflict, ImageError, InvalidArgument
from engine.images.catalogue import Catalogue
from engine.model.image import Image, ImageSettings
from engine.oci import digest as digests
from engine.oci import manifest as documents
from engine.oci import reference as references
from engine.store.journal import Journal
from engine.store.paths import Paths

if TYPE_CHECKING:
    from engine.images.analyse.contents import ImageContents
    from engine.images.derive import Step
    from engine.images.load import Found
    from engine.images.registry.registries import Registries
    from engine.images.scan.advisory_store import AdvisoryStore
    from engine.images.tree import Item
    from engine.images.unpack import UnpackLimits
    from engine.model.contents import SharedLayer
    from engine.model.packages import IgnoreRule, Inventory, ScanResult
    from engine.model.transfer import HistoryStep, PrunePlan


class ImageStore:
    """The images of a state root; safe beside others on the same root."""

    def __init__(self, paths: Paths, journal: Journal, users: Callable[[str], tuple[str, ...]]) -> None:
        self._paths = paths
        self._journal = journal
        self._users = users
        self._catalogue = Catalogue(paths)

    @cached_property
    def registries(self) -> Registries:
        """Pull, push, login and everything else that speaks to a registry."""
        from engine.images.registry.registries import Registries

        return Registries(self._catalogue, self._journal)

    def load(self, source: Path | BinaryIO, *, limits: UnpackLimits | None = None) -> tuple[Image, ...]:
        """Load all images of a docker archive or an OCI layout.

        Args:
            source: A tar file (compressed or not), a directory with an OCI layout, or a stream.
            limits: What a layer may hold.

        Raises:
            ImageError: It is no archive, damaged, hostile, or not for this machine; nothing is kept.
            InvalidArgument: The path does not exist.
        """
        self._paths.prepare()
        if not isinstance(source, Path):
            return self._load_stream(source, limits)
        if source.is_dir():
            return self._load_directory(source, limits)
        try:
            with source.open("rb") as stream:
                return self._load_stream(stream, limits)
        except FileNotFoundError:
            raise InvalidArgument(f"no such file: {source}") from None

    def _load_stream(self, stream: BinaryIO, limits: UnpackLimits | None) -> tuple[Image, ...]:
        from engine.images import load as archives

        with self._paths.staged("load") as directory:
            archives.spool(stream, directory)
            return self._load_directory(directory, limits)

    def _load_directory(self, directory: Path, limits: UnpackLimits | None) -> tuple[Image, ...]:
        from engine.images import load as archives

        archive = archives.Archive(directory)
        try:
            with self._catalogue.being_made():
                return tuple(self._keep(found, limits) for found in archives.find_images(archive))
        finally:
            archive.close()

    def _keep(self, found: Found, limits: UnpackLimits | None) -> Image:
        from engine.images.intake import copied, take_layer

        config = documents.decode_config(found.config)
        if len(config.rootfs.diff_ids) != len(found.layers):
            raise ImageError("the image config names another number of layers than the manifest")
        names = tuple(self._reference(name) for name in found.references)
        diff_ids = tuple(config.rootfs.diff_ids)
        chain = digests.chain_ids(diff_ids)
        for chain_id, diff_id, opener, digest in zip(chain, diff_ids, found.layers, found.digests, strict=True):
            opens = copied(self._catalogue.blobs, opener, digest)
            take_layer(self._catalogue.layers, chain_id, diff_id, opens, limits)
        return self._record(found.config, found.manifest, names)

    @staticmethod
    def _reference(name: str) -> str:
        """Normalise the name that an archive gives; a bare tag, as some layouts have, is no name."""
        try:
            return str(references.parse(name))
        except InvalidArgument as error:
            raise ImageError(f"the archive names the image {name[:200]!r}: {error}") from error

    def _record(self, config: bytes, manifest: bytes, names: tuple[str, ...]) -> Image:
        image = self._catalogue.record(config, manifest, names)
        self._journal.append("image", "load", image.id, names[0] if names else image.id)
        return image

    def import_rootfs(
        self, source: Path | BinaryIO, reference: str = "", *, settings: ImageSettings | None = None,
        changes: tuple[str, ...] = (), limits: UnpackLimits | None = None,
    ) -> Image:  # fmt: skip
        """Make an image of one layer from a tar of a root file system (compressed or not).

        Args:
            source: The archive.
            reference: A name for the image.
            settings: What its config says.
            changes: Dockerfile instructions that add to that, such as "CMD sleep 10".
            limits: What the layer may hold.

        Raises:
            ImageError: The archive is damaged or hostile; nothing is kept.
            InvalidArgument: The path does not exist, or the reference or a change is malformed.
        """
        from engine.oci import instructions

        self._paths.prepare()
        name = (str(references.parse(reference)),) if reference else ()
        config = instructions.apply(_config_section(settings or ImageSettings()), changes)
        if isinstance(source, Path):
            try:
                with source.open("rb") as stream:
                    return self._import_stream(stream, name, config, limits)
            except FileNotFoundError:
                raise InvalidArgument(f"no such file: {source}") from None
        return self._import_stream(source, name, config, limits)

    def _import_stream(
        self, stream: BinaryIO, names: tuple[str, ...], config: dict[str, Any], limits: UnpackLimits | None
    ) -> Image:
        from engine.images.intake import take_unknown

        with self._catalogue.being_made():
            layer = take_unknown(self._catalogue, stream, limits=limits)
            return self._record(_config_document(layer.diff_id, config), b"", names)

    def derive(
        self, parent: Image, items: Iterator[Item], change: Callable[[dict[str, Any]], dict[str, Any]], step: Step,
        reference: str = "",
    ) -> Image:  # fmt: skip
        """Make an image out of another one, with one more layer.

        Args:
            parent: The image below.
            items: The entries of the layer; without any there is none.
            change: From "config" of the parent's config to that of the new one's.
            step: What the history tells of it.
            reference: A name for it.

        Raises:
            InvalidArgument: The reference is malformed.
            ImageError: The layer is more than one may be; nothing is kept.
        """
        from engine.images.derive import derive

        parsed = references.parse(reference) if reference else None
        if parsed and parsed.digest:
            raise InvalidArgument("an image cannot be named by a digest")
        return derive(self._catalogue, parent, items, change, step, (str(parsed),) if parsed else ())

    def build_demo(self) -> Image:
        """Make the demo image from the host's own programs; no network is needed."""
        from engine.images import demo

        return self.import_rootfs(demo.root_archive(), demo.REFERENCE, settings=demo.SETTINGS)

    def list(self) -> tuple[Image, ...]:
        """Return all images, newest first."""
        return self._catalogue.list()

    def get(self, ref: str) -> Image:
        """Return an image by reference, id, id prefix or digest.

        Raises:
            NotFound: There is none.
            Ambiguous: An id prefix fits several.
        """
        return self._catalogue.get(ref)

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return an image in docker's JSON shape."""
        from engine.store.drivers.drivers import driver_of

        image = self.get(ref)
        familiar = [references.familiar_text(name) for name in image.references]
        called = sorted(f"{parsed.name}@{parsed.digest}" for parsed in map(references.parse, image.repo_digests))
        settings = image.settings
        return {
            "Id": image.id,
            "RepoTags": familiar,
            "RepoDigests": called,
            "Created": image.created_at.isoformat().replace("+00:00", "Z") if image.created_at else "",
            "Architecture": image.architecture,
            "Os": image.os,
            "Size": image.size,
            "Config": {
                "User": settings.user, "Env": [*settings.env], "Cmd": [*settings.command] or None,
                "Entrypoint": [*settings.entrypoint] or None, "WorkingDir": settings.workdir,
                "Labels": settings.labels or None, "Volumes": {path: {} for path in settings.volumes} or None,
                "ExposedPorts": {port: {} for port in settings.exposed_ports} or None, "StopSignal": settings.stop_signal,
            },
            "GraphDriver": {"Name": driver_of(self._paths).familiar_name, "Data": {"LowerDir": ":".join(map(str, self.lower_directories(image)))}},
            "RootFS": {"Type": "layers", "Layers": [*image.diff_ids]},
        }  # fmt: skip

    def history(self, ref: str) -> tuple[HistoryStep, ...]:
        """Return the steps that made an image, the newest first."""
        from engine.images.history import history

        return history(self._catalogue, self.get(ref))

    def contents(self, ref: str) -> ImageContents:
        """Return what is inside an image: layers, files, waste, advice.

        Raises:
            NotFound: There is no such image.
        """
        from engine.images.analyse.contents import ImageContents

        return ImageContents(self._catalogue, self.get(ref))

    def shared_layers(self) -> tuple[SharedLayer, ...]:
        """Return the layers that several images have, the largest first."""
        from engine.images.analyse.contents import shared_layers

        return shared_layers(self._catalogue)

    @cached_property
    def advisories(self) -> AdvisoryStore:
        """The databases of known vulnerabilities."""
        from engine.images.scan.advisory_store import AdvisoryStore

        return AdvisoryStore(self._paths)

    def packages(self, ref: str) -> Inventory:
        """Return the packages of an image, found by their files; nothing is mounted and nothing of it is run."""
        from engine.images.packages.collect import collect

        image = self.get(ref)
        with self._catalogue.being_made():  # nobody may collect a layer meanwhile
            directories = tuple(reversed(self.lower_directories(image)))
            return collect(image, directories)

    def sbom(self, ref: str, form: str = "cyclonedx") -> dict[str, Any]:
        """Return the bill of materials of an image as a JSON document.

        Args:
            ref: A reference, id or digest.
            form: "cyclonedx" (1.6) or "spdx" (2.3).
        """
        from engine.images.sbom import render

        return render(form, self.get(ref), self.packages(ref))

    def scan(self, ref: str, *, ignoring: tuple[IgnoreRule, ...] = ()) -> ScanResult:
        """Return the known vulnerabilities of the packages of an image.

        Raises:
            NotFound: There is no such image.
            InvalidArgument: No database of advisories was imported yet.
        """
        from engine.images.scan.scanner import scan

        return scan(self._paths, self.packages(ref), ignoring)

    def save(self, refs: tuple[str, ...], target: Path | BinaryIO, *, form: str = "docker") -> None:
        """Write images to one archive: those named by a reference with that name, by an id with all their names.

        Args:
            refs: References, ids or digests; equal images are written once.
            target: A file or, for "oci-dir", a directory that does not exist; or a stream.
            form: "docker" (which is an OCI layout too), "oci" or "oci-dir".

        Raises:
            NotFound: There is no such image.
            InvalidArgument: The target cannot be written, or the form is unknown; nothing is left of it.
        """
        from engine.images.save import save

        names: dict[str, list[str]] = {}
        images: dict[str, Image] = {}
        for ref in refs:
            image = self.get(ref)
            images[image.id] = image
            is_named = self._catalogue.pointed(ref) == image.id and "@" not in ref
            names.setdefault(image.id, []).extend([str(references.parse(ref))] if is_named else image.references)
        with self._catalogue.being_made():  # nobody may collect a blob meanwhile
            wanted = [(image, tuple(dict.fromkeys(names[image.id]))) for image in images.values()]
            save(self._catalogue, wanted, target, form)
        for image in images.values():
            self._journal.append("image", "save", image.id, next(iter(names[image.id]), image.id))

    def plan_prune(
        self,
        *,
        takes_unused: bool = False,
        until: datetime | None = None,
        labels: tuple[str, ...] = (),
        without_labels: tuple[str, ...] = (),
    ) -> PrunePlan:
        """Return what a prune would remove: images without a name, or all that no container uses, and the bytes."""
        from engine.images.prune import plan

        return plan(
            self._catalogue, self._users, takes_unused=takes_unused, until=until, labels=labels,
            without_labels=without_labels,
        )  # fmt: skip

    def prune(self, plan: PrunePlan) -> tuple[str, ...]:
        """Remove the images of a plan, but for those that a container uses or a name has found meanwhile.

        Returns:
            docker's "Untagged: …" and "Deleted: …".
        """
        lines: list[str] = []
        for item in plan.images:
            image = next((image for image in self.list() if image.id == item.image.id), None)
            if image is None or image.references != item.image.references or self._users(image.id):
                continue
            self._catalogue.forget(image)
            self._journal.append("image", "delete", image.id, image.id)
            lines += [f"Untagged: {references.familiar_text(name)}" for name in image.references]
            lines.append(f"Deleted: {image.id}")
        lines += [f"Deleted: {chain_id}" for chain_id in self._catalogue.collect()]
        return tuple(lines)

    def reclaimable(self, refs: tuple[str, ...]) -> int:
        """Return the bytes on the disk that are freed when all these images are gone."""
        from engine.images.prune import freed

        taken = {self.get(ref).id for ref in refs}
        images = self.list()
        kept = [image for image in images if image.id not in taken]
        return freed(self._catalogue, kept, [image for image in images if image.id in taken])

    def lower_directories(self, image: Image) -> tuple[Path, ...]:
        """Return the layer directories, top first, as overlayfs wants them."""
        return self._catalogue.layers.directories(image.layers)

    def tag(self, ref: str, reference: str) -> None:
        """Give an image one more reference."""
        image = self.get(ref)
        parsed = references.parse(reference)
        if parsed.digest:
            raise InvalidArgument("a tag cannot have a digest")
        self._catalogue.point(str(parsed), image.id)
        self._journal.append("image", "tag", image.id, str(parsed))

    def remove(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        """Remove a reference, and the image with its last one; return docker's "Untagged: …" and "Deleted: …".

        Raises:
            NotFound: There is none.
            Conflict: A container uses it, or an id has several references, and `force` is not given.
        """
        image = self.get(ref)
        pointed = self._catalogue.pointed(ref)
        removed = (str(references.parse(ref)),) if pointed == image.id and "@" not in ref else image.references
        if len(removed) > 1 and not force:
            names = ", ".join(references.familiar_text(name) for name in removed)
            raise Conflict(f"image {image.short_id} has several references ({names})", hint="use -f to remove them all")
        remaining = [name for name in image.references if name not in removed]
        users = self._users(image.id) if not remaining else ()
        if users and not force:
            raise Conflict(
                f"image {image.short_id} is used by container {users[0][:12]}", hint="remove the container first"
            )
        if users and remaining == [] and force and not removed:
            raise Conflict(
                f"image {image.short_id} is used by container {users[0][:12]} and has no reference to remove"
            )
        lines = [f"Untagged: {references.familiar_text(name)}" for name in removed]
        self._catalogue.unpoint(removed)
        for name in removed:
            self._journal.append("image", "untag", image.id, name)
        if not remaining and not users:
            lines += self._delete(image)
        return tuple(lines)

    def _delete(self, image: Image) -> tuple[str, ...]:
        gone = self._catalogue.delete(image)
        self._journal.append("image", "delete", image.id, image.id)
        return (f"Deleted: {image.id}", *(f"Deleted: {chain_id}" for chain_id in gone))

    def unreferenced(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the layers and the blobs that no image has; none while an image is being made."""
        return self._catalogue.unreferenced()

    def collect(self) -> None:
        """Delete what interrupted loads and deletions left, and layers and blobs that no image has."""
        self._paths.prepare()
        self._catalogue.layers.collect()
        self._paths.empty_trash()
        self._catalogue.collect()


def _config_section(settings: ImageSettings) -> dict[str, Any]:
    return {
        "Env": [*settings.env], "Entrypoint": [*settings.entrypoint] or None, "Cmd": [*settings.command] or None,
        "User": settings.user, "WorkingDir": settings.workdir, "Labels": settings.labels or None,
        "Volumes": {path: {} for path in settings.volumes} or None, "StopSignal": settings.stop_signal or None,
        "ExposedPorts": {port: {} for port in settings.exposed_ports} or None,
    }  # fmt: skip


def _config_document(diff_id: str, config: dict[str, Any]) -> bytes:
    document = {
        "architecture": documents.this_platform().architecture, "os": "linux", "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "config": {name: value for name, value in config.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "import of a root file system"}],
    }  # fmt: skip
    return msgspec.json.encode(document)
