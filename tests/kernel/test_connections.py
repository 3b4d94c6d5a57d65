"""Containers in several networks, from the start or while they run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument, NotFound
from engine.model.container import Container, ContainerSpec, RestartPolicy
from engine.model.network import Attachment, PortMapping
from tests.kernel.oci import eventually
from tests.kernel.test_network import _SUBNET, IMAGE, OUTSIDE, executed, outside
from tests.kernel.test_ports import asked, asked_inside, elements, serve

__all__ = ["outside"]

SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))


def free_port() -> int:
    with socket.socket() as channel:
        channel.bind(("", 0))
        return int(channel.getsockname()[1])


def shown(engine: Engine, container: Container, command: str) -> str:
    return executed(engine, container.id, "sh", "-c", command)[1]


def reaches(engine: Engine, container: Container, address: str, seconds: int = 10) -> bool:
    return executed(engine, container.id, "ping", "-c", "1", "-W", str(seconds), address)[0] == 0


def test_a_container_is_in_all_networks_it_asks_for(engine: Engine) -> None:
    engine.networks.create("front", subnet="198.18.21.0/24", options={"com.docker.network.driver.mtu": "1400"})
    engine.networks.create("back", subnet="198.18.22.0/24", internal=True)
    asked = (
        Attachment("front", "198.18.21.77", "02:00:00:00:00:77"),
        Attachment("back", "198.18.22.77"),
    )
    both = engine.containers.run(replace(SLEEP, network="front", attachments=asked))
    behind = engine.containers.run(replace(SLEEP, network="back"))
    text = shown(engine, both, "ip addr; ip route")
    for part in (
        "198.18.21.77/24",
        "198.18.22.77/24",
        "02:00:00:00:00:77",
        "mtu 1400",
        "default via 198.18.21.1 dev eth0",
    ):
        assert part in text
    assert reaches(engine, both, behind.endpoints[0].address)
    with pytest.raises(Conflict, match=rf"198.18.22.77 of network back is in use by container {both.name}"):
        engine.containers.run(replace(SLEEP, network="back", attachments=(Attachment("back", "198.18.22.77"),)))
    networks = engine.containers.inspect(both.id)["NetworkSettings"]["Networks"]
    assert networks["back"]["IPAddress"] == "198.18.22.77"
    assert networks["front"]["MacAddress"] == "02:00:00:00:00:77"


def test_a_running_container_enters_and_leaves_networks(engine: Engine) -> None:
    engine.networks.create("front")
    engine.networks.create("back")
    container = engine.containers.run(replace(SLEEP, network="front", restart=RestartPolicy("always")))
    other = engine.containers.run(replace(SLEEP, network="back"))
    there = other.endpoints[0].address
    assert not reaches(engine, container, there, 1)
    engine.containers.connections.connect(container.id, Attachment("back"))
    assert reaches(engine, container, there)
    with pytest.raises(Conflict, match="in network back already"):
        engine.containers.connections.connect(container.id, Attachment("back"))
    with pytest.raises(Conflict, match="network back is used by"):
        engine.networks.remove("back")

    state = engine.containers.get(container.id)
    os.kill(state.pid, signal.SIGKILL)  # its policy starts it again: with both
    eventually(lambda: engine.containers.get(container.id).restart_count == 1)
    assert [endpoint.network for endpoint in engine.containers.get(container.id).endpoints] == ["front", "back"]
    assert reaches(engine, container, there)

    engine.containers.connections.disconnect(container.id, "front")
    assert "default via " + engine.networks.get("back").gateway in shown(engine, container, "ip route")
    assert shown(engine, container, "ls /sys/class/net").split() == ["eth1", "lo"]
    engine.containers.restart(container.id, timeout=0)
    assert [endpoint.network for endpoint in engine.containers.get(container.id).endpoints] == ["back"]
    engine.networks.remove("front")
    assert engine.system.check().found == ()
    engine.containers.stop(container.id, timeout=0)
    engine.containers.connections.connect(container.id, Attachment("bridge"))
    engine.containers.start(container.id)
    assert [endpoint.network for endpoint in engine.containers.get(container.id).endpoints] == ["back", "bridge"]
    assert reaches(engine, container, there)


def test_what_cannot_be_connected_or_disconnected_is_refused(engine: Engine) -> None:
    engine.networks.create("front")
    server = engine.containers.run(SLEEP)
    host = engine.containers.run(replace(SLEEP, network="host"))
    connections = engine.containers.connections
    with pytest.raises(Conflict, match="no network of its own"):
        connections.connect(host.id, Attachment("front"))
    with pytest.raises(Conflict, match="is not in network front"):
        connections.disconnect(server.id, "front")
    with pytest.raises(NotFound):
        connections.connect(server.id, Attachment("nowhere"))
    with pytest.raises(InvalidArgument, match="is not in the subnet"):
        connections.connect(server.id, Attachment("front", "192.0.2.7"))
    with pytest.raises(InvalidArgument, match="has no other network"):
        engine.containers.create(replace(SLEEP, network="host", attachments=(Attachment("front"),)))
    with pytest.raises(InvalidArgument, match="named twice"):
        engine.containers.create(
            replace(SLEEP, network="front", attachments=(Attachment("front"), Attachment("front")))
        )
    with pytest.raises(InvalidArgument, match="MAC"):
        engine.containers.create(replace(SLEEP, attachments=(Attachment("bridge", mac="01:00:00:00:00:01"),)))
    assert engine.system.check().found == ()


def test_published_ports_follow_their_container_from_network_to_network_as_in_docker(engine: Engine) -> None:
    for name in ("front", "back"):
        engine.networks.create(name)
    engine.networks.create("inner", internal=True)
    number = free_port()
    ports = (PortMapping(80), PortMapping(80, first=number, last=number))
    server = serve(engine, *ports, name="web", network="front")
    connections = engine.containers.connections

    def published() -> list[int]:
        found = engine.containers.get("web").ports
        assert [asked("127.0.0.1", port.host_port) is not None for port in found] == [True] * len(found)
        assert engine.system.check().found == ()
        return [port.host_port for port in found]

    before = published()
    connections.connect("web", Attachment("back"))
    connections.disconnect("web", "front")  # they go to the other network, and stay the same
    assert published() == before
    assert engine.containers.get("web").ports[0].address == engine.containers.get("web").endpoints[0].address
    assert asked_inside(server, engine.networks.get("back").gateway, before[0]) is not None  # the way back to itself
    connections.connect("web", Attachment("inner"))
    connections.disconnect("web", "back")  # what is left has no way in
    assert published() == []
    assert elements(engine) == []
    assert asked("127.0.0.1", before[0]) is None
    with (
        socket.create_server(("", before[1])),
        pytest.raises(Conflict, match=rf"cannot publish port 0.0.0.0:{before[1]}/tcp"),
    ):
        connections.connect("web", Attachment("front"))
    assert [endpoint.network for endpoint in engine.containers.get("web").endpoints] == ["inner"]
    assert published() == []
    connections.connect("web", Attachment("front"))
    assert published()[1] == before[1]
    assert len(published()) == 2


def test_ports_of_a_container_that_is_started_again_are_where_they_were(engine: Engine) -> None:
    for name in ("front", "back"):
        engine.networks.create(name)
    spec = replace(SLEEP, name="web", network="front", ports=(PortMapping(80),), restart=RestartPolicy("always"))
    first = engine.containers.run(spec)
    engine.containers.connections.connect("web", Attachment("back"))
    engine.containers.connections.disconnect("web", "front")
    port = engine.containers.get("web").ports[0]
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: engine.containers.get("web").restart_count == 1)
    again = engine.containers.get("web")
    assert again.ports == (port,)
    assert [endpoint.address for endpoint in again.endpoints] == [port.address]
    eventually(lambda: len(elements(engine)) == 1)
    assert engine.system.check().found == ()


def test_ports_follow_although_whoever_disconnected_was_killed(engine: Engine) -> None:
    server = serve(engine, PortMapping(80), name="web")
    state = engine.root / "run/containers" / server.id / "networking.json"
    with engine.containers._lifecycle.lock(server.id):
        state.write_text(json.dumps({"endpoints": [], "leases": []}))
        with socket.socket() as taken, pytest.raises(OSError, match="in use"):
            taken.bind(("", server.ports[0].host_port))
    eventually(lambda: engine.containers.get("web").ports == ())
    assert elements(engine) == []
    with socket.create_server(("", server.ports[0].host_port)):
        pass


def test_a_network_gives_addresses_of_its_range_and_keeps_those_that_are_reserved(engine: Engine) -> None:
    created = engine.networks.create(
        "narrow", subnet="198.18.23.0/24", gateway="198.18.23.254", ip_range="198.18.23.128/30",
        reserved={"router": "198.18.23.129"},
    )  # fmt: skip
    spec = replace(SLEEP, network="narrow")
    found = [engine.containers.run(spec) for _ in range(3)]
    addresses = sorted(container.endpoints[0].address for container in found)
    assert addresses == ["198.18.23.128", "198.18.23.130", "198.18.23.131"]
    assert found[0].endpoints[0].gateway == "198.18.23.254"
    with pytest.raises(Conflict, match="all addresses of network narrow"):
        engine.containers.run(spec)
    with pytest.raises(InvalidArgument, match="kept for router"):
        engine.containers.create(replace(spec, attachments=(Attachment("narrow", "198.18.23.129"),)))
    with pytest.raises(Conflict, match=r"overlaps 198.18.23.0/24, of network narrow"):
        engine.networks.create("wide", subnet="198.18.0.0/16")
    for wrong in (
        {"gateway": "192.0.2.1"},
        {"ip_range": "192.0.2.0/28"},
        {"reserved": {"x": "192.0.2.3"}},
        {"options": {"mtu": "x"}},
    ):
        with pytest.raises(InvalidArgument):
            engine.networks.create("wrong", subnet="198.18.24.0/24", **wrong)
    config = engine.networks.inspect("narrow")["IPAM"]["Config"][0]
    assert config == {
        "Subnet": "198.18.23.0/24", "Gateway": "198.18.23.254", "IPRange": "198.18.23.128/30",
        "AuxiliaryAddresses": {"router": "198.18.23.129"},
    }  # fmt: skip
    engine.networks.create("idle")
    assert engine.networks.prune() == ("idle",)
    assert engine.networks.get("narrow").id == created.id


def test_a_macvlan_puts_containers_beside_the_host(engine: Engine, outside: str) -> None:
    parent = {"parent": f"{outside}a"}
    subnet = f"{_SUBNET}.0/24"
    for wrong in ({}, {"parent": "none0"}, {**parent, "macvlan_mode": "x"}):
        with pytest.raises(InvalidArgument):
            engine.networks.create("lan", driver="macvlan", subnet=subnet, options=wrong)
    engine.networks.create("lan", driver="macvlan", subnet=subnet, options=parent, reserved={"outside": OUTSIDE})
    asked = (Attachment("lan", f"{_SUBNET}.77"),)
    first = engine.containers.run(replace(SLEEP, network="lan", attachments=asked))
    second = engine.containers.run(SLEEP)
    engine.containers.connections.connect(second.id, Attachment("lan", f"{_SUBNET}.78"))
    assert reaches(engine, first, OUTSIDE)
    assert reaches(engine, first, f"{_SUBNET}.78")
    back = ["ip", "netns", "exec", outside, "ping", "-c", "1", "-W", "10", f"{_SUBNET}.77"]
    assert subprocess.run(back, check=False, stdout=subprocess.DEVNULL).returncode == 0
    with pytest.raises(Conflict, match="no network of its own that could be limited"):
        engine.containers.update(first.id, lambda limits: replace(limits, net_rate_in=1 << 20))
    engine.containers.connections.disconnect(second.id, "lan")
    assert "eth1" not in shown(engine, second, "ls /sys/class/net")
    assert engine.system.check().found == ()
    engine.containers.remove(first.id, force=True)
    engine.networks.remove("lan")
