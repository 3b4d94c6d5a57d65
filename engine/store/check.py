"""Finds what is wrong with the files of a state root, and mends it: modes, temporary files, trash, journal, layers, blobs.

A finding is made without changing anything. Its repair looks again, under the lock of what it touches, so engines that
run beside it lose nothing.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from engine.errors import StoreError
from engine.linux import files, procfs
from engine.model.finding import Finding
from engine.model.value import Value
from engine.store.blobs import Blobs
from engine.store.layers import Layers
from engine.store.paths import Paths, find

_CHUNK = 1 << 20


class Problem(Value, frozen=True):
    """A finding and the function that repairs it; None when only a person can."""

    finding: Finding
    mend: Callable[[], object] | None = None


def problems(paths: Paths, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with the files themselves.

    Args:
        paths: The state root.
        deep: Whether to read all blobs and indexes, and check them.
    """
    yield from _modes(paths)
    yield from _temporary_files(paths)
    yield from _trash(paths)
    yield from _journal(paths)
    yield from _layers(paths)
    yield from _halves(paths)
    yield from _locks(paths)
    if deep:
        yield from _blobs(paths)
        yield from _indexes(paths)


def _modes(paths: Paths) -> Iterator[Problem]:
    for path in (paths.root, paths.run):
        status = path.stat()
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            text = f"{path} is open to others: mode {status.st_mode & 0o7777:04o}, owner {status.st_uid}"
            yield Problem(Finding("mode", str(path), text, "set owner and mode 0700"), partial(_close, path))


def _close(path: Path) -> None:
    os.chown(path, os.geteuid(), os.getegid())
    path.chmod(0o700)


def _temporary_files(paths: Paths) -> Iterator[Problem]:
    places = ("", "images", "containers/*", "networks/*", "networks/*/leases", "volumes/*", "layers/*", "blobs/sha256")
    found = [path for place in places for path in find(paths.root, f"{place}/*.tmp")]
    found += [path for place in ("", "containers/*") for path in find(paths.run, f"{place}/*.tmp")]
    for path in dict.fromkeys(found):
        if _is_abandoned(path):
            text = f"the temporary file {path} was left by a process that was killed"
            finding = Finding("temporary", str(path), text, "delete it", path.stat().st_size)
            yield Problem(finding, partial(path.unlink, missing_ok=True))


def _is_abandoned(path: Path) -> bool:
    """Return whether the process that a temporary file names is gone: "NAME.PID.NUMBER.tmp"."""
    words = path.name.split(".")
    if len(words) < 4 or not words[-3].isdigit():
        return False
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return False
    started = procfs.start_time(int(words[-3]))
    return started is None or procfs.boot_time() + started / procfs.CLOCK_TICKS > written + 1


def size_of(path: Path) -> int:
    """Return the bytes that the files of a directory occupy."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512  # noqa: PTH118 - os.walk
            except FileNotFoundError:
                continue
    return total


def _trash(paths: Paths) -> Iterator[Problem]:
    for path in paths.abandoned():
        text = f"{path.name} was being made or deleted by a process that was killed"
        yield Problem(Finding("trash", str(path), text, "delete it", size_of(path)), paths.empty_trash)


def _journal(paths: Paths) -> Iterator[Problem]:
    try:
        with paths.journal.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            is_torn = file.read(1) not in (b"", b"\n")
    except FileNotFoundError:
        return
    if is_torn:
        text = "the last line of the journal is torn, so the next event would be lost with it"
        finding = Finding("journal", str(paths.journal), text, "end the line")
        yield Problem(finding, partial(files.append_line, paths.journal, b""))


def _layers(paths: Paths) -> Iterator[Problem]:
    layers = Layers(paths)
    for path in layers.leftovers():
        text = f"the layer {path.name[:12]} is incomplete: its unpacking was interrupted"
        yield Problem(Finding("layer", path.name, text, "delete it", size_of(path)), layers.collect)
    for chain_id in layers.list():
        try:
            layer = layers.get(chain_id)
        except StoreError as error:
            yield Problem(Finding("layer", chain_id, f"{error}; remove and load its images again"))
            continue
        if layer and not layers.directory(chain_id).is_dir():
            text = f"the layer {chain_id[7:19]} has no files; remove and load its images again"
            yield Problem(Finding("layer", chain_id, text))


def _halves(paths: Paths) -> Iterator[Problem]:
    """Yield networks and volumes that were being made, and have no record."""
    for kind, home in (("network", paths.networks), ("volume", paths.volumes)):
        lock = paths.lock(f"{kind}s")
        for path in home.iterdir():
            if not path.joinpath(f"{kind}.json").exists() and not is_locked(lock):
                text = f"the {kind} {path.name} has no record: its making was interrupted"
                mend = partial(_discard_half, paths, lock, path / f"{kind}.json")
                yield Problem(Finding(kind, path.name, text, "delete it", size_of(path)), mend)


def _discard_half(paths: Paths, lock: Path, record: Path) -> None:
    with files.FileLock(lock):
        if not record.exists():
            paths.discard(record.parent)


def _locks(paths: Paths) -> Iterator[Problem]:
    """Yield the locks of what is gone; a lock is removed by who holds it, so nobody else can mean the same file."""
    homes = {"container": paths.containers, "layer": paths.root / "layers", "volume": paths.volumes}
    for lock in paths.locks.iterdir():
        kind, _, name = lock.name.partition("-")
        if kind in homes and name and not homes[kind].joinpath(name).exists() and not is_locked(lock):
            text = f"the lock of the {kind} {name[:12]} is left, and the {kind} is gone"
            yield Problem(
                Finding("lock", lock.name, text, "delete it"), partial(_remove_lock, lock, homes[kind] / name)
            )


def is_locked(path: Path) -> bool:
    """Return whether somebody holds a lock."""
    try:
        with files.FileLock(path, blocking=False):
            return False
    except BlockingIOError:
        return True


def _remove_lock(lock: Path, home: Path) -> None:
    try:
        with files.FileLock(lock, blocking=False):
            if not home.exists():
                lock.unlink()
    except BlockingIOError:
        return


def _blobs(paths: Paths) -> Iterator[Problem]:
    blobs = Blobs(paths)
    for digest in blobs.list():
        if _digest(paths.blob(digest)) not in (digest, ""):
            text = f"the blob {digest[7:19]} is damaged: its content has another digest; load or pull its image again"
            yield Problem(Finding("blob", digest, text, "delete it"), partial(blobs.delete, digest))


def _indexes(paths: Paths) -> Iterator[Problem]:
    layers = Layers(paths)
    for chain_id in layers.list():
        path = layers.index(chain_id)
        if not _is_whole_gzip(path):
            text = f"the index of the layer {chain_id[7:19]} is damaged; it is made anew when it is needed"
            yield Problem(Finding("index", chain_id, text, "delete it"), partial(path.unlink, missing_ok=True))


def _is_whole_gzip(path: Path) -> bool:
    """Return whether a file is one whole gzip member; one that is not there is fine."""
    engine = zlib.decompressobj(wbits=31)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                while chunk and not engine.eof:
                    engine.decompress(chunk, _CHUNK)
                    chunk = engine.unconsumed_tail
    except FileNotFoundError:
        return True
    except zlib.error:
        return False
    return engine.eof


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except FileNotFoundError:
        return ""
    return f"sha256:{hasher.hexdigest()}"
