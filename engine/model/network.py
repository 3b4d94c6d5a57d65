"""Networks and the places of containers in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Network:
    """A network.

    Attributes:
        id: 64 hex digits.
        driver: "bridge", "host" or "null" (none).
        subnet: CIDR of a bridge network, else empty.
        gateway: The bridge's own address, else empty.
        bridge: The interface on the host, else empty.
        builtin: Whether the engine made it; those cannot be removed.
    """

    id: str
    name: str
    driver: str
    created_at: datetime
    subnet: str = ""
    gateway: str = ""
    bridge: str = ""
    mtu: int = 1500
    internal: bool = False
    builtin: bool = False
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place in a network.

    Attributes:
        network: The network's name.
        address: IPv4 address without prefix; empty in host and none.
        prefix_length: Of the address.
        mac: "aa:bb:…".
        host_interface: The veth end on the host.
        interface: The end inside the container ("eth0").
    """

    network: str
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""
    mac: str = ""
    host_interface: str = ""
    interface: str = ""
