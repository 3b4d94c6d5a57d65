"""The bridge of a network on the host."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from engine.model.network import Network
from engine.networks import addresses


def make(network: Network) -> None:
    """Make a network's bridge; it is fine when it is there.

    Raises:
        OSError: With the kernel's words.
    """
    from engine.linux import netlink

    given = [(network.gateway, ipaddress.ip_network(network.subnet).prefixlen)]
    if network.subnet6:
        given.append((network.gateway6, ipaddress.ip_network(network.subnet6).prefixlen))
    netlink.ensure_bridge(network.bridge, given, network.mtu, addresses.mac_of(network.gateway))
    switch = Path("/proc/sys/net/ipv6/conf", network.bridge, "accept_ra")
    if switch.exists():
        switch.write_text("0")  # else a container could be the host's router (CVE-2020-13401)


def remove(name: str) -> None:
    """Remove a bridge with the interfaces on it, which may outlive their containers for a moment."""
    directory = Path("/sys/class/net", name)
    if not name or not directory.exists():
        return
    from engine.linux import netlink

    for port in directory.glob("brif/*"):
        netlink.delete_link(port.name)
    netlink.delete_link(name)
