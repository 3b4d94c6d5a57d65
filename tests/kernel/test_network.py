from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument, NotFound
from engine.model.container import ContainerSpec, ExecSpec
from engine.model.network import PortMapping

IMAGE = "tuicon/demo"
_SUBNET = f"198.19.{os.getpid() % 256}"  # another run beside this one has another
OUTSIDE = f"{_SUBNET}.2"


def run(engine: Engine, *command: str, **more: object) -> str:
    return engine.containers.run(replace(ContainerSpec(IMAGE, command=command or ("sleep", "1000")), **more)).id  # type: ignore[arg-type]


def executed(engine: Engine, container: str, *command: str) -> tuple[int, str]:
    session = engine.containers.exec(container, ExecSpec(command))
    assert session is not None
    text = b""
    while found := session.read(60):
        text += found[1]
    assert session.exit_code is not None
    return session.exit_code, text.decode()


@pytest.fixture
def outside() -> Iterator[str]:
    """A network namespace beside the host, reached through a veth pair; it has no route back to containers."""
    name = f"tt{os.getpid()}"
    for command in (
        f"ip netns add {name}", f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip addr add {_SUBNET}.1/24 dev {name}a", f"ip link set {name}a up",
        f"ip -n {name} addr add {OUTSIDE}/24 dev {name}b", f"ip -n {name} link set {name}b up", f"ip -n {name} link set lo up",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)


def test_a_container_has_an_address_a_route_and_names(engine: Engine) -> None:
    container = run(engine)
    endpoint = engine.containers.get(container).endpoints[0]
    _, text = executed(engine, container, "sh", "-c", "ip addr show eth0; ip route; cat /etc/hosts")
    assert f"{endpoint.address}/{endpoint.prefix_length}" in text
    assert f"default via {endpoint.gateway}" in text
    assert f"{endpoint.address}\t{container[:12]}" in text


def test_traffic_goes_out_with_the_hosts_address(engine: Engine, outside: str) -> None:
    container = run(engine)
    assert executed(engine, container, "ping", "-c", "1", "-W", "10", OUTSIDE)[0] == 0
    # the outside has no route to containers: an answer proves that the source was rewritten
    assert (
        subprocess.run(
            ["ip", "netns", "exec", outside, "ip", "route"], check=True, capture_output=True, text=True
        ).stdout.count("10.")
        == 0
    )


def test_no_container_is_taken_for_a_router(engine: Engine) -> None:
    container = run(engine)
    bridge = engine.networks.get("bridge").bridge
    with open(f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra") as file:
        assert file.read() == "0\n"
    assert executed(engine, container, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra") == (0, "0\n")


def test_neighbours_reach_each_other_and_other_networks_do_not(engine: Engine) -> None:
    first, second = run(engine), run(engine)
    engine.networks.create("other")
    third = run(engine, network="other")
    address = engine.containers.get(second).endpoints[0].address
    assert executed(engine, first, "ping", "-c", "1", "-W", "10", address)[0] == 0
    assert executed(engine, third, "ping", "-c", "1", "-W", "1", address)[0] != 0


def test_an_internal_network_has_no_way_out(engine: Engine, outside: str) -> None:
    engine.networks.create("inner", internal=True)
    first, second = run(engine, network="inner"), run(engine, network="inner")
    assert (
        executed(engine, first, "ping", "-c", "1", "-W", "10", engine.containers.get(second).endpoints[0].address)[0]
        == 0
    )
    assert executed(engine, first, "ping", "-c", "1", "-W", "1", OUTSIDE)[0] != 0


def test_network_none_has_only_lo(engine: Engine) -> None:
    assert executed(engine, run(engine, network="none"), "ls", "/sys/class/net")[1].split() == ["lo"]


def test_an_address_is_not_given_again_at_once(engine: Engine) -> None:
    first = run(engine)
    address = engine.containers.get(first).endpoints[0].address
    engine.containers.remove(first, force=True)
    assert engine.containers.get(run(engine)).endpoints[0].address != address


def test_a_network_in_use_stays_and_a_free_one_goes(engine: Engine) -> None:
    engine.networks.create("mine")
    container = run(engine, network="mine")
    bridge = engine.networks.get("mine").bridge
    with pytest.raises(Conflict):
        engine.networks.remove("mine")
    engine.containers.remove(container, force=True)
    engine.networks.remove("mine")
    assert not os.path.exists(f"/sys/class/net/{bridge}")
    with pytest.raises(NotFound):
        run(engine, network="mine")


def test_a_policy_of_others_that_drops_what_is_forwarded_is_found(outside: str) -> None:
    chain = "chain {hook} {{\n type filter hook {hook} priority 0; policy {policy};\n}}\n"
    commands = "".join(
        f"table {family} t{policy} {{\n{chain.format(hook='input', policy='drop')}{chain.format(hook='forward', policy=policy)}}}\n"
        for family in ("ip", "ip6", "inet")
        for policy in ("drop", "accept")
    )
    look = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from engine.linux import nftables; "
    look += f"nftables.run({commands!r}); print(nftables.foreign_drops('tuicon'))"
    inside = ["ip", "netns", "exec", outside, sys.executable, "-c", look]
    done = subprocess.run(inside, check=True, capture_output=True, text=True)
    assert done.stdout == "('ip tdrop', 'ip6 tdrop', 'inet tdrop')\n"


def test_overlapping_and_malformed_subnets_are_refused(engine: Engine, outside: str) -> None:
    engine.networks.create("a", subnet="198.18.100.0/24")
    with pytest.raises(Conflict):
        engine.networks.create("b", subnet="198.18.100.128/25")
    with pytest.raises(Conflict, match=rf"overlaps {_SUBNET}.0/24, to which the host has a route"):
        engine.networks.create("c", subnet=f"{_SUBNET}.0/25")
    with pytest.raises(InvalidArgument):
        engine.networks.create("c", subnet="nonsense")
    with pytest.raises(Conflict):
        engine.networks.remove("bridge")


def test_a_bridge_takes_docker_s_options(engine: Engine, outside: str) -> None:
    option = "com.docker.network.bridge"
    name = f"tb{os.getpid()}"
    engine.networks.create(
        "divided", ipv6=True,
        options={f"{option}.name": name, f"{option}.enable_icc": "false", f"{option}.host_binding_ipv4": "127.0.0.1"},
    )  # fmt: skip
    first, second = run(engine, network="divided", ports=(PortMapping(80),)), run(engine, network="divided")
    there = engine.containers.get(second).endpoints[0]
    assert there.host_interface in os.listdir(f"/sys/class/net/{name}/brif")
    assert executed(engine, first, "ping", "-c", "1", "-W", "10", OUTSIDE)[0] == 0
    for address in (there.address, there.address6):
        assert executed(engine, first, "ping", "-c", "1", "-W", "1", address)[0] != 0
    # neither by asking the host to route back what came from its bridge
    for route, gateway in ((there.address, there.gateway), (there.address6, there.gateway6)):
        inside = [
            "nsenter",
            "-t",
            str(engine.containers.get(first).pid),
            "-n",
            "ip",
            "route",
            "add",
            route,
            "via",
            gateway,
        ]
        subprocess.run(inside, check=True)
        assert executed(engine, first, "ping", "-c", "1", "-W", "1", route)[0] != 0
    ports = engine.containers.get(first).ports
    assert [port.host_ip for port in ports] == ["127.0.0.1"]
    with pytest.raises(Conflict, match=f"the host has an interface {name} already"):
        engine.networks.create("again", options={f"{option}.name": name})
    for wrong in ({"enable_icc": "perhaps"}, {"name": "a/b"}, {"host_binding_ipv4": "::1"}):
        with pytest.raises(InvalidArgument):
            engine.networks.create("wrong", options={f"{option}.{key}": value for key, value in wrong.items()})
    engine.networks.create("routed", options={f"{option}.enable_ip_masquerade": "0"})
    third = run(engine, network="routed")
    address = engine.containers.get(third).endpoints[0].address
    assert executed(engine, third, "ping", "-c", "1", "-W", "1", OUTSIDE)[0] != 0  # nobody there knows the way back
    subprocess.run(["ip", "-n", outside, "route", "add", address, "via", f"{_SUBNET}.1"], check=True)
    assert executed(engine, third, "ping", "-c", "1", "-W", "10", OUTSIDE)[0] == 0
    engine.containers.remove(first, force=True)
    engine.containers.remove(second, force=True)
    engine.networks.remove("divided")
    assert not os.path.exists(f"/sys/class/net/{name}")


def test_the_veth_goes_with_its_container(engine: Engine) -> None:
    container = run(engine)
    name = engine.containers.get(container).endpoints[0].host_interface
    assert os.path.exists(f"/sys/class/net/{name}")
    engine.containers.remove(container, force=True)
    deadline = time.monotonic() + 60
    while os.path.exists(f"/sys/class/net/{name}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
