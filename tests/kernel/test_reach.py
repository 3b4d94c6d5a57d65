"""How far packets get, with links that are really broken."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument
from engine.model.container import Container, ContainerSpec
from engine.model.network import Attachment, PortMapping
from engine.model.reach import Reach
from tests.kernel.oci import eventually
from tests.kernel.test_network import IMAGE, OUTSIDE, outside
from tests.kernel.test_ports import serve

__all__ = ["outside"]

SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))


def states(reach: Reach) -> dict[str, bool | None]:
    return {step.name: step.is_ok for step in reach.steps}


def detail(reach: Reach, name: str = "") -> str:
    return next(step.detail for step in reach.steps if step.name == (name or reach.stopped_at))


def inside(container: Container, *command: str) -> None:
    subprocess.run(["nsenter", "-t", str(container.pid), "-n", *command], check=True)


@pytest.fixture
def pair(engine: Engine) -> tuple[Container, Container]:
    """A client and a web server in one network that knows names."""
    engine.networks.create("front")
    server = serve(engine, name="web", network="front")
    return engine.containers.run(replace(SLEEP, name="client", network="front")), server


def test_each_hop_of_a_way_that_works_is_shown(engine: Engine, pair: tuple[Container, Container]) -> None:
    reach = engine.containers.reach("client", "web", 80)
    assert (reach.is_reached, reach.stopped_at, reach.address) == (True, "", pair[1].endpoints[0].address), reach
    assert list(states(reach)) == ("target name interface port route firewall|far port|far interface|neighbour ping tcp"
        .replace(" ", "|").replace("far|", "far ").split("|"))  # fmt: skip
    assert set(states(reach).values()) == {True}
    assert engine.networks.get("front").gateway in detail(reach, "name")  # the server that answered
    assert all(step.milliseconds is not None for step in reach.steps if step.name in ("name", "ping", "tcp"))
    assert engine.containers.reach("client", reach.address).is_reached
    closed = engine.containers.reach("client", "web", 81)
    assert (closed.stopped_at, detail(closed)) == ("tcp", "nothing listens on port 81")


def test_the_hop_at_which_packets_stop_is_named(engine: Engine, pair: tuple[Container, Container]) -> None:
    client, server = pair
    port, there = client.endpoints[0].host_interface, server.endpoints[0]
    bridge = engine.networks.get("front").bridge

    def stops(target: str = "web") -> str:
        reach = engine.containers.reach("client", target, 80)
        after = [step.is_ok for step in reach.steps if step.name not in ("ping", "tcp")]
        assert True not in after[after.index(False) + 1 :] if False in after else True
        return reach.stopped_at

    inside(client, "ip", "link", "set", "eth0", "down")
    assert stops(there.address) == "interface"
    inside(client, "ip", "link", "set", "eth0", "up")
    subprocess.run(["ip", "link", "set", port, "nomaster"], check=True)
    assert stops(there.address) == "port"
    subprocess.run(["ip", "link", "set", port, "master", bridge], check=True)
    subprocess.run(["ip", "link", "set", there.host_interface, "down"], check=True)
    assert stops() == "far port"
    subprocess.run(["ip", "link", "set", there.host_interface, "up"], check=True)
    inside(server, "ip", "addr", "flush", "dev", "eth0")
    assert stops() == "far interface"
    inside(server, "ip", "addr", "add", f"{there.address}/{there.prefix_length}", "dev", "eth0")
    eventually(lambda: stops() == "")  # the kernel takes its time to use a link that came up again
    assert stops("nobody-of-that-name") == "name"
    nobody = there.address.rpartition(".")[0] + ".250"
    assert stops(nobody) == "neighbour"


def test_what_isolates_a_target_is_said(engine: Engine, outside: str) -> None:
    engine.networks.create("back")
    engine.networks.create("inner", internal=True)
    server = serve(engine, PortMapping(80), name="web")
    for name, network in (("stranger", "back"), ("shut-in", "inner"), ("alone", "none")):
        engine.containers.run(replace(SLEEP, name=name, network=network))
    reach = engine.containers.reach("stranger", "web", 80)
    assert reach.stopped_at == "firewall"
    assert detail(reach) == (
        f"networks back and bridge are isolated from each other; port {server.ports[0].host_port} of the host leads there"
    )
    assert states(reach)["tcp"] is None
    led = engine.containers.reach("stranger", "host", server.ports[0].host_port)
    assert led.is_reached
    assert "leads to container web, port 80" in detail(led, "firewall")
    assert engine.containers.reach("stranger", OUTSIDE).is_reached
    engine.containers.run(replace(SLEEP, name="beside", network="host"))
    assert engine.containers.reach("stranger", "beside").address == engine.networks.get("back").gateway
    assert engine.containers.reach("beside", "web", 80).is_reached
    assert "network inner is internal" in detail(engine.containers.reach("shut-in", OUTSIDE))
    assert "container alone has no network" in detail(engine.containers.reach("alone", OUTSIDE))
    assert engine.containers.reach("stranger", "alone").stopped_at == "target"
    engine.containers.stop("web", timeout=0)
    assert detail(engine.containers.reach("stranger", "web")) == "container web is not running: it is exited"
    with pytest.raises(Conflict, match="web is not running"):
        engine.containers.reach("web", "stranger")
    with pytest.raises(InvalidArgument, match="invalid target"):
        engine.containers.reach("stranger", "web", 70000)


def test_the_rules_of_a_network_are_its_own(engine: Engine) -> None:
    engine.networks.create("front")
    engine.networks.create("back")
    spec = replace(SLEEP, name="web", network="front", ports=(PortMapping(80),))
    web = engine.containers.run(spec)
    other = engine.containers.run(replace(spec, name="other", network="back"))
    engine.containers.connections.connect("other", Attachment("bridge"))
    rules = engine.networks.nft_rules("front")
    text = "\n".join(rules)
    mine, theirs = engine.networks.get("front"), engine.networks.get("back")
    assert f"map ports: tcp . {web.ports[0].host_port} : {web.endpoints[0].address} . 80" in rules
    assert any(f'iifname "{mine.bridge}" accept' in rule for rule in rules)
    assert any("@ports" in rule for rule in rules)
    for foreign in (other.endpoints[0].address, theirs.subnet, f'ifname "{theirs.bridge}"'):
        assert foreign not in text
    assert engine.networks.nft_rules("host") == ()
