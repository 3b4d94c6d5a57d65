"""Wakes whoever waits when containers stall, as soon as the kernel sees it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from engine.containers.records import Registry
from engine.errors import EngineError, NotSupported
from engine.linux import open_files, psi
from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import UNIFIED
from engine.model.groups import Stall

DEFAULTS: Mapping[str, float] = {"cpu": 60.0, "memory": 10.0, "io": 40.0}
"""Percent of the time in which some task waited."""
_LOOKS_EVERY = 1.0


class Stalls:
    """Triggers on the pressure of all our containers that run, or on cgroup v1 of the host; close it when done.

    Args:
        registry: Of the containers.
        thresholds: Percent of the time, 0..100, by resource.
        only: Names of containers; None watches all.

    Raises:
        NotSupported: This kernel does not measure pressure.
    """

    def __init__(
        self, registry: Registry, thresholds: Mapping[str, float], only: Collection[str] | None = None
    ) -> None:
        self._registry = registry
        self._thresholds = thresholds
        self._only = only
        self._triggers = psi.Triggers()
        self._known: set[str] = set()
        self._is_v2 = layout.detect().version == 2
        if not self._is_v2:
            self._add("", {name: psi.host_file(name) for name in thresholds})
            if not self._triggers.registered():
                raise NotSupported(psi.of_host().reason or "this kernel has no triggers on pressure")
        open_files.allow_all()

    def wait(self, seconds: float) -> tuple[Stall, ...]:
        """Wait until something stalls, at most so many seconds; return what does."""
        deadline = time.monotonic() + seconds
        while True:
            if self._is_v2:
                self._follow()
            left = deadline - time.monotonic()
            stalled, gone = self._triggers.wait(min(left, _LOOKS_EVERY))
            for key in gone:
                if isinstance(key, Stall):
                    self._forget(key.container_id)
            found = tuple(key for key in stalled if isinstance(key, Stall))
            if found or left <= _LOOKS_EVERY:
                return found

    def close(self) -> None:
        """Drop all triggers."""
        self._triggers.close()

    def _follow(self) -> None:
        """Watch containers that have begun, and forget those that are gone."""
        ids = set(self._registry.ids())
        for container_id in ids - self._known:
            try:
                self._begin(container_id)
            except EngineError:  # it is being removed, or its record is damaged
                continue
        for container_id in self._known - ids:
            self._forget(container_id)

    def _forget(self, container_id: str) -> None:
        self._known.discard(container_id)
        for resource, threshold in self._thresholds.items():
            self._triggers.remove(Stall(container_id, resource, threshold))

    def _begin(self, container_id: str) -> None:
        state = self._registry.state(container_id)
        if state is None or not state.is_alive:
            return
        if self._only is not None and self._registry.record(container_id).name not in self._only:
            self._known.add(container_id)
            return
        directory = str(state.cgroup["paths"].get(UNIFIED, ""))
        self._add(container_id, {name: f"{directory}/{name}.pressure" for name in self._thresholds})

    def _add(self, container_id: str, files: Mapping[str, str]) -> None:
        """Register what the kernel lets us; a container whose group goes right now has ended."""
        for resource, path in files.items():
            threshold = self._thresholds[resource]
            stall_us = round(min(max(threshold, 1.0), 100.0) / 100 * self._triggers.WINDOW_US)
            try:
                self._triggers.add(Stall(container_id, resource, threshold), path, stall_us)
            except OSError:
                continue
            self._known.add(container_id)
