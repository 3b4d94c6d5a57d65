"""The records of images and the names that point to them, and the collection of what no record needs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from engine.errors import Ambiguous, ImageError, InvalidArgument, NotFound, StoreError
from engine.linux import files
from engine.model.health import HealthCheck
from engine.model.image import Image, ImageSettings
from engine.model.value import replace
from engine.oci import digest as digests
from engine.oci import manifest as documents
from engine.oci import reference as references
from engine.oci.manifest import Healthcheck, Manifest, Settings
from engine.store import records
from engine.store.blobs import Blobs
from engine.store.layers import Layer, Layers
from engine.store.paths import Paths

_HEX = re.compile(r"[0-9a-f]{1,64}")


class Catalogue:
    """What images there are.

    Attributes:
        paths: The state root.
        blobs: Its blobs.
        layers: Its layers.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.blobs = Blobs(paths)
        self.layers = Layers(paths)

    def being_made(self, *, blocking: bool = True, shared: bool = True) -> files.FileLock:
        """Return the lock that keeps layers and blobs which no image has yet from being collected."""
        return files.FileLock(self.paths.lock("images"), blocking=blocking, shared=shared)

    def record(
        self, raw_config: bytes, raw_manifest: bytes, names: tuple[str, ...], repo_digests: tuple[str, ...] = ()
    ) -> Image:
        """Write an image's record, its layers being there, and point names to it.

        Args:
            raw_config: The config, whose digest is the image's id.
            raw_manifest: The manifest, b"" when it has none.
            names: Normalised references.
            repo_digests: What registries call it, besides what is known already.
        """
        config = documents.decode_config(raw_config)
        image_id = self.blobs.put(raw_config)
        digest = self.blobs.put(raw_manifest) if raw_manifest else ""
        chain = digests.chain_ids(tuple(config.rootfs.diff_ids))
        known = self._load(self._path(image_id), {})
        image = Image(
            id=image_id, references=(), created_at=time_of(config.created), architecture=config.architecture,
            os=config.os, size=sum(layer.size for layer in self.layers_of(chain)), layers=chain,
            diff_ids=tuple(config.rootfs.diff_ids), settings=_settings(config.config),
            digest=digest or (known.digest if known else ""),
            repo_digests=tuple(sorted({*repo_digests, *(known.repo_digests if known else ())})),
        )  # fmt: skip
        self.save(image)
        for name in names:
            self.point(name, image_id)
        return self.get(image_id)

    def save(self, image: Image) -> None:
        """Write a record."""
        records.save(self._path(image.id), replace(image, references=()), durable=True)

    def layers_of(self, chain: tuple[str, ...]) -> tuple[Layer, ...]:
        """Return the records of layers that are there."""
        return tuple(layer for layer in map(self.layers.get, chain) if layer)

    def list(self) -> tuple[Image, ...]:
        """Return all images, newest first."""
        if not self.paths.images.exists():
            return ()
        by_id = self._names_by_id()
        found = [self._load(path, by_id) for path in self.paths.images.glob("*.json") if len(path.stem) == 64]
        oldest = datetime.min.replace(tzinfo=UTC)
        return tuple(
            sorted((image for image in found if image), key=lambda image: image.created_at or oldest, reverse=True)
        )

    def _path(self, image_id: str) -> Path:
        return self.paths.images / f"{digests.hex_of(image_id)}.json"

    @staticmethod
    def _load(path: Path, by_id: dict[str, tuple[str, ...]]) -> Image | None:
        try:
            image = records.load(path, Image)
        except FileNotFoundError:
            return None
        return replace(image, references=by_id.get(image.id, ()))

    def get(self, ref: str) -> Image:
        """Return an image by reference, id, id prefix or digest.

        Raises:
            NotFound: There is none.
            Ambiguous: An id prefix fits several.
        """
        if digests.is_digest(ref) and (image := self._load(self._path(ref), self._names_by_id())):
            return image
        short = ref.removeprefix("sha256:")
        wanted = self.pointed(ref)
        if wanted is None and _HEX.fullmatch(short) and self.paths.images.exists():
            matches = sorted(path.stem for path in self.paths.images.glob(f"{short}*.json") if len(path.stem) == 64)
            if len(matches) > 1:
                raise Ambiguous("image", ref, tuple(match[:12] for match in matches))
            wanted = f"sha256:{matches[0]}" if matches else None
        if wanted is None:
            raise NotFound("image", ref, hint="get one with `tuicon pull`, `load` or `import`, or try tuicon/demo")
        image = self._load(self._path(wanted), self._names_by_id())
        if image is None:
            raise NotFound("image", ref)
        return image

    def pointed(self, ref: str) -> str | None:
        """Return the id of the image that a reference names, None when there is none."""
        try:
            parsed = references.parse(ref)
        except InvalidArgument:
            return None
        if not parsed.digest:
            return self._pointers().get(str(parsed))
        called = f"{parsed.registry}/{parsed.repository}@{parsed.digest}"
        for image in self.list():
            if parsed.digest == image.digest or called in image.repo_digests:
                return image.id
        return None

    def _pointers(self) -> dict[str, str]:
        try:
            return records.load(self.paths.images / "references.json", dict[str, str])
        except FileNotFoundError:
            return {}

    def _names_by_id(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, image_id in sorted(self._pointers().items()):
            found[image_id] = (*found.get(image_id, ()), name)
        return found

    def point(self, name: str, image_id: str) -> None:
        """Have a name point to an image."""
        with files.FileLock(self.paths.lock("references")):
            records.save(self.paths.images / "references.json", {**self._pointers(), name: image_id})

    def unpoint(self, names: tuple[str, ...]) -> None:
        """Forget names."""
        with files.FileLock(self.paths.lock("references")):
            left = {name: image_id for name, image_id in self._pointers().items() if name not in names}
            records.save(self.paths.images / "references.json", left)

    def forget(self, image: Image) -> None:
        """Delete a record and its names; its layers and blobs go with the next collection."""
        self.unpoint(image.references)
        self._path(image.id).unlink(missing_ok=True)

    def delete(self, image: Image) -> tuple[str, ...]:
        """Delete a record, and the layers and blobs that nothing needs then; return the deleted chain_ids."""
        self.forget(image)
        gone = self.collect()
        return tuple(chain_id for chain_id in image.layers if chain_id in gone)

    def unreferenced(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the layers and the blobs that no image has; none while an image is being made."""
        try:
            with self.being_made(blocking=False, shared=False):
                return self._unreferenced()
        except BlockingIOError:
            return (), ()

    def _unreferenced(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        kept = self.list()
        layers = {chain_id for image in kept for chain_id in image.layers}
        blobs = {digest for image in kept for digest in self.blobs_of(image)}
        blobs |= {layer.blob for layer in self.layers_of(tuple(layers))}
        return (
            tuple(chain_id for chain_id in self.layers.list() if chain_id not in layers),
            tuple(digest for digest in self.blobs.list() if digest not in blobs),
        )

    def blobs_of(self, image: Image) -> set[str]:
        """Return the digests of the config, the manifest and the blobs that the manifest names."""
        manifest = self.manifest(image)
        named = {layer.digest for layer in manifest.layers} if manifest else set()
        return {image.id, image.digest} | named

    def manifest(self, image: Image) -> Manifest | None:
        """Return the manifest that an image came with, None when it has none or it cannot be read."""
        if not image.digest:
            return None
        try:
            found = documents.decode_manifest(self.blobs.get(image.digest), "the manifest")
        except (ImageError, StoreError, FileNotFoundError):
            return None
        return found if isinstance(found, Manifest) else None

    def collect(self) -> tuple[str, ...]:
        """Delete the layers, blobs and unfinished downloads that no image has, unless one is being made.

        Returns:
            The chain_ids of the deleted layers.
        """
        try:
            with self.being_made(blocking=False, shared=False):
                layers, blobs = self._unreferenced()
                for digest in blobs:
                    self.blobs.delete(digest)
                for chain_id in layers:
                    self.layers.delete(chain_id)
                self.blobs.drop_partial()
        except BlockingIOError:
            return ()  # what is left now goes the next time
        return layers


def _settings(found: Settings | None) -> ImageSettings:
    found = found or Settings()
    return ImageSettings(
        env=tuple(found.Env or ()), entrypoint=tuple(found.Entrypoint or ()), command=tuple(found.Cmd or ()),
        user=found.User or "", workdir=found.WorkingDir or "", labels=found.Labels or {},
        volumes=tuple(sorted(found.Volumes or ())), exposed_ports=tuple(sorted(found.ExposedPorts or ())),
        stop_signal=found.StopSignal or "", health=_health(found.Healthcheck),
    )  # fmt: skip


def time_of(text: str | None) -> datetime | None:
    """Return a time of a config.

    Raises:
        ImageError: It is malformed.
    """
    if not text:
        return None
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise ImageError(f"the image config has the malformed time {text[:40]!r}") from error


def _health(found: Healthcheck | None) -> HealthCheck:
    if found is None:
        return HealthCheck()
    return HealthCheck(
        test=tuple(found.Test or ()), interval=found.Interval / 1e9, timeout=found.Timeout / 1e9, retries=found.Retries,
        start_period=found.StartPeriod / 1e9, start_interval=found.StartInterval / 1e9,
    )  # fmt: skip
