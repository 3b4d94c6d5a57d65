"""What is inside an image: layers, files with their changes, waste, advice."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum

from engine.model.value import Value


class Change(StrEnum):
    """What became of a path between two states; INSIDE is a directory that is itself the same, and its content is not."""

    UNCHANGED = "unchanged"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    INSIDE = "inside"


class LayerSummary(Value, frozen=True):
    """A layer of an image.

    Attributes:
        number: Its place, 0 for the lowest.
        command: What made it, as the image's history tells; empty when it does not.
        size: Bytes of its files.
        files: How many entries it has, directories and deletions included.
        blob_size: Bytes of the blob that it came in.
    """

    number: int
    chain_id: str
    diff_id: str
    command: str
    created_at: datetime | None
    size: int
    files: int
    blob_size: int


class FileEntry(Value, frozen=True):
    """A path of a file system; in lists a directory comes before what is in it.

    Attributes:
        path: Absolute; bytes that are no UTF-8 are surrogates, as os.fsdecode has them.
        kind: As `tar -tv` shows it: - d l h c b p.
        size: Bytes; of a directory the sum of what is in it, of a hard link 0.
        before: The size in the earlier state, 0 when it was not there.
        mtime: Seconds since the epoch.
        link: Where a symbolic or hard link leads.
        layer: The number of the layer that it comes from; of what is removed, of the one that removed it.
    """

    path: str
    kind: str
    size: int
    before: int
    mode: int
    uid: int
    gid: int
    mtime: int
    link: str
    change: Change
    layer: int


class WastedPath(Value, frozen=True):
    """A path that several layers write or remove: how often, and the bytes of all of it together."""

    path: str
    count: int
    size: int


class Waste(Value, frozen=True):
    """The space that an image wastes, by dive's rules.

    Attributes:
        efficiency: Bytes of each path at its smallest, divided by all bytes: 0..1.
        size: Bytes of all layers.
        user_size: Bytes of all but the lowest.
        wasted: Bytes of all paths that occur in several layers.
        paths: Those paths, the largest first; those of no bytes are left out.
    """

    efficiency: float
    size: int
    user_size: int
    wasted: int
    paths: tuple[WastedPath, ...]

    @property
    def user_wasted(self) -> float:
        """Wasted bytes divided by those of all layers but the lowest; infinite when these have none."""
        if self.user_size:
            return self.wasted / self.user_size
        return math.inf if self.wasted else 0.0


class Advice(Value, frozen=True):
    """Bytes that an image could do without.

    Attributes:
        kind: cache, deleted, replaced, metadata or duplicates.
        layer: The number of the layer that has the bytes.
        command: What made that layer.
        size: Bytes that following it saves.
        count: How many files.
        text: What is so, one sentence.
        remedy: What to do about it, one sentence.
        paths: The largest of the files, the largest first.
    """

    kind: str
    layer: int
    command: str
    size: int
    count: int
    text: str
    remedy: str
    paths: tuple[str, ...]


class SharedLayer(Value, frozen=True):
    """A layer that several images have: bytes of its files, and the names or short ids of the images."""

    chain_id: str
    size: int
    images: tuple[str, ...]


class Extracted(Value, frozen=True):
    """What an extraction wrote: files, their bytes, and device nodes and pipes that it left out."""

    files: int
    size: int
    skipped: int
