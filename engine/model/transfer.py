"""Transfers between the store and registries: what is wanted, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from engine.model.image import Image
from engine.model.value import Value


class Phase(StrEnum):
    """Where a layer is; the value is what a person reads."""

    WAITING = "Waiting"
    EXISTS = "Already exists"
    DOWNLOADING = "Downloading"
    RETRYING = "Retrying"
    UNPACKING = "Unpacking"
    VERIFYING = "Verifying"
    PULLED = "Pull complete"
    UPLOADING = "Pushing"
    MOUNTED = "Mounted from another repository"
    PUSHED = "Pushed"


ENDED = frozenset({Phase.EXISTS, Phase.PULLED, Phase.MOUNTED, Phase.PUSHED})
"""Phases after which a layer has no news."""


class Progress(Value, frozen=True):
    """News of one layer. A layer is unpacked while it arrives; it is `UNPACKING` only when all of it is here.

    Attributes:
        layer: Twelve digits of its digest.
        done: Bytes transferred so far.
        total: Bytes in all.
        note: What made it retry, one sentence.
    """

    layer: str
    phase: Phase
    done: int = 0
    total: int = 0
    note: str = ""


Watch = Callable[[Progress], None]
"""Is told of progress, from several threads."""


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """What a caller may say about a registry for one command.

    Attributes:
        verify_tls: None as configured, False to take any certificate and plain http, True for neither.
        certificates: A directory with ca .crt files and client .cert and .key pairs, instead of the usual ones.
        credentials: (user, password) instead of the stored ones.
    """

    verify_tls: bool | None = None
    certificates: Path | None = None
    credentials: tuple[str, str] | None = field(default=None, repr=False)


class Pulled(Value, frozen=True):
    """What a pull made.

    Attributes:
        reference: What was pulled, in the full form.
        digest: The digest that the registry gives for it; for an image of several platforms that of the index.
        is_new: False when the store had it already.
    """

    image: Image
    reference: str
    digest: str
    is_new: bool


class Pushed(Value, frozen=True):
    """What a push made: the reference in the full form, the manifest's digest and its size in bytes."""

    reference: str
    digest: str
    size: int


class Update(Value, frozen=True):
    """Whether a registry has another image than ours for a reference; `remote` is "" when it has none."""

    reference: str
    local: str
    remote: str

    @property
    def is_available(self) -> bool:
        """Whether a pull would bring something else."""
        return bool(self.remote) and self.remote != self.local


class SearchResult(Value, frozen=True):
    """A repository that fits a search; what a registry does not tell is empty."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False


class Referrer(Value, frozen=True):
    """A document that refers to an image: a signature, a bill of materials, an attestation."""

    digest: str
    kind: str
    size: int
    annotations: dict[str, str]


class Prunable(Value, frozen=True):
    """An image that a prune takes: with the bytes that nothing else needs once all of them are gone."""

    image: Image
    reason: str


class PrunePlan(Value, frozen=True):
    """What a prune takes, and the bytes on the disk that it frees."""

    images: tuple[Prunable, ...]
    size: int


class HistoryStep(Value, frozen=True):
    """One step of an image's history, the newest first in lists.

    Attributes:
        layer: Its layer's chain_id; empty when the step made none.
        size: Bytes of its layer's files.
    """

    created_at: datetime | None
    created_by: str
    comment: str
    layer: str
    size: int
