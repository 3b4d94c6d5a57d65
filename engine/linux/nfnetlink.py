"""The few nf_tables messages that a container's start and end need, written with struct.

libnftables (engine.linux.nftables) does everything else; loading it costs many times what these messages do.
Sources: uapi linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import struct

from engine.linux.light import socket
from engine.linux.rtnetlink import attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Element = tuple[str, bytes, bytes]
    """The map's name, the key and the value."""

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
RESOLVERS = "resolvers"
MAPS = ("ports", "ports_at", "ports6", "ports_at6", RESOLVERS)
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - compared
_NETFILTER = 12
_INET = 1
_SUBSYSTEM = 10
_GETTABLE, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 1, 12, 13, 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NESTED = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_KEY, _DATA, _VALUE, _ELEMENT = 1, 2, 1, 1
_MOST_AT_ONCE = 400


def port_element(protocol: str, host_ip: str, host_port: int, address: str, port: int) -> Element:
    """Return the element of a port map that leads a port of the host to a container."""
    family, suffix = (socket.AF_INET6, "6") if ":" in address else (socket.AF_INET, "")
    kind = struct.pack("=B3x", PROTOCOLS[protocol])
    key = kind + struct.pack("!H2x", host_port)
    value = socket.inet_pton(family, address) + struct.pack("!H2x", port)
    if host_ip in _ANY:
        return f"ports{suffix}", key, value
    return f"ports_at{suffix}", socket.inet_pton(family, host_ip) + key, value


def resolver_element(address: str, port: int) -> Element:
    """Return the element that leads a container's queries for names to a port of the host."""
    return RESOLVERS, socket.inet_aton(address), struct.pack("!H", port)


def address_of(element: Element) -> str:
    """Return the container's address in an element."""
    name, key, value = element
    packed = key if name == RESOLVERS else value[:-4]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def add(table: str, elements: list[Element], *, instead: list[Element] | None = None) -> None:
    """Add elements to maps in one transaction.

    Args:
        table: Our table.
        elements: What is added.
        instead: What is deleted in the same transaction.

    Raises:
        FileExistsError: A key is there already; nothing was changed.
        FileNotFoundError: There is no such table or map, or an element to delete is gone.
    """
    _transact(
        [*_changes(_DELSETELEM, 0, table, instead or []), *_changes(_NEWSETELEM, _CREATE | _EXCL, table, elements)]
    )


def delete(table: str, elements: list[Element]) -> None:
    """Delete elements from maps in one transaction.

    Raises:
        FileNotFoundError: One of them is gone; nothing was changed.
    """
    _transact(_changes(_DELSETELEM, 0, table, elements))


def has_table(table: str) -> bool:
    """Return whether a table of the family inet is there."""
    with _channel() as channel:
        channel.send(_message(_GETTABLE, _REQUEST | _ACK, 1, attribute(_TABLE, table.encode() + b"\0")))
        return not _error_of(channel.recv(65536))


def dump(table: str, name: str) -> list[Element]:
    """Return the elements of a map; none when there is no such table or map."""
    found: list[Element] = []
    body = attribute(_TABLE, table.encode() + b"\0") + attribute(_SET, name.encode() + b"\0")
    with _channel() as channel:
        channel.send(_message(_GETSETELEM, _REQUEST | _DUMP, 1, body))
        while True:
            data = channel.recv(1 << 20)
            for kind, payload in _messages(data):
                if kind in (_ERROR, _DONE):
                    return found
                found += [(name, key, value) for key, value in _elements(payload)]


def _elements(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    listed = attributes(payload[4:]).get(_ELEMENTS, b"")
    place = 0
    while place + 4 <= len(listed):
        length = struct.unpack_from("=H", listed, place)[0]
        fields = attributes(listed[place + 4 : place + length])
        yield attributes(fields[_KEY])[_VALUE], attributes(fields[_DATA])[_VALUE]
        place += (length + 3) & ~3


def _changes(kind: int, flags: int, table: str, elements: list[Element]) -> list[tuple[int, int, bytes]]:
    """Return (type, flags, body) of the messages that change elements; an attribute holds no more than 64 KiB."""
    found = []
    for name in sorted({element[0] for element in elements}):
        packed = [_element(key, value) for of_map, key, value in elements if of_map == name]
        head = attribute(_TABLE, table.encode() + b"\0") + attribute(_SET, name.encode() + b"\0")
        for first in range(0, len(packed), _MOST_AT_ONCE):
            part = b"".join(packed[first : first + _MOST_AT_ONCE])
            found.append((kind, flags, head + attribute(_ELEMENTS | _NESTED, part)))
    return found


def _element(key: bytes, value: bytes) -> bytes:
    return attribute(_ELEMENT | _NESTED, attribute(_KEY | _NESTED, attribute(_VALUE, key))
        + attribute(_DATA | _NESTED, attribute(_VALUE, value)))  # fmt: skip


def _channel() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    channel.bind((0, 0))
    return channel


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    content = struct.pack("=BBH", _INET, 0, 0) + body
    return struct.pack("=IHHII", 16 + len(content), _SUBSYSTEM << 8 | kind, flags, sequence, 0) + content


def _border(kind: int, sequence: int) -> bytes:
    """Return the message that begins or ends a transaction."""
    return struct.pack("=IHHIIBBH", 20, kind, _REQUEST, sequence, 0, 0, 0, socket.htons(_SUBSYSTEM))


def _transact(changes: list[tuple[int, int, bytes]]) -> None:
    """Make all changes, or none."""
    if not changes:
        return
    messages = [
        _message(kind, flags | _REQUEST | _ACK, number, body) for number, (kind, flags, body) in enumerate(changes, 1)
    ]
    with _channel() as channel:
        channel.send(b"".join([_border(_BATCH_BEGIN, 0), *messages, _border(_BATCH_END, len(messages) + 1)]))
        for _ in messages:
            number = _error_of(channel.recv(65536))
            if number:
                raise OSError(number, os.strerror(number), "nftables")


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, place)
        yield kind, data[place + 16 : place + length]
        place += (length + 3) & ~3


def _error_of(answer: bytes) -> int:
    """Return the errno of an acknowledgement; 0 is success."""
    for kind, payload in _messages(answer):
        if kind == _ERROR:
            return -int(struct.unpack_from("=i", payload)[0])
    return errno.EPROTO if not answer else 0
