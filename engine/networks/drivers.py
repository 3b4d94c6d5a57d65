"""The kinds of networks that users make, and their options, most of which have docker's names."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported
from engine.linux import rtnetlink
from engine.model.network import Network

DRIVERS = ("bridge", "macvlan", "ipvlan")
_MODES = {"macvlan": rtnetlink.MACVLAN_MODES, "ipvlan": rtnetlink.IPVLAN_MODES}
_USUAL_MODES = {"macvlan": "bridge", "ipvlan": "l2"}
_ENCRYPTED_MTU = 1420  # what WireGuard leaves of 1500, also over IPv6
_MTU = ("com.docker.network.driver.mtu", "mtu")
_BRIDGE = "com.docker.network.bridge"
_SWITCHES = (f"{_BRIDGE}.enable_icc", f"{_BRIDGE}.enable_ip_masquerade")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_NAME = re.compile("[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}")
_INTERFACES = Path("/sys/class/net")
_IPV6 = Path("/proc/net/if_inet6")  # absent when the kernel was booted with ipv6.disable=1


def mtu_of(options: dict[str, str]) -> int:
    """Return the MTU that a network's options ask for.

    Raises:
        InvalidArgument: It is no number that a bridge can have.
    """
    usual = _ENCRYPTED_MTU if "encryption" in options else 1500
    text = next((options[name] for name in _MTU if name in options), str(usual))
    if not text.isascii() or not text.isdigit() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"invalid MTU {text!r}: a number from 68 to 65535")
    return int(text)


def bridge_name(options: dict[str, str], usual: str) -> str:
    """Return the name that a network's bridge is to have on the host.

    Raises:
        InvalidArgument: No interface can have it.
        Conflict: Another interface of the host has it.
    """
    name = options.get(f"{_BRIDGE}.name", "")
    if name and not _NAME.fullmatch(name):
        raise InvalidArgument(f"invalid bridge name {name!r}: up to 15 letters, digits, _ . -")
    if name and _INTERFACES.joinpath(name).exists():
        raise Conflict(f"the host has an interface {name} already")
    return name or usual


def is_divided(network: Network) -> bool:
    """Return whether the containers of a network are kept from each other (docker's enable_icc=false)."""
    return not _is_on(network.options, _SWITCHES[0])


def masquerades(network: Network) -> bool:
    """Return whether what leaves a network comes with the host's address; without, others need a route to it."""
    return not network.internal and _is_on(network.options, _SWITCHES[1])


def host_binding(network: Network) -> str:
    """Return the host's address on which a network's ports are published when none is named; empty for all."""
    address = network.options.get(f"{_BRIDGE}.host_binding_ipv4", "")
    return "" if address == "0.0.0.0" else address  # noqa: S104 - compared


def _is_on(options: dict[str, str], name: str) -> bool:
    value = options.get(name, "true").lower()
    if value not in _TRUE + _FALSE:
        raise InvalidArgument(f"invalid option {name}={value}: true or false")
    return value in _TRUE


def _check_bridge(options: dict[str, str]) -> None:
    for name in _SWITCHES:
        _is_on(options, name)
    address = options.get(f"{_BRIDGE}.host_binding_ipv4", "0.0.0.0")  # noqa: S104 - the default
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        raise InvalidArgument(f"invalid option {_BRIDGE}.host_binding_ipv4={address}: an IPv4 address") from None


def parent_of(network: Network) -> dict[str, str]:
    """Return what an endpoint needs to know of the interface that its network is on; nothing for a bridge."""
    if network.driver not in _MODES:
        return {}
    return {"parent": network.options["parent"], "mode": _mode_of(network), "kind": network.driver}


def hardware_address(network: Network) -> str:
    """Return the hardware address that all containers of a network have in common; empty when each has its own."""
    if network.driver != "ipvlan":
        return ""
    try:
        return _INTERFACES.joinpath(network.options["parent"], "address").read_text().strip()
    except FileNotFoundError:
        raise NotFound("interface", network.options["parent"]) from None


def _mode_of(network: Network) -> str:
    return network.options.get(f"{network.driver}_mode", _USUAL_MODES[network.driver])


def check(network: Network, *, has_ipv6: bool = False) -> None:
    """Check the driver and its options.

    Raises:
        InvalidArgument: There is no such driver, or it lacks what it needs.
        NotSupported: This kernel cannot do it.
    """
    if network.driver not in DRIVERS:
        raise InvalidArgument(f"unknown network driver {network.driver!r}: {', '.join(DRIVERS)}")
    if has_ipv6 and not _IPV6.exists():
        raise NotSupported(f"network {network.name} cannot have IPv6: it is switched off in this kernel")
    if network.driver == "bridge":
        _check_bridge(network.options)
        return
    parent, mode = network.options.get("parent", ""), _mode_of(network)
    if not parent or "/" in parent or not _INTERFACES.joinpath(parent).exists():
        raise InvalidArgument(
            f"the host has no interface {parent!r} for network {network.name}: name it with -o parent="
        )
    if mode not in _MODES[network.driver]:
        raise InvalidArgument(f"invalid {network.driver} mode {mode!r}: {', '.join(_MODES[network.driver])}")
    if not network.subnet:
        raise InvalidArgument(f"network {network.name} needs the subnet of {parent}: --subnet")
    if has_ipv6 and not network.subnet6:
        raise InvalidArgument(f"network {network.name} needs the IPv6 subnet of {parent}: --subnet")
    if network.driver == "ipvlan" and not rtnetlink.has_ipvlan():
        raise NotSupported(f"network {network.name} cannot be made: this kernel has no ipvlan", hint="use macvlan")
