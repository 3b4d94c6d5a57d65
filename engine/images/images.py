"""The image store: load, import, list, inspect, tag, remove."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from engine.errors import Ambiguous, Conflict, ImageError, InvalidArgument, NotFound
from engine.linux import files
from engine.model.image import Image, ImageSettings
from engine.oci import digest as digests
from engine.oci import reference as references
from engine.oci.manifest import ImageConfig, Settings
from engine.store import records
from engine.store.blobs import Blobs
from engine.store.journal import Journal
from engine.store.layers import Layer, Layers
from engine.store.paths import Paths

if TYPE_CHECKING:
    from engine.images.load import Found
    from engine.images.unpack import UnpackLimits

_HEX = re.compile(r"[0-9a-f]{1,64}")


class ImageStore:
    """The images of a state root; safe beside others on the same root."""

    def __init__(self, paths: Paths, journal: Journal, users: Callable[[str], tuple[str, ...]]) -> None:
        self._paths = paths
        self._journal = journal
        self._users = users
        self._blobs = Blobs(paths)
        self._layers = Layers(paths)

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

        directory = archives.spool(stream, self._paths.trash)
        try:
            return self._load_directory(directory, limits)
        finally:
            files.remove_tree(directory)

    def _load_directory(self, directory: Path, limits: UnpackLimits | None) -> tuple[Image, ...]:
        from engine.images import load as archives

        archive = archives.Archive(directory)
        try:
            return tuple(self._keep(found, limits) for found in archives.find_images(archive))
        finally:
            archive.close()

    def _keep(self, found: Found, limits: UnpackLimits | None) -> Image:
        from engine.images import load as archives

        config = archives.decode_config(found.config)
        if len(config.rootfs.diff_ids) != len(found.layers):
            raise ImageError("the image config names another number of layers than the manifest")
        names = tuple(self._reference(name) for name in found.references)
        self._unpack_layers(config, found, limits)
        manifest = self._blobs.put(found.manifest) if found.manifest else ""
        return self._record(self._blobs.put(found.config), config, manifest, names)

    @staticmethod
    def _reference(name: str) -> str:
        """Normalise the name that an archive gives; a bare tag, as some layouts have, is no name."""
        try:
            return str(references.parse(name))
        except InvalidArgument as error:
            raise ImageError(f"the archive names the image {name[:200]!r}: {error}") from error

    def _unpack_layers(self, config: ImageConfig, found: Found, limits: UnpackLimits | None) -> None:
        diff_ids = tuple(config.rootfs.diff_ids)
        for chain_id, diff_id, opener, digest in zip(
            digests.chain_ids(diff_ids), diff_ids, found.layers, found.digests, strict=True
        ):

            def fill(directory: Path, chain: str = chain_id, diff: str = diff_id, opens: Callable[[], BinaryIO] = opener,
                     expected: str = digest) -> Layer:  # fmt: skip
                with opens() as stream:
                    return _fill(directory, stream, chain, diff, expected, limits)

            self._layers.ensure(chain_id, fill)

    def _record(self, image_id: str, config: ImageConfig, manifest: str, names: tuple[str, ...]) -> Image:
        diff_ids = tuple(config.rootfs.diff_ids)
        chain = digests.chain_ids(diff_ids)
        sizes = [layer.size for layer in (self._layers.get(chain_id) for chain_id in chain) if layer]
        image = Image(
            id=image_id, references=(), created_at=_time(config.created), architecture=config.architecture, os=config.os,
            size=sum(sizes), layers=chain, diff_ids=diff_ids, settings=_settings(config.config), digest=manifest,
        )  # fmt: skip
        records.save(self._paths.images / f"{digests.hex_of(image_id)}.json", image, durable=True)
        for name in names:
            self._point(name, image_id)
        self._journal.append("image", "load", image_id, names[0] if names else image_id)
        return self.get(image_id)

    def import_rootfs(
        self, source: Path | BinaryIO, reference: str = "", *, settings: ImageSettings | None = None,
        limits: UnpackLimits | None = None,
    ) -> Image:  # fmt: skip
        """Make an image of one layer from a tar of a root file system (compressed or not).

        Raises:
            ImageError: The archive is damaged or hostile; nothing is kept.
            InvalidArgument: The path does not exist, or the reference is malformed.
        """
        self._paths.prepare()
        name = (str(references.parse(reference)),) if reference else ()
        if isinstance(source, Path):
            try:
                with source.open("rb") as stream:
                    return self._import_stream(stream, name, settings or ImageSettings(), limits)
            except FileNotFoundError:
                raise InvalidArgument(f"no such file: {source}") from None
        return self._import_stream(source, name, settings or ImageSettings(), limits)

    def _import_stream(
        self, stream: BinaryIO, names: tuple[str, ...], settings: ImageSettings, limits: UnpackLimits | None
    ) -> Image:
        from engine.images import load as archives
        from engine.images.compression import Decompressed
        from engine.images.unpack import unpack

        staged = self._paths.trash / f"import.{os.getpid()}.{os.urandom(4).hex()}"
        staged.mkdir(mode=0o700)
        staged.joinpath("diff").mkdir(mode=0o755)
        try:
            plain = Decompressed(stream)
            unpacked = unpack(plain, staged / "diff", limits)
            diff_id = plain.digest()
            layer = Layer(diff_id, diff_id, unpacked.size, unpacked.entries)

            def fill(directory: Path) -> Layer:
                directory.rmdir()
                staged.joinpath("diff").rename(directory)
                return layer

            self._layers.ensure(diff_id, fill)
        finally:
            files.remove_tree(staged)
        config = _config_document(diff_id, settings)
        return self._record(self._blobs.put(config), archives.decode_config(config), "", names)

    def build_demo(self) -> Image:
        """Make the demo image from the host's own programs; no network is needed."""
        from engine.images import demo

        return self.import_rootfs(demo.root_archive(), demo.REFERENCE, settings=demo.SETTINGS)

    def list(self) -> tuple[Image, ...]:
        """Return all images, newest first."""
        if not self._paths.images.exists():
            return ()
        by_id = self._names_by_id()
        found = [self._load_record(path, by_id) for path in self._paths.images.glob("*.json") if len(path.stem) == 64]
        oldest = datetime.min.replace(tzinfo=UTC)
        return tuple(
            sorted((image for image in found if image), key=lambda image: image.created_at or oldest, reverse=True)
        )

    def _load_record(self, path: Path, by_id: dict[str, tuple[str, ...]]) -> Image | None:
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
        short = ref.removeprefix("sha256:")
        wanted = self._pointed(ref)
        if wanted is None and _HEX.fullmatch(short) and self._paths.images.exists():
            matches = sorted(path.stem for path in self._paths.images.glob(f"{short}*.json") if len(path.stem) == 64)
            if len(matches) > 1:
                raise Ambiguous("image", ref, tuple(match[:12] for match in matches))
            wanted = f"sha256:{matches[0]}" if matches else None
        if wanted is None:
            raise NotFound("image", ref, hint="load one with `tuicon load` or `tuicon import`, or try tuicon/demo")
        image = self._load_record(self._paths.images / f"{digests.hex_of(wanted)}.json", self._names_by_id())
        if image is None:
            raise NotFound("image", ref)
        return image

    def _pointed(self, ref: str) -> str | None:
        try:
            parsed = references.parse(ref)
        except InvalidArgument:
            return None
        if parsed.digest:
            return next((image.id for image in self.list() if image.digest == parsed.digest), None)
        return self._pointers().get(str(parsed))

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return an image in docker's JSON shape."""
        image = self.get(ref)
        familiar = [references.familiar_text(name) for name in image.references]
        names = sorted({references.parse(name).name for name in image.references})
        settings = image.settings
        return {
            "Id": image.id,
            "RepoTags": familiar,
            "RepoDigests": [f"{name}@{image.digest}" for name in names] if image.digest else [],
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
            "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": ":".join(map(str, self.lower_directories(image)))}},
            "RootFS": {"Type": "layers", "Layers": [*image.diff_ids]},
        }  # fmt: skip

    def lower_directories(self, image: Image) -> tuple[Path, ...]:
        """Return the layer directories, top first, as overlayfs wants them."""
        return tuple(self._layers.directory(chain_id) for chain_id in reversed(image.layers))

    def tag(self, ref: str, reference: str) -> None:
        """Give an image one more reference."""
        image = self.get(ref)
        parsed = references.parse(reference)
        if parsed.digest:
            raise InvalidArgument("a tag cannot have a digest")
        self._point(str(parsed), image.id)
        self._journal.append("image", "tag", image.id, str(parsed))

    def remove(self, ref: str, *, force: bool = False) -> tuple[str, ...]:
        """Remove a reference, and the image with its last one; return docker's "Untagged: …" and "Deleted: …".

        Raises:
            NotFound: There is none.
            Conflict: A container uses it, or an id has several references, and `force` is not given.
        """
        image = self.get(ref)
        pointed = self._pointed(ref)
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
        self._unpoint(removed)
        for name in removed:
            self._journal.append("image", "untag", image.id, name)
        if not remaining and not users:
            lines += self._delete(image)
        return tuple(lines)

    def _delete(self, image: Image) -> tuple[str, ...]:
        self._paths.images.joinpath(f"{digests.hex_of(image.id)}.json").unlink(missing_ok=True)
        kept = self.list()
        blobs = {image.id, image.digest} - {other.digest for other in kept}
        for digest in blobs - {""}:
            self._blobs.delete(digest)
        shared = {chain_id for other in kept for chain_id in other.layers}
        gone = [chain_id for chain_id in image.layers if chain_id not in shared]
        for chain_id in gone:
            self._layers.delete(chain_id)
        self._journal.append("image", "delete", image.id, image.id)
        return (f"Deleted: {image.id}", *(f"Deleted: {chain_id}" for chain_id in gone))

    def collect(self) -> None:
        """Delete what interrupted loads and deletions left, and layers and blobs that no image has."""
        self._layers.collect()
        self._paths.empty_trash()

    def _pointers(self) -> dict[str, str]:
        try:
            found = records.load(self._paths.images / "references.json", dict[str, str])
        except FileNotFoundError:
            return {}
        return found

    def _names_by_id(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, image_id in sorted(self._pointers().items()):
            found[image_id] = (*found.get(image_id, ()), name)
        return found

    def _point(self, name: str, image_id: str) -> None:
        with files.FileLock(self._paths.lock("references")):
            records.save(self._paths.images / "references.json", {**self._pointers(), name: image_id})

    def _unpoint(self, names: tuple[str, ...]) -> None:
        with files.FileLock(self._paths.lock("references")):
            left = {name: image_id for name, image_id in self._pointers().items() if name not in names}
            records.save(self._paths.images / "references.json", left)


def _fill(
    directory: Path, stream: BinaryIO, chain_id: str, diff_id: str, expected: str, limits: UnpackLimits | None
) -> Layer:
    """Unpack one layer and check its digests."""
    from engine.images.compression import Decompressed
    from engine.images.unpack import unpack

    source = _Hashed(stream) if expected else None
    plain = Decompressed(source or stream)
    unpacked = unpack(plain, directory, limits)
    if plain.digest() != diff_id:
        raise ImageError(f"layer {diff_id[:19]}… is damaged: its content has another digest")
    if source and source.digest() != expected:
        raise ImageError(f"blob {expected[:19]}… is damaged: its digest is wrong")
    return Layer(chain_id, diff_id, unpacked.size, unpacked.entries)


class _Hashed:
    """A stream that hashes what is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hasher = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        data = self._stream.read(size)
        self._hasher.update(data)
        return data

    def digest(self) -> str:
        """Return the digest of the whole stream."""
        while self.read(1 << 18):
            pass
        return "sha256:" + self._hasher.hexdigest()


def _settings(found: Settings | None) -> ImageSettings:
    found = found or Settings()
    return ImageSettings(
        env=tuple(found.Env or ()), entrypoint=tuple(found.Entrypoint or ()), command=tuple(found.Cmd or ()),
        user=found.User or "", workdir=found.WorkingDir or "", labels=found.Labels or {},
        volumes=tuple(sorted(found.Volumes or ())), exposed_ports=tuple(sorted(found.ExposedPorts or ())),
        stop_signal=found.StopSignal or "",
    )  # fmt: skip


def _config_document(diff_id: str, settings: ImageSettings) -> bytes:
    from engine.images import load as archives

    config: dict[str, Any] = {
        "Env": [*settings.env], "Entrypoint": [*settings.entrypoint] or None, "Cmd": [*settings.command] or None,
        "User": settings.user, "WorkingDir": settings.workdir, "Labels": settings.labels or None,
        "Volumes": {path: {} for path in settings.volumes} or None, "StopSignal": settings.stop_signal or None,
        "ExposedPorts": {port: {} for port in settings.exposed_ports} or None,
    }  # fmt: skip
    document = {
        "architecture": archives.architecture(), "os": "linux", "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "config": {name: value for name, value in config.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "import of a root file system"}],
    }  # fmt: skip
    return msgspec.json.encode(document)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise ImageError(f"the image config has the malformed time {text[:40]!r}") from error
