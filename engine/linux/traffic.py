"""Limits on an interface's traffic, written with struct: a token bucket on what it sends, and on what it gets; delay and loss.

What an interface gets cannot be queued, so it is led through an interface of kind ifb whose sending is limited.
Sources: tc-tbf(8), tc-netem(8), tc-mirred(8), uapi linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h.
"""

from __future__ import annotations

import errno
import struct

from engine.linux import rtnetlink
from engine.linux.light import socket
from engine.linux.rtnetlink import attribute, transact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
SMALLEST_BURST = 64 << 10  # the largest packet, before it is cut for the wire
_NETEM_HANDLE, _NETEM_LATENCY64 = 0x10000, 10
_DELAYED_PACKETS = 10_000
_BURST_PART, _QUEUE_PART = 20, 10


def shape(name: str, through: str, rates: dict[str, Any]) -> None:
    """Shape the traffic of whoever is at the other end of an interface; what is not named, or 0, is lifted.

    Args:
        name: The interface on this side: what it sends is what the other end gets.
        through: The name of the ifb interface that what it gets is led through; it is made and deleted as needed.
        rates: "in" and "out" in bytes per second, "burst_in" and "burst_out" in bytes that may go at once (default a
            twentieth of a second's worth); of what the other end sends, "delay" in microseconds and "loss" in percent.

    Raises:
        OSError: With the kernel's words.
    """
    _queue(name, int(rates.get("in") or 0), int(rates.get("burst_in") or 0), 0, 0.0)
    out = int(rates.get("out") or 0), int(rates.get("burst_out") or 0)
    delay, loss = int(rates.get("delay") or 0), float(rates.get("loss") or 0)
    if out[0] or delay or loss:
        rtnetlink.make_ifb(through)
        _queue(through, *out, delay, loss)
        _lead(name, through)
    else:
        _delete(socket.if_nametoindex(name), _INGRESS, name)
        rtnetlink.delete_link(through)


def has_netem() -> bool:
    """Return whether this kernel can delay and lose packets: one that can asks for options, and nothing is made."""
    body = _tc(socket.if_nametoindex("lo"), 0, _ROOT, 0) + attribute(_KIND, b"netem\0")
    try:
        transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _EXCL, body)], "interface lo")
    except OSError as error:
        return error.errno != errno.ENOENT
    return True


def _queue(name: str, rate: int, burst: int, delay: int, loss: float) -> None:
    """Have what an interface sends wait as wanted: first for the delay, then for its turn at the rate."""
    index = socket.if_nametoindex(name)
    if not rate and not delay and not loss:
        _delete(index, _ROOT, name)
        return
    parent = _ROOT
    if delay or loss:
        share = min(round(loss / 100 * _LARGEST_32), _LARGEST_32)
        options = struct.pack("=IIIIII", 0, _DELAYED_PACKETS, share, 0, 0, 0)
        options += attribute(_NETEM_LATENCY64, struct.pack("=q", delay * 1000))
        _replace(index, name, _NETEM_HANDLE, _ROOT, b"netem\0", options)
        parent = _NETEM_HANDLE | 1
    if rate:
        _replace(index, name, 0, parent, b"tbf\0", _bucket(rate, burst))
    else:
        _delete(index, parent, name)


def _bucket(rate: int, burst: int) -> bytes:
    """Return the options of a token bucket; a tenth of a second's worth may wait."""
    burst = burst or max(SMALLEST_BURST, rate // _BURST_PART)
    low = min(rate, _LARGEST_32)
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, low)
    waiting = min(burst + rate // _QUEUE_PART, _LARGEST_32)
    parameters = spec + bytes(12) + struct.pack("=III", waiting, 0, 0)
    options = attribute(_TBF_PARAMETERS, parameters) + attribute(
        _TBF_BURST, struct.pack("=I", min(burst, _LARGEST_32 >> 1))
    )
    return options + (attribute(_TBF_RATE64, struct.pack("=Q", rate)) if rate > low else b"")


def _replace(index: int, name: str, handle: int, parent: int, kind: bytes, options: bytes) -> None:
    """Put a queueing discipline in place, or change that which is there, with what waits in it."""
    body = _tc(index, handle, parent, 0) + attribute(_KIND, kind) + attribute(_OPTIONS | _NESTED, options)
    transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _REPLACE, body)], f"interface {name}")


def _lead(name: str, through: str) -> None:
    """Lead what an interface gets through another one's sending."""
    index = socket.if_nametoindex(name)
    ingress = _tc(index, _INGRESS_HANDLE, _INGRESS, 0) + attribute(_KIND, b"ingress\0")
    try:
        transact([(_NEWQDISC, _REQUEST | _ACK | _CREATE | _EXCL, ingress)], f"interface {name}")
    except FileExistsError:  # maybe without the filter, by somebody who was killed
        _delete(index, _INGRESS, name)
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


def _delete(index: int, parent: int, name: str) -> None:
    """Delete a queueing discipline; it is fine when there is none of ours."""
    try:
        transact([(_DELQDISC, _REQUEST | _ACK, _tc(index, 0, parent, 0))], f"interface {name}")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
