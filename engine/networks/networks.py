"""Networks: the builtin bridge, host and none, and bridges that users make."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import Conflict, InvalidArgument, NotFound
from engine.linux import files
from engine.model.network import Endpoint, Network, PublishedPort
from engine.networks import addresses
from engine.networks.firewall import Firewall
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find

DEFAULT = "bridge"
_POOL = "10.88.0.0/13"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_BUILTIN = {"host": "host", "none": "null"}


class NetworkStore:
    """The networks of a state root; bridges and the nftables table carry a name that is the root's own."""

    def __init__(
        self, paths: Paths, journal: Journal, is_running: Callable[[str], bool],
        published: Callable[[], Iterable[PublishedPort]],
    ) -> None:  # fmt: skip
        self._paths = paths
        self._journal = journal
        self._is_running = is_running
        self._mark = paths.mark
        self.firewall = Firewall(paths, published)

    def list(self) -> tuple[Network, ...]:
        """Return all networks: bridge, host and none first."""
        made = [self._load(path.parent.name) for path in find(self._paths.networks, "*/network.json")]
        others = [network for network in made if network and network.name != DEFAULT]
        return (self._default(), *(self._builtin(name) for name in _BUILTIN), *others)

    def get(self, ref: str) -> Network:
        """Return a network by name, id or unique id prefix.

        Raises:
            NotFound: There is none.
        """
        found = self.list()
        for network in found:
            if ref in (network.name, network.id):
                return network
        matches = [network for network in found if network.id.startswith(ref)] if ref else []
        if len(matches) != 1:
            raise NotFound("network", ref)
        return matches[0]

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return a network in docker's JSON shape."""
        network = self.get(ref)
        members = {}
        for path in self._leases(network.name).glob("*.*.*.*"):
            address = f"{path.name}/{ipaddress.ip_network(network.subnet).prefixlen}"
            members[path.read_text()] = {"IPv4Address": address, "MacAddress": addresses.mac_of(path.name)}
        config = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else []
        return {
            "Name": network.name, "Id": network.id, "Created": network.created_at.isoformat(), "Scope": "local",
            "Driver": network.driver, "IPAM": {"Driver": "default", "Config": config}, "Internal": network.internal,
            "Containers": members, "Options": {"com.docker.network.bridge.name": network.bridge} if network.bridge else {},
            "Labels": network.labels,
        }  # fmt: skip

    def create(
        self, name: str, *, subnet: str = "", internal: bool = False, labels: dict[str, str] | None = None
    ) -> Network:
        """Make a bridge network.

        Raises:
            InvalidArgument: The name or the subnet is malformed.
            Conflict: The name is taken, or the subnet overlaps another network or a route of the host.
        """
        self._paths.prepare()
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid network name {name!r}: only letters, digits, _ . - after a letter or digit")
        with files.FileLock(self._paths.lock("networks")):
            if any(name == network.name for network in self.list()):
                raise Conflict(f"network {name} already exists")
            network = self._new(name, subnet, internal=internal, labels=labels or {})
            self._save(network)
        self._journal.append("network", "create", network.id, name)
        return network

    def remove(self, ref: str) -> None:
        """Remove a network that no running container uses.

        Raises:
            Conflict: It is builtin or in use.
        """
        network = self.get(ref)
        if network.builtin:
            raise Conflict(f"{network.name} is a builtin network and cannot be removed")
        users = [
            holder for path in self._leases(network.name).glob("*") if self._is_running(holder := path.read_text())
        ]
        if users:
            raise Conflict(f"network {network.name} is used by container {users[0][:12]}")
        with files.FileLock(self._paths.lock("networks")):
            _remove_bridge(network.bridge)
            self.firewall.apply(tuple(other for other in self.list() if other.id != network.id))
            self._paths.discard(self._paths.networks / network.name)
        self._journal.append("network", "destroy", network.id, network.name)

    def prepare(self, name: str, container_id: str) -> tuple[Endpoint, Network, Path]:
        """Make a bridge network ready and lease an address; return the endpoint, the network and the lease file."""
        self._ensure(self.get(name))
        network = self.get(name)
        prefix = ipaddress.ip_network(network.subnet).prefixlen
        stale: list[str] = []

        def is_in_use(holder: str) -> bool:
            is_running = self._is_running(holder)
            stale.extend([] if is_running else [holder])
            return is_running

        address, path = addresses.lease(
            self._leases(network.name), network.subnet, network.gateway, container_id, is_in_use
        )
        if stale:  # it was killed together with its monitor, and its ports would lead to somebody else
            self.firewall.drop_ports({address})
        host_interface = f"t{self._mark[:2]}{os.urandom(4).hex()}"
        endpoint = Endpoint(
            network=network.name, address=address, prefix_length=prefix, gateway="" if network.internal else network.gateway,
            mac=addresses.mac_of(address), host_interface=host_interface, interface="eth0",
        )  # fmt: skip
        return endpoint, network, path

    def release(self, container_id: str) -> None:
        """Give back the addresses of a container."""
        for directory in find(self._paths.networks, "*/leases"):
            self.firewall.drop_ports(addresses.held(directory, container_id))
            addresses.release(directory, container_id)

    def restore(self) -> None:
        """Make the rules what the networks need, and remove bridges of networks that are gone."""
        with files.FileLock(self._paths.lock("networks")):
            for bridge in self.stale_bridges():
                _remove_bridge(bridge)
            self.firewall.apply(self.list())

    def stale_bridges(self) -> tuple[str, ...]:
        """Return the bridges of this root that the host has and no network."""
        known = {network.bridge for network in self.list()}
        return tuple(
            name for name in self.firewall.ready() if name not in known and Path("/sys/class/net", name).exists()
        )

    def reset(self) -> None:
        """Remove all bridges and the nftables table."""
        for network in self.list():
            _remove_bridge(network.bridge)
        self.firewall.remove()

    def _leases(self, name: str) -> Path:
        return self._paths.networks / name / "leases"

    def _builtin(self, name: str) -> Network:
        made = datetime.fromtimestamp(0, UTC)
        return Network(hashlib.sha256(name.encode()).hexdigest(), name, _BUILTIN[name], made, builtin=True)

    def _default(self) -> Network:
        found = self._load(DEFAULT)
        if found:
            return found
        made = datetime.fromtimestamp(0, UTC)
        return Network(
            hashlib.sha256(DEFAULT.encode()).hexdigest(),
            DEFAULT,
            "bridge",
            made,
            builtin=True,
            bridge=self._bridge_name(DEFAULT),
        )

    def _load(self, name: str) -> Network | None:
        if not _NAME.fullmatch(name):
            return None
        try:
            return records.load(self._paths.networks / name / "network.json", Network)
        except FileNotFoundError:
            return None

    def _save(self, network: Network) -> None:
        for path in (self._paths.networks / network.name, self._leases(network.name)):
            path.mkdir(mode=0o700, exist_ok=True)
        records.save(self._paths.networks / network.name / "network.json", network)

    def _bridge_name(self, name: str) -> str:
        if name == DEFAULT:
            return f"tui{self._mark}" if self._mark else "tuicon0"
        return f"tu{hashlib.sha256((self._mark + name).encode()).hexdigest()[:10]}"

    def _new(self, name: str, subnet: str, *, internal: bool, labels: dict[str, str]) -> Network:
        from engine.linux import netlink

        taken = (*netlink.subnets(), *(network.subnet for network in self.list() if network.subnet))
        if subnet:
            try:
                parsed = ipaddress.IPv4Network(subnet)
            except ValueError as error:
                raise InvalidArgument(f"invalid subnet {subnet!r}: {error}") from error
            overlapping = [other for other in taken if parsed.overlaps(ipaddress.IPv4Network(other, strict=False))]
            if overlapping:
                raise Conflict(f"subnet {subnet} overlaps {overlapping[0]}, which is in use")
        else:
            parsed = ipaddress.IPv4Network(addresses.choose_subnet(_POOL, 16 if name == DEFAULT else 24, taken))
        gateway = str(parsed.network_address + 1)
        return Network(
            id=os.urandom(32).hex() if name != DEFAULT else hashlib.sha256(DEFAULT.encode()).hexdigest(), name=name,
            driver="bridge", created_at=datetime.now(UTC), subnet=str(parsed), gateway=gateway,
            bridge=self._bridge_name(name), internal=internal, builtin=name == DEFAULT, labels=labels,
        )  # fmt: skip

    def _ensure(self, network: Network) -> None:
        """Have the bridge and the rules; when they are there this costs two stats."""
        if network.subnet and self.firewall.is_ready(network.bridge):
            return
        from engine.linux import netlink

        with files.FileLock(self._paths.lock("networks")):
            current = self._load(network.name)
            if current is None:
                current = self._new(network.name, "", internal=False, labels={})
                self._save(current)
            prefix = ipaddress.ip_network(current.subnet).prefixlen
            netlink.ensure_bridge(current.bridge, current.gateway, prefix, current.mtu)
            self.firewall.apply(self.list())


def _remove_bridge(name: str) -> None:
    """Remove a bridge with the interfaces on it, which may outlive their containers for a moment."""
    directory = Path("/sys/class/net", name)
    if not name or not directory.exists():
        return
    from engine.linux import netlink

    for port in directory.glob("brif/*"):
        netlink.delete_link(port.name)
    netlink.delete_link(name)
