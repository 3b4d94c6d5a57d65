"""Networks that reach those of other hosts through WireGuard: keys, peers, routes, and the rules that keep others out.

A network with the option encryption=wireguard has an interface of that kind on the host beside its bridge. What its
containers send to a peer's subnet is routed into it; what comes out of it may go to the network's bridge, and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import errno
import ipaddress
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported
from engine.linux import files, rtnetlink
from engine.linux import wireguard as kernel
from engine.model.network import Network
from engine.model.tunnel import Peer, PeerState, Tunnel
from engine.networks.rules import tunnel_of
from engine.store import records
from engine.store.paths import Paths

_OPTION, _LISTEN = "encryption", "wireguard.listen"
_USUAL_PORT = "51820"
_KEY_BYTES = 32
_LONGEST_KEEPALIVE = 65535
_ENDPOINT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})")


def check(network: Network) -> None:
    """Check the options of a network.

    Raises:
        InvalidArgument: One is unknown, or makes no sense.
    """
    given = {name for name in network.options if name == _OPTION or name.startswith("wireguard.")}
    unknown = given - {_OPTION, _LISTEN}
    if unknown:
        raise InvalidArgument(f"unknown network option {min(unknown)}: encryption and wireguard.listen are known")
    if not given:
        return
    if network.options.get(_OPTION) != "wireguard" or network.driver != "bridge":
        raise InvalidArgument("a network is encrypted with -o encryption=wireguard, and it is a bridge")
    if network.internal:
        raise InvalidArgument(f"network {network.name} is internal: it has no way to other hosts")
    text = network.options.get(_LISTEN, _USUAL_PORT)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 65535:
        raise InvalidArgument(f"invalid port {text!r} in wireguard.listen")


class Tunnels:
    """The tunnels of a state root's networks."""

    def __init__(self, paths: Paths, get: Callable[[str], Network], taken: Callable[[], dict[str, str]]) -> None:
        """Make it.

        Args:
            paths: The state root.
            get: Returns a network.
            taken: Returns the subnets that are in use, each with a word for what has it.
        """
        self._paths = paths
        self._get = get
        self._taken = taken

    def interface(self, network: Network) -> str:
        """Return the name of a network's tunnel; empty when it has none."""
        return tunnel_of(self._paths.mark, network.name) if network.is_encrypted else ""

    def is_ready(self, network: Network) -> bool:
        """Return whether a network has the tunnel that it wants."""
        name = self.interface(network)
        return not name or Path("/sys/class/net", name).exists()

    def make(self, network: Network) -> None:
        """Make what a network wants; it is fine when it is there. The lock of the networks is held.

        Raises:
            NotSupported: This kernel has no WireGuard.
            Conflict: The port is taken.
        """
        name = self.interface(network)
        if not name:
            return
        port = int(network.options.get(_LISTEN, _USUAL_PORT))
        try:
            kernel.make(name, self._private_key(network.name), port, network.mtu)
            rtnetlink.set_up(name)
            for peer in self._peers(network.name):
                self._put(name, peer)
        except OSError as error:
            self.remove(network)
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
                raise NotSupported(
                    f"network {network.name} cannot be encrypted: this kernel has no WireGuard"
                ) from error
            if error.errno == errno.EADDRINUSE:
                text = f"network {network.name} cannot listen for its peers: port {port}/udp of the host is in use"
                raise Conflict(text, hint="name another one with -o wireguard.listen=") from error
            raise

    def remove(self, network: Network) -> None:
        """Delete a network's interface; its routes go with it."""
        if name := self.interface(network):
            rtnetlink.delete_link(name)

    def orphans(self, networks: tuple[Network, ...]) -> list[str]:
        """Return the tunnels of this root on the host that no network has."""
        wanted = {self.interface(network) for network in networks}
        pattern = re.compile(f"wg{self._paths.mark}[0-9a-f]{{7}}")
        names = (path.name for path in Path("/sys/class/net").iterdir())
        return [name for name in names if pattern.fullmatch(name) and name not in wanted]

    def get(self, ref: str) -> Tunnel:
        """Return this host's end of a network's tunnel, with its peers.

        Raises:
            NotFound: There is no such network.
            Conflict: It is not encrypted.
        """
        network, name = self._named(ref)
        try:
            key, port, readings = kernel.read(name)
        except OSError as error:
            raise Conflict(f"the interface {name} of network {network.name} is gone: {error.strerror}",
                hint="mend it with: tuicon system check --repair") from error  # fmt: skip
        found = {base64.b64encode(one.key).decode(): one for one in readings}
        states = tuple(_state(peer, found.get(peer.public_key)) for peer in self._peers(network.name))
        return Tunnel(name, base64.b64encode(key).decode(), port, states)

    def way_to(self, network: Network, address: str) -> PeerState | None:
        """Return the peer behind which an address lies; None when it is none's."""
        if not self.interface(network) or not self.is_ready(network):
            return None
        found = ipaddress.IPv4Address(address)
        return next(
            (state for state in self.get(network.name).peers
             if any(found in ipaddress.IPv4Network(subnet) for subnet in state.peer.allowed)),
            None,
        )  # fmt: skip

    def described(self, network: Network) -> dict[str, Any]:
        """Return what `inspect` says of a tunnel; the private key is no part of it."""
        if not self.interface(network) or not self.is_ready(network):
            return {}
        tunnel = self.get(network.name)
        peers = [
            {"PublicKey": state.peer.public_key, "AllowedIPs": [*state.peer.allowed], "Endpoint": state.endpoint}
            for state in tunnel.peers
        ]
        return {"Encryption": {"Interface": tunnel.interface, "PublicKey": tunnel.public_key, "ListenPort": tunnel.port,
            "Peers": peers}}  # fmt: skip

    def add(self, ref: str, peer: Peer) -> None:
        """Let a network reach that of another host, or change how it does.

        Raises:
            InvalidArgument: A key, an address or a number is malformed.
            Conflict: A subnet is in use, or the network is not encrypted.
        """
        network, name = self._named(ref)
        _check_peer(peer)
        with files.FileLock(self._paths.lock("networks")):
            others = [one for one in self._peers(network.name) if one.public_key != peer.public_key]
            before = [one for one in self._peers(network.name) if one.public_key == peer.public_key]
            self._check_subnets(peer, others, before)
            self._save(network.name, [*others, peer])
            try:
                for old in before:
                    self._drop(name, old)
                self._put(name, peer)
            except OSError as error:
                self._save(network.name, [*others, *before])
                raise Conflict(f"network {network.name} cannot reach the peer: {error.strerror}") from error

    def drop(self, ref: str, public_key: str) -> None:
        """Let a network no longer reach a peer.

        Raises:
            NotFound: It has no such peer.
        """
        network, name = self._named(ref)
        with files.FileLock(self._paths.lock("networks")):
            peers = self._peers(network.name)
            gone = [one for one in peers if one.public_key == public_key]
            if not gone:
                raise NotFound("peer", public_key)
            self._save(network.name, [one for one in peers if one.public_key != public_key])
            self._drop(name, gone[0])

    def _named(self, ref: str) -> tuple[Network, str]:
        network = self._get(ref)
        name = self.interface(network)
        if not name:
            raise Conflict(f"network {network.name} is not encrypted", hint="make it with -o encryption=wireguard")
        return network, name

    def _check_subnets(self, peer: Peer, others: list[Peer], before: list[Peer]) -> None:
        own = {text for one in before for text in one.allowed}
        taken = {text: what for text, what in self._taken().items() if text not in own and ":" not in text}
        taken |= {text: "of another peer" for one in others for text in one.allowed}
        for text in peer.allowed:
            for other, what in taken.items():
                if ipaddress.IPv4Network(text).overlaps(ipaddress.IPv4Network(other, strict=False)):
                    raise Conflict(f"subnet {text} overlaps {other}, {what}")

    @staticmethod
    def _put(name: str, peer: Peer) -> None:
        allowed = tuple((str(one.network_address), one.prefixlen) for one in map(ipaddress.IPv4Network, peer.allowed))
        kernel.set_peer(name, base64.b64decode(peer.public_key), _place(peer.endpoint), allowed, peer.keepalive)
        for address, length in allowed:
            rtnetlink.add_route(address, length, name)

    @staticmethod
    def _drop(name: str, peer: Peer) -> None:
        kernel.remove_peer(name, base64.b64decode(peer.public_key))
        for subnet in map(ipaddress.IPv4Network, peer.allowed):
            rtnetlink.delete_route(str(subnet.network_address), subnet.prefixlen, name)

    def _private_key(self, name: str) -> bytes:
        """Return a network's private key, made when it is first needed; nobody but root can read it."""
        path = self._paths.networks / name / "wireguard.key"
        try:
            return base64.b64decode(path.read_bytes())
        except FileNotFoundError:
            key = os.urandom(_KEY_BYTES)
            files.write_atomic(path, base64.b64encode(key), 0o600, durable=True)
            return key

    def _peers(self, name: str) -> tuple[Peer, ...]:
        try:
            return records.load(self._paths.networks / name / "peers.json", tuple[Peer, ...])
        except FileNotFoundError:
            return ()

    def _save(self, name: str, peers: list[Peer]) -> None:
        records.save(self._paths.networks / name / "peers.json", peers)


def _state(peer: Peer, reading: kernel.PeerReading | None) -> PeerState:
    if reading is None:
        return PeerState(peer, peer.endpoint)
    moment = datetime.fromtimestamp(reading.handshake, UTC) if reading.handshake else None
    return PeerState(peer, reading.endpoint or peer.endpoint, moment, reading.received, reading.sent)


def _check_peer(peer: Peer) -> None:
    try:
        key = base64.b64decode(peer.public_key, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES or base64.b64encode(key).decode() != peer.public_key:
        raise InvalidArgument(f"invalid public key {peer.public_key!r}: 32 bytes in base64")
    if not peer.allowed:
        raise InvalidArgument("a peer needs the subnet that is behind it")
    for text in peer.allowed:
        try:
            subnet = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise InvalidArgument(f"invalid subnet {text!r}: {error}") from error
        if subnet.prefixlen == 0:
            raise InvalidArgument(f"invalid subnet {text!r}: it would take all that this host sends")
    if peer.endpoint:
        _place(peer.endpoint)
    if not 0 <= peer.keepalive <= _LONGEST_KEEPALIVE:
        raise InvalidArgument(f"the keepalive must be at most {_LONGEST_KEEPALIVE} seconds")


def _place(endpoint: str) -> tuple[str, int] | None:
    """Return the address and port of an endpoint; None of an empty one.

    Raises:
        InvalidArgument: It is malformed.
    """
    if not endpoint:
        return None
    found = _ENDPOINT.fullmatch(endpoint)
    try:
        if found and 0 < int(found[3]) <= 65535:
            return str(ipaddress.ip_address(found[1] or found[2])), int(found[3])
    except ValueError:
        pass
    raise InvalidArgument(f"invalid endpoint {endpoint!r}: ADDRESS:PORT, an IPv6 address in brackets")
