"""A blob on its way from a registry into the store: resumed after cuts, hashed and kept as it is read."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from typing import BinaryIO

from engine.errors import ImageError, RegistryError, StoreError
from engine.images.registry.client import Client
from engine.images.registry.transport import TRIES, Stream, is_temporary
from engine.linux import files
from engine.model.transfer import Phase, Progress, Watch
from engine.oci.manifest import Descriptor
from engine.store.blobs import Blobs

_CHUNK = 1 << 18


class Download:
    """Reads a blob: first what an earlier try left, then the rest from the registry.

    It holds the blob's lock, so another pull of the blob waits and then finds it. What an interrupted pull got stays
    in a file beside the blobs until the next one, or until the store is collected.
    """

    def __init__(self, blobs: Blobs, client: Client, descriptor: Descriptor, watch: Watch) -> None:
        self._blobs = blobs
        self._client = client
        self._descriptor = descriptor
        self._watch = watch
        self._hasher = hashlib.sha256()
        self._position = 0
        self._have = 0
        self._fails = 0
        self._file: BinaryIO | None = None
        self._stream: Stream | None = None
        self._is_kept = False

    def open(self, stack: ExitStack) -> Download:
        """Lock the blob and open what the store has of it."""
        digest = self._descriptor.digest
        stack.enter_context(self._blobs.lock(digest))
        self._is_kept = self._blobs.stat(digest) is not None
        self._file = stack.enter_context(
            self._blobs.open(digest) if self._is_kept else self._blobs.partial(digest).open("a+b", buffering=0)
        )
        self._have = os.fstat(self._file.fileno()).st_size
        if self._have > self._descriptor.size and not self._is_kept:
            self._file.truncate(0)
            self._have = 0
        stack.push(self._end)
        return self

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hang_up()
        if kind is not None and issubclass(kind, ImageError | StoreError) and not self._is_kept:
            self._blobs.partial(self._descriptor.digest).unlink(missing_ok=True)  # nothing to go on with

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes.

        Raises:
            RegistryError: The registry did not give the rest, however often it was asked.
            StoreError: The disk is full.
        """
        assert self._file is not None
        if self._position < self._have:
            data = os.pread(self._file.fileno(), size, self._position)
        else:
            data = self._fetch(size)
            try:
                files.write_all(self._file.fileno(), data)
            except OSError as error:
                raise StoreError(f"cannot keep the blob {self._descriptor.digest[:19]}…: {error.strerror}") from error
        self._position += len(data)
        self._hasher.update(data)
        if data:
            is_here = self._position <= self._have or self._position == self._descriptor.size
            self._tell(Phase.UNPACKING if is_here else Phase.DOWNLOADING)
        return data

    def finish(self) -> Descriptor:
        """Read the rest, check digest and size, and keep the blob."""
        while self.read(_CHUNK):
            pass
        self._tell(Phase.VERIFYING)
        digest = self._descriptor.digest
        if self._position != self._descriptor.size or f"sha256:{self._hasher.hexdigest()}" != digest:
            raise self._wrong()
        if not self._is_kept:
            self._blobs.adopt(digest)
        return self._descriptor

    def _fetch(self, size: int) -> bytes:
        while (missing := self._descriptor.size - self._position) > 0:
            try:
                stream = self._stream or self._connect()
                data = stream.read(min(size, missing))
                if not data:
                    raise RegistryError(f"{self._client.endpoint.host} cut the connection")  # noqa: TRY301 - retried here
            except RegistryError as error:
                self._hang_up()
                self._fails += 1
                if self._fails >= TRIES or not is_temporary(error):
                    raise
                self._tell(Phase.RETRYING, str(error))
                self._client.transport.pause(self._fails - 1)
            else:
                self._fails = 0
                return data
        return b""

    def _connect(self) -> Stream:
        """Ask for what is missing; a registry that starts over sends what we have once more."""
        stream = self._client.blob(self._descriptor.digest, self._position)
        start, length = 0, stream.headers.get("content-length", "")
        if stream.status == 200 and length.isdigit() and int(length) != self._descriptor.size:
            stream.close()
            raise self._wrong()
        if stream.status == 206:
            given = stream.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            start = int(given) if given.isdigit() else -1
        if not 0 <= start <= self._position:
            stream.close()
            raise RegistryError(f"{self._client.endpoint.host} gave another part of the blob than was asked for")
        self._stream = stream
        left = self._position - start
        while left > 0 and (data := stream.read(min(left, _CHUNK))):
            left -= len(data)
        return stream

    def _wrong(self) -> ImageError:
        return ImageError(f"blob {self._descriptor.digest[:19]}… is damaged: its digest or size is wrong")

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _tell(self, phase: Phase, note: str = "") -> None:
        short = self._descriptor.digest[7:19]
        self._watch(Progress(short, phase, self._position, self._descriptor.size, note))
