"""Takes layers in: unpacks a layer's blob and keeps the blob, in one pass over its bytes.

The blob is kept as it came, so a push of an unchanged image gives the registry the same bytes and digests. What comes
plain and without a digest of its own (docker archives, imports) is compressed on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from engine.errors import ImageError
from engine.images.catalogue import Catalogue
from engine.images.compression import Decompressed, gzip_compressor, kind_of
from engine.images.tar import Readable
from engine.images.unpack import Unpacked, UnpackLimits, unpack
from engine.model.value import replace
from engine.oci.digest import chain_ids
from engine.oci.manifest import OCI_LAYER, Descriptor
from engine.store.blobs import Blobs, BlobWriter
from engine.store.layers import INDEX, Layer, Layers

_CHUNK = 1 << 18


class Source(Protocol):
    """The bytes of a blob, read once, and kept as they are read."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        ...

    def finish(self) -> Descriptor:
        """Read the rest, check the whole and keep the blob.

        Raises:
            ImageError: Its digest or size is wrong.
        """
        ...


class Copied:
    """A blob out of a file or pipe, copied into the store."""

    def __init__(self, stream: Readable, writer: BlobWriter, expected: str = "") -> None:
        self._stream = stream
        self._writer = writer
        self._expected = expected
        self._kind: str | None = None
        self._compressor: Any = None

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        data = self._stream.read(size)
        if self._kind is None:
            self._kind = kind_of(data)
            if not self._kind and not self._expected:
                self._kind, self._compressor = "gzip", gzip_compressor()
        self._writer.write(self._compressor.compress(data) if self._compressor else data)
        return data

    def finish(self) -> Descriptor:
        """Read the rest, check the whole and keep the blob."""
        while self.read(_CHUNK):
            pass
        if self._compressor:
            self._writer.write(self._compressor.flush())
        media_type = OCI_LAYER + (f"+{self._kind}" if self._kind else "")
        return Descriptor(media_type, self._writer.commit(self._expected), self._writer.size)


def take_layer(
    layers: Layers, chain_id: str, diff_id: str, opens: Callable[[ExitStack], Source], limits: UnpackLimits | None
) -> Layer:
    """Return a layer, unpacked first when the store lacks it.

    Args:
        layers: The store's layers.
        chain_id: The layer's id.
        diff_id: What its plain bytes must have as their digest.
        opens: Opens its blob; what it holds open it puts into the stack.
        limits: What the layer may hold.

    Raises:
        ImageError: The blob is damaged or hostile; nothing is kept.
    """

    def fill(directory: Path) -> Layer:
        with ExitStack() as stack:
            return unpack_blob(directory, opens(stack), chain_id, diff_id, limits)

    return layers.ensure(chain_id, fill)


def unpack_blob(
    directory: Path, source: Source, chain_id: str, diff_id: str, limits: UnpackLimits | None = None
) -> Layer:
    """Unpack a blob into an empty directory, list it in a file beside that, and keep it.

    With neither id known, they are what comes out.

    Raises:
        ImageError: It is damaged or hostile.
    """
    from engine.images.analyse.index import IndexWriter

    plain = Decompressed(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(directory.with_name(INDEX), flags, 0o600), "wb") as file:
        index = IndexWriter(file)
        unpacked: Unpacked = unpack(plain, directory, limits, index.add)
        index.finish()
    found = plain.digest()
    blob = source.finish()  # its own digest is looked at first: a wrong one is the registry's fault, not the image's
    if diff_id and found != diff_id:
        raise ImageError(f"layer {diff_id[:19]}… is damaged: its content has another digest")
    return Layer(chain_id or found, found, unpacked.size, unpacked.entries, blob.digest, blob.size, blob.mediaType)


def take_unknown(
    catalogue: Catalogue, stream: Readable, below: tuple[str, ...] = (), limits: UnpackLimits | None = None
) -> Layer:
    """Return the layer that a stream has, whatever its digest is.

    Args:
        catalogue: Where the images are; the caller holds `being_made`.
        stream: A tar archive, compressed or not.
        below: The diff_ids of the layers below.
        limits: What the layer may hold.

    Raises:
        ImageError: It is damaged or hostile; nothing is kept.
    """
    with catalogue.paths.staged("layer") as staged:
        staged.joinpath("diff").mkdir(mode=0o755)
        with catalogue.blobs.writer() as writer:
            found = unpack_blob(staged / "diff", Copied(stream, writer), "", "", limits)
        layer = replace(found, chain_id=chain_ids((*below, found.diff_id))[-1])

        def fill(directory: Path) -> Layer:
            directory.rmdir()
            staged.joinpath("diff").rename(directory)
            staged.joinpath(INDEX).rename(directory.with_name(INDEX))
            return layer

        return catalogue.layers.ensure(layer.chain_id, fill)


def copied(blobs: Blobs, opens: Callable[[], Readable], expected: str) -> Callable[[ExitStack], Source]:
    """Return an opener for `take_layer` of a blob that lies in a file."""

    def open_source(stack: ExitStack) -> Source:
        stream = opens()
        if hasattr(stream, "close"):
            stack.callback(stream.close)
        return Copied(stream, stack.enter_context(blobs.writer()), expected)

    return open_source
