"""Addresses of a network: one lease file each, given out in a circle so that none returns at once."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import Conflict, InvalidArgument
from engine.linux import files
from engine.model.network import Network
from engine.model.value import Value, replace
from engine.store.paths import find

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
_MEMORIES = {4: "last_address", 6: "last_address6"}
_LONGEST_PREFIXES = {4: 30, 6: 126}
_SMALLER = (20, 24)


class Space(Value, frozen=True):
    """The addresses of a network in one family.

    Attributes:
        network: Its name.
        whole: The subnet.
        part: From where addresses are given out.
        gateway: The host's; empty for none.
        kept: What else no container gets, and for what it is kept.
    """

    network: str
    whole: Subnet
    part: Subnet
    gateway: str
    kept: dict[str, str]

    def check(self, address: str) -> str:
        """Check that a container can ask for an address; return it as it is written here.

        Raises:
            InvalidArgument: It is malformed, not in the subnet, or kept for something else.
        """
        version = self.whole.version
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            found = None
        if found is None or found.version != version:
            raise InvalidArgument(f"invalid IPv{version} address {address!r}")
        if found not in self.whole:
            raise InvalidArgument(f"address {address} is not in the subnet {self.whole} of network {self.network}")
        reserved = {**self.kept, self.gateway: "the gateway"}
        if str(found) in reserved:
            raise InvalidArgument(f"address {address} of network {self.network} is kept for {reserved[str(found)]}")
        return str(found)


def space_of(network: Network, version: int = 4) -> Space:
    """Return the addresses of a network that has some of this family."""
    is_old = version == 4
    whole = ipaddress.ip_network(network.subnet if is_old else network.subnet6)
    part = ipaddress.ip_network((network.ip_range if is_old else network.ip_range6) or whole)
    kept = {address: name for name, address in network.reserved.items() if (":" in address) != is_old}
    kept[str(whole.network_address)] = "the network itself"
    if is_old:
        kept[str(whole.broadcast_address)] = "broadcasts"
    return Space(network.name, whole, part, network.gateway if is_old else network.gateway6, kept)


def mac_of(address: str) -> str:
    """Return the hardware address that belongs to an IPv4 address, as docker derives it."""
    return "02:42:" + ":".join(f"{part:02x}" for part in ipaddress.IPv4Address(address).packed)


def parse_subnet(text: str, version: int = 4) -> Subnet:
    """Return a subnet.

    Raises:
        InvalidArgument: It is malformed, of the other family, or too small for a gateway and a container.
    """
    try:
        found = ipaddress.IPv4Network(text) if version == 4 else ipaddress.IPv6Network(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid subnet {text!r}: {error}") from error
    if found.prefixlen > _LONGEST_PREFIXES[version]:
        raise InvalidArgument(f"invalid subnet {text!r}: it is too small")
    return found


def checked_subnet(text: str, ip_range: str, taken: dict[str, str], version: int = 4) -> Subnet:
    """Return a subnet that overlaps no other one.

    Args:
        text: CIDR.
        ip_range: The part of it from which containers get addresses; empty for all.
        taken: Other subnets, and whose they are.
        version: The family.

    Raises:
        InvalidArgument: It is malformed, or the range is not in it.
        Conflict: It overlaps another one, which is named.
    """
    whole = parse_subnet(text, version)
    for other, what in taken.items():
        if whole.overlaps(ipaddress.ip_network(other, strict=False)):
            raise Conflict(f"subnet {text} overlaps {other}, {what}")
    part = parse_subnet(ip_range, version) if ip_range else whole
    if not whole.overlaps(part) or part.prefixlen < whole.prefixlen:
        raise InvalidArgument(f"the range {ip_range} is not in the subnet {text}")
    return whole


def checked(network: Network) -> Network:
    """Return a network with its gateways and reserved addresses as they are written here.

    Raises:
        InvalidArgument: One is malformed, not in its subnet, or kept for something else.
    """
    plain = replace(network, gateway="", gateway6="", reserved={})
    old = space_of(plain)
    new = space_of(plain, 6) if network.subnet6 else None

    def found(address: str) -> str:
        return (new if new and ":" in address else old).check(address)

    return replace(
        network, gateway=old.check(network.gateway), gateway6=new.check(network.gateway6) if new else "",
        reserved={name: found(address) for name, address in network.reserved.items()},
    )  # fmt: skip


def private_pool(seed: str) -> str:
    """Return 65,536 private IPv6 networks that probably nobody else has (RFC 4193, section 3.2)."""
    return str(ipaddress.IPv6Network((b"\xfd" + hashlib.sha256(seed.encode()).digest()[:5] + bytes(10), 48)))


def choose_subnet(pool: str, prefix_length: int, taken: tuple[str, ...]) -> str:
    """Return the first subnet of a pool that overlaps no taken one; a small one when no large one is left.

    Raises:
        Conflict: All are taken.
    """
    whole = ipaddress.ip_network(pool)
    others = [ipaddress.ip_network(subnet, strict=False) for subnet in taken]
    for length in (prefix_length, *(smaller for smaller in _SMALLER if smaller > prefix_length and whole.version == 4)):
        for candidate in whole.subnets(new_prefix=length):
            if not any(candidate.overlaps(other) for other in others if other.version == whole.version):
                return str(candidate)
    raise Conflict(f"no subnet of {pool} is free")


def lease(directory: Path, space: Space, container_id: str, is_in_use: Callable[[str], bool]) -> str:
    """Take a free address; return it.

    Args:
        directory: Where the leases are.
        space: The addresses.
        container_id: Who gets it.
        is_in_use: Whether a container still needs its lease; a stale lease is taken over.

    Raises:
        Conflict: All addresses are taken.
    """
    with files.FileLock(directory.with_name("leases.lock")):
        first, count = int(space.part.network_address), space.part.num_addresses
        memory = directory.with_name(_MEMORIES[space.whole.version])
        last = int(memory.read_text()) if memory.exists() else first
        for step in range(1, count + 1):
            number = first + (last - first + step) % count
            address = str(space.part.network_address + (number - first))
            is_kept = address == space.gateway or address in space.kept
            if not is_kept and _take(directory / address, container_id, is_in_use):
                files.write_atomic(memory, str(number).encode())
                return address
    raise Conflict(f"all addresses of network {space.network} ({space.part}) are taken")


def lease_one(directory: Path, address: str, container_id: str, is_in_use: Callable[[str], bool]) -> str:
    """Take a certain address; return the container that has it, or an empty text when it is ours now."""
    path = directory / address
    with files.FileLock(directory.with_name("leases.lock")):
        return "" if _take(path, container_id, is_in_use) else path.read_text()


def _take(path: Path, container_id: str, is_in_use: Callable[[str], bool]) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        try:
            holder = path.read_text()
        except FileNotFoundError:
            return _take(path, container_id, is_in_use)
        if holder == container_id:
            return True
        if is_in_use(holder):
            return False
        files.write_atomic(path, container_id.encode())
        return True
    try:
        files.write_all(fd, container_id.encode())
    finally:
        os.close(fd)
    return True


def reclaim(path: Path, is_in_use: Callable[[str], bool]) -> None:
    """Give back a lease whose container does not need it any more."""
    with files.FileLock(path.parent.with_name("leases.lock")):
        try:
            if not is_in_use(path.read_text()):
                path.unlink()
        except FileNotFoundError:
            return


def leases(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the leases in a directory: the file, which has the address for a name, and the container's id."""
    for path in find(directory, "*"):
        if path.suffix != ".tmp":
            try:
                yield path, path.read_text()
            except FileNotFoundError:
                continue


def held(directory: Path, container_id: str) -> set[str]:
    """Return the addresses that a container has leased."""
    return {path.name for path, holder in leases(directory) if holder == container_id}


def release(directory: Path, container_id: str) -> None:
    """Give back the leases of a container."""
    for path in find(directory, "*"):
        try:
            if path.read_text() == container_id:
                path.unlink()
        except FileNotFoundError:
            continue
