"""Content-addressed blobs: put, get, stat, delete, list."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import ImageError
from engine.linux import files
from engine.oci.digest import of_bytes
from engine.store.paths import Paths


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

    def writer(self) -> BlobWriter:
        """Return a writer for a blob whose digest is not known yet."""
        return BlobWriter(self._paths)

    def partial(self, digest: str) -> Path:
        """Return the file in which an unfinished download of a blob lies; its maker holds `lock`."""
        path = self._paths.blob(digest)
        return path.with_name(f"{path.name}.partial")

    @contextmanager
    def lock(self, digest: str) -> Iterator[None]:
        """Hold the lock under which a blob is downloaded, so that others wait for it."""
        with files.FileLock(self._paths.lock(f"blob-{self._paths.blob(digest).name}")) as lock:
            try:
                yield
            finally:
                Path(lock.path).unlink(missing_ok=True)

    def adopt(self, digest: str) -> None:
        """Make a finished and checked download a blob."""
        self.partial(digest).rename(self._paths.blob(digest))

    def open(self, digest: str) -> BinaryIO:
        """Open a blob.

        Raises:
            ImageError: There is none.
        """
        try:
            return self._paths.blob(digest).open("rb")
        except FileNotFoundError:
            raise ImageError(f"the blob {digest[:19]}… is not in the store: pull or load its image again") from None

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

    def drop_partial(self) -> None:
        """Delete unfinished downloads; nobody may be downloading."""
        for entry in self._paths.root.joinpath("blobs", "sha256").glob("*.partial"):
            entry.unlink(missing_ok=True)


class BlobWriter:
    """Writes a blob to a temporary file; it counts from `commit` on."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._staged = paths.root / "blobs" / "sha256" / f"new.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        self._file = open(self._staged, "xb", buffering=0, opener=_private)  # noqa: SIM115 - closed by the writer
        self._hasher = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> BlobWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not committed."""
        self._file.close()
        self._staged.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._hasher.update(data)
        files.write_all(self._file.fileno(), data)
        self.size += len(data)

    def commit(self, expected: str = "") -> str:
        """Keep the blob; return its digest.

        Raises:
            ImageError: It is not the expected one.
        """
        digest = "sha256:" + self._hasher.hexdigest()
        if expected and digest != expected:
            raise ImageError(f"blob {expected[:19]}… is damaged: its digest is wrong")
        self._staged.rename(self._paths.blob(digest))
        return digest


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
