"""How far packets get from a network namespace: a short-lived child of the launcher enters it, asks, pings and connects.

Sources: icmp(7), raw(7), RFC 792, RFC 4443.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import time

from engine.linux import procfs, rtnetlink, syscalls
from engine.linux.light import json, signal, socket
from engine.sandbox import dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_DNS_PORT = 53
_ECHOES = 2
_ECHO_REQUEST, _ECHO_ANSWER = {4: 8, 6: 128}, {4: 0, 6: 129}
_SHORTEST_HEADER = 20
_PAYLOAD = bytes(16)


def main(request: Document, fds: list[int]) -> None:
    """Answer with what was found; fds is the reply socket alone.

    Args:
        request: "pid" and "pid_start" of a process in the network namespace, "interfaces" that are looked at, "patience" in
            seconds for each question; "name" that "servers" are asked for, else "address"; "port", or 0.
        fds: The reply socket.
    """
    reply = socket.socket(fileno=fds[0])
    answer: Document
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        pidfd = procfs.open_process(int(request["pid"]), int(request["pid_start"]))
        syscalls.setns(pidfd, syscalls.CLONE_NEWNET)
        answer = {"ok": True, **_look(request)}
    except ProcessLookupError:
        answer = {"ok": False, "kind": "failed", "errno": errno.ESRCH, "message": "the container has ended"}
    except OSError as error:
        text = f"cannot enter the container's network: {error.strerror or error}"
        answer = {"ok": False, "kind": "failed", "errno": error.errno or 0, "message": text}
    reply.send(json.dumps(answer).encode())


def _look(request: Document) -> Document:
    patience = float(request["patience"])
    found: Document = {"interfaces": {name: _interface(name) for name in request["interfaces"]}}
    address = str(request["address"])
    if request.get("name"):
        found["name"] = _ask_servers(str(request["name"]), request["servers"], patience)
        address = found["name"].get("address") or ""
    if not address:
        return found
    try:
        interface, gateway, source = rtnetlink.route_to(address)
    except OSError as error:
        return {**found, "route": {"error": error.strerror, "errno": error.errno}}
    found["route"] = {"interface": interface, "gateway": gateway, "source": source}
    found["ping"] = _timed(lambda: _ping(address, patience))
    found["neighbour"] = rtnetlink.neighbour(interface, gateway or address)
    is_near = "error" not in found["ping"] or bool(found["neighbour"]) or interface == "lo"
    if request["port"] and is_near:  # else a connection would wait for the same neighbour
        found["tcp"] = _timed(lambda: _connect(address, int(request["port"]), patience * _ECHOES))
    return found


def _interface(name: str) -> Document:
    """Return the state of an interface of this network namespace; nothing when there is none."""
    try:
        is_up, address = rtnetlink.state_of(name)
    except OSError:
        return {}
    return {"is_up": is_up, "address": address}


def _timed(action: Any) -> Document:  # noqa: ANN401 - a function, and typing is not loaded here
    """Return the milliseconds that something took, with the error when it failed."""
    began = time.monotonic()
    try:
        action()
    except OSError as error:
        return {"error": error.strerror or str(error), "errno": error.errno or errno.ETIMEDOUT}
    return {"milliseconds": (time.monotonic() - began) * 1000}


def _ask_servers(name: str, servers: list[str], patience: float) -> Document:
    """Ask one server after the other; return the address and who answered, or what they said."""
    said = "there is no server to ask"
    began = time.monotonic()
    for server in servers:
        try:
            addresses = _query(name, server, patience)
        except OSError as error:
            said = f"{server} does not answer: {error.strerror or error}"
            continue
        taken = {"server": server, "milliseconds": (time.monotonic() - began) * 1000}
        if addresses:
            return {"address": addresses[0], **taken}
        return {"error": f"{server} does not know it", **taken}
    return {"error": said}


def _query(name: str, server: str, patience: float) -> list[str]:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(patience)
        channel.connect((server, _DNS_PORT))
        found: list[str] = []
        for kind in (dns.A, dns.AAAA):
            query = dns.query(os.urandom(2), name, kind)
            answer = b""
            for _ in range(_ECHOES):
                channel.send(query)
                try:
                    while (answer := channel.recv(dns.LARGEST))[:2] != query[:2]:
                        pass
                except TimeoutError:
                    continue
                break
            if not answer:
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
            found += dns.addresses(answer)
            if found:
                break
    return found


def _ping(address: str, patience: float) -> None:
    """Wait for the answer to an ICMP echo.

    Raises:
        OSError: There is none in time, or no way.
    """
    version = 6 if ":" in address else 4
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    number = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    mark = os.urandom(2)
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, number) as channel:
        channel.connect((address, 0))
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN | select.POLLERR)
        for sequence in range(1, _ECHOES + 1):
            channel.send(_echo(version, mark, sequence))
            deadline = time.monotonic() + patience
            while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
                if _is_answer(version, channel.recv(1024), mark):
                    return
    raise TimeoutError(errno.ETIMEDOUT, f"no answer within {_ECHOES * patience:g} s")


def _echo(version: int, mark: bytes, sequence: int) -> bytes:
    """Return an echo request; the kernel computes the checksum of version 6."""
    head, tail = struct.pack("!BB", _ECHO_REQUEST[version], 0), mark + struct.pack("!H", sequence) + _PAYLOAD
    if version == 6:
        return head + bytes(2) + tail
    words = struct.unpack(f"!{(len(head) + len(tail)) // 2}H", head + tail)
    total = sum(words)
    total = (total >> 16) + (total & 0xFFFF)
    return head + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + tail


def _is_answer(version: int, packet: bytes, mark: bytes) -> bool:
    if version == 4 and len(packet) < _SHORTEST_HEADER:
        return False
    message = packet[(packet[0] & 0x0F) * 4 :] if version == 4 else packet
    return len(message) >= 8 and message[0] == _ECHO_ANSWER[version] and message[4:6] == mark


def _connect(address: str, port: int, patience: float) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(patience)
        try:
            channel.connect((address, port))
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {patience:g} s") from None
