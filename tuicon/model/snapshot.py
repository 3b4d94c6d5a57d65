"""What the console knows at one moment; immutable, so it may go anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from engine.model.container import Container
from engine.model.event import Event
from engine.model.image import Image
from engine.model.network import Network
from engine.model.usage import Usage
from engine.model.volume import Volume

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class HostTotals:
    """The host's own use.

    Attributes:
        cpu_percent: 0..100 over all CPUs.
        memory_used, memory_total: Bytes.
        load: The load average of one minute.
    """

    cpu_percent: float = 0.0
    memory_used: int = 0
    memory_total: int = 0
    load: float = 0.0
    cpus: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment.

    Attributes:
        usages: By container id, of those that run.
        events: What happened in the last minutes, oldest first.
        error: Why it could not be taken, one sentence; then the rest is that of the last good one.
    """

    taken_at: datetime = EPOCH
    containers: tuple[Container, ...] = ()
    usages: dict[str, Usage] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    host: HostTotals = field(default_factory=HostTotals)
    events: tuple[Event, ...] = ()
    error: str = ""

    def container(self, container_id: str) -> Container | None:
        """Return a container by id."""
        return next((container for container in self.containers if container.id == container_id), None)
