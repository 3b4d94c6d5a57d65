"""Addresses of a bridge network: one lease file each, given out in a circle so that none returns at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path

from engine.errors import Conflict, InvalidArgument
from engine.linux import files
from engine.model.network import Network
from engine.store.paths import find


def mac_of(address: str) -> str:
    """Return the hardware address that belongs to an IPv4 address, as docker derives it."""
    return "02:42:" + ":".join(f"{part:02x}" for part in ipaddress.IPv4Address(address).packed)


def parse_subnet(text: str) -> ipaddress.IPv4Network:
    """Return a subnet.

    Raises:
        InvalidArgument: It is malformed, or too small for a gateway and a container.
    """
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid subnet {text!r}: {error}") from error
    if found.prefixlen > 30:
        raise InvalidArgument(f"invalid subnet {text!r}: it is too small")
    return found


def choose_subnet(pool: str, prefix_length: int, taken: tuple[str, ...]) -> str:
    """Return the first subnet of a pool that overlaps no taken one.

    Raises:
        Conflict: All are taken.
    """
    others = [ipaddress.ip_network(subnet, strict=False) for subnet in taken]
    for candidate in ipaddress.ip_network(pool).subnets(new_prefix=prefix_length):
        if not any(candidate.overlaps(other) for other in others if other.version == 4):
            return str(candidate)
    raise Conflict(f"no subnet of {pool} is free")


def lease(directory: Path, network: Network, container_id: str, is_in_use: Callable[[str], bool]) -> tuple[str, Path]:
    """Take a free address; return it and its lease file.

    Args:
        directory: Where the leases are.
        network: The network.
        container_id: Who gets it.
        is_in_use: Whether a container still needs its lease; a stale lease is taken over.

    Raises:
        Conflict: All addresses are taken.
    """
    whole, part = ipaddress.IPv4Network(network.subnet), ipaddress.IPv4Network(network.ip_range or network.subnet)
    kept = {network.gateway, *network.reserved.values(), str(whole.network_address), str(whole.broadcast_address)}
    with files.FileLock(directory.with_name("leases.lock")):
        first, count = int(part.network_address), part.num_addresses
        memory = directory.with_name("last_address")
        last = int(memory.read_text()) if memory.exists() else first
        for step in range(1, count + 1):
            number = first + (last - first + step) % count
            address = str(ipaddress.IPv4Address(number))
            if address not in kept and _take(directory / address, container_id, is_in_use):
                files.write_atomic(memory, str(number).encode())
                return address, directory / address
    raise Conflict(f"all addresses of network {network.name} ({part}) are taken")


def lease_one(
    directory: Path, network: Network, address: str, container_id: str, is_in_use: Callable[[str], bool]
) -> Path:
    """Take a certain address; return its lease file.

    Raises:
        Conflict: Another container has it.
    """
    path = directory / address
    with files.FileLock(directory.with_name("leases.lock")):
        if not _take(path, container_id, is_in_use):
            raise Conflict(
                f"address {address} of network {network.name} is in use by container {path.read_text()[:12]}"
            )
    return path


def check(network: Network, address: str) -> None:
    """Check that a container can ask for an address.

    Raises:
        InvalidArgument: It is malformed, not in the subnet, or kept for something else.
    """
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        raise InvalidArgument(f"invalid IPv4 address {address!r}") from None
    whole = ipaddress.IPv4Network(network.subnet)
    if found not in whole:
        raise InvalidArgument(f"address {address} is not in the subnet {whole} of network {network.name}")
    reserved = {**{name: kept for kept, name in network.reserved.items()}, network.gateway: "the gateway",
        str(whole.network_address): "the network itself", str(whole.broadcast_address): "broadcasts"}  # fmt: skip
    if address in reserved:
        raise InvalidArgument(f"address {address} of network {network.name} is kept for {reserved[address]}")


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


def held(directory: Path, container_id: str) -> set[str]:
    """Return the addresses that a container has leased."""
    found = set()
    for path in find(directory, "*.*.*.*"):
        try:
            if path.read_text() == container_id:
                found.add(path.name)
        except FileNotFoundError:
            continue
    return found


def release(directory: Path, container_id: str) -> None:
    """Give back the leases of a container."""
    if not directory.exists():
        return
    for path in directory.iterdir():
        try:
            if path.read_text() == container_id:
                path.unlink()
        except FileNotFoundError:
            continue
