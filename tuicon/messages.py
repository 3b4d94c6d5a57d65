"""News that travels up to the screens."""

from __future__ import annotations

from textual.message import Message

from engine.model.groups import GroupReading, Stall
from tuicon.model.snapshot import Snapshot
from tuicon.model.transfers import TransferEnded


class SnapshotTaken(Message):
    """The feed has a new snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        super().__init__()

    def can_replace(self, message: Message) -> bool:
        """Let a newer snapshot take the place of one that is still waiting."""
        return isinstance(message, SnapshotTaken)


class GroupsRead(Message):
    """The host's control groups were read, or why not."""

    def __init__(self, reading: GroupReading | None, error: str = "") -> None:
        self.reading = reading
        self.error = error
        super().__init__()


class StallSeen(Message):
    """A container, or the host, waits too long for a resource."""

    def __init__(self, stall: Stall) -> None:
        self.stall = stall
        super().__init__()


class OperationFinished(Message):
    """An operation has ended well; the key is that of the object it was about, where others had to wait for it."""

    def __init__(self, title: str, result: object, key: str = "") -> None:
        self.title = title
        self.key = key
        self.result = result
        super().__init__()


class OperationFailed(Message):
    """An operation has failed; nothing else has happened."""

    def __init__(self, title: str, error: Exception, key: str = "") -> None:
        self.title = title
        self.key = key
        self.error = error
        super().__init__()

    @property
    def sentence(self) -> str:
        """What to show: the error, and what to do about it."""
        hint = getattr(self.error, "hint", "")
        return f"{self.error}" + (f" ({hint})" if hint else "")


class TransferFinished(Message):
    """A transfer has ended, well or not."""

    def __init__(self, ended: TransferEnded) -> None:
        self.ended = ended
        super().__init__()
