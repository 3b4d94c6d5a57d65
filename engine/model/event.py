"""Events: what happened, in the order in which it happened."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value, field


class Event(Value, frozen=True):
    """One line of the journal.

    Attributes:
        cursor: The place after this event; give it to `Events.follow(cursor=…)` to go on from there.
        type: "container", "image", "network" or "volume".
        action: docker's word: create start die oom kill stop restart pause unpause rename update destroy
            exec_create exec_die attach, "health_status: WORD"; load import tag untag delete; connect disconnect; mount unmount;
            and of ours forward, when the host begins to forward IPv6 for a network.
        id: The object's id; for a volume its name.
        name: Its name or reference.
        attributes: Details, e.g. exitCode, signal, image; "by" and "from" name who asked, and the address of an SSH session.
    """

    cursor: str
    time: datetime
    type: str
    action: str
    id: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
