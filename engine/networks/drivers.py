"""The kinds of networks that users make, and their options."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InvalidArgument, NotFound, NotSupported
from engine.linux import rtnetlink
from engine.model.network import Network

DRIVERS = ("bridge", "macvlan", "ipvlan")
_MODES = {"macvlan": rtnetlink.MACVLAN_MODES, "ipvlan": rtnetlink.IPVLAN_MODES}
_USUAL_MODES = {"macvlan": "bridge", "ipvlan": "l2"}
_MTU = ("com.docker.network.driver.mtu", "mtu")
_INTERFACES = Path("/sys/class/net")
_IPV6 = Path("/proc/net/if_inet6")  # absent when the kernel was booted with ipv6.disable=1


def mtu_of(options: dict[str, str]) -> int:
    """Return the MTU that a network's options ask for.

    Raises:
        InvalidArgument: It is no number that a bridge can have.
    """
    text = next((options[name] for name in _MTU if name in options), "1500")
    if not text.isascii() or not text.isdigit() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"invalid MTU {text!r}: a number from 68 to 65535")
    return int(text)


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
