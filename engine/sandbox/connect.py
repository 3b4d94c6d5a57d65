"""One more interface, or another default route, for a container that runs; in a process of its own that enters its network."""

from __future__ import annotations

import errno
import os

from engine.linux import procfs, rtnetlink, syscalls, traffic
from engine.linux.light import json, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

ADD, DROP, ROUTE = "add", "drop", "route"


def attach(endpoint: Document, pid: int) -> None:
    """Make an endpoint's interface in the network namespace of a process, on its bridge or on one of the host's."""
    if endpoint.get("parent"):
        rtnetlink.attach_macvlan(
            str(endpoint["parent"]), str(endpoint["mode"]), str(endpoint["interface"]), pid, str(endpoint["mac"])
        )
        return
    rtnetlink.attach_veth(
        str(endpoint["bridge"]), str(endpoint["host_interface"]), str(endpoint["interface"]), pid,
        str(endpoint["mac"]), int(endpoint["mtu"]),
    )  # fmt: skip
    if endpoint.get("reflects"):
        rtnetlink.reflect(str(endpoint["host_interface"]))
    rates: Document = endpoint.get("rates") or {}
    if rates.get("in"):
        traffic.limit_sending(str(endpoint["host_interface"]), int(rates["in"]))
    if rates.get("out"):
        traffic.limit_receiving(str(endpoint["host_interface"]), int(rates["out"]), str(endpoint["shaper"]))


def detach(endpoint: Document) -> None:
    """Delete what an endpoint has on the host beside its interface, which goes with the namespace."""
    if endpoint.get("shaper"):
        rtnetlink.delete_link(str(endpoint["shaper"]))


def configure(endpoint: Document) -> None:
    """Give an endpoint's interface of this network namespace its address, and the default route if that is its."""
    _refuse_routers(str(endpoint["interface"]))
    rtnetlink.configure(
        str(endpoint["interface"]), str(endpoint["address"]), int(endpoint["prefix_length"]),
        str(endpoint["gateway"]) if endpoint["routes"] else "",
    )  # fmt: skip


def _refuse_routers(interface: str) -> None:
    """Have an interface ignore router advertisements, which any neighbour could send (CVE-2020-13401)."""
    try:
        fd = os.open(f"/proc/sys/net/ipv6/conf/{interface}/accept_ra", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without IPv6
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _change(request: Document) -> None:
    endpoint: Document = request["endpoint"]
    pid = int(request["pid"])
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if not procfs.is_same_process(pid, int(request["pid_start"])):
        raise OSError(errno.ESRCH, "the container has ended")
    what = request["what"]
    if what == ADD:
        attach(endpoint, pid)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(namespace, syscalls.CLONE_NEWNET)
    try:
        if what == ADD:
            configure(endpoint)
        elif what == DROP:
            rtnetlink.delete_link(str(endpoint["interface"]))
        else:
            rtnetlink.route_through(str(endpoint["interface"]), str(endpoint["gateway"]))
    except OSError:
        if what == ADD:
            rtnetlink.delete_link(str(endpoint["interface"]))
            syscalls.setns(home, syscalls.CLONE_NEWNET)
            detach(endpoint)
        raise


def main(request: Document, fds: list[int]) -> None:
    """Do what request["endpoint"] asks; fds is the reply socket alone."""
    answer: Document = {"ok": True, "pid": 0}
    try:
        _change(request)
    except OSError as error:
        text = f"cannot change the container's network: {error.strerror or error}"
        answer = {"ok": False, "kind": "failed", "errno": error.errno or 0, "message": text}
    with socket.socket(fileno=fds[0]) as reply:
        reply.send(json.dumps(answer).encode())
