"""Compressed streams, told apart by their first bytes; every byte read is counted and may be hashed."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

from isal import isal_zlib

from engine.errors import ImageError
from engine.images.tar import Readable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK = 1 << 18
_LARGEST_STEP = 4 << 20
_DAMAGES: tuple[type[Exception], ...] = (isal_zlib.error, zstd.ZstdError, ValueError)  # type: ignore[assignment] # its stub says instance
_RATIO_COUNTS_FROM = 64 << 20
LARGEST_RATIO = 1000


class Decompressed:
    """Reads a gzip, zstd or plain stream as plain bytes.

    Attributes:
        taken: Bytes read from the source.
        given: Plain bytes so far.

    Raises:
        ImageError: From read: damaged, or more than 1000 times larger than its source (a bomb).
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._head = source.read(4)
        self._make = _maker(self._head)
        self._engine: Any = self._make() if self._make else None
        self._buffer = b""
        self._position = 0
        self._pending = b""
        self._has_more = False
        self._hasher = hashlib.sha256()
        self.taken = len(self._head)
        self.given = 0

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        if self._position >= len(self._buffer) and not self._refill():
            return b""
        data = self._buffer[self._position : self._position + size]
        self._position += len(data)
        return data

    def digest(self) -> str:
        """Return the digest of all plain bytes, those not yet read included."""
        while self.read(_CHUNK):
            pass
        return "sha256:" + self._hasher.hexdigest()

    def _refill(self) -> bool:
        self._position, self._buffer = 0, b""
        while not self._buffer:
            if not self._pending and not self._has_more:
                chunk = self._head or self._source.read(_CHUNK)
                if not self._head:
                    self.taken += len(chunk)
                self._head = b""
                if not chunk:
                    self._check_end()
                    return False
                self._pending = chunk
            self._buffer = self._step()
            self._hasher.update(self._buffer)
            self.given += len(self._buffer)
            if self.given > _RATIO_COUNTS_FROM and self.given > LARGEST_RATIO * self.taken:
                raise ImageError(f"the layer unpacks to more than {LARGEST_RATIO} times its size")
        return True

    def _step(self) -> bytes:
        """Turn some of the pending input into at most 4 MiB of plain bytes."""
        data, self._pending = self._pending, b""
        if self._engine is None:
            return data
        if self._engine.eof:
            if not data.strip(b"\0"):
                return b""
            self._engine = self._make() if self._make else None  # the next member
        try:
            plain: bytes = self._engine.decompress(data, _LARGEST_STEP)
        except _DAMAGES as error:
            raise ImageError(f"the layer is damaged: {error}") from error
        if self._engine.eof:
            self._pending, self._has_more = self._engine.unused_data, False
        elif hasattr(self._engine, "needs_input"):
            self._has_more = not self._engine.needs_input
        else:
            self._pending = self._engine.unconsumed_tail
            self._has_more = len(plain) == _LARGEST_STEP and not self._pending
        return plain

    def _check_end(self) -> None:
        if self._engine is not None and not self._engine.eof:
            raise ImageError("the layer is cut off")


def kind_of(head: bytes) -> str:
    """Return "gzip", "zstd" or "" by the first four bytes."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if head[:4] == b"\x28\xb5\x2f\xfd" else ""


def gzip_compressor() -> Any:  # noqa: ANN401 - isal has no stubs
    """Return a compressor; the same input gives the same bytes, for it writes neither a time nor a name."""
    return isal_zlib.compressobj(1, wbits=31)


def _maker(head: bytes) -> Any:  # noqa: ANN401 - a constructor of one of three libraries
    makers: dict[str, Any] = {"gzip": lambda: isal_zlib.decompressobj(wbits=31), "zstd": zstd.ZstdDecompressor}
    return makers.get(kind_of(head))
