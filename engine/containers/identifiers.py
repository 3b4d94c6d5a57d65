"""Ranges of ids for user namespaces, one for each running container, so that none shares an id with another.

A lease is a file "OFFSET-SIZE" in the run root that names its container; it counts as long as that container runs.
Source: subuid(5); containers-storage.conf(5) for the entry "containers".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import InvalidArgument, NotSupported
from engine.linux import files
from engine.store.paths import Paths

SIZE = 65536
SMALLEST = 1024
_OWNER = "containers"
_DEFAULT_POOL = (1 << 31, (1 << 31) - (1 << 16))
_EVERY_ID = (1 << 32) - 1
Mappings = tuple[dict[str, Any], ...]


def size_of(mode: str) -> int:
    """Return how many ids "auto" or "auto:size=N" asks for.

    Raises:
        InvalidArgument: It is malformed.
    """
    name, colon, option = mode.partition(":")
    key, _, value = option.partition("=")
    if name != "auto" or (colon and (key != "size" or not value.isdigit())):
        raise InvalidArgument(f"invalid user namespace mode {mode!r}: host, keep-id, or auto[:size=N]")
    size = int(value) if colon else SIZE
    if not SMALLEST <= size <= _DEFAULT_POOL[1]:
        raise InvalidArgument(f"the size of a user namespace must be at least {SMALLEST} ids: {mode}")
    return size


def check(mode: str) -> None:
    """Check a user namespace mode.

    Raises:
        InvalidArgument: It is malformed.
    """
    if mode not in ("", "host", "keep-id"):
        size_of(mode)


class Identifiers:
    """Leases ranges of ids."""

    def __init__(self, paths: Paths, is_running: Callable[[str], bool], tables: Path = Path("/etc")) -> None:
        self._directory = paths.run / "userns"
        self._lock = paths.lock("userns")
        self._is_running = is_running
        self._tables = tables

    def mappings(self, mode: str, container_id: str) -> tuple[Mappings, Mappings, Path | None]:
        """Return uid and gid mappings of a container's user namespace, and the lease to give back when it ends.

        Raises:
            NotSupported: All ranges are taken.
        """
        if mode in ("", "host"):
            return (), (), None
        if mode == "keep-id":
            return _mapping(0, _EVERY_ID), _mapping(0, _EVERY_ID), None
        size = size_of(mode)
        uids, gids = (_pool(self._tables / name) for name in ("subuid", "subgid"))
        offset, lease = self._lease(size, min(uids[1], gids[1]), container_id)
        return _mapping(uids[0] + offset, size), _mapping(gids[0] + offset, size), lease

    def _lease(self, size: int, limit: int, container_id: str) -> tuple[int, Path]:
        with files.FileLock(self._lock):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            taken = self._taken(container_id)
            offset = 0
            for start, length in sorted(taken):
                if offset + size <= start:
                    break
                offset = max(offset, start + length)
            if offset + size > limit:
                raise NotSupported(f"no range of {size} ids is free for a user namespace",
                    hint='give "containers" more of them in /etc/subuid and /etc/subgid')  # fmt: skip
            lease = self._directory / f"{offset}-{size}"
            files.write_atomic(lease, container_id.encode())
            return offset, lease

    def _taken(self, container_id: str) -> list[tuple[int, int]]:
        """Return the ranges in use; leases of containers that do not run are dropped."""
        found = []
        for path in self._directory.iterdir():
            start, dash, length = path.name.partition("-")
            if not (dash and start.isdigit() and length.isdigit()):
                path.unlink(missing_ok=True)  # a write that was cut off
                continue
            holder = path.read_text()
            if holder == container_id or not self._is_running(holder):
                path.unlink(missing_ok=True)
            else:
                found.append((int(start), int(length)))
        return found


def _mapping(start: int, size: int) -> Mappings:
    return ({"containerID": 0, "hostID": start, "size": size},)


def _pool(table: Path) -> tuple[int, int]:
    """Return start and length of the ids that are set apart for containers."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        owner, _, numbers = line.strip().partition(":")
        start, _, length = numbers.partition(":")
        if owner == _OWNER and start.isdigit() and length.isdigit():
            return int(start), int(length)
    return _DEFAULT_POOL
