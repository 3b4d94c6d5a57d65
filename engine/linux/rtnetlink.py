"""The few rtnetlink messages that a container's start needs, written with struct.

pyroute2 (engine.linux.netlink) does everything else; its import alone costs many times what these messages do.
Sources: rtnetlink(7), netlink(7), uapi linux/if_link.h, linux/if_addr.h, linux/veth.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from engine.linux.light import socket

_NEWLINK, _DELLINK, _SETLINK, _NEWADDR, _NEWROUTE = 16, 17, 19, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR = 2
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_PID = 1, 3, 4, 10, 18, 19
_IFLA_PROTINFO, _IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED, _NESTED = 12, 4, 33, 0x8000
_IFLA_LINK, _MODE = 5, 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_NO_MODE = 0xFFFF
_SCOPE_LINK = 253
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_DELROUTE, _GETROUTE, _GETNEIGH = 25, 26, 30
_SCOPE_LINK = 253
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_VALID = 0xDE  # reachable, stale, delay, probe, without ARP, permanent
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915
_NO_DUPLICATE_DETECTION = 0x02
_SOL_NETLINK, _EXT_ACK, _CAP_ACK = 270, 11, 10
_ERROR_TEXT = 1


def attach_veth(bridge: str, host_name: str, peer_name: str, netns_pid: int, mac: str, mtu: int) -> None:
    """Make a veth pair with one end up on a bridge and the other in a process's network namespace.

    Args:
        bridge: The bridge on the host; empty for none.
        host_name: The host's end.
        peer_name: The container's end.
        netns_pid: A process in the network namespace.
        mac: The address of the container's end.
        mtu: Of both ends.

    Raises:
        OSError: With the kernel's words.
    """
    peer = _link(0, 0, _text(_IFLA_IFNAME, peer_name) + attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        + _number(_IFLA_MTU, mtu) + _number(_IFLA_NET_NS_PID, netns_pid))  # fmt: skip
    info = _text(_INFO_KIND, "veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, peer))
    body = _text(_IFLA_IFNAME, host_name) + _number(_IFLA_MTU, mtu) + attribute(_IFLA_LINKINFO, info)
    if bridge:
        body += _number(_IFLA_MASTER, socket.if_nametoindex(bridge))
    transact([(_NEWLINK, _REQUEST | _ACK | _CREATE | _EXCL, _link(0, _IFF_UP, body))], f"interface {host_name}")


def attach_macvlan(parent: str, mode: str, name: str, netns_pid: int, mac: str) -> None:
    """Make an interface with a hardware address of its own on one of the host's, in a process's network namespace.

    Args:
        parent: The host's interface.
        mode: One of MACVLAN_MODES (ip-link(8), "MACVLAN and MACVTAP Type Support").
        name: Its name there.
        netns_pid: A process in the network namespace.
        mac: Its address.

    Raises:
        OSError: With the kernel's words.
    """
    info = _text(_INFO_KIND, "macvlan") + attribute(_INFO_DATA, _number(_MODE, MACVLAN_MODES[mode]))
    body = (_text(_IFLA_IFNAME, name) + attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        + _number(_IFLA_LINK, socket.if_nametoindex(parent)) + _number(_IFLA_NET_NS_PID, netns_pid)
        + attribute(_IFLA_LINKINFO, info))  # fmt: skip
    transact([(_NEWLINK, _REQUEST | _ACK | _CREATE | _EXCL, _link(0, 0, body))], f"interface {name} on {parent}")


def attach_ipvlan(parent: str, mode: str, name: str, netns_pid: int) -> None:
    """Make an interface that shares the hardware address of one of the host's, in a process's network namespace.

    Args:
        parent: The host's interface.
        mode: One of IPVLAN_MODES (linux/Documentation/networking/ipvlan.rst).
        name: Its name there.
        netns_pid: A process in the network namespace.

    Raises:
        OSError: With the kernel's words.
    """
    body = (_text(_IFLA_IFNAME, name) + _number(_IFLA_LINK, socket.if_nametoindex(parent))
        + _number(_IFLA_NET_NS_PID, netns_pid) + _ipvlan(IPVLAN_MODES[mode]))  # fmt: skip
    transact([(_NEWLINK, _REQUEST | _ACK | _CREATE | _EXCL, _link(0, 0, body))], f"interface {name} on {parent}")


def has_ipvlan() -> bool:
    """Return whether this kernel has interfaces of kind ipvlan; it looks at the kind before it refuses the mode."""
    try:
        transact([(_NEWLINK, _REQUEST | _ACK | _CREATE | _EXCL, _link(0, 0, _ipvlan(_NO_MODE)))], "kind ipvlan")
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def _ipvlan(mode: int) -> bytes:
    data = attribute(_MODE, struct.pack("=H", mode))
    return attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "ipvlan") + attribute(_INFO_DATA, data))


def reflect(name: str) -> None:
    """Have a bridge send frames back through the interface that they came from (hairpin mode, bridge(8)).

    With br_netfilter a packet that nftables leads back to its sender is not routed, but stays on the bridge.
    """
    _switch_port_on(name, _IFLA_BRPORT_MODE)


def divide(name: str) -> None:
    """Have a bridge pass no frames between this interface and others that are divided ("isolated", bridge(8))."""
    _switch_port_on(name, _IFLA_BRPORT_ISOLATED)


def _switch_port_on(name: str, kind: int) -> None:
    switch = attribute(_IFLA_PROTINFO | _NESTED, attribute(kind, b"\1"))
    message = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, socket.if_nametoindex(name), 0, 0) + switch
    transact([(_SETLINK, _REQUEST | _ACK, message)], f"interface {name}")


def configure(name: str, address: str, prefix_length: int, gateway: str) -> None:
    """Give an interface of this network namespace its address, bring it up, and route through the gateway."""
    index = socket.if_nametoindex(name)
    packed = socket.inet_aton(address)
    host_bits = (1 << (32 - prefix_length)) - 1
    broadcast = struct.pack("!I", struct.unpack("!I", packed)[0] | host_bits)
    ifaddrmsg = struct.pack("=BBBBi", socket.AF_INET, prefix_length, 0, 0, index)
    addresses = attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed) + attribute(_IFA_BROADCAST, broadcast)
    messages = [
        (_NEWADDR, _REQUEST | _ACK | _CREATE | _EXCL, ifaddrmsg + addresses),
        (_NEWLINK, _REQUEST | _ACK, _link(index, _IFF_UP, b"")),
    ]
    if gateway:
        messages.append(_default_route(index, gateway))
    transact(messages, f"interface {name}")


def configure6(name: str, address: str, prefix_length: int, gateway: str) -> None:
    """Give an interface of this network namespace that is up an IPv6 address, and route through the gateway.

    The address is leased to us, so it is in use at once: duplicate address detection would take a second (RFC 4862, section 5.4).
    """
    index = socket.if_nametoindex(name)
    ifaddrmsg = struct.pack("=BBBBi", socket.AF_INET6, prefix_length, _NO_DUPLICATE_DETECTION, 0, index)
    packed = attribute(_IFA_LOCAL, socket.inet_pton(socket.AF_INET6, address))
    messages = [(_NEWADDR, _REQUEST | _ACK | _CREATE | _EXCL, ifaddrmsg + packed)]
    if gateway:
        messages.append(_default_route(index, gateway))
    transact(messages, f"interface {name}")


def route_through(name: str, gateway: str) -> None:
    """Add the default route of this network namespace in the gateway's family; "0.0.0.0" and "::" are no gateway."""
    transact([_default_route(socket.if_nametoindex(name), gateway)], f"interface {name}")


def _default_route(index: int, gateway: str) -> tuple[int, int, bytes]:
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    packed = socket.inet_pton(family, gateway)
    is_direct = not any(packed)
    scope = _SCOPE_LINK if is_direct else 0
    rtmsg = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 3, scope, 1, 0)
    route = (b"" if is_direct else attribute(_RTA_GATEWAY, packed)) + _number(_RTA_OIF, index)
    return _NEWROUTE, _REQUEST | _ACK | _CREATE | _EXCL, rtmsg + route


def route_to(address: str) -> tuple[str, str, str]:
    """Return the way to an address from this network namespace: the interface, the gateway (empty for none), our address.

    Raises:
        OSError: There is none.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    rtmsg = struct.pack("=BBBBBBBBI", family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    found = attributes(_asked(_GETROUTE, rtmsg + attribute(_RTA_DST, packed), f"route to {address}")[12:])

    def text(kind: int) -> str:
        return socket.inet_ntop(family, found[kind]) if kind in found else ""

    return socket.if_indextoname(struct.unpack("=I", found[_RTA_OIF])[0]), text(_RTA_GATEWAY), text(_RTA_PREFSRC)


def neighbour(interface: str, address: str) -> str:
    """Return the hardware address that a neighbour of this network namespace was found to have; empty when it was not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ndmsg = struct.pack("=BBHiHBB", family, 0, 0, socket.if_nametoindex(interface), 0, 0, 0)
    try:
        answer = _asked(
            _GETNEIGH, ndmsg + attribute(_NDA_DST, socket.inet_pton(family, address)), f"neighbour {address}"
        )
    except OSError:
        return ""
    is_known = struct.unpack_from("=H", answer, 8)[0] & _NUD_VALID
    mac: bytes = attributes(answer[12:]).get(_NDA_LLADDR, b"") if is_known else b""
    return ":".join(f"{part:02x}" for part in mac)


def state_of(name: str) -> tuple[bool, str]:
    """Return whether an interface of this network namespace is up, and its IPv4 address; empty for none (netdevice(7)).

    Raises:
        OSError: There is no such interface.
    """
    request = struct.pack("16s24x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        flags = struct.unpack_from("=H", fcntl.ioctl(channel, _SIOCGIFFLAGS, request), 16)[0]
        try:
            address = socket.inet_ntoa(fcntl.ioctl(channel, _SIOCGIFADDR, request)[20:24])
        except OSError:
            address = ""
    return bool(flags & _IFF_UP), address


def _asked(kind: int, body: bytes, subject: str) -> bytes:
    """Ask one question; return the body of the answer."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    with channel:
        channel.bind((0, 0))
        channel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST, 1, 0) + body)
        answer = channel.recv(65536)
        _acknowledged(answer, subject)
        return answer[16:]


def loopback_up() -> None:
    """Bring up lo in this network namespace."""
    set_up("lo")


def make_ifb(name: str) -> None:
    """Make an interface of kind ifb and bring it up; it is fine when it is there."""
    make_link(name, "ifb")


def make_link(name: str, kind: str, mtu: int = 0, *, is_up: bool = True) -> None:
    """Make an interface; it is fine when it is there.

    Args:
        name: Its name.
        kind: As ip-link(8) calls it.
        mtu: 0 for the kind's own.
        is_up: Whether it is brought up at once.
    """
    body = _text(_IFLA_IFNAME, name) + attribute(_IFLA_LINKINFO, _text(_INFO_KIND, kind))
    body += _number(_IFLA_MTU, mtu) if mtu else b""
    flags = _REQUEST | _ACK | _CREATE | _EXCL
    try:
        transact([(_NEWLINK, flags, _link(0, _IFF_UP if is_up else 0, body))], f"interface {name}")
    except FileExistsError:
        return


def set_up(name: str) -> None:
    """Bring an interface of this network namespace up."""
    transact([(_NEWLINK, _REQUEST | _ACK, _link(socket.if_nametoindex(name), _IFF_UP, b""))], f"interface {name}")


def add_route(address: str, length: int, name: str) -> None:
    """Route IPv4 addresses through an interface; it is fine when they are.

    Args:
        address: The first one.
        length: Of the prefix.
        name: The interface.
    """
    message = _NEWROUTE, _REQUEST | _ACK | _CREATE | _EXCL, _route(address, length, name)
    try:
        transact([message], f"route to {address}/{length}")
    except FileExistsError:
        return


def delete_route(address: str, length: int, name: str) -> None:
    """Delete such a route; it is fine when there is none."""
    try:
        transact([(_DELROUTE, _REQUEST | _ACK, _route(address, length, name))], f"route to {address}/{length}")
    except ProcessLookupError:
        return


def _route(address: str, length: int, name: str) -> bytes:
    rtmsg = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, 254, 3, _SCOPE_LINK, 1, 0)
    return rtmsg + attribute(_RTA_DST, socket.inet_aton(address)) + _number(_RTA_OIF, socket.if_nametoindex(name))


def delete_link(name: str) -> None:
    """Delete an interface; it is fine when there is none."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return
    transact([(_DELLINK, _REQUEST | _ACK, _link(index, 0, b""))], f"interface {name}")


def move_link(name: str, netns_pid: int, new_name: str) -> None:
    """Move an interface into a process's network namespace, under a name there."""
    body = _text(_IFLA_IFNAME, new_name) + _number(_IFLA_NET_NS_PID, netns_pid)
    transact([(_NEWLINK, _REQUEST | _ACK, _link(socket.if_nametoindex(name), 0, body))], f"interface {name}")


def attribute(kind: int, payload: bytes) -> bytes:
    """Return a netlink attribute."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return netlink attributes by their kind, without the flags."""
    found, place = {}, 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        found[kind & 0x3FFF] = data[place + 4 : place + length]
        place += max(4, (length + 3) & ~3)
    return found


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("=I", number))


def _link(index: int, flags: int, attributes: bytes) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags) + attributes


def transact(messages: list[tuple[int, int, bytes]], subject: str) -> None:
    """Send messages (type, flags, body) one after the other, each acknowledged.

    Raises:
        OSError: With the kernel's words, about the subject.
    """
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    with channel:
        for option in (_EXT_ACK, _CAP_ACK):
            channel.setsockopt(_SOL_NETLINK, option, 1)
        channel.bind((0, 0))
        for sequence, (kind, flags, body) in enumerate(messages, 1):
            channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body)
            _acknowledged(channel.recv(65536), subject)


def _acknowledged(answer: bytes, subject: str) -> None:
    _, kind, flags, _, _ = struct.unpack_from("=IHHII", answer)
    if kind != _ERROR:
        return
    number = -struct.unpack_from("=i", answer, 16)[0]
    if number:
        text = _extended_text(answer) if flags & 0x200 else ""
        raise OSError(number, text or os.strerror(number) or errno.errorcode.get(number, "error"), subject)


def _extended_text(answer: bytes) -> str:
    """Return the kernel's sentence from the TLVs after the error (NETLINK_EXT_ACK with a capped request)."""
    return attributes(answer[16 + 4 + 16 :]).get(_ERROR_TEXT, b"").rstrip(b"\0").decode(errors="replace")
