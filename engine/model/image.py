"""Images as the engine knows them."""

from __future__ import annotations

from datetime import datetime

from engine.model.health import HealthCheck
from engine.model.value import Value, field


class ImageSettings(Value, frozen=True):
    """The part of an image's config that a container starts from (image-spec, "config")."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    health: HealthCheck = field(default_factory=HealthCheck)


class Image(Value, frozen=True):
    """An image in the store.

    Attributes:
        id: The digest of its config, "sha256:…".
        references: Normalised references ("docker.io/library/demo:latest"), sorted; empty when dangling.
        digest: The digest of its manifest, or empty when it came without one.
        repo_digests: What registries call it, "docker.io/library/demo@sha256:…"; for an image of several platforms
            the digest is that of its index.
        size: Bytes of its unpacked layers.
        layers: chain_ids, lowest first.
        diff_ids: diff_ids, lowest first.
    """

    id: str
    references: tuple[str, ...]
    created_at: datetime | None
    architecture: str
    os: str
    size: int
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]
    settings: ImageSettings
    digest: str = ""
    repo_digests: tuple[str, ...] = ()

    @property
    def short_id(self) -> str:
        """Twelve digits of the id, as docker prints them."""
        return self.id.removeprefix("sha256:")[:12]
