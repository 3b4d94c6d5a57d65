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
    if endpoint.get("kind") == "ipvlan":
        rtnetlink.attach_ipvlan(str(endpoint["parent"]), str(endpoint["mode"]), str(endpoint["interface"]), pid)
        return
    if endpoint.get("parent"):
        rtnetlink.attach_macvlan(
            str(endpoint["parent"]), str(endpoint["mode"]), str(endpoint["interface"]), pid, str(endpoint["mac"])
        )
        return
    rtnetlink.attach_veth(
        str(endpoint["bridge"]), str(endpoint["host_interface"]), str(endpoint["interface"]), pid,
        str(endpoint["mac"]), int(endpoint["mtu"]),
    )  # fmt: skip
    if endpoint.get("divided"):
        rtnetlink.divide(str(endpoint["host_interface"]))
    if endpoint.get("reflects"):
        rtnetlink.reflect(str(endpoint["host_interface"]))
    if any((endpoint.get("rates") or {}).values()):
        shape(endpoint)


def shape(endpoint: Document) -> None:
    """Limit the traffic of an endpoint as it says."""
    traffic.shape(str(endpoint["host_interface"]), str(endpoint["shaper"]), endpoint["rates"])


def detach(endpoint: Document) -> None:
    """Delete what an endpoint has on the host beside its interface, which goes with the namespace."""
    if endpoint.get("shaper"):
        rtnetlink.delete_link(str(endpoint["shaper"]))


def configure(endpoint: Document) -> None:
    """Give an endpoint's interface of this network namespace its addresses, and the default routes that are its."""
    interface = str(endpoint["interface"])
    _switch_off(interface, "accept_ra")  # any neighbour could send router advertisements (CVE-2020-13401)
    rtnetlink.configure(
        interface, str(endpoint["address"]), int(endpoint["prefix_length"]),
        _gateway(endpoint, "gateway") if endpoint["routes"] else "",
    )  # fmt: skip
    if endpoint.get("address6"):
        _switch_off(interface, "disable_ipv6")
        rtnetlink.configure6(
            interface, str(endpoint["address6"]), int(endpoint["prefix_length6"]),
            _gateway(endpoint, "gateway6") if endpoint["routes6"] else "",
        )  # fmt: skip


def _switch_off(interface: str, switch: str) -> None:
    """Switch something of IPv6 off for an interface."""
    try:
        fd = os.open(f"/proc/sys/net/ipv6/conf/{interface}/{switch}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without IPv6
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _route(endpoint: Document) -> None:
    """Have the default routes that are an endpoint's by now lead through it."""
    for is_its, gateway in (("routes", "gateway"), ("routes6", "gateway6")):
        if endpoint.get(is_its) and endpoint.get(gateway):
            rtnetlink.route_through(str(endpoint["interface"]), _gateway(endpoint, gateway))


def _gateway(endpoint: Document, name: str) -> str:
    """Return the gateway of a default route; an ipvlan interface of layer 3 has its packets routed by its parent."""
    is_routed = str(endpoint.get("mode") or "").startswith("l3")
    return {"gateway": "0.0.0.0", "gateway6": "::"}[name] if is_routed else str(endpoint[name])  # noqa: S104 - no gateway


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
            _route(endpoint)
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
