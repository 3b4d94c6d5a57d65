"""How a container ended, and what is known of why."""

from __future__ import annotations

from datetime import datetime

from engine.model.container import LogEntry
from engine.model.health import HealthResult
from engine.model.value import Value


class OutOfMemory(Value, frozen=True):
    """The kernel's killing for lack of memory.

    Attributes:
        kills: How many processes it killed.
        where: The control group whose limit was hit; "/" when the host had no memory left.
        limit, peak: Bytes; None where the kernel does not say.
        is_own: Whether it was the container's own limit.
    """

    kills: int
    where: str
    limit: int | None
    peak: int | None
    is_own: bool


class Evidence(Value, frozen=True):
    """Something that was seen before the end or just after it.

    Attributes:
        time: When it was.
        kind: "stop", "health", "limits", "pressure", "memory", "exec" or "start".
        sentence: What it was.
    """

    time: datetime
    kind: str
    sentence: str


class Death(Value, frozen=True):
    """The end of one run of a container.

    Attributes:
        kind: "done" (exit code 0), "failed" (another one), "signal" (one that the engine did not send), "memory" (killed for
            lack of it), "stopped" (by somebody, through the engine), "not-started" or "lost" (nobody saw the end).
        sentence: Why, in one sentence.
        started_at: When the run began; None when it did not, or when the journal no longer says.
        signal: The signal that ended it; 0 for none.
        by, origin: Who stopped it, and the address that they came from over SSH; empty when nobody did.
        evidence: Oldest first.
        last_lines: The last of its output, oldest first.
        health: Health checks of this run, oldest first.
        decision: What the restart policy made of it, in one sentence.
    """

    container_id: str
    name: str
    kind: str
    sentence: str
    started_at: datetime | None
    finished_at: datetime
    exit_code: int
    signal: int = 0
    by: str = ""
    origin: str = ""
    out_of_memory: OutOfMemory | None = None
    evidence: tuple[Evidence, ...] = ()
    last_lines: tuple[LogEntry, ...] = ()
    health: tuple[HealthResult, ...] = ()
    decision: str = ""
