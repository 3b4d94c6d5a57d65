"""Limits on the rate of an interface's traffic, written with struct: a token bucket on what it sends, and on what it gets.

What an interface gets cannot be queued, so it is led through an interface of kind ifb whose sending is limited.
Sources: tc-tbf(8), tc-mirred(8), uapi linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h.
"""

from __future__ import annotations

import errno
import struct

from engine.linux import rtnetlink
from engine.linux.light import socket
from engine.linux.rtnetlink import attribute, transact

_NEWQDISC, _DELQDISC, _NEWTFILTER = 36, 37, 44
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NESTED = 0x8000
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_INGRESS_HANDLE = 0xFFFF0000
_KIND, _OPTIONS = 1, 2
_TBF_PARAMETERS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_ETHERNET = 1
_U32_SELECTOR, _U32_ACTION = 5, 7
_ACTION_KIND, _ACTION_OPTIONS, _MIRRED_PARAMETERS = 1, 2, 2
_STOLEN, _EGRESS_REDIRECT = 4, 1
_ALL_PROTOCOLS = 0x0003
_PRIORITY = 1
_LARGEST_32 = (1 << 32) - 1
_SMALLEST_BURST = 64 << 10
_BURST_PART, _QUEUE_PART = 20, 10


def limit_sending(name: str, rate: int) -> None:
    """Limit what an interface sends; a rate of 0 lifts the limit.

    Args:
        name: The interface.
        rate: Bytes per second. A twentieth of a second's worth may go at once, and a tenth may wait.
    """
    index = socket.if_nametoindex(name)
    if not rate:
        _delete_root(index, _ROOT, name)
        return
    burst = max(_SMALLEST_BURST, rate // _BURST_PART)
    low = min(rate, _LARGEST_32)
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, low)
    waiting = min(burst + rate // _QUEUE_PART, _LARGEST_32)
    parameters = spec + bytes(12) + struct.pack("=III", waiting, 0, 0)
    options = attribute(_TBF_PARAMETERS, parameters) + attribute(
        _TBF_BURST, struct.pack("=I", min(burst, _LARGEST_32 >> 1))
    )
    options += attribute(_TBF_RATE64, struct.pack("=Q", rate)) if rate > low else b""
    body = _tc(index, 0, _ROOT, 0) + attribute(_KIND, b"tbf\0") + attribute(_OPTIONS | _NESTED, options)
    transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _REPLACE, body)], f"interface {name}")


def limit_receiving(name: str, rate: int, through: str) -> None:
    """Limit what an interface gets; a rate of 0 lifts the limit.

    Args:
        name: The interface.
        rate: Bytes per second.
        through: The name of the ifb interface, which is made and deleted.
    """
    index = socket.if_nametoindex(name)
    if not rate:
        _delete_root(index, _INGRESS, name)
        rtnetlink.delete_link(through)
        return
    rtnetlink.make_ifb(through)
    limit_sending(through, rate)
    ingress = _tc(index, _INGRESS_HANDLE, _INGRESS, 0) + attribute(_KIND, b"ingress\0")
    try:
        transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _EXCL, ingress)], f"interface {name}")
    except FileExistsError:  # maybe without the filter, by somebody who was killed
        _delete_root(index, _INGRESS, name)
        transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _EXCL, ingress)], f"interface {name}")
    transact(
        [(_NEWTFILTER, _REQUEST | _ACK | _CREATE, _redirect(index, socket.if_nametoindex(through)))],
        f"interface {name}",
    )


def _redirect(index: int, to: int) -> bytes:
    """Return the body of a filter that leads everything an interface gets through another's sending."""
    mirred = struct.pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, to)
    action = attribute(_ACTION_KIND, b"mirred\0")
    action += attribute(_ACTION_OPTIONS | _NESTED, attribute(_MIRRED_PARAMETERS, mirred))
    everything = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + bytes(16)  # one key that matches all, and ends
    options = attribute(_U32_ACTION, attribute(1, action)) + attribute(_U32_SELECTOR, everything)
    info = _PRIORITY << 16 | socket.htons(_ALL_PROTOCOLS)
    return _tc(index, 0, _INGRESS_HANDLE, info) + attribute(_KIND, b"u32\0") + attribute(_OPTIONS, options)


def _tc(index: int, handle: int, parent: int, info: int) -> bytes:
    return struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, handle, parent, info)


def _delete_root(index: int, parent: int, name: str) -> None:
    """Delete a queueing discipline; it is fine when there is none of ours."""
    try:
        transact([(_DELQDISC, _REQUEST | _ACK, _tc(index, 0, parent, 0))], f"interface {name}")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
