"""What a monitor does when networks of its container are connected or disconnected while it runs: its ports follow.

The engine writes networking.json and then tells the monitor; should it die in between, the monitor looks once a second.
"""

from __future__ import annotations

import os
import time

from engine.linux import files
from engine.linux.light import json
from engine.sandbox.streams import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.sandbox.ports import Ports

    Document = dict[str, Any]

_PAUSE = 1.0


class Follower(Timer):
    """Keeps the published ports at the endpoints that the container has.

    Attributes:
        is_running: Whether packets may be led to the container.
    """

    def __init__(self, settings: Document, ports: Ports, changed: Callable[[], None]) -> None:
        self._settings = settings
        self._path = str(settings["networking"])
        self._lock = str(settings["lock"])
        self._ports = ports
        self._changed = changed
        self._next = 0.0
        self._seen = 0
        self.is_running = False

    def look(self) -> list[Document]:
        """Take over what has been connected and disconnected; return the endpoints."""
        network: Document = self._settings.get("network") or {}
        try:
            found: Document = json.loads(files.read_file(self._path))
            network["endpoints"], self._settings["leases"] = found["endpoints"], found["leases"]
        except FileNotFoundError:
            pass
        endpoints: list[Document] = network.get("endpoints") or []
        return endpoints

    def follow(self) -> None:
        """Have the ports lead to the endpoint that is to have them, or to nobody.

        Raises:
            OSError: A port cannot be had; then none is published.
        """
        self._seen = self._stamp()
        try:
            has_changed = self._ports.follow(self.look(), is_running=self.is_running)
        except OSError:
            self._changed()
            raise
        if has_changed:
            self._changed()

    def answer(self) -> bytes:
        """Follow, and return what whoever asked for it is told."""
        error = ""
        try:
            self.follow()
        except OSError as failure:
            error = failure.strerror or str(failure)
        return json.dumps({"error": error}).encode()

    def tick(self) -> None:
        """Follow whoever changed the networks and did not live to tell; whoever holds the lock is about to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PAUSE
        if self._stamp() == self._seen:
            return
        try:
            with files.FileLock(self._lock, blocking=False):
                self.follow()
        except OSError:
            return  # the lock is held, or a port is taken: the ports are unpublished

    def _stamp(self) -> int:
        try:
            return os.stat(self._path).st_mtime_ns
        except FileNotFoundError:
            return 0
