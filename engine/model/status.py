"""A container's status and the transitions that are allowed."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of a container, in docker's words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"

    @property
    def is_alive(self) -> bool:
        """Whether the container has processes, or is about to be started again."""
        return self in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.RUNNING, Status.REMOVING}),
    Status.RUNNING: frozenset({Status.PAUSED, Status.RESTARTING, Status.EXITED, Status.REMOVING}),
    Status.RESTARTING: frozenset({Status.RUNNING, Status.EXITED, Status.REMOVING}),
    Status.PAUSED: frozenset({Status.RUNNING, Status.EXITED, Status.REMOVING}),
    Status.EXITED: frozenset({Status.RUNNING, Status.REMOVING}),
    Status.REMOVING: frozenset(),
}
"""From each status, the statuses that may follow it."""
