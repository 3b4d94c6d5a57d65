"""Who is in a network, and how: its members with their addresses, names, ports and traffic; pure."""

from __future__ import annotations

from engine.model.container import Container
from engine.model.limits import Limits
from engine.model.network import Attachment, Endpoint, Network
from engine.model.value import Value
from tuicon.model.ports import ports_text
from tuicon.model.snapshot import Snapshot
from tuicon.model.traffic import Flow, HostLink

_SHARES = "container:"


class Member(Value, frozen=True):
    """A container's place in a network, whether it runs or will be there when it does.

    Attributes:
        key: "NETWORK/CONTAINER ID".
        interface, address, address6, mac: Inside; empty when it does not run, or has none of its own.
        ports: Its published ports in the network, as people read them.
        names: More names in the network.
        others: Its other networks, with its addresses there.
        sharers: The names of containers that share its network.
        flow: Bytes per second that it receives and sends there; None when nobody counts.
        limit_in, limit_out: Bytes per second; None for no limit.
        impairment: Delay and loss of what it sends, as people read them.
    """

    key: str
    container: Container
    network: str
    interface: str = ""
    address: str = ""
    mac: str = ""
    ports: str = ""
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    sharers: tuple[str, ...] = ()
    flow: Flow | None = None
    limit_in: int | None = None
    limit_out: int | None = None
    address6: str = ""
    impairment: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.container.status.is_alive


def device_of(network: Network) -> str:
    """Return the interface of the host that a network is on: its bridge, or the parent that it shares."""
    return network.bridge or network.options.get("parent", "")


def link_of(network: Network, snapshot: Snapshot) -> HostLink | None:
    """Return what the host knows of the network's interface."""
    return snapshot.links.get(device_of(network))


def members_of(network: Network, snapshot: Snapshot) -> tuple[Member, ...]:
    """Return the members of a network: those that run first, by name."""
    sharers = _sharers(snapshot)
    found = [
        _member(network, container, snapshot, sharers)
        for container in snapshot.containers
        if network.name in networks_of(container)
    ]
    return tuple(sorted(found, key=lambda member: (not member.is_alive, member.container.name)))


def networks_of(container: Container) -> tuple[str, ...]:
    """Return the names of a container's networks: those it is in while it runs, else those it asks for."""
    if container.spec.network.startswith(_SHARES):
        return ()
    if container.endpoints:
        return tuple(endpoint.network for endpoint in container.endpoints)
    return tuple(dict.fromkeys((container.spec.network, *(item.network for item in container.spec.attachments))))


def _member(network: Network, container: Container, snapshot: Snapshot, sharers: dict[str, tuple[str, ...]]) -> Member:
    endpoint = next((one for one in container.endpoints if one.network == network.name), Endpoint(network.name))
    asked = next((one for one in container.spec.attachments if one.network == network.name), Attachment(network.name))
    own = {endpoint.address, endpoint.address6} - {""}
    ports = [one for one in container.ports if one.address in own]
    limits = container.limits if network.bridge and endpoint.interface else None
    return Member(
        f"{network.name}/{container.id}", container, network.name, endpoint.interface, endpoint.address, endpoint.mac,
        ports_text(ports).replace("->", "→"), endpoint.aliases or asked.aliases, _others(network, container),
        sharers.get(container.id, ()),
        snapshot.flows.get((container.id, endpoint.interface)),
        limits.net_rate_in if limits else None, limits.net_rate_out if limits else None, endpoint.address6,
        _impairment(limits) if limits else "",
    )  # fmt: skip


def _impairment(limits: Limits) -> str:
    delay = f"delayed {limits.net_delay / 1000:g}ms" if limits.net_delay else ""
    return ", ".join(filter(None, (delay, f"loses {limits.net_loss:g}%" if limits.net_loss else "")))


def _others(network: Network, container: Container) -> tuple[str, ...]:
    addresses = {endpoint.network: endpoint.address or endpoint.address6 for endpoint in container.endpoints}
    others = [name for name in networks_of(container) if name != network.name]
    return tuple(f"{name} {addresses.get(name, '')}".strip() for name in others)


def _sharers(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the names of those that share a container's network, by the id of that container."""
    found: dict[str, tuple[str, ...]] = {}
    for one in snapshot.containers:
        kind, _, wanted = one.spec.network.partition(":")
        if f"{kind}:" == _SHARES and wanted:
            owners = (owner for owner in snapshot.containers if wanted == owner.name or owner.id.startswith(wanted))
            for owner in owners:
                found[owner.id] = (*found.get(owner.id, ()), one.name)
    return found
