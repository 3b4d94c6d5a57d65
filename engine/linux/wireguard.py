"""WireGuard interfaces by generic netlink, written with struct.

Sources: uapi linux/wireguard.h, linux/genetlink.h; wg(8).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from engine.linux import rtnetlink
from engine.linux.light import socket
from engine.linux.rtnetlink import attribute, attributes
from engine.model.value import Value

_GENERIC = 16  # NETLINK_GENERIC
_CONTROL, _GET_FAMILY, _FAMILY_NAME, _FAMILY_ID = 0x10, 3, 2, 1
_GET_DEVICE, _SET_DEVICE = 0, 1
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_NAME, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _PEERS = 2, 3, 4, 6, 8
_PEER_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE, _PEER_HANDSHAKE = 1, 3, 4, 5, 6
_PEER_RECEIVED, _PEER_SENT, _PEER_ALLOWED = 7, 8, 9
_REMOVE, _REPLACE_ALLOWED = 1, 2
_IP_FAMILY, _IP_ADDRESS, _IP_LENGTH = 1, 2, 3


class PeerReading(Value, frozen=True):
    """What the kernel knows of a peer: its key, where it is, when it last proved its key (0 for never), bytes."""

    key: bytes
    endpoint: str
    handshake: int
    received: int
    sent: int


def make(name: str, private_key: bytes, port: int, mtu: int) -> None:
    """Make an interface with a key and a port, and leave it down; it is fine when it is there.

    Raises:
        OSError: ENOTSUP when this kernel has no WireGuard.
    """
    rtnetlink.make_link(name, "wireguard", mtu, is_up=False)
    keys = attribute(_PRIVATE_KEY, private_key) + attribute(_LISTEN_PORT, struct.pack("=H", port))
    _change(name, keys)


def set_peer(
    name: str, key: bytes, endpoint: tuple[str, int] | None, allowed: tuple[tuple[str, int], ...], keepalive: int
) -> None:
    """Add a peer, or change it.

    Args:
        name: The interface.
        key: The peer's public key.
        endpoint: Its address and port.
        allowed: (address, prefix length) of what is behind it.
        keepalive: Seconds, 0 for none.
    """
    body = attribute(_PEER_KEY, key) + attribute(_PEER_FLAGS, struct.pack("=I", _REPLACE_ALLOWED))
    if endpoint:
        body += attribute(_PEER_ENDPOINT, _socket_address(*endpoint))
    body += attribute(_PEER_KEEPALIVE, struct.pack("=H", keepalive))
    addresses = b"".join(attribute(_NESTED, _allowed(*one)) for one in allowed)
    _change(name, attribute(_PEERS | _NESTED, attribute(_NESTED, body + attribute(_PEER_ALLOWED | _NESTED, addresses))))


def remove_peer(name: str, key: bytes) -> None:
    """Remove a peer; it is fine when there is none."""
    body = attribute(_PEER_KEY, key) + attribute(_PEER_FLAGS, struct.pack("=I", _REMOVE))
    _change(name, attribute(_PEERS | _NESTED, attribute(_NESTED, body)))


def read(name: str) -> tuple[bytes, int, tuple[PeerReading, ...]]:
    """Return an interface's public key, its port, and its peers.

    Raises:
        OSError: There is no such interface.
    """
    key, port, peers = b"", 0, []
    body = attribute(_NAME, name.encode() + b"\0")
    for found in _ask(_family(), _GET_DEVICE, _REQUEST | _DUMP | _ACK, body):
        fields = attributes(found)
        key = fields.get(_PUBLIC_KEY, key)
        port = struct.unpack("=H", fields[_LISTEN_PORT])[0] if _LISTEN_PORT in fields else port
        peers += [_peer(attributes(one)) for one in _list(fields.get(_PEERS, b""))]
    return key, port, tuple(peers)


def _peer(fields: dict[int, bytes]) -> PeerReading:
    place = fields.get(_PEER_ENDPOINT, b"")
    handshake = struct.unpack("=qq", fields[_PEER_HANDSHAKE])[0] if _PEER_HANDSHAKE in fields else 0
    received, sent = (struct.unpack("=Q", fields.get(kind, bytes(8)))[0] for kind in (_PEER_RECEIVED, _PEER_SENT))
    return PeerReading(fields[_PEER_KEY], _endpoint(place), handshake, received, sent)


def _endpoint(address: bytes) -> str:
    if len(address) < 16:
        return ""
    port = struct.unpack_from("!H", address, 2)[0]
    if struct.unpack_from("=H", address)[0] == socket.AF_INET:
        return f"{socket.inet_ntoa(address[4:8])}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address[8:24])}]:{port}"


def _socket_address(address: str, port: int) -> bytes:
    if ":" in address:
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + socket.inet_pton(
            socket.AF_INET6, address) + bytes(4)  # fmt: skip
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def _allowed(address: str, length: int) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (attribute(_IP_FAMILY, struct.pack("=H", family)) + attribute(_IP_ADDRESS, socket.inet_pton(family, address))
        + attribute(_IP_LENGTH, struct.pack("=B", length)))  # fmt: skip


def _change(name: str, body: bytes) -> None:
    for _ in _ask(_family(), _SET_DEVICE, _REQUEST | _ACK, attribute(_NAME, name.encode() + b"\0") + body):
        pass


def _family() -> int:
    """Return the number that this boot's kernel has given to the protocol.

    Raises:
        OSError: ENOTSUP when it has none.
    """
    try:
        for found in _ask(_CONTROL, _GET_FAMILY, _REQUEST, attribute(_FAMILY_NAME, b"wireguard\0")):
            return int(struct.unpack("=H", attributes(found)[_FAMILY_ID])[0])
    except FileNotFoundError:
        pass
    raise OSError(errno.ENOTSUP, "this kernel has no WireGuard")


def _ask(family: int, command: int, flags: int, body: bytes) -> Iterator[bytes]:
    """Ask, and yield the attributes of each answer.

    Raises:
        OSError: With the kernel's number.
    """
    content = struct.pack("=BBH", command, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _GENERIC) as channel:
        channel.bind((0, 0))
        channel.send(struct.pack("=IHHII", 16 + len(content), family, flags, 1, 0) + content)
        while True:
            data, place = channel.recv(1 << 18), 0
            while place + 16 <= len(data):
                length, kind, answer_flags = struct.unpack_from("=IHH", data, place)
                payload = data[place + 16 : place + length]
                place += (length + 3) & ~3
                if kind in (_ERROR, _DONE):
                    number = -struct.unpack_from("=i", payload)[0] if payload else 0
                    if number:
                        raise OSError(number, os.strerror(number), "wireguard")
                    return
                yield payload[4:]
                if not flags & (_ACK | _DUMP) and not answer_flags & 2:  # NLM_F_MULTI
                    return


def _list(data: bytes) -> list[bytes]:
    """Return the payloads of attributes that are numbered from 0 on."""
    found, place = [], 0
    while place + 4 <= len(data):
        length = struct.unpack_from("=H", data, place)[0]
        found.append(data[place + 4 : place + length])
        place += max(4, (length + 3) & ~3)
    return found
