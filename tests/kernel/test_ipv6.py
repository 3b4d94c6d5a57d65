"""Networks with IPv6 beside IPv4: real packets, to and from a neighbour of the host."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument, StartFailed
from engine.model.container import ContainerSpec
from engine.model.network import Attachment, PortMapping
from tests.kernel.oci import eventually
from tests.kernel.test_names import looked_up
from tests.kernel.test_network import IMAGE, executed, outside
from tests.kernel.test_ports import asked, asked_inside, elements, serve

__all__ = ["outside"]
SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))
_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
_PREFIX = f"fd42:{os.getpid() % 65536:x}"
HOST6, OUTSIDE6 = f"{_PREFIX}:1::1", f"{_PREFIX}:1::2"


@pytest.fixture
def outside6(outside: str) -> Iterator[tuple[str, ...]]:
    """The words that run a command beyond the host, which has an IPv6 address there and does not forward yet."""
    before = _FORWARDING.read_text()
    for command in (f"ip addr add {HOST6}/64 dev {outside}a nodad", f"ip -n {outside} addr add {OUTSIDE6}/64 dev {outside}b nodad"):  # fmt: skip
        subprocess.run(command.split(), check=True)
    _FORWARDING.write_text("0")
    yield ("ip", "netns", "exec", outside)
    _FORWARDING.write_text(before)


def shown(engine: Engine, container: str, command: str) -> str:
    return executed(engine, container, "sh", "-c", command)[1]


def reaches(engine: Engine, container: str, address: str, seconds: int = 10) -> bool:
    return executed(engine, container, "ping", "-6", "-c", "1", "-W", str(seconds), address)[0] == 0


def client_of(text: str | None) -> str:
    return str(text).strip("[]")


def test_a_network_with_ipv6_gives_addresses_routes_and_names_of_both_families(engine: Engine) -> None:
    network = engine.networks.create("dual", ipv6=True)
    whole = ipaddress.IPv6Network(network.subnet6)
    assert whole.prefixlen == 64
    assert whole.subnet_of(ipaddress.IPv6Network("fd00::/8"))  # RFC 4193: assigned locally
    engine.networks.create("plain")
    first = engine.containers.run(replace(SLEEP, name="first", network="dual"))
    second = engine.containers.run(replace(SLEEP, name="second", network="dual"))
    third = engine.containers.run(replace(SLEEP, network="plain"))
    mine, other = first.endpoints[0], second.endpoints[0]
    text = shown(engine, first.id, "ip -6 addr show dev eth0; ip -6 route; cat /etc/hosts")
    assert f"{mine.address6}/64 scope global" in text
    assert "tentative" not in next(line for line in text.splitlines() if mine.address6 in line)
    assert f"default via {network.gateway6} dev eth0" in text
    assert f"{mine.address6}\t{first.short_id}" in text
    assert ipaddress.ip_address(other.address6) in whole
    assert reaches(engine, first.id, other.address6)
    assert looked_up(engine, first, "second") == sorted([other.address, other.address6])
    assert looked_up(engine, first, other.address6) == ["second.dual"]
    assert reaches(engine, first.id, "second")  # as programs ask
    found = engine.containers.inspect(first.id)["NetworkSettings"]["Networks"]["dual"]
    assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == (mine.address6, 64)
    assert found["IPv6Gateway"] == network.gateway6
    document = engine.networks.inspect("dual")
    assert document["EnableIPv6"] is True
    assert {"Subnet": network.subnet6, "Gateway": network.gateway6} in document["IPAM"]["Config"]
    assert document["Containers"][second.id]["IPv6Address"] == f"{other.address6}/64"
    assert engine.networks.inspect("plain")["EnableIPv6"] is False
    assert "scope global" not in shown(engine, third.id, "ip -6 addr show dev eth0")
    engine.containers.remove(first.id, force=True)
    again = engine.containers.run(replace(SLEEP, network="dual"))
    assert again.endpoints[0].address6 not in (mine.address6, other.address6)
    assert engine.system.check().found == ()


def test_traffic_goes_out_with_the_hosts_address_but_neither_from_internal_networks_nor_across(
    engine: Engine, outside6: tuple[str, ...]
) -> None:
    engine.networks.create("inner", ipv6=True, internal=True)
    inner = engine.containers.run(replace(SLEEP, network="inner"))
    assert _FORWARDING.read_text() == "0\n"  # who has no way out needs no forwarding
    dual = engine.networks.create("dual", subnet6=f"{_PREFIX}:2::/64")
    assert _FORWARDING.read_text() == "1\n"
    assert [event.id for event in engine.events.list() if event.action == "forward"] == [dual.id]
    server, other = serve(engine, network="dual"), engine.networks.create("other", ipv6=True)
    stranger = engine.containers.run(replace(SLEEP, network=other.name))
    # the outside has no route to containers: an answer proves that the source was rewritten
    assert reaches(engine, server.id, OUTSIDE6)
    assert not reaches(engine, inner.id, OUTSIDE6, 1)
    address = server.endpoints[0].address6
    assert not reaches(engine, stranger.id, address, 1)
    subprocess.run([*outside6, "ip", "route", "add", f"{_PREFIX}:2::/64", "via", HOST6], check=True)
    assert asked(address, 80, *outside6) is None  # past the host, by a neighbour that knows the way
    assert asked_inside(stranger, address, 80) is None
    assert asked(address, 80) is not None


def test_a_port_is_published_in_both_families_and_keeps_its_clients_addresses(
    engine: Engine, outside6: tuple[str, ...]
) -> None:
    engine.networks.create("dual", ipv6=True)
    server = serve(engine, PortMapping(80), PortMapping(80, host_ip=HOST6), network="dual")
    old, new, one = server.ports
    assert (old.host_ip, new.host_ip, one.host_ip) == ("0.0.0.0", "::", HOST6)
    assert old.host_port == new.host_port
    neighbour = engine.containers.run(replace(SLEEP, network="dual"))
    gateway = engine.networks.get("dual").gateway6
    for port in (new.host_port, one.host_port):
        assert client_of(asked(HOST6, port, *outside6)) == OUTSIDE6
    assert client_of(asked(HOST6, new.host_port)) in (HOST6, gateway)
    assert asked_inside(neighbour, gateway, new.host_port) is not None
    assert asked_inside(server, gateway, new.host_port) is not None  # the way back to itself
    assert asked("127.0.0.1", new.host_port) is not None
    assert asked("localhost", new.host_port) is not None
    mapping = PortMapping(80, "tcp", HOST6, one.host_port, one.host_port)
    with pytest.raises(StartFailed, match=rf"port \[{HOST6}\]:{one.host_port}/tcp: it is in use by container"):
        engine.containers.run(replace(SLEEP, network="dual", ports=(mapping,)))
    with socket.create_server(("::", 0), family=socket.AF_INET6) as foreign:
        number = foreign.getsockname()[1]
        with pytest.raises(StartFailed, match=rf"in use by process {os.getpid()} \("):
            engine.containers.run(replace(SLEEP, network="dual", ports=(PortMapping(80, "tcp", "::", number, number),)))
    assert engine.system.check().found == ()
    engine.containers.remove(server.id, force=True)
    assert [element[0] for element in elements(engine)] == ["resolvers"]  # the neighbour's


def test_what_does_not_fit_is_refused_with_the_name_of_what_is_in_the_way(engine: Engine) -> None:
    subnet = f"{_PREFIX}:3::/64"
    engine.networks.create(
        "dual", subnet6=subnet, ip_range6=f"{_PREFIX}:3::ff00/126", reserved={"router": f"{_PREFIX}:3:0:0::9"}
    )
    asked_for = Attachment("dual", address6=f"{_PREFIX}:3::7")
    first = engine.containers.run(replace(SLEEP, network="dual", attachments=(asked_for,)))
    assert first.endpoints[0].address6 == f"{_PREFIX}:3::7"
    leased = {path.name for path in Path(engine.root, "networks/dual/leases").iterdir()}
    with pytest.raises(Conflict, match=f"{_PREFIX}:3::7 of network dual is in use by container {first.name}"):
        engine.containers.run(replace(SLEEP, network="dual", attachments=(asked_for,)))
    assert {path.name for path in Path(engine.root, "networks/dual/leases").iterdir()} == leased
    for _ in range(4):
        found = engine.containers.run(replace(SLEEP, network="dual")).endpoints[0].address6
        assert found.startswith(f"{_PREFIX}:3::ff0")
    with pytest.raises(Conflict, match="all addresses of network dual"):
        engine.containers.run(replace(SLEEP, network="dual"))
    with pytest.raises(Conflict, match=f"overlaps {subnet}, of network dual"):
        engine.networks.create("wide", subnet6=f"{_PREFIX}:3::/60")
    route = [f"{_PREFIX}:4::/64", "dev", "lo"]
    subprocess.run(["ip", "route", "add", *route], check=True)
    with pytest.raises(Conflict, match=f"overlaps {_PREFIX}:4::/64, to which the host has a route"):
        engine.networks.create("routed", subnet6=f"{_PREFIX}:4::/60")
    subprocess.run(["ip", "route", "del", *route], check=True)
    wrong: tuple[tuple[dict[str, str], str], ...] = (
        ({"subnet6": "198.18.0.0/24"}, "invalid subnet"), ({"subnet6": "fd00::/127"}, "too small"),
        ({"subnet6": subnet.replace(":3:", ":5:"), "gateway6": "fd00::1"}, "not in the subnet"),
        ({"subnet6": subnet.replace(":3:", ":5:"), "ip_range6": "fd00::/70"}, "not in the subnet"),
    )  # fmt: skip
    for given, sentence in wrong:
        with pytest.raises(InvalidArgument, match=sentence):
            engine.networks.create("wrong", **given)  # type: ignore[arg-type]
    for network, address, sentence in (
        ("dual", f"{_PREFIX}:3::9", "kept for router"), ("dual", f"{_PREFIX}:3::1", "kept for the gateway"),
        ("dual", "fd00::7", "not in the subnet"), ("dual", "198.18.0.7", "invalid IPv6 address"),
        ("bridge", f"{_PREFIX}:3::8", "network bridge has no IPv6 addresses"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=sentence):
            engine.containers.create(
                replace(SLEEP, network=network, attachments=(Attachment(network, address6=address),))
            )
    with pytest.raises(StartFailed, match=r"\[::1\]:0/tcp: the container has no IPv6 address"):
        engine.containers.run(replace(SLEEP, ports=(PortMapping(80, host_ip="::1"),)))
    assert engine.networks.list()[-1].name == "dual"


def test_a_host_that_has_its_route_from_a_router_keeps_it_when_it_begins_to_forward() -> None:
    host, router = f"th{os.getpid()}", f"tr{os.getpid()}"
    advertise = f"""
import socket, struct
channel = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
channel.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, socket.if_nametoindex("{router}")))
"""  # RFC 4861, section 4.2
    forward = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from engine.networks import firewall; firewall._forward_ipv6()"
    inside = ("ip", "netns", "exec", host)

    def answer(*command: str) -> str:
        return subprocess.run([*inside, *command], check=True, capture_output=True, text=True).stdout

    def is_routed() -> bool:
        subprocess.run(
            ["ip", "netns", "exec", router, sys.executable, "-c", advertise], check=False, capture_output=True
        )
        return "default via fe80:" in answer("ip", "-6", "route")

    try:
        for command in (f"ip netns add {host}", f"ip netns add {router}",
            f"ip -n {host} link add name {host} type veth peer name {router} netns {router}",
            f"ip -n {host} link set dev {host} up", f"ip -n {router} link set dev {router} up"):  # fmt: skip
            subprocess.run(command.split(), check=True)
        eventually(is_routed)
        answer(sys.executable, "-c", forward)
        assert answer("sysctl", "-n", "net.ipv6.conf.all.forwarding", f"net.ipv6.conf.{host}.accept_ra") == "1\n2\n"
        assert "default via fe80:" in answer("ip", "-6", "route")
    finally:
        for name in (host, router):
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_a_running_container_enters_and_leaves_networks_with_ipv6(engine: Engine) -> None:
    engine.networks.create("plain")
    networks = [engine.networks.create(name, ipv6=True) for name in ("front", "back")]
    container = engine.containers.run(replace(SLEEP, network="plain"))
    connections = engine.containers.connections
    connections.connect(container.id, Attachment("front", address6=str(ipaddress.IPv6Network(networks[0].subnet6)[99])))
    connections.connect(container.id, Attachment("back"))
    endpoints = engine.containers.get(container.id).endpoints
    assert endpoints[1].address6.endswith("::63")
    assert f"default via {networks[0].gateway6}" in shown(engine, container.id, "ip -6 route")
    connections.disconnect(container.id, "front")
    assert f"default via {networks[1].gateway6}" in shown(engine, container.id, "ip -6 route")
    engine.containers.restart(container.id, timeout=0)
    assert f"default via {networks[1].gateway6}" in shown(engine, container.id, "ip -6 route")
    leases = Path(engine.root, "networks")
    assert sorted(path.parts[-3] for path in leases.glob("*/leases/*")) == ["back", "back", "plain"]
    engine.containers.stop(container.id, timeout=0)
    eventually(lambda: not [*leases.glob("*/leases/*")])
    assert engine.system.check().found == ()
