"""Manifests, indexes and image configs: the fields that the engine reads (image-spec 1.1, docker schema 2)."""

from __future__ import annotations

import platform
import re
from typing import Any

import msgspec

from engine.errors import ImageError, InvalidArgument
from engine.oci.digest import is_digest

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


OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_WORD = re.compile(r"[a-z0-9_.-]+")
_VARIANT = re.compile(r"v[0-9]+")
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}
_CONFIGS = frozenset({OCI_CONFIG, "application/vnd.docker.container.image.v1+json"})
_LAYER = re.compile(
    r"application/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?"
)


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a manifest of an index is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        """Return "os/architecture[/variant]"."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A blob: its type, digest and size; `urls` is not read, for a blob comes from its registry or not at all."""

    mediaType: str = ""  # noqa: N815 - the document's name
    digest: str = ""
    size: int = 0
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    artifactType: str = ""  # noqa: N815 - the document's name


class Manifest(msgspec.Struct, frozen=True):
    """An image manifest."""

    config: Descriptor
    layers: list[Descriptor]
    schemaVersion: int = 2  # noqa: N815 - the document's name
    mediaType: str = ""  # noqa: N815 - the document's name
    artifactType: str | None = None  # noqa: N815 - the document's name


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


def decode_manifest(data: bytes, what: str, media_type: str = "") -> Manifest | Index:
    """Decode a manifest or an index; a document that claims to be both is refused (CVE-2021-41190).

    Args:
        data: The document.
        what: How errors call it.
        media_type: What its descriptor or the registry says it is; the document must agree.

    Raises:
        ImageError: It is damaged, of an unknown kind, or not what it was said to be.
    """
    fields = decode(data, dict[str, Any], what)
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise ImageError(f"{what} is a manifest and an index at once")
    if fields.get("schemaVersion", 2) != 2:
        raise ImageError(f"{what} has the schema version {fields['schemaVersion']!r}, and only 2 is supported")
    found: Manifest | Index = decode(data, Index if "manifests" in fields else Manifest, what)
    known = INDEXES if isinstance(found, Index) else MANIFESTS
    for claimed in (found.mediaType, media_type):
        if claimed and claimed not in known:
            raise ImageError(f"{what} has the unexpected media type {claimed[:100]}")
    if found.mediaType and media_type and found.mediaType != media_type:
        raise ImageError(f"{what} says it is {found.mediaType}, and was given as {media_type}")
    return found


def check_image(manifest: Manifest, what: str) -> Manifest:
    """Return the manifest of an image, with all digests, sizes and media types looked at.

    Raises:
        ImageError: It is an artifact of another kind, or damaged.
    """
    if manifest.config.mediaType not in _CONFIGS:
        kind = manifest.artifactType or manifest.config.mediaType
        raise ImageError(f"{what} is no image but an artifact of the type {kind[:100] or '(none)'}")
    for descriptor in (manifest.config, *manifest.layers):
        if not is_digest(descriptor.digest) or descriptor.size < 0:
            raise ImageError(f"{what} has the malformed descriptor {descriptor.digest[:80]!r}")
    for layer in manifest.layers:
        if not _LAYER.fullmatch(layer.mediaType):
            raise ImageError(f"{what} has a layer of the unknown media type {layer.mediaType[:100]!r}")
    return manifest


def choose(index: Index, wanted: Platform, what: str) -> Descriptor:
    """Return the manifest of an index for a platform: the variant as asked, then without one, then the first.

    Raises:
        ImageError: There is none.
    """
    fitting = [
        item
        for item in index.manifests
        if item.platform is None or (item.platform.os, item.platform.architecture) == (wanted.os, wanted.architecture)
    ]
    for variant in dict.fromkeys((wanted.variant, _DEFAULT_VARIANTS.get(wanted.architecture, ""), "")):
        for item in fitting:
            if item.platform is not None and item.platform.variant == variant:
                return item
    if fitting and not wanted.variant:
        return fitting[0]
    found = sorted({str(item.platform) for item in index.manifests if item.platform and item.platform.os != "unknown"})
    raise ImageError(f"{what} has no image for {wanted}", hint=f"it has {', '.join(found) or 'none'}")


def decode_config(data: bytes) -> ImageConfig:
    """Decode an image config, its diff_ids checked for syntax.

    Raises:
        ImageError: It is damaged.
    """
    config: ImageConfig = decode(data, ImageConfig, "the image config")
    for diff_id in config.rootfs.diff_ids:
        if not is_digest(diff_id):
            raise ImageError(f"the image config has the malformed diff_id {diff_id[:80]!r}")
    return config


def this_platform() -> Platform:
    """Return the host's platform in the specification's words."""
    machine = platform.machine()
    return Platform(architecture=_MACHINES.get(machine, machine), os="linux")


def parse_platform(text: str) -> Platform:
    """Parse "[os/]architecture[/variant]"; an empty text is this host's.

    Raises:
        InvalidArgument: It is malformed.
    """
    if not text:
        return this_platform()
    parts = text.lower().split("/")
    if not all(_WORD.fullmatch(part) for part in parts) or len(parts) > 3:
        raise InvalidArgument(f"malformed platform {text[:80]!r}: give os/architecture[/variant], such as linux/arm64")
    if len(parts) == 1 or (len(parts) == 2 and _VARIANT.fullmatch(parts[1])):
        parts = ["linux", *parts]
    architecture = _MACHINES.get(parts[1], parts[1])
    return Platform(architecture, parts[0], parts[2] if len(parts) == 3 else "")
