"""Pushes an image: the blobs that the registry lacks, several at once, then the manifest."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from engine.errors import RegistryError
from engine.images.catalogue import Catalogue
from engine.images.outgoing import outgoing
from engine.images.registry.client import Client
from engine.images.registry.pull import in_parallel
from engine.images.registry.transport import TRIES, Stopped, is_temporary
from engine.model.image import Image
from engine.model.transfer import Phase, Progress, Pushed, Watch
from engine.oci import reference as references
from engine.oci.manifest import Descriptor
from engine.oci.reference import Reference

_PIECE = 32 << 20
_CHUNK = 1 << 18


def push(catalogue: Catalogue, client: Client, image: Image, reference: Reference, watch: Watch) -> Pushed:
    """Push an image to one endpoint.

    Raises:
        RegistryError: The registry refuses or fails.
        ImageError: The store lacks a blob of it.
    """
    with catalogue.being_made():  # nobody may collect a blob meanwhile
        found = outgoing(catalogue, image, lambda blob: client.has_blob(blob.digest))
        sources = _sources(image, reference)
        blobs = {blob.digest: blob for blob in (*found.layers, found.config)}

        def job(blob: Descriptor) -> Callable[[], None]:
            return lambda: _Upload(catalogue, client, blob, watch).run(sources)

        for blob in blobs.values():
            watch(Progress(blob.digest[7:19], Phase.WAITING, 0, blob.size))
        in_parallel(client.transport, [job(blob) for blob in blobs.values()])
        client.put_manifest(reference.tag or found.digest, found.data, found.media_type)
    return Pushed(str(reference), found.digest, len(found.data))


def _sources(image: Image, reference: Reference) -> tuple[str, ...]:
    """Return the registry's repositories that have the image's blobs, by what the image is called."""
    names = [references.parse(name) for name in image.repo_digests]
    return tuple(
        dict.fromkeys(
            name.repository
            for name in names
            if name.registry == reference.registry and name.repository != reference.repository
        )
    )


class _Upload:
    """One blob on its way."""

    def __init__(self, catalogue: Catalogue, client: Client, blob: Descriptor, watch: Watch) -> None:
        self._blobs = catalogue.blobs
        self._client = client
        self._blob = blob
        self._watch = watch
        self._place = ""
        self._sent = 0
        self._least = 0

    def run(self, sources: tuple[str, ...]) -> None:
        """Bring the blob there by the cheapest way."""
        if self._client.has_blob(self._blob.digest):
            self._tell(Phase.EXISTS, self._blob.size)
            return
        for source in sources:
            self._place, self._least = self._client.start_upload(self._blob.digest, source)
            if not self._place:
                self._tell(Phase.MOUNTED, self._blob.size)
                return
        fails = 0
        while True:
            before = self._sent
            try:
                self._go_on()
            except RegistryError as error:
                fails = fails + 1 if self._sent == before else 1
                if fails >= TRIES or not is_temporary(error):
                    raise
                self._watch(Progress(self._blob.digest[7:19], Phase.RETRYING, self._sent, self._blob.size, str(error)))
                self._client.transport.pause(fails - 1)
                self._find_place()
            else:
                self._tell(Phase.PUSHED, self._blob.size)
                return

    def _find_place(self) -> None:
        """After a cut, go on where the registry is, or from the beginning when it has forgotten the upload."""
        if self._place:
            try:
                self._place, self._sent = self._client.upload_state(self._place)
            except RegistryError:
                self._place, self._sent = "", 0

    def _go_on(self) -> None:
        if not self._place:
            self._place, self._least = self._client.start_upload(self._blob.digest)
            self._sent = 0
        piece = max(_PIECE, self._least)
        with self._blobs.open(self._blob.digest) as file:
            while self._blob.size - self._sent > piece:
                body = _Piece(file, self._sent, piece, self._count)
                start = self._sent
                self._place = self._client.upload_piece(self._place, body, start, piece)
                self._sent = start + piece
            left = self._blob.size - self._sent
            body = _Piece(file, self._sent, left, self._count)
            self._client.end_upload(self._place, self._blob.digest, body, left)

    def _count(self, done: int) -> None:
        if self._client.transport.stop.is_set():
            raise Stopped
        self._tell(Phase.UPLOADING, done)

    def _tell(self, phase: Phase, done: int) -> None:
        self._watch(Progress(self._blob.digest[7:19], phase, done, self._blob.size))


class _Piece(io.RawIOBase):
    """A part of a file, as urllib3 reads it."""

    def __init__(self, file: BinaryIO, start: int, size: int, count: Callable[[int], None]) -> None:
        super().__init__()
        file.seek(start)
        self._file = file
        self._at = start
        self._left = size
        self._count = count

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(min(wanted, _CHUNK))
        self._left -= len(data)
        self._at += len(data)
        self._count(self._at)
        return data
