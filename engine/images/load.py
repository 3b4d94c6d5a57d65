"""Loads docker archives and OCI layouts (a tar, or a directory); streams from a pipe work too.

Sources: image-spec image-layout.md; docker's image specification v1.2 ("Combined Image JSON + Filesystem").
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine.errors import ImageError
from engine.images import tar
from engine.images.compression import Decompressed
from engine.images.tar import Readable, TarReader
from engine.linux import inside
from engine.model.value import Value
from engine.oci import manifest as documents
from engine.oci.digest import hex_of, is_digest, of_bytes
from engine.oci.manifest import Descriptor, Index, Manifest

_LARGEST_DOCUMENT = 8 << 20
_DEEPEST_INDEX = 4
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Found(Value, frozen=True):
    """One image of an archive, its layers not yet read.

    Attributes:
        config: The raw config.
        manifest: The raw manifest, b"" in an old docker archive.
        references: As the archive names it.
        layers: Opens each layer's (maybe compressed) stream, lowest first.
        digests: The expected digest of each stream, "" when unknown.
    """

    config: bytes
    manifest: bytes
    references: tuple[str, ...]
    layers: tuple[Callable[[], BinaryIO], ...]
    digests: tuple[str, ...]


class Archive:
    """The members of an archive, spooled to an unnamed temporary directory when they come as a stream."""

    def __init__(self, directory: Path) -> None:
        self._root = inside.open_root(directory)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def has(self, name: str) -> bool:
        """Return whether there is a member of that name."""
        try:
            os.close(inside.open_inside(self._root, name, os.O_PATH))
        except OSError:
            return False
        return True

    def open(self, name: str) -> BinaryIO:
        """Open a member.

        Raises:
            ImageError: There is none.
        """
        try:
            return os.fdopen(inside.open_inside(self._root, name, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except OSError as error:
            raise ImageError(f"the archive lacks {name[:200]}") from error

    def document(self, name: str) -> bytes:
        """Return a small member's bytes."""
        with self.open(name) as file:
            data = file.read(_LARGEST_DOCUMENT + 1)
        if len(data) > _LARGEST_DOCUMENT:
            raise ImageError(f"{name[:200]} is larger than 8 MiB")
        return data

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a small blob's bytes, checked."""
        data = self.document(blob_name(descriptor))
        if of_bytes(data) != descriptor.digest:
            raise ImageError(f"blob {descriptor.digest[:19]}… is damaged: its digest is wrong")
        return data


def blob_name(descriptor: Descriptor) -> str:
    """Return the member that holds a blob."""
    if not is_digest(descriptor.digest):
        raise ImageError(f"unsupported digest {descriptor.digest[:80]!r}")
    return f"blobs/sha256/{hex_of(descriptor.digest)}"


def spool(stream: BinaryIO, directory: Path) -> None:
    """Write an archive's members to an empty directory.

    Raises:
        ImageError: The archive is damaged.
    """
    reader = TarReader(Decompressed(_Buffered(stream)))
    root = inside.open_root(directory)
    try:
        for entry in reader:
            path = os.path.normpath("/" + entry.name)
            parent, _, name = path.rpartition("/")
            if entry.kind == tar.DIRECTORY or not name:
                continue
            fd = inside.make_directories(root, parent or "/", 0o700)
            try:
                if entry.kind == tar.FILE:
                    out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=fd)
                    with os.fdopen(out, "wb") as file:
                        for chunk in reader.content():
                            file.write(chunk)
                elif entry.kind == tar.SYMLINK:  # old docker archives link equal layers
                    os.symlink(entry.link, name, dir_fd=fd)
            finally:
                os.close(fd)
    finally:
        os.close(root)


class _Buffered:
    """Reads full chunks from pipes, which give what they have."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, less only at the end."""
        buffer = io.BytesIO()
        while (missing := size - buffer.tell()) and (data := self._stream.read(missing)):
            buffer.write(data)
        return buffer.getvalue()


def find_images(archive: Archive) -> tuple[Found, ...]:
    """Return the images of a docker archive or an OCI layout.

    Raises:
        ImageError: It is neither, or damaged, or has no image for this machine.
    """
    if archive.has("manifest.json"):
        return _docker_images(archive)
    if archive.has("index.json"):
        return _oci_images(archive)
    raise ImageError("this is no image archive: it has neither manifest.json nor index.json")


def _docker_images(archive: Archive) -> tuple[Found, ...]:
    data = archive.document("manifest.json")
    entries: list[documents.DockerArchiveEntry] = documents.decode(
        data, list[documents.DockerArchiveEntry], "manifest.json"
    )
    found = []
    for entry in entries:
        layers = tuple(_opener(archive, name) for name in entry.Layers)
        references = tuple(entry.RepoTags or ())
        found.append(Found(archive.document(entry.Config), b"", references, layers, ("",) * len(layers)))
    return tuple(found)


def _oci_images(archive: Archive) -> tuple[Found, ...]:
    index = documents.decode_manifest(archive.document("index.json"), "index.json")
    if not isinstance(index, Index):
        raise ImageError("index.json is no index")
    found = [_oci_image(archive, descriptor) for descriptor in index.manifests]
    if not found:
        raise ImageError("the OCI layout has no image")
    return tuple(found)


def _oci_image(archive: Archive, descriptor: Descriptor) -> Found:
    annotations = descriptor.annotations or {}
    name = next((annotations[key] for key in _NAME_ANNOTATIONS if annotations.get(key)), "")
    if not {"/", ":"} & set(name):
        name = ""  # a bare tag, as skopeo writes it, names no image
    raw = archive.blob(descriptor)
    manifest = documents.decode_manifest(raw, "the manifest", descriptor.mediaType)
    for _ in range(_DEEPEST_INDEX):
        if isinstance(manifest, Manifest):
            break
        chosen = documents.choose(manifest, documents.this_platform(), "the index")
        raw = archive.blob(chosen)
        manifest = documents.decode_manifest(raw, "the manifest", chosen.mediaType)
    if not isinstance(manifest, Manifest):
        raise ImageError("the index is nested too deeply")
    documents.check_image(manifest, "the manifest")
    layers = tuple(_opener(archive, blob_name(layer)) for layer in manifest.layers)
    digests = tuple(layer.digest for layer in manifest.layers)
    return Found(archive.blob(manifest.config), raw, (name,) if name else (), layers, digests)


def _opener(archive: Archive, name: str) -> Callable[[], BinaryIO]:
    return lambda: archive.open(name)
