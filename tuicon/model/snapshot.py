"""What the console knows at one moment; immutable, so it may go anywhere."""

from __future__ import annotations

from datetime import UTC, datetime

from engine.model.container import Container
from engine.model.event import Event
from engine.model.image import Image
from engine.model.network import Network
from engine.model.usage import Usage
from engine.model.value import Value, field
from engine.model.volume import Volume
from tuicon.model.traffic import Flow, HostLink

EPOCH = datetime.fromtimestamp(0, UTC)


class HostTotals(Value, frozen=True):
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


class Snapshot(Value, frozen=True):
    """One moment.

    Attributes:
        usages: By container id, of those that run.
        flows: By container id and the name of its interface.
        links: The host's interfaces by name; uplink is the name of the one with the default route, empty for none.
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
    flows: dict[tuple[str, str], Flow] = field(default_factory=dict)
    links: dict[str, HostLink] = field(default_factory=dict)
    uplink: str = ""

    def container(self, container_id: str) -> Container | None:
        """Return a container by id."""
        return next((container for container in self.containers if container.id == container_id), None)
