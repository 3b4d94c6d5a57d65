"""Networks: the builtin bridge, host and none, and bridges that users make."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from engine.linux import files, rtnetlink
from engine.model.network import Attachment, Endpoint, InForce, Network
from engine.networks import addresses
from engine.networks.firewall import Firewall
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths, find

if TYPE_CHECKING:
    from engine.networks.wireguard import Tunnels

DEFAULT = "bridge"
DRIVERS = ("bridge", "macvlan")
_POOL = "10.88.0.0/13"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_MAC = re.compile("[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.IGNORECASE)
_ALIAS = re.compile("[a-zA-Z0-9_.-]{1,253}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MTU = ("com.docker.network.driver.mtu", "mtu")
_ENCRYPTED_MTU = "1420"  # what WireGuard leaves of 1500, also over IPv6
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
        members = {}
        for path in self._leases(network.name).glob("*.*.*.*"):
            address = f"{path.name}/{ipaddress.ip_network(network.subnet).prefixlen}"
            members[holder := path.read_text()] = {"IPv4Address": address, "MacAddress": addresses.mac_of(path.name)}
            with contextlib.suppress(FileNotFoundError):
                _, mac, name, *_ = self.names.joinpath(network.name, holder).read_text().split()
                members[holder] |= {"Name": name, "MacAddress": mac}
        config: dict[str, Any] = {"Subnet": network.subnet, "Gateway": network.gateway}
        config |= {"IPRange": network.ip_range} if network.ip_range else {}
        config |= {"AuxiliaryAddresses": network.reserved} if network.reserved else {}
        return {
            "Name": network.name, "Id": network.id, "Created": network.created_at.isoformat(), "Scope": "local",
            "Driver": network.driver, "IPAM": {"Driver": "default", "Config": [config] if network.subnet else []}, "Internal": network.internal,
            "Containers": members, "Options": {**({"com.docker.network.bridge.name": network.bridge} if network.bridge else {}), **network.options},
            "Labels": network.labels, **(self.tunnels.described(network) if network.is_encrypted else {}),
        }  # fmt: skip

    def nft_rules(self, ref: str) -> tuple[str, ...]:
        """Return the lines of the rules in force that concern a network and its containers; see engine.networks.live_rules.

        Raises:
            NotFound: There is no such network.
        """
        from engine.networks.live_rules import concerning

        network = self.get(ref)
        return concerning(self.firewall.listing(), network.bridge, (network.subnet,)) if network.bridge else ()

    def create(
        self, name: str, *, driver: str = "bridge", subnet: str = "", gateway: str = "", ip_range: str = "", internal: bool = False,
        reserved: dict[str, str] | None = None, labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Network:  # fmt: skip
        """Make a network.

        Args:
            name: Its name.
            driver: "bridge", or "macvlan" on an interface of the host.
            subnet: CIDR; empty for one that is free.
            gateway: The host's address in it; empty for the first.
            ip_range: CIDR of the part from which containers get addresses.
            internal: Whether it has no way out.
            reserved: Addresses that no container gets, each with a name.
            labels: Labels.
            options: As docker's --opt; com.docker.network.driver.mtu is known, and parent and macvlan_mode of a macvlan.

        Raises:
            InvalidArgument: The name, an address or an option is malformed.
            Conflict: The name is taken, or the subnet overlaps another network or a route of the host.
        """
        self._paths.prepare()
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid network name {name!r}: only letters, digits, _ . - after a letter or digit")
        wanted = Network(
            os.urandom(32).hex(), name, driver, datetime.now(UTC), subnet, gateway, self._bridge_name(name) if driver == "bridge" else "",
            mtu_of(options or {}), internal, labels=labels or {}, ip_range=ip_range, reserved=reserved or {},
            options=options or {},
        )  # fmt: skip
        _check_driver(wanted)
        self._check_encryption(wanted)
        with files.FileLock(self._paths.lock("networks")):
            if any(name == network.name for network in self.list()):
                raise Conflict(f"network {name} already exists")
            network = self._establish(wanted, 24)
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
            self.tunnels.remove(network)
            _remove_bridge(network.bridge)
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

    def check(self, attachment: Attachment) -> None:
        """Check what a container asks of a network.

        Raises:
            NotFound: There is no such network.
            InvalidArgument: It does not have the address, or the hardware address is malformed.
        """
        network = self.get(attachment.network)
        if (attachment.address or attachment.mac or attachment.aliases) and network.driver not in DRIVERS:
            raise InvalidArgument(f"in network {network.name} a container has no address, MAC or alias of its own")
        if attachment.address:
            if not network.subnet:
                self._ensure(network)
            addresses.check(self.get(network.name), attachment.address)
        wrong = next((alias for alias in attachment.aliases if not _ALIAS.fullmatch(alias)), None)
        if wrong is not None:
            raise InvalidArgument(f"invalid network alias {wrong!r}: letters, digits, _ . - only")
        if attachment.mac and not _MAC.fullmatch(attachment.mac):
            raise InvalidArgument(
                f"invalid MAC address {attachment.mac!r}: expected six pairs of hex digits, not multicast"
            )

    def prepare(self, attachment: Attachment, container_id: str, interface: str) -> tuple[Endpoint, Network, Path]:
        """Make a bridge network ready and lease an address; return the endpoint, the network and the lease file.

        Raises:
            Conflict: The address that is asked for is taken, or all are.
        """
        self._ensure(self.get(attachment.network))
        network = self.get(attachment.network)
        directory = self._leases(network.name)
        stale: list[str] = []

        def is_in_use(holder: str) -> bool:
            is_running = self._is_running(holder)
            stale.extend([] if is_running else [holder])
            return is_running

        if attachment.address:
            address = attachment.address
            path = addresses.lease_one(directory, network, address, container_id, is_in_use)
        else:
            address, path = addresses.lease(directory, network, container_id, is_in_use)
        if stale:  # it was killed together with its monitor, and its ports would lead to somebody else
            self.firewall.drop_ports({address})
        endpoint = Endpoint(
            network=network.name, address=address, prefix_length=ipaddress.ip_network(network.subnet).prefixlen,
            gateway="" if network.internal else network.gateway, mac=attachment.mac or addresses.mac_of(address),
            host_interface=f"t{self._mark[:2]}{os.urandom(4).hex()}" if network.bridge else "", interface=interface, aliases=attachment.aliases,
        )  # fmt: skip
        return endpoint, network, path

    def announce(self, endpoint: Endpoint, container_id: str, names: tuple[str, ...]) -> Path:
        """Let the containers of a network know a container by its names; return the file that does so."""
        directory = self.names / endpoint.network
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = " ".join((endpoint.address, endpoint.mac, *dict.fromkeys(names)))
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
            for bridge in self.stale_bridges():
                _remove_bridge(bridge)
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

    def _establish(self, wanted: Network, prefix_length: int) -> Network:
        """Give a network its addresses, and the host its bridge, before somebody else takes them; the lock is held."""
        from engine.linux import netlink

        with netlink.alone():
            network = self._with_addresses(wanted, prefix_length)
            self._save(network)
            try:
                _make_bridge(network) if network.bridge else None
                if network.is_encrypted:
                    self.tunnels.make(network)
                    self.firewall.apply(self.list())  # of others, when a container needs them
            except (OSError, EngineError):
                self.tunnels.remove(network)
                _remove_bridge(network.bridge)
                self._paths.discard(self._paths.networks / network.name)
                raise
        return network

    def _with_addresses(self, wanted: Network, prefix_length: int) -> Network:
        """Return a network with its subnet and gateway; the lock is held.

        Raises:
            InvalidArgument: An address is malformed, or not in the subnet.
            Conflict: The subnet overlaps another one, which is named.
        """
        taken = self._taken(shares=wanted.driver != "bridge")
        subnet = wanted.subnet or addresses.choose_subnet(_POOL, prefix_length, tuple(taken))
        whole = addresses.parse_subnet(subnet)
        for other, what in taken.items():
            if whole.overlaps(ipaddress.IPv4Network(other, strict=False)):
                raise Conflict(f"subnet {subnet} overlaps {other}, {what}")
        gateway = wanted.gateway or str(whole.network_address + 1)
        if wanted.ip_range and not addresses.parse_subnet(wanted.ip_range).subnet_of(whole):
            raise InvalidArgument(f"the range {wanted.ip_range} is not in the subnet {subnet}")
        network = replace(wanted, subnet=str(whole), gateway=gateway)
        for address in (gateway, *wanted.reserved.values()):
            addresses.check(replace(network, gateway="", reserved={}), address)
        return network

    def _taken(self, *, shares: bool = False) -> dict[str, str]:
        """Return the subnets that are in use, each with a word for what has it.

        Args:
            shares: Whether those of the host's own interfaces may be used beside them.
        """
        from engine.linux import netlink

        taken = {} if shares else dict.fromkeys(netlink.subnets(), "to which the host has a route")
        return taken | {network.subnet: f"of network {network.name}" for network in self.list() if network.subnet}

    def _ensure(self, network: Network) -> None:
        """Have the bridge and the rules; when they are there this costs two stats."""
        is_ready = not network.bridge or self.firewall.is_ready(network.bridge)
        if network.subnet and is_ready and (not network.is_encrypted or self.tunnels.is_ready(network)):
            return
        with files.FileLock(self._paths.lock("networks")):
            current = self._load(network.name)
            if current is None:
                current = self._establish(replace(network, created_at=datetime.now(UTC)), 16)
            _make_bridge(current)
            self.firewall.apply(self.list())
            if current.is_encrypted:
                self.tunnels.make(current)

    @staticmethod
    def _check_encryption(network: Network) -> None:
        if any(name == "encryption" or name.startswith("wireguard.") for name in network.options):
            from engine.networks import wireguard

            wireguard.check(network)


def mtu_of(options: dict[str, str]) -> int:
    """Return the MTU that a network's options ask for.

    Raises:
        InvalidArgument: It is no number that a bridge can have.
    """
    text = next(
        (options[name] for name in _MTU if name in options), _ENCRYPTED_MTU if "encryption" in options else "1500"
    )
    if not text.isascii() or not text.isdigit() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"invalid MTU {text!r}: a number from 68 to 65535")
    return int(text)


def parent_of(network: Network) -> dict[str, str]:
    """Return what an endpoint needs to know of the interface that a macvlan network is on; nothing for a bridge."""
    if network.driver != "macvlan":
        return {}
    return {"parent": network.options["parent"], "mode": network.options.get("macvlan_mode", "bridge")}


def _check_driver(network: Network) -> None:
    """Check the driver and its options.

    Raises:
        InvalidArgument: There is no such driver, or it lacks what it needs.
    """
    if network.driver not in DRIVERS:
        raise InvalidArgument(f"unknown network driver {network.driver!r}: {', '.join(DRIVERS)}")
    if network.driver == "bridge":
        return
    parent, mode = network.options.get("parent", ""), network.options.get("macvlan_mode", "bridge")
    if not parent or "/" in parent or not Path("/sys/class/net", parent).exists():
        raise InvalidArgument(
            f"the host has no interface {parent!r} for network {network.name}: name it with -o parent="
        )
    if mode not in rtnetlink.MACVLAN_MODES:
        raise InvalidArgument(f"invalid macvlan mode {mode!r}: {', '.join(rtnetlink.MACVLAN_MODES)}")
    if not network.subnet:
        raise InvalidArgument(f"network {network.name} needs the subnet of {parent}: --subnet")


def _make_bridge(network: Network) -> None:
    from engine.linux import netlink

    prefix = ipaddress.ip_network(network.subnet).prefixlen
    netlink.ensure_bridge(network.bridge, network.gateway, prefix, network.mtu, addresses.mac_of(network.gateway))
    switch = Path("/proc/sys/net/ipv6/conf", network.bridge, "accept_ra")
    if switch.exists():
        switch.write_text("0")  # else a container could be the host's router (CVE-2020-13401)


def _remove_bridge(name: str) -> None:
    """Remove a bridge with the interfaces on it, which may outlive their containers for a moment."""
    directory = Path("/sys/class/net", name)
    if not name or not directory.exists():
        return
    from engine.linux import netlink

    for port in directory.glob("brif/*"):
        netlink.delete_link(port.name)
    netlink.delete_link(name)
