"""The nftables rules of the bridges: one table of our own, rebuilt from the networks in one transaction; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from engine.model.network import InForce, Network, PublishedPort
from engine.networks.drivers import is_divided, masquerades

_PROTOCOLS = "{ tcp, udp, sctp }"
_ANY, _ANY6 = "0.0.0.0", "::"  # noqa: S104 - not bound, but compared


def ruleset(table: str, networks: tuple[Network, ...], in_force: InForce | None = None,
    tunnels: Iterable[tuple[Network, str]] = (),
) -> str:  # fmt: skip
    """Return the commands that make the table exactly what the bridge networks need.

    Outgoing traffic is masqueraded, answers come back, neighbours on a bridge reach each other, bridges are
    isolated from each other and from the outside, and an internal network has no way out. A published port is an
    element of a map; what was sent to it is let in from everywhere, with the sender's address. Only the host's
    loopback, and neighbours that go the way around the host, come with the bridge's address, since the answers must
    take the same way back. A container asks its own resolver for names. A bridge may route loopback addresses for that, so no container may send to them.
    The kernel routes no packet from ::1 to another interface, so what is sent there is left to whoever holds the port.

    Args:
        table: The table's name.
        networks: All networks.
        in_force: The published ports and the resolvers of the containers that run.
        tunnels: (network, interface) of those that are encrypted.
    """
    bridges = [network for network in networks if network.driver == "bridge"]
    guard, forward, masquerade = _rules_of(tunnels)
    for network in bridges:
        name = f'"{network.bridge}"'
        forward.append(f"oifname {name} ct state established,related accept")
        if not is_divided(network):
            forward.append(f"iifname {name} oifname {name} accept")
    ours = "{ " + ", ".join(f'"{network.bridge}"' for network in bridges) + " }"
    if bridges:
        guard.append(f"iifname {ours} ip daddr 127.0.0.0/8 drop")
        forward.append(f"oifname {ours} ct status dnat accept")
        forward.append(f"oifname {ours} drop")
        masquerade.append(f"ip saddr 127.0.0.0/8 oifname {ours} masquerade")
    for network in bridges:
        name = f'"{network.bridge}"'
        if network.internal:
            forward.append(f"iifname {name} drop")
        else:
            forward.append(f"iifname {name} accept")
            if masquerades(network):
                masquerade.append(f"ip saddr {network.subnet} oifname != {name} masquerade")
            masquerade.append(f"ip saddr {network.subnet} oifname {name} ct status dnat masquerade")
        if network.subnet6 and not network.internal:
            if masquerades(network):
                masquerade.append(f"ip6 saddr {network.subnet6} oifname != {name} masquerade")
            masquerade.append(f"ip6 saddr {network.subnet6} oifname {name} ct status dnat masquerade")
    published = [
        f"meta l4proto {_PROTOCOLS} dnat ip to ip daddr . meta l4proto . th dport map @ports_at",
        f"meta l4proto {_PROTOCOLS} fib daddr type local dnat ip to meta l4proto . th dport map @ports",
    ]
    has_ipv6 = any(network.subnet6 for network in bridges)
    if has_ipv6:  # only then, since a kernel without IPv6 would refuse
        local = "ip6 daddr != ::1 fib daddr type local"
        published += [
            f"meta l4proto {_PROTOCOLS} dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports_at6",
            f"meta l4proto {_PROTOCOLS} {local} dnat ip6 to meta l4proto . th dport map @ports6",
        ]
    names = (
        [
            f"iifname {ours} meta l4proto {{ tcp, udp }} th dport 53 fib daddr type local redirect to :ip saddr map @resolvers"
        ]
        if bridges
        else []
    )
    found, resolvers = (in_force.ports, in_force.resolvers) if in_force else ((), ())
    old = [port for port in found if ":" not in port.address]
    new = [port for port in found if ":" in port.address]
    return f"""table inet {table} {{}}
delete table inet {table}
table inet {table} {{
{_port_maps("", "ipv4_addr", _ANY, old)}
{_port_maps("6", "ipv6_addr", _ANY6, new) if has_ipv6 else ""}
    map resolvers {{
        type ipv4_addr : inet_service
{_elements(f"{address} : {port}" for address, port in resolvers)}
    }}
    chain guard {{
        type filter hook prerouting priority -300; policy accept;
{_lines(guard)}
    }}
    chain prerouting {{
        type nat hook prerouting priority -100; policy accept;
{_lines(names + published)}
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
{_lines(published)}
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
{_lines(forward)}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
{_lines(masquerade)}
    }}
}}
"""


def _port_maps(suffix: str, kind: str, everywhere: str, ports: list[PublishedPort]) -> str:
    """Return the maps of one family: ports of all addresses of the host, and ports of one address."""
    return f"""    map ports{suffix} {{
        type inet_proto . inet_service : {kind} . inet_service
{_elements(_port(one) for one in ports if one.host_ip == everywhere)}
    }}
    map ports_at{suffix} {{
        type {kind} . inet_proto . inet_service : {kind} . inet_service
{_elements(f"{one.host_ip} . {_port(one)}" for one in ports if one.host_ip != everywhere)}
    }}"""


def tunnel_of(mark: str, name: str) -> str:
    """Return the name of the interface that leads an encrypted network to other hosts."""
    return f"wg{mark}{hashlib.sha256((mark + name).encode()).hexdigest()[:7]}"


def _rules_of(tunnels: Iterable[tuple[Network, str]]) -> tuple[list[str], list[str], list[str]]:
    """Return what the chains guard, forward and postrouting need before all else.

    Who comes through a tunnel reaches the containers of its network, not the host and not what is behind it; nobody
    else gets into the tunnel. The packets keep their addresses, since the other end takes no others.

    Args:
        tunnels: (network, interface).
    """
    guard, forward, postrouting = [], [], []
    for network, interface in tunnels:
        bridge, tunnel = f'"{network.bridge}"', f'"{interface}"'
        guard.append(f"iifname {tunnel} fib daddr type local drop")
        forward.append(f"iifname {tunnel} oifname {bridge} accept")
        forward.append(f"iifname {bridge} oifname {tunnel} accept")
        forward += [f"iifname {tunnel} drop", f"oifname {tunnel} drop"]
        postrouting.append(f"ip saddr {network.subnet} oifname {tunnel} accept")
    return guard, forward, postrouting


def _lines(rules: list[str]) -> str:
    return "\n".join(f"        {rule}" for rule in rules)


def _elements(texts: Iterable[str]) -> str:
    found = ", ".join(texts)
    return f"        elements = {{ {found} }}" if found else ""


def _port(port: PublishedPort) -> str:
    return f"{port.protocol} . {port.host_port} : {port.address} . {port.port}"
