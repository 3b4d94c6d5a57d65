"""Content-addressed blobs: put, get, stat, delete, list."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from engine.errors import ImageError
from engine.linux import files
from engine.oci.digest import of_bytes
from engine.store.paths import Paths

_CHUNK = 1 << 20


class Blobs:
    """The blobs of a state root; a blob that exists is whole."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def put(self, data: bytes) -> str:
        """Keep bytes; return their digest."""
        digest = of_bytes(data)
        path = self._paths.blob(digest)
        if not path.exists():
            files.write_atomic(path, data)
        return digest

    def put_stream(self, stream: BinaryIO, digest: str, size: int) -> None:
        """Keep a stream whose digest and size are known.

        Raises:
            ImageError: It is not what it should be; nothing is kept.
        """
        path = self._paths.blob(digest)
        staged = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        seen, hasher = 0, hashlib.sha256()
        try:
            with staged.open("xb") as out:
                while chunk := stream.read(_CHUNK):
                    seen += len(chunk)
                    hasher.update(chunk)
                    out.write(chunk)
            if seen != size or hasher.hexdigest() != path.name:
                raise ImageError(f"blob {digest[:19]}… is damaged: its digest or size is wrong")
            staged.rename(path)
        finally:
            staged.unlink(missing_ok=True)

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes."""
        return files.read_file(self._paths.blob(digest))

    def stat(self, digest: str) -> int | None:
        """Return a blob's size, None when there is none."""
        try:
            return self._paths.blob(digest).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        """Delete a blob; it is fine when there is none."""
        self._paths.blob(digest).unlink(missing_ok=True)

    def list(self) -> Iterator[str]:
        """Yield the digests of all blobs."""
        for entry in self._paths.root.joinpath("blobs", "sha256").iterdir():
            if len(entry.name) == 64:
                yield f"sha256:{entry.name}"
