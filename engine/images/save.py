"""Writes images to an archive or a directory that others can read.

A docker archive is written as docker itself does since version 25: an OCI layout with docker's manifest.json beside it,
so one file suits docker, podman, skopeo and umoci. The bytes depend on the images alone.

Sources: image-spec image-layout.md; docker's image specification v1.2; containerd's name annotation.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.errors import InvalidArgument
from engine.images.catalogue import Catalogue
from engine.images.outgoing import Outgoing, outgoing
from engine.linux import files
from engine.model.image import Image
from engine.model.value import Value
from engine.oci import reference as references
from engine.oci.digest import hex_of
from engine.oci.manifest import OCI_INDEX

FORMATS = ("docker", "oci", "oci-dir")
_CHUNK = 1 << 20
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Member(Value, frozen=True):
    """A file to write: its bytes, or the blob that has them."""

    name: str
    data: bytes = b""
    blob: str = ""


def members(catalogue: Catalogue, wanted: list[tuple[Image, tuple[str, ...]]], *, for_docker: bool) -> Iterator[Member]:
    """Yield the files of a layout, documents last.

    Args:
        catalogue: Where the images are.
        wanted: Images, each with the names to give it.
        for_docker: Whether docker's manifest.json belongs to it.

    Raises:
        ImageError: The store lacks a blob.
    """
    found = [(outgoing(catalogue, image), names) for image, names in wanted]
    blobs: dict[str, Member] = {}
    for one, _ in found:
        for digest in (one.config.digest, *(layer.digest for layer in one.layers)):
            blobs[digest] = Member(_blob_name(digest), blob=digest)
        blobs[one.digest] = Member(_blob_name(one.digest), data=one.data)
    yield from (blobs[digest] for digest in sorted(blobs))
    index = {
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry for one, names in found for entry in _entries(one, names)],
    }  # fmt: skip
    yield Member("index.json", msgspec.json.encode(index))
    if for_docker:
        yield Member("manifest.json", msgspec.json.encode([_docker_entry(one, names) for one, names in found]))
    yield Member("oci-layout", _LAYOUT)


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _entries(one: Outgoing, names: tuple[str, ...]) -> list[dict[str, object]]:
    """Return a descriptor for each name; without one, a descriptor without annotations."""
    plain: dict[str, object] = {"mediaType": one.media_type, "digest": one.digest, "size": len(one.data)}
    return [
        {
            **plain,
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": references.parse(name).tag,
            },
        }
        for name in names
    ] or [plain]


def _docker_entry(one: Outgoing, names: tuple[str, ...]) -> dict[str, object]:
    return {
        "Config": _blob_name(one.config.digest), "RepoTags": [references.familiar_text(name) for name in names] or None,
        "Layers": [_blob_name(layer.digest) for layer in one.layers],
    }  # fmt: skip


def save(catalogue: Catalogue, wanted: list[tuple[Image, tuple[str, ...]]], target: Path | BinaryIO, form: str) -> None:
    """Write images, whole or not at all when the target is a path.

    Raises:
        InvalidArgument: The form is unknown, or the target cannot be written.
        ImageError: The store lacks a blob.
    """
    if form not in FORMATS:
        raise InvalidArgument(f"unknown format {form!r}: {', '.join(FORMATS)} are known")
    files_to_write = members(catalogue, wanted, for_docker=form == "docker")
    if not isinstance(target, Path):
        if form == "oci-dir":
            raise InvalidArgument("a directory is written to a path, not to a stream")
        _write_tar(catalogue, files_to_write, target)
        return
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if form == "oci-dir":
            _write_directory(catalogue, files_to_write, staged)
        else:
            with staged.open("xb") as file:
                _write_tar(catalogue, files_to_write, file)
        staged.rename(target)
    except OSError as error:
        raise InvalidArgument(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        files.remove_tree(staged)


def _write_tar(catalogue: Catalogue, found: Iterator[Member], target: BinaryIO) -> None:
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT, bufsize=_CHUNK) as archive:
        for name in ("blobs", "blobs/sha256"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
        for member in found:
            info = tarfile.TarInfo(member.name)
            info.mode = 0o644
            with _open(catalogue, member) as source:
                info.size = source.seek(0, os.SEEK_END)
                source.seek(0)
                archive.addfile(info, source)


def _write_directory(catalogue: Catalogue, found: Iterator[Member], directory: Path) -> None:
    directory.joinpath("blobs/sha256").mkdir(parents=True)
    for member in found:
        with _open(catalogue, member) as source, directory.joinpath(member.name).open("xb") as out:
            while chunk := source.read(_CHUNK):
                out.write(chunk)


def _open(catalogue: Catalogue, member: Member) -> BinaryIO:
    return catalogue.blobs.open(member.blob) if member.blob else io.BytesIO(member.data)
