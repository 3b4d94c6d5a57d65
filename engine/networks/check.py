"""Finds leases, interfaces, bridges and rules whose container or network is gone, and mends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from engine.linux import rtnetlink
from engine.model.finding import Finding
from engine.networks import addresses
from engine.networks.networks import NetworkStore
from engine.store.check import Problem
from engine.store.paths import Paths, find

_VANISHES_WITHIN = 2.0


def problems(
    paths: Paths, networks: NetworkStore, is_running: Callable[[str], bool], interfaces: Callable[[], set[str]]
) -> Iterator[Problem]:
    """Yield what is wrong with the networks of a state root.

    Args:
        paths: The state root.
        networks: Its networks.
        is_running: Whether a container has processes, or is about to have them.
        interfaces: Returns the host's interfaces that containers have, or are about to have.
    """
    leases = (lease for directory in find(paths.networks, "*/leases") for lease in addresses.leases(directory))
    for path, holder in leases:
        # A monitor gives a lease back before it is gone itself, so one that is left now is left for good.
        if not is_running(holder) and path.exists():
            text = f"the address {path.name} is leased to container {holder[:12]}, which does not run"
            mend = partial(addresses.reclaim, path, is_running)
            yield Problem(Finding("lease", path.name, text, "give it back"), mend)
    for path in find(paths.run, "names/*/*"):
        if path.suffix != ".tmp" and not is_running(path.name) and path.exists():
            text = f"network {path.parent.name} knows container {path.name[:12]}, which does not run"
            yield Problem(Finding("name", path.name, text, "forget it"), partial(path.unlink, missing_ok=True))
    bridges = [network.bridge for network in networks.list() if network.bridge]
    for name in _orphans(bridges, networks.shapers, interfaces):
        text = f"the interface {name} belongs to a network of ours, and no running container has it"
        yield Problem(Finding("interface", name, text, "delete it"), partial(_delete, name, interfaces))
    yield from _tunnels(networks)
    for name in networks.stale_bridges():
        text = f"the bridge {name} belongs to a network that is gone"
        yield Problem(Finding("bridge", name, text, "delete it"), networks.restore)
    try:
        is_stale = networks.firewall.is_stale({network.bridge for network in networks.list()})
    except OSError:
        return  # `tuicon info` warns that nftables cannot be used
    if is_stale:
        text = f"the rules in the nftables table {networks.firewall.table} are not those of the networks and the published ports"
        yield Problem(Finding("rules", networks.firewall.table, text, "put them in force again"), networks.restore)


def _tunnels(networks: NetworkStore) -> Iterator[Problem]:
    """Yield tunnels without a network, and networks that lack theirs."""
    for name in networks.tunnels.orphans(networks.list()):
        text = f"the tunnel {name} belongs to a network that is gone"
        yield Problem(Finding("interface", name, text, "delete it"), partial(rtnetlink.delete_link, name))
    for network in networks.list():
        if not networks.tunnels.is_ready(network) and Path("/sys/class/net", network.bridge).exists():
            text = f"network {network.name} has lost its tunnel to other hosts"
            yield Problem(Finding("interface", network.name, text, "make it again"), networks.restore)


def _orphans(
    bridges: list[str], shapers: Callable[[], tuple[str, ...]], interfaces: Callable[[], set[str]]
) -> list[str]:
    """Return the ports of our bridges that nobody has; that of a container that just ended vanishes by itself."""
    deadline = time.monotonic() + _VANISHES_WITHIN
    while True:
        ports = {port.name for bridge in bridges for port in Path("/sys/class/net", bridge).glob("brif/*")}
        left = sorted({*ports, *shapers()} - interfaces())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _delete(name: str, interfaces: Callable[[], set[str]]) -> None:
    if name not in interfaces():
        rtnetlink.delete_link(name)
