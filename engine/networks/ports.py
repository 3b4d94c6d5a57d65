"""Published ports: docker's -p and --expose, and what a container asks for; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from engine.errors import InvalidArgument
from engine.model.network import PortMapping

PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST = 65535


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Parse -p: "[[ADDRESS:][HOST[-HOST]]:]PORT[-PORT][/PROTOCOL]"; a range gives a mapping for each port.

    Raises:
        InvalidArgument: It is malformed.
    """
    whole, _, protocol = text.partition("/")
    protocol = _protocol(text, protocol)
    head, _, port = whole.rpartition(":")
    address, _, host = head.rpartition(":")
    ports = _range(text, port)
    hosts = _range(text, host) if host else range(1)
    host_ip = _address(text, address)
    if not host:
        return tuple(PortMapping(number, protocol, host_ip) for number in ports)
    if len(ports) == 1:
        return (PortMapping(ports[0], protocol, host_ip, hosts[0], hosts[-1]),)
    if len(ports) != len(hosts):
        raise InvalidArgument(f"invalid port {text!r}: the ranges {host} and {port} have different lengths")
    return tuple(PortMapping(number, protocol, host_ip, one, one) for number, one in zip(ports, hosts, strict=True))


def parse_expose(text: str) -> tuple[str, ...]:
    """Parse --expose: "PORT[-PORT][/PROTOCOL]"; return "PORT/PROTOCOL" for each.

    Raises:
        InvalidArgument: It is malformed.
    """
    port, _, protocol = text.partition("/")
    kind = _protocol(text, protocol)
    return tuple(f"{number}/{kind}" for number in _range(text, port))


def _protocol(text: str, protocol: str) -> str:
    found = protocol.lower() or "tcp"
    if found not in PROTOCOLS or text.endswith("/"):
        raise InvalidArgument(f"invalid port {text!r}: the protocol is one of {', '.join(PROTOCOLS)}")
    return found


def _range(text: str, ports: str) -> range:
    first, dash, last = ports.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(number.isascii() and number.isdigit() and 0 < int(number) <= _LARGEST for number in numbers):
        raise InvalidArgument(f"invalid port {text!r}: expected [[ADDRESS:]HOST:]PORT[/PROTOCOL] with 1 to {_LARGEST}")
    if int(numbers[0]) > int(numbers[1]):
        raise InvalidArgument(f"invalid port {text!r}: the range {ports} ends before it begins")
    return range(int(numbers[0]), int(numbers[1]) + 1)


def _address(text: str, address: str) -> str:
    if not address:
        return ""
    try:
        found = ipaddress.ip_address(address[1:-1] if address[0] + address[-1] == "[]" else address)
    except ValueError:
        raise InvalidArgument(f"invalid port {text!r}: {address} is no address") from None
    if found.version == 6 and (not address.startswith("[") or "%" in address):
        raise InvalidArgument(f"invalid port {text!r}: an IPv6 address stands in brackets, without a zone")
    return str(found)


def exposed(mappings: Iterable[PortMapping], exposes: Iterable[str]) -> tuple[str, ...]:
    """Return "PORT/PROTOCOL" of all ports that a container says it has, in the order of their numbers."""
    found = {f"{mapping.port}/{mapping.protocol}" for mapping in mappings}
    for text in exposes:
        found.update(parse_expose(text))
    return tuple(sorted(found, key=lambda name: (int(name.partition("/")[0]), name)))


def wanted(mappings: tuple[PortMapping, ...], exposes: Iterable[str], *, publish_all: bool) -> tuple[PortMapping, ...]:
    """Return the mappings that a container needs: those asked for, and with -P one for each exposed port without."""
    if not publish_all:
        return mappings
    named = {f"{mapping.port}/{mapping.protocol}" for mapping in mappings}
    others = [name.partition("/") for name in exposed((), exposes) if name not in named]
    return (*mappings, *(PortMapping(int(port), protocol) for port, _, protocol in others))
