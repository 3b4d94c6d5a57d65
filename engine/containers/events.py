"""Events as the engine's callers see them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime

from engine.model.event import Event
from engine.store.journal import Journal
from engine.store.paths import Paths


class Events:
    """What happened on the state root, in all processes."""

    def __init__(self, paths: Paths, journal: Journal) -> None:
        self._paths = paths
        self._journal = journal

    def list(self, since: datetime | None = None, until: datetime | None = None) -> tuple[Event, ...]:
        """Return the events between two times, oldest first."""
        return self._journal.between(since, until)

    def follow(
        self, *, since: datetime | None = None, until: datetime | None = None, cursor: str | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:  # fmt: skip
        """Yield events as they happen, whoever caused them.

        Args:
            since: Start with the events after this time, instead of with the next one.
            until: Stop at this time.
            cursor: Start after this event's cursor.
            stop: Stop soon after it is set.
        """
        self._paths.prepare()
        return self._journal.follow(since=since, until=until, cursor=cursor, stop=stop)
