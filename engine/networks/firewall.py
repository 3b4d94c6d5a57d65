"""Our nftables table in the kernel: put in force, looked at, taken away."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import NotSupported
from engine.linux import files, nfnetlink
from engine.model.network import InForce, Network
from engine.networks.rules import ruleset, tunnel_of
from engine.store.paths import Paths

_INTERFACE = re.compile(r'"(tu[0-9a-z]+)"')
_CONFIGURATION = Path("/proc/sys/net/ipv4/conf")
_CONFIGURATION6 = Path("/proc/sys/net/ipv6/conf")
_ROUTES6 = Path("/proc/net/ipv6_route")
_FROM_ROUTER = 0x00010000 | 0x00040000  # RTF_DEFAULT | RTF_ADDRCONF, uapi linux/ipv6_route.h
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_LOOKS, _PAUSE = 20, 0.05


class Firewall:
    """The rules of a state root; whoever changes them all holds the lock alone, and who changes a port shares it."""

    def __init__(self, paths: Paths, in_force: Callable[[], InForce]) -> None:
        self._paths = paths
        self._in_force = in_force

    @property
    def table(self) -> str:
        """The name of our nftables table."""
        return self._paths.host_name

    @property
    def lock(self) -> Path:
        """The lock of the networks and their rules."""
        return self._paths.lock("networks")

    @property
    def _ready_file(self) -> Path:
        """Names the bridges for which the rules are in force since this boot."""
        return self._paths.run / "rules"

    def ready(self) -> tuple[str, ...]:
        """Return the bridges for which the rules were put in force since this boot."""
        try:
            return tuple(self._ready_file.read_text().split())
        except FileNotFoundError:
            return ()

    def is_ready(self, bridge: str) -> bool:
        """Return whether a bridge is there with its rules; somebody may have flushed them."""
        return Path("/sys/class/net", bridge).exists() and bridge in self.ready() and nfnetlink.has_table(self.table)

    def apply(self, networks: tuple[Network, ...]) -> bool:
        """Make the rules what the networks and the published ports need; return whether IPv6 is forwarded only from now on.

        The lock is held.

        Raises:
            NotSupported: nftables cannot be used.
        """
        from engine.linux import nftables

        if _FORWARDING.read_text().strip() != "1":
            _FORWARDING.write_text("1")
        needs_ipv6 = any(network.subnet6 and network.bridge and not network.internal for network in networks)
        is_new = needs_ipv6 and _forward_ipv6()
        try:
            usable = tuple(item for item in networks if item.subnet)
            tunnels = [(one, tunnel_of(self._paths.mark, one.name)) for one in usable if one.is_encrypted]
            nftables.run(ruleset(self.table, usable, self._in_force(), tunnels))
        except nftables.RulesRefused as error:
            raise NotSupported(
                f"cannot set up NAT: {error.strerror}", hint="install nftables, or use --network host"
            ) from error
        files.write_atomic(self._ready_file, " ".join(item.bridge for item in networks if item.bridge).encode())
        return is_new

    def remove(self) -> None:
        """Remove the table."""
        from engine.linux import nftables

        nftables.delete_table("inet", self.table)
        self._ready_file.unlink(missing_ok=True)

    def connection(self) -> dict[str, str]:
        """Return what a monitor needs to change the rules: the table, and its lock."""
        return {"table": self.table, "lock": str(self.lock)}

    @staticmethod
    def route_loopback(bridge: str) -> None:
        """Let the host's loopback reach the containers on a bridge.

        The bridge routes loopback addresses then; the rules, which are in force by now, keep containers from sending to them.
        """
        switch = _CONFIGURATION / bridge / "route_localnet"
        if switch.read_text().strip() != "1":
            switch.write_text("1")

    def drop_ports(self, addresses: set[str]) -> None:
        """Take from the rules what leads to addresses whose container has ended, and its resolver."""
        if not addresses:
            return
        with files.FileLock(self.lock):
            stale = [element for element in self._elements() if nfnetlink.address_of(element) in addresses]
            nfnetlink.delete(self.table, stale)

    def _elements(self) -> list[tuple[str, bytes, bytes]]:
        return [element for name in nfnetlink.MAPS for element in nfnetlink.dump(self.table, name)]

    def is_stale(self, bridges: set[str]) -> bool:
        """Return whether the rules of this boot are gone, name other bridges, or lead ports to nobody.

        Raises:
            OSError: nftables cannot be used.
        """
        from engine.linux import nftables

        text = nftables.run("list ruleset inet")
        start = text.find(f"table inet {self.table} {{")
        named = set(_INTERFACE.findall(text[start : text.find("\n}", start)])) if start >= 0 else set()
        return bool(named - bridges) or (start < 0 and bool(self.ready())) or self._has_stale_ports()

    def _has_stale_ports(self) -> bool:
        """Return whether ports lead to nobody, or are missing; asked again, since containers come and go meanwhile."""
        for _ in range(_LOOKS):
            with files.FileLock(self.lock):
                found = set(self._elements())
                wanted = _elements(self._in_force())
            if found == wanted:
                return False
            time.sleep(_PAUSE)
        return True

    def listing(self) -> str:
        """Return the table as nft lists it, with counters; empty when there is none.

        Raises:
            NotSupported: nftables cannot be used.
        """
        from engine.linux import nftables

        if not nfnetlink.has_table(self.table):
            return ""
        try:
            return nftables.run(f"list table inet {self.table}")
        except nftables.RulesRefused as error:
            raise NotSupported(f"the rules cannot be listed: {error.strerror}") from error

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each thing on this host that keeps containers from the network."""
        from engine.linux import nftables

        try:
            drops = nftables.foreign_drops(self.table)
        except OSError as error:
            return (f"nftables cannot be used, so containers have no way out: {error.strerror}",)
        return tuple(
            f"table {table} drops forwarded traffic by policy; containers may have no way out, and published ports no way in"
            for table in drops
        )


def _forward_ipv6() -> bool:
    """Have the host forward IPv6, which it does for all its interfaces or for none; return whether it did not before.

    A host that forwards ignores routers. Where it has its default route from one, it goes on to listen to that
    (accept_ra is 2), so that it keeps the route (linux/Documentation/networking/ip-sysctl.rst, accept_ra).
    """
    switch = _CONFIGURATION6 / "all" / "forwarding"
    if switch.read_text().strip() == "1":
        return False
    for line in _ROUTES6.read_text().splitlines():
        *_, flags, interface = line.split()
        listens = _CONFIGURATION6 / interface / "accept_ra"
        if int(flags, 16) & _FROM_ROUTER == _FROM_ROUTER and listens.read_text().strip() == "1":
            listens.write_text("2")
    switch.write_text("1")
    return True


def _elements(wanted: InForce) -> set[tuple[str, bytes, bytes]]:
    ports = {
        nfnetlink.port_element(one.protocol, one.host_ip, one.host_port, one.address, one.port) for one in wanted.ports
    }
    return ports | {nfnetlink.resolver_element(*one) for one in wanted.resolvers}
