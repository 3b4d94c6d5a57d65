"""Manifests, indexes and image configs: the fields that the engine reads (image-spec 1.1, docker schema 2)."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.errors import ImageError

INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFESTS = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)


class Platform(msgspec.Struct, frozen=True):
    """What a manifest of an index is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True):
    """A blob: its type, digest and size."""

    mediaType: str = ""  # noqa: N815 - the document's name
    digest: str = ""
    size: int = 0
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True):
    """An image manifest."""

    config: Descriptor
    layers: list[Descriptor]
    schemaVersion: int = 2  # noqa: N815 - the document's name
    mediaType: str = ""  # noqa: N815 - the document's name


class Index(msgspec.Struct, frozen=True):
    """An index of manifests."""

    manifests: list[Descriptor]
    schemaVersion: int = 2  # noqa: N815 - the document's name
    mediaType: str = ""  # noqa: N815 - the document's name


class RootFs(msgspec.Struct, frozen=True):
    """The layers of an image, lowest first."""

    diff_ids: list[str]
    type: str = "layers"


class Healthcheck(msgspec.Struct, frozen=True):
    """docker's health check of an image; times are nanoseconds."""

    Test: list[str] | None = None
    Interval: int = 0
    Timeout: int = 0
    Retries: int = 0
    StartPeriod: int = 0
    StartInterval: int = 0


class Settings(msgspec.Struct, frozen=True):
    """The "config" of an image config; null and absent are the same."""

    Env: list[str] | None = None
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    User: str | None = None
    WorkingDir: str | None = None
    Labels: dict[str, str] | None = None
    Volumes: dict[str, Any] | None = None
    ExposedPorts: dict[str, Any] | None = None
    StopSignal: str | None = None
    Healthcheck: Healthcheck | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """An image config."""

    rootfs: RootFs
    architecture: str = ""
    os: str = "linux"
    created: str | None = None
    config: Settings | None = None
    history: list[dict[str, Any]] | None = None


class DockerArchiveEntry(msgspec.Struct, frozen=True):
    """One image of a docker archive's manifest.json."""

    Config: str
    Layers: list[str]
    RepoTags: list[str] | None = None


def decode(data: bytes, kind: type[Any], what: str) -> Any:  # noqa: ANN401 - of `kind`
    """Decode a document.

    Raises:
        ImageError: It is damaged; the sentence names `what` and the place.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"{what} is damaged: {error}") from error


def decode_manifest(data: bytes, what: str) -> Manifest | Index:
    """Decode a manifest or an index; a document that claims to be both is refused (CVE-2021-41190)."""
    fields = decode(data, dict[str, Any], what)
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise ImageError(f"{what} is a manifest and an index at once")
    found: Manifest | Index = decode(data, Index if "manifests" in fields else Manifest, what)
    known = INDEXES if isinstance(found, Index) else MANIFESTS
    if found.mediaType and found.mediaType not in known:
        raise ImageError(f"{what} has the unexpected media type {found.mediaType}")
    return found
