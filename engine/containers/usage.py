"""Samples the usage of all running containers, with file descriptors that stay open between samples."""

from __future__ import annotations

import os
import threading

from engine.containers.records import Registry
from engine.linux import open_files
from engine.linux.cgroup.counters import Reader
from engine.model.usage import Counters, Usage, usage_between
from engine.store.paths import Paths


class Sampler:
    """Reads counters and turns consecutive readings into rates; made for being asked once a second."""

    def __init__(self, paths: Paths, registry: Registry) -> None:
        self._directory = paths.run / "containers"
        self._registry = registry
        self._readers: dict[str, Reader] = {}
        self._last: dict[str, Counters] = {}
        self._lock = threading.Lock()
        open_files.allow_all()  # a container takes more than ten

    def sample(self) -> dict[str, Usage]:
        """Return the usage of every running container, by id; rates are 0 the first time."""
        with self._lock:
            found: dict[str, Usage] = {}
            for container_id in self._running():
                counters = self._read(container_id)
                if counters is not None:
                    found[container_id] = usage_between(self._last.get(container_id), counters)
                    self._last[container_id] = counters
            for gone in set(self._readers) - set(found):
                self._drop(gone)
            return found

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for container_id in list(self._readers):
                self._drop(container_id)

    def _running(self) -> list[str]:
        try:
            return os.listdir(self._directory)  # noqa: PTH208 - faster, and called each second
        except FileNotFoundError:
            return []

    def _read(self, container_id: str) -> Counters | None:
        for _ in range(2):  # the second time after a restart, with the new group
            reader = self._readers.get(container_id)
            if reader is None:
                state = self._registry.state(container_id)
                if state is None or not state.is_alive:
                    return None
                reader = Reader(state.cgroup["version"], state.cgroup["paths"], state.pid)
                self._readers[container_id] = reader
            try:
                return reader.read()
            except ProcessLookupError:
                self._drop(container_id)
        return None

    def _drop(self, container_id: str) -> None:
        self._readers.pop(container_id).close()
        self._last.pop(container_id, None)
