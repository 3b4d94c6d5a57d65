"""Networks and the places of containers in them."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value, field


class Network(Value, frozen=True):
    """A network.

    Attributes:
        id: 64 hex digits.
        driver: "bridge", "macvlan", "ipvlan", "host" or "null" (none).
        subnet: CIDR of the IPv4 addresses; empty when containers have none of their own.
        gateway: The bridge's own address, else empty.
        bridge: The interface on the host, else empty.
        ip_range: CIDR of the part of the subnet from which addresses are given out; empty for all of it.
        reserved: Addresses that are never given out, by a name for each.
        options: As docker's --opt.
        builtin: Whether the engine made it; those cannot be removed.
        subnet6, gateway6, ip_range6: The same of IPv6; empty in a network without.
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
    ip_range: str = ""
    reserved: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    subnet6: str = ""
    gateway6: str = ""
    ip_range6: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether it is to reach networks of other hosts through WireGuard."""
        return "encryption" in self.options


class Attachment(Value, frozen=True):
    """What a container asks of a bridge network.

    Attributes:
        network: The network's name.
        address: An IPv4 address of it; empty for any.
        mac: "aa:bb:…"; empty for one made from the address.
        aliases: More names for the container in the network.
        address6: An IPv6 address of it; empty for any.
    """

    network: str
    address: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    address6: str = ""


class Endpoint(Value, frozen=True):
    """A container's place in a network.

    Attributes:
        network: The network's name.
        address: IPv4 address without prefix; empty in host and none.
        prefix_length: Of the address.
        mac: "aa:bb:…".
        host_interface: The veth end on the host.
        interface: The end inside the container ("eth0").
        aliases: More names in the network.
        address6, prefix_length6, gateway6: The same of IPv6; empty in a network without.
    """

    network: str
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""
    mac: str = ""
    host_interface: str = ""
    interface: str = ""
    aliases: tuple[str, ...] = ()
    address6: str = ""
    prefix_length6: int = 0
    gateway6: str = ""


class PortMapping(Value, frozen=True):
    """A port of a container that is to be reached through the host.

    Attributes:
        port: The container's port.
        protocol: "tcp", "udp" or "sctp".
        host_ip: The host's address; "0.0.0.0" and "::" for all of a family, empty for all.
        first, last: The ports of the host of which one is taken; 0 and 0 leave the choice to the kernel.
    """

    port: int
    protocol: str = "tcp"
    host_ip: str = ""
    first: int = 0
    last: int = 0


class PublishedPort(Value, frozen=True):
    """A port of the host that leads to a running container.

    Attributes:
        host_ip: The host's address; "0.0.0.0" for all, and "::" for all of IPv6.
        host_port: The host's port.
        address: The container's address, of the same family, and port: its port.
        protocol: "tcp", "udp" or "sctp".
    """

    host_ip: str
    host_port: int
    address: str
    port: int
    protocol: str = "tcp"


class InForce(Value, frozen=True):
    """What leads packets to the containers that run.

    Attributes:
        ports: Their published ports.
        resolvers: (address of a container, port of its resolver on the bridge's address).
    """

    ports: tuple[PublishedPort, ...] = ()
    resolvers: tuple[tuple[str, int], ...] = ()
