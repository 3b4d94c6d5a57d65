"""What a kernel has or has not: WireGuard between two hosts, which are network namespaces, and netem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument, NotSupported
from engine.model.limits import Limits
from engine.model.tunnel import Peer
from tests.conftest import IS_PURE_V2
from tests.kernel.conftest import leftovers
from tests.kernel.oci import eventually
from tests.kernel.test_network import IMAGE
from tests.kernel.test_rates import RATE, SLEEP, queues

CHECKOUT = Path(__file__).resolve().parents[2]
OPTIONS = {"encryption": "wireguard", "wireguard.listen": "51999"}
SECRET = b"what-nobody-on-the-way-may-read"
ENTER = """
mkdir -p "$1" && mount --rbind /sys/fs/cgroup "$1" && mount -t sysfs sysfs /sys && mount --rbind "$1" /sys/fs/cgroup
shift; exec "$@"
"""
HOST = """
import json, socket, sys
from pathlib import Path
from engine.api import Engine
from engine.model.container import ContainerSpec
from engine.model.tunnel import Peer

def sniff(interface):
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    channel.bind((interface, 0))
    channel.setblocking(False)
    return channel

def frames(channel):
    found = []
    while True:
        try:
            found.append(channel.recv(65536))
        except BlockingIOError:
            return found

engine = Engine(Path(sys.argv[1]))
for line in sys.stdin:
    try:
        answer = None
        exec(line)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), flush=True)
engine.system.reset()
engine.close()
"""
RECEIVE = """
import socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    print("ready", flush=True)
    client, _ = server.accept()
    print(client.makefile("rb").read().count(sys.argv[2].encode()))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 60) as channel:
    channel.sendall(sys.argv[2].encode() * 5000)
"""


class Host:
    """A network namespace with an engine of its own, which does what it is told."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.state = root / name
        place = root / f"{name}-cgroup"
        self._process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount", "sh", "-ec", ENTER, "sh", place,
             sys.executable, "-c", HOST, self.state],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def does(self, statement: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(statement, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def says(self, expression: str) -> Any:
        return self.does(f"answer = {expression}")

    def is_gone(self) -> bool:
        return leftovers(self.state) == []

    def close(self) -> None:
        self._process.communicate(timeout=120)
        assert self._process.returncode == 0


@pytest.fixture
def hosts(root: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other at 192.0.2.1 and 192.0.2.2."""
    names = [f"tw{os.getpid()}{letter}" for letter in "ab"]
    for command in (
        *(f"ip netns add {name}" for name in names),
        f"ip -n {names[0]} link add under type veth peer name under netns {names[1]}",
        *(f"ip -n {name} addr add 192.0.2.{number}/24 dev under" for number, name in enumerate(names, 1)),
        *(f"ip -n {name} link set {link} up" for name in names for link in ("lo", "under")),
    ):
        subprocess.run(command.split(), check=True)
    made = Host(names[0], root), Host(names[1], root)
    yield made
    for host in made:
        host.close()
        eventually(host.is_gone)
        subprocess.run(["ip", "netns", "del", host.name], check=True)


def run_on(host: Host, name: str, network: str) -> tuple[int, str]:
    """Run a container on a host; return its process and address."""
    host.does("engine.images.list() or engine.images.build_demo()")
    spec = f'ContainerSpec("{IMAGE}", name="{name}", command=("sleep", "1000"), network="{network}")'
    found = host.does(f"one = engine.containers.run({spec}); answer = one.pid, one.endpoints[0].address")
    assert isinstance(found, list), found
    return found[0], found[1]


def pings(sender: str, address: str, seconds: int = 2) -> bool:
    ping = ["nsenter", f"--net={sender}", "ping", "-c", "1", "-W", str(seconds), address]
    return subprocess.run(ping, check=False, stdout=subprocess.DEVNULL).returncode == 0


def arrives(sender: str, receiver: str, address: str) -> bool:
    """Send what is secret from one network namespace to another; return whether all of it arrives."""

    def inside(namespace: str, code: str, *arguments: str) -> list[str]:
        return ["nsenter", f"--net={namespace}", sys.executable, "-I", "-S", "-c", code, *arguments]

    text = SECRET.decode()
    with subprocess.Popen(inside(receiver, RECEIVE, address, text), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        sent = subprocess.run(inside(sender, SEND, address, text), capture_output=True, check=False)
        if sent.returncode:
            process.kill()
        return process.stdout.read() == b"5000\n"


@pytest.mark.v2
def test_networks_of_two_hosts_reach_each_other_and_nobody_on_the_way_reads_it(hosts: tuple[Host, Host]) -> None:
    keys = []
    for number, host in enumerate(hosts, 1):
        host.does(f'answer = engine.networks.create("mesh", subnet="198.18.{number}.0/24", options={OPTIONS}).mtu')
        keys.append(host.says('engine.networks.tunnels.get("mesh").public_key'))
    first, second = hosts

    def peer(number: int) -> str:
        return f'Peer("{keys[number - 1]}", ("198.18.{number}.0/24",), "192.0.2.{number}:51999")'

    assert first.does(f'engine.networks.tunnels.add("mesh", {peer(2)})') is None
    assert second.does(f'engine.networks.tunnels.add("mesh", {peer(1)})') is None
    (here, at), (there, to) = run_on(first, "one", "mesh"), run_on(second, "two", "mesh")
    bridge = first.says('engine.networks.get("mesh").bridge')
    first.does(f'on_the_way, on_the_bridge = sniff("under"), sniff("{bridge}")')
    assert arrives(f"/proc/{here}/ns/net", f"/proc/{there}/ns/net", to)
    assert arrives(f"/proc/{there}/ns/net", f"/proc/{here}/ns/net", at)
    secret = SECRET.decode()
    assert first.says(f"sum(b'{secret}' in frame for frame in frames(on_the_bridge))") > 0
    seen = first.says(f"[(frame[12:14].hex(), frame[23], b'{secret}' in frame) for frame in frames(on_the_way)]")
    assert [kind for kind in seen if kind[0] == "0800"]
    assert {(kind, protocol, leaks) for kind, protocol, leaks in seen if kind == "0800"} == {("0800", 17, False)}

    state = first.says(
        '[(one.endpoint, one.received, bool(one.handshake_at)) for one in engine.networks.tunnels.get("mesh").peers]'
    )
    assert state[0][0] == "192.0.2.2:51999"
    assert state[0][1] > 5000 * len(SECRET)
    assert state[0][2]
    way = first.says(f'[(step.name, step.detail) for step in engine.containers.reach("one", "{to}").steps]')
    assert "through the tunnel to the host at 192.0.2.2:51999, heard last at" in dict(way)["firewall"]
    key_file = first.state / "networks/mesh/wireguard.key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    shown = first.says('engine.networks.inspect("mesh")')
    assert shown["Encryption"]["PublicKey"] == keys[0]
    private = key_file.read_text()
    assert private not in json.dumps(shown)
    assert private not in (first.state / "journal.jsonl").read_text()

    # Who comes through the tunnel does not reach the host, and other networks do not get into it.
    gateway = first.says('engine.networks.get("mesh").gateway')
    assert not pings(f"/proc/{there}/ns/net", gateway)
    first.does('engine.networks.create("other")')
    stranger, _ = run_on(first, "stranger", "other")
    assert pings(f"/proc/{here}/ns/net", to, 60)
    assert not pings(f"/proc/{stranger}/ns/net", to)

    tunnel = first.says('engine.networks.tunnels.get("mesh").interface')
    subprocess.run(["ip", "-n", first.name, "link", "del", tunnel], check=True)
    found = first.says("[one.sentence for one in engine.system.check(repair=True).found]")
    assert found == ["network mesh has lost its tunnel to other hosts"]
    assert pings(f"/proc/{here}/ns/net", to, 60)
    assert "NotFound" in first.does('engine.networks.tunnels.drop("mesh", "nobody")')
    assert first.does(f'engine.networks.tunnels.drop("mesh", "{keys[1]}")') is None
    assert not pings(f"/proc/{here}/ns/net", to)
    first.does('engine.containers.remove("one", force=True); engine.networks.remove("mesh")')
    assert (
        tunnel
        not in subprocess.run(["ip", "-n", first.name, "link"], check=True, capture_output=True, text=True).stdout
    )
    assert not key_file.exists()


def test_an_encrypted_network_is_checked_and_refused_where_the_kernel_cannot_do_it(engine: Engine) -> None:
    networks = engine.networks
    for options in (
        {"encryption": "x"},
        {"wireguard.listen": "1"},
        {**OPTIONS, "wireguard.listen": "x"},
        {**OPTIONS, "wireguard.x": "1"},
    ):
        with pytest.raises(InvalidArgument):
            networks.create("mesh", options=options)
    with pytest.raises(InvalidArgument, match="network mesh is internal"):
        networks.create("mesh", internal=True, options=OPTIONS)
    networks.create("open")
    key = "A" * 43 + "="
    with pytest.raises(Conflict, match="network open is not encrypted"):
        networks.tunnels.add("open", Peer(key, ("198.18.2.0/24",)))
    if not IS_PURE_V2:  # the kernel of the virtual machine has it
        with pytest.raises(NotSupported, match="network mesh cannot be encrypted: this kernel has no WireGuard"):
            networks.create("mesh", options=OPTIONS)
        assert [network.name for network in networks.list() if not network.builtin] == ["open"]
        assert engine.system.check().found == ()
        return
    networks.create("mesh", subnet="198.18.1.0/24", options=OPTIONS)
    for wrong in (
        Peer("x", ("198.18.2.0/24",)), Peer(key, ()), Peer(key, ("0.0.0.0/0",)), Peer(key, ("198.18.2.1/24",)),
        Peer(key, ("198.18.2.0/24",), "somewhere:1"), Peer(key, ("198.18.2.0/24",), "192.0.2.1:0"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            networks.tunnels.add("mesh", wrong)
    with pytest.raises(Conflict, match=r"overlaps 198.18.1.0/24"):
        networks.tunnels.add("mesh", Peer(key, ("198.18.0.0/16",)))
    with pytest.raises(Conflict, match="port 51999/udp of the host is in use"):
        networks.create("second", options=OPTIONS)
    assert engine.system.check().found == ()


def test_packets_are_delayed_and_lost_where_the_kernel_can_do_it(engine: Engine) -> None:
    engine.networks.create("front")
    engine.containers.run(replace(SLEEP, name="peer", network="front"))
    container = engine.containers.run(replace(SLEEP, name="far", network="front"))
    knobs = {knob.name: knob for knob in engine.containers.tuning.knobs()}
    disturbed = Limits(net_delay=300_000)
    if not knobs["net_delay"].is_supported:
        assert not IS_PURE_V2  # the kernel of the virtual machine has it
        with pytest.raises(NotSupported, match="net-delay cannot be set: this kernel has no netem"):
            engine.containers.update(container.id, lambda _: disturbed)
        return
    engine.containers.update(container.id, lambda _: replace(disturbed, net_rate_out=RATE))
    shaper = engine.networks.shapers()[0]
    assert {"netem", "tbf"} <= set(queues(shaper))
    found = engine.containers.reach("far", "peer")
    ping = found.steps[-1]
    assert ping.milliseconds is not None
    assert ping.milliseconds >= 300
    engine.containers.update(container.id, lambda _: Limits(net_loss=100.0))
    assert set(queues(shaper)) == {"netem"}
    assert engine.containers.reach("far", engine.containers.get("peer").endpoints[0].address).stopped_at in (
        "neighbour",
        "ping",
    )
    engine.containers.update(container.id, lambda _: Limits(net_rate_out=RATE))
    assert set(queues(shaper)) == {"tbf"}
    engine.containers.update(container.id, lambda _: Limits())
    assert engine.networks.shapers() == ()
    assert engine.containers.reach("far", "peer").is_reached
