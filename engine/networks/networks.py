"""Networks: the builtin bridge, host and none, and bridges that users make."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from engine.linux import files, procfs, rtnetlink
from engine.model.network import Attachment, Endpoint, InForce, Network
from engine.model.value import replace
from engine.networks import addresses, bridge, drivers
from engine.networks.documents import document
from engine.networks.drivers import DRIVERS
from engine.networks.firewall import Firewall
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find

if TYPE_CHECKING:
    from engine.networks.wireguard import Tunnels

DEFAULT = "bridge"
_POOL = "10.88.0.0/13"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_MAC = re.compile("[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.IGNORECASE)
_ALIAS = re.compile("[a-zA-Z0-9_.-]{1,253}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BUILTIN = {"host": "host", "none": "null"}


class NetworkStore:
    """The networks of a state root; bridges and the nftables table carry a name that is the root's own."""

    def __init__(
        self, paths: Paths, journal: Journal, is_running: Callable[[str], bool],
        in_force: Callable[[], InForce],
    ) -> None:  # fmt: skip
        self._paths = paths
        self._journal = journal
        self._is_running = is_running
        self._mark = paths.mark
        self.firewall = Firewall(paths, in_force)

    @cached_property
    def tunnels(self) -> Tunnels:
        """The ways of encrypted networks to those of other hosts."""
        from engine.networks.wireguard import Tunnels

        return Tunnels(self._paths, self.get, self._taken)

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
        if ref == DEFAULT or ref in _BUILTIN:
            return self._default() if ref == DEFAULT else self._builtin(ref)
        found = self._load(ref)
        if found:
            return found
        matches = [network for network in self.list() if network.id.startswith(ref)] if ref else []
        if len(matches) != 1:
            raise NotFound("network", ref)
        return matches[0]

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return a network in docker's JSON shape."""
        network = self.get(ref)
        found = document(network, addresses.leases(self._leases(network.name)), self.names / network.name)
        return {**found, **(self.tunnels.described(network) if network.is_encrypted else {})}

    def nft_rules(self, ref: str) -> tuple[str, ...]:
        """Return the lines of the rules in force that concern a network and its containers; see engine.networks.live_rules.

        Raises:
            NotFound: There is no such network.
        """
        from engine.networks.live_rules import concerning

        network = self.get(ref)
        subnets = (network.subnet, network.subnet6)
        return concerning(self.firewall.listing(), network.bridge, subnets) if network.bridge else ()

    def create(
        self, name: str, *, driver: str = "bridge", subnet: str = "", gateway: str = "", ip_range: str = "", internal: bool = False,
        reserved: dict[str, str] | None = None, labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None, ipv6: bool = False, subnet6: str = "", gateway6: str = "", ip_range6: str = "",
    ) -> Network:  # fmt: skip
        """Make a network.

        Args:
            name: Its name.
            driver: "bridge", or "macvlan" or "ipvlan" on an interface of the host.
            subnet: CIDR; empty for one that is free.
            gateway: The host's address in it; empty for the first.
            ip_range: CIDR of the part from which containers get addresses.
            internal: Whether it has no way out.
            reserved: Addresses that no container gets, each with a name.
            labels: Labels.
            options: As docker's --opt; see engine.networks.drivers.
            ipv6: Whether containers have IPv6 addresses too; an IPv6 subnet says so as well.
            subnet6: CIDR of those; empty for one that is free.
            gateway6: The host's address in it; empty for the first.
            ip_range6: CIDR of the part from which containers get theirs.

        Raises:
            InvalidArgument: The name, an address or an option is malformed.
            Conflict: The name is taken, or a subnet overlaps another network or a route of the host.
            NotSupported: This kernel has no IPv6, or no NAT of it.
        """
        self._paths.prepare()
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid network name {name!r}: only letters, digits, _ . - after a letter or digit")
        wanted = Network(
            os.urandom(32).hex(), name, driver, datetime.now(UTC), subnet, gateway, drivers.bridge_name(options or {}, self._bridge_name(name)) if driver == "bridge" else "",
            drivers.mtu_of(options or {}), internal, labels=labels or {}, ip_range=ip_range, reserved=reserved or {},
            options=options or {}, subnet6=subnet6, gateway6=gateway6, ip_range6=ip_range6,
        )  # fmt: skip
        has_ipv6 = ipv6 or bool(subnet6 or gateway6 or ip_range6)
        drivers.check(wanted, has_ipv6=has_ipv6)
        self._check_encryption(wanted)
        with files.FileLock(self._paths.lock("networks")):
            if any(name == network.name for network in self.list()):
                raise Conflict(f"network {name} already exists")
            network = self._establish(wanted, 24, has_ipv6=has_ipv6)
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
        users = [holder for _, holder in addresses.leases(self._leases(network.name)) if self._is_running(holder)]
        if users:
            raise Conflict(f"network {network.name} is used by container {users[0][:12]}")
        with files.FileLock(self._paths.lock("networks")):
            self.tunnels.remove(network)
            bridge.remove(network.bridge)
            self.firewall.apply(tuple(other for other in self.list() if other.id != network.id))
            files.remove_tree(self.names / network.name)
            self._paths.discard(self._paths.networks / network.name)
        self._journal.append("network", "destroy", network.id, network.name)

    def prune(self) -> tuple[str, ...]:
        """Remove the networks that users made and no running container uses; return their names."""
        gone = []
        for network in self.list():
            if not network.builtin:
                try:
                    self.remove(network.name)
                except (Conflict, NotFound):
                    continue
                gone.append(network.name)
        return tuple(gone)

    @staticmethod
    def uplink() -> str:
        """Return the host's interface with the default route; empty when there is none."""
        return procfs.default_interface()

    def check(self, attachment: Attachment) -> None:
        """Check what a container asks of a network.

        Raises:
            NotFound: There is no such network.
            InvalidArgument: It does not have the address, or the hardware address is malformed.
        """
        network = self.get(attachment.network)
        if replace(attachment, network="") != Attachment("") and network.driver not in DRIVERS:
            raise InvalidArgument(f"in network {network.name} a container has no address, MAC or alias of its own")
        if attachment.address:
            if not network.subnet:
                self._ensure(network)
            addresses.space_of(self.get(network.name)).check(attachment.address)
        if attachment.address6:
            if not network.subnet6:
                raise InvalidArgument(
                    f"network {network.name} has no IPv6 addresses, so none can be {attachment.address6}"
                )
            addresses.space_of(network, 6).check(attachment.address6)
        wrong = next((alias for alias in attachment.aliases if not _ALIAS.fullmatch(alias)), None)
        if wrong is not None:
            raise InvalidArgument(f"invalid network alias {wrong!r}: letters, digits, _ . - only")
        if attachment.mac and network.driver == "ipvlan":
            raise InvalidArgument(
                f"containers of network {network.name} share the MAC address of its parent: no {attachment.mac}"
            )
        if attachment.mac and not _MAC.fullmatch(attachment.mac):
            raise InvalidArgument(
                f"invalid MAC address {attachment.mac!r}: expected six pairs of hex digits, not multicast"
            )

    def prepare(
        self, attachment: Attachment, container_id: str, interface: str
    ) -> tuple[Endpoint, Network, tuple[Path, ...]]:
        """Make a network ready and lease addresses; return the endpoint, the network and the lease files.

        Raises:
            Conflict: An address that is asked for is taken, or all are.
        """
        self._ensure(self.get(attachment.network))
        network = self.get(attachment.network)
        address = self._lease(addresses.space_of(network), attachment.address, container_id)
        endpoint = Endpoint(
            network=network.name, address=address, prefix_length=ipaddress.ip_network(network.subnet).prefixlen,
            gateway="" if network.internal else network.gateway, mac=attachment.mac or drivers.hardware_address(network) or addresses.mac_of(address),
            host_interface=f"t{self._mark[:2]}{os.urandom(4).hex()}" if network.bridge else "", interface=interface, aliases=attachment.aliases,
        )  # fmt: skip
        held: tuple[Path, ...] = (self._leases(network.name) / address,)
        if network.subnet6:
            try:
                address6 = self._lease(addresses.space_of(network, 6), attachment.address6, container_id)
            except Conflict:
                held[0].unlink(missing_ok=True)
                raise
            held = (*held, self._leases(network.name) / address6)
            prefix_length, gateway = ipaddress.ip_network(network.subnet6).prefixlen, network.gateway6
            endpoint = replace(
                endpoint, address6=address6, prefix_length6=prefix_length, gateway6="" if network.internal else gateway
            )
        return endpoint, network, held

    def _lease(self, space: addresses.Space, asked: str, container_id: str) -> str:
        """Lease an address of a network: the one that is asked for, or a free one."""
        directory = self._leases(space.network)
        stale: list[str] = []

        def is_in_use(holder: str) -> bool:
            is_running = self._is_running(holder)
            stale.extend([] if is_running else [holder])
            return is_running

        if asked:
            address = space.check(asked)
            holder = addresses.lease_one(directory, address, container_id, is_in_use)
            if holder:
                name = self._name_of(holder, space.network)
                raise Conflict(f"address {address} of network {space.network} is in use by container {name}")
        else:
            address = addresses.lease(directory, space, container_id, is_in_use)
        if stale:  # it was killed together with its monitor, and its ports would lead to somebody else
            self.firewall.drop_ports({address})
        return address

    def _name_of(self, container_id: str, network: str) -> str:
        """Return the name by which a network knows a container; its short id in a network without names."""
        try:
            return self.names.joinpath(network, container_id).read_text().split()[2]
        except FileNotFoundError:
            return container_id[:12]

    def announce(self, endpoint: Endpoint, container_id: str, names: tuple[str, ...]) -> Path:
        """Let the containers of a network know a container by its names; return the file that does so."""
        directory = self.names / endpoint.network
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = ",".join(address for address in (endpoint.address, endpoint.address6) if address)
        text = " ".join((found, endpoint.mac, *dict.fromkeys(names)))
        files.write_atomic(directory / container_id, text.encode())
        return directory / container_id

    def rename(self, container_id: str, name: str) -> None:
        """Let the containers of all networks know a container by another name."""
        for path in find(self._paths.run, f"names/*/{container_id}"):
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                address, mac, _, *others = path.read_text().split()
                files.write_atomic(path, " ".join((address, mac, name, *others)).encode())

    @property
    def names(self) -> Path:
        """Where the names are: a directory for each network, with a file for each container."""
        return self._paths.run / "names"

    def leave(self, ref: str, container_id: str) -> None:
        """Give back the address that a container has in one network."""
        directory = self._leases(self.get(ref).name)
        self.firewall.drop_ports(addresses.held(directory, container_id))
        addresses.release(directory, container_id)
        self.names.joinpath(directory.parent.name, container_id).unlink(missing_ok=True)

    def release(self, container_id: str) -> None:
        """Give back the addresses of a container."""
        for directory in find(self._paths.networks, "*/leases"):
            self.firewall.drop_ports(addresses.held(directory, container_id))
            addresses.release(directory, container_id)
        for path in find(self._paths.run, f"names/*/{container_id}"):
            path.unlink(missing_ok=True)
        for name in self.shapers(container_id):
            rtnetlink.delete_link(name)

    def shaper(self, container_id: str, interface: str) -> str:
        """Return the name of the interface that limits what a container sends through one of its own."""
        return f"x{self._mark}{container_id[:7]}{_DIGITS[int(interface.removeprefix('eth')) % len(_DIGITS)]}"

    def shapers(self, container_id: str = "") -> tuple[str, ...]:
        """Return the interfaces of this host that limit what a container sends, or what all containers do."""
        name = re.compile(f"x{self._mark}{container_id[:7] or '[0-9a-f]{7}'}[{_DIGITS}]")
        return tuple(path.name for path in Path("/sys/class/net").iterdir() if name.fullmatch(path.name))

    def restore(self) -> None:
        """Make the rules what the networks need, and remove bridges of networks that are gone."""
        with files.FileLock(self._paths.lock("networks")):
            for name in self.stale_bridges():
                bridge.remove(name)
            self.firewall.apply(self.list())
            for network in self.list():
                if Path("/sys/class/net", network.bridge).exists():
                    self.tunnels.make(network)

    def stale_bridges(self) -> tuple[str, ...]:
        """Return the bridges of this root that the host has and no network."""
        known = {network.bridge for network in self.list()}
        return tuple(
            name for name in self.firewall.ready() if name not in known and Path("/sys/class/net", name).exists()
        )

    def reset(self) -> None:
        """Remove all bridges and the nftables table."""
        for network in self.list():
            self.tunnels.remove(network)
            bridge.remove(network.bridge)
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

    def _establish(self, wanted: Network, prefix_length: int, *, has_ipv6: bool = False) -> Network:
        """Give a network its addresses, and the host its bridge, before somebody else takes them; the lock is held."""
        from engine.linux import netlink

        with netlink.alone():
            network = self._with_addresses(wanted, prefix_length, has_ipv6=has_ipv6)
            self._save(network)
            try:
                bridge.make(network) if network.bridge else None
                if network.is_encrypted:
                    self.tunnels.make(network)
                # What this kernel cannot do with IPv6 is said now, not when a container starts.
                needs_rules = bool(network.subnet6) or network.is_encrypted
                if needs_rules and self.firewall.apply(self.list()):
                    self._journal.append("network", "forward", network.id, network.name, family="ipv6")
            except (OSError, EngineError):
                self.tunnels.remove(network)
                bridge.remove(network.bridge)
                self._paths.discard(self._paths.networks / network.name)
                raise
        return network

    def _with_addresses(self, wanted: Network, prefix_length: int, *, has_ipv6: bool) -> Network:
        """Return a network with its subnets and gateways; the lock is held.

        Raises:
            InvalidArgument: An address is malformed, or not in its subnet.
            Conflict: A subnet overlaps another one, which is named.
        """
        taken = self._taken(shares=wanted.driver != "bridge")
        subnet = wanted.subnet or addresses.choose_subnet(_POOL, prefix_length, tuple(taken))
        whole = addresses.checked_subnet(subnet, wanted.ip_range, taken)
        network = replace(wanted, subnet=str(whole), gateway=wanted.gateway or str(whole.network_address + 1))
        if has_ipv6:
            subnet = wanted.subnet6 or addresses.choose_subnet(self._pool6(), 64, tuple(taken))
            whole = addresses.checked_subnet(subnet, wanted.ip_range6, taken, 6)
            network = replace(network, subnet6=str(whole), gateway6=wanted.gateway6 or str(whole.network_address + 1))
        return addresses.checked(network)

    def _taken(self, *, shares: bool = False) -> dict[str, str]:
        """Return the subnets that are in use, each with a word for what has it.

        Args:
            shares: Whether those of the host's own interfaces may be used beside them.
        """
        from engine.linux import netlink

        taken = {} if shares else dict.fromkeys(netlink.subnets(), "to which the host has a route")
        return taken | {subnet: f"of network {network.name}" for network in self.list()
            for subnet in (network.subnet, network.subnet6) if subnet}  # fmt: skip

    def _pool6(self) -> str:
        """Return the private IPv6 networks of this state root on this host."""
        identity = Path("/etc/machine-id")
        return addresses.private_pool(
            f"{identity.read_text() if identity.exists() else os.uname().nodename}{self._mark}"
        )

    def _ensure(self, network: Network) -> None:
        """Have the bridge and the rules; when they are there this costs two stats."""
        is_ready = not network.bridge or self.firewall.is_ready(network.bridge)
        if network.subnet and is_ready and (not network.is_encrypted or self.tunnels.is_ready(network)):
            return
        with files.FileLock(self._paths.lock("networks")):
            current = self._load(network.name)
            if current is None:
                current = self._establish(replace(network, created_at=datetime.now(UTC)), 16)
            bridge.make(current)
            self.firewall.apply(self.list())
            if current.is_encrypted:
                self.tunnels.make(current)

    @staticmethod
    def _check_encryption(network: Network) -> None:
        if any(name == "encryption" or name.startswith("wireguard.") for name in network.options):
            from engine.networks import wireguard

            wireguard.check(network)
