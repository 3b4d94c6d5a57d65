"""A network in docker's JSON shape."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.model.network import Network
from engine.networks.addresses import mac_of


def document(network: Network, leases: Iterable[tuple[Path, str]], names: Path) -> dict[str, Any]:
    """Return what `docker network inspect` would print.

    Args:
        network: The network.
        leases: For each address that is taken, a file that has it for a name, and the container's id.
        names: Where the names of the network's containers are.
    """
    members: dict[str, dict[str, str]] = {}
    for path, holder in leases:
        member = members.setdefault(holder, {})
        subnet = network.subnet6 if ":" in path.name else network.subnet
        member[_key(path.name)] = f"{path.name}/{ipaddress.ip_network(subnet).prefixlen}"
        member |= {} if ":" in path.name or "MacAddress" in member else {"MacAddress": mac_of(path.name)}
        try:
            _, member["MacAddress"], member["Name"], *_ = names.joinpath(holder).read_text().split()
        except FileNotFoundError:
            continue
    interface = {"com.docker.network.bridge.name": network.bridge} if network.bridge else {}
    return {
        "Name": network.name, "Id": network.id, "Created": network.created_at.isoformat(), "Scope": "local",
        "Driver": network.driver, "EnableIPv6": bool(network.subnet6),
        "IPAM": {"Driver": "default", "Config": _configurations(network)}, "Internal": network.internal,
        "Containers": members, "Options": {**interface, **network.options}, "Labels": network.labels,
    }  # fmt: skip


def _key(address: str) -> str:
    return "IPv6Address" if ":" in address else "IPv4Address"


def _configurations(network: Network) -> list[dict[str, Any]]:
    found = []
    families = (
        (network.subnet, network.gateway, network.ip_range),
        (network.subnet6, network.gateway6, network.ip_range6),
    )
    for subnet, gateway, ip_range in families:
        reserved = {name: one for name, one in network.reserved.items() if (":" in one) == (":" in subnet)}
        config: dict[str, Any] = {"Subnet": subnet, "Gateway": gateway}
        config |= {"IPRange": ip_range} if ip_range else {}
        config |= {"AuxiliaryAddresses": reserved} if reserved else {}
        found += [config] if subnet else []
    return found
