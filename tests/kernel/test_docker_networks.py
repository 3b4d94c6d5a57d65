"""What reaches what, and which names are known: the same questions to us and to dockerd, which must answer alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine.api import Engine
from engine.images import demo
from engine.model.container import ContainerSpec
from engine.model.network import PortMapping
from tests.bench import private_dockerd
from tests.kernel.oci import eventually
from tests.kernel.test_names import SERVER
from tests.kernel.test_network import IMAGE
from tests.kernel.test_ports import SERVER as WEB
from tests.kernel.test_ports import asked

_SUBNET = f"198.19.{os.getpid() % 256}"
_SUBNET6 = f"fd43:{os.getpid() % 65536:x}:1:"
HOST, OUTSIDE, HOST6, OUTSIDE6 = f"{_SUBNET}.1", f"{_SUBNET}.2", f"{_SUBNET6}:1", f"{_SUBNET6}:2"
PORT = 18080
QUERY = """
import socket, struct, sys
server, name, kind = sys.argv[1:]
message = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0)
message += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\\0" + struct.pack("!HH", int(kind), 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    channel.settimeout(60)
    channel.sendto(message, (server, 53))
    answer = channel.recv(4096)
print(answer[3] & 15, int.from_bytes(answer[6:8], "big"))
"""
A, PTR, MX, AAAA = 1, 12, 15, 28
DIFFERENT = {
    "4: unpublished, from outside": False,  # docker 20.10 leaves that to the host's own policy, if it forwarded before
    "6: published, from the loopback": False,  # docker has a process between, which hides the client's address
    "6: internal, from its neighbour": "beside",  # docker 20.10 keeps them apart when br_netfilter is loaded
}
Question = Callable[[], object]


class World(Protocol):
    """An engine, and the network namespace that is its host."""

    host: tuple[str, ...]

    def network(self, name: str, *, internal: bool = False) -> None: ...
    def run(self, name: str, network: str, command: str, *, is_published: bool = False) -> None: ...
    def stop(self, name: str) -> None: ...
    def inspect(self, name: str) -> dict[str, Any]: ...


class Ours:
    """Tuicon, on this host."""

    host: tuple[str, ...] = ()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def network(self, name: str, *, internal: bool = False) -> None:
        self._engine.networks.create(name, internal=internal, ipv6=True)

    def run(self, name: str, network: str, command: str, *, is_published: bool = False) -> None:
        ports = (PortMapping(80, first=PORT, last=PORT),) if is_published else ()
        spec = ContainerSpec(
            IMAGE, name=name, network=network, command=("sh", "-c", command), ports=ports, dns=(OUTSIDE,)
        )
        self._engine.containers.run(spec)

    def stop(self, name: str) -> None:
        self._engine.containers.stop(name, timeout=0)

    def inspect(self, name: str) -> dict[str, Any]:
        found = self._engine.containers.inspect(name)
        container = self._engine.containers.get(name)
        return {**found, "ResolvConfPath": f"{self._engine.root}/containers/{container.id}/resolv.conf"}


class Theirs:
    """dockerd, in a network namespace of its own."""

    def __init__(self, client: list[str], pid: int) -> None:
        self._client = client
        self.host: tuple[str, ...] = ("nsenter", "-t", str(pid), "-n")
        self._number = 0

    def _call(self, *words: str) -> str:
        return subprocess.run([*self._client, *words], check=True, capture_output=True, text=True).stdout

    def network(self, name: str, *, internal: bool = False) -> None:
        self._number += 1
        more = ["--internal"] if internal else []
        self._call("network", "create", *more, "--ipv6", "--subnet", f"fd44:{self._number}::/64", name)

    def run(self, name: str, network: str, command: str, *, is_published: bool = False) -> None:
        ports = ["-p", f"{PORT}:80"] if is_published else []
        self._call(
            "run", "-d", "--name", name, "--network", network, *ports, "--dns", OUTSIDE, "demo:1", "sh", "-c", command
        )

    def stop(self, name: str) -> None:
        self._call("kill", name)

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._call("inspect", name))[0]
        return found


def wire(host: tuple[str, ...], outside: str, far: str) -> None:
    """Lay a cable between a host and the outside."""
    for command in (
        f"ip link add name {far}a type veth peer name {far}b netns {outside}", f"ip addr add {HOST}/24 dev {far}a",
        f"ip addr add {HOST6}/64 dev {far}a nodad", f"ip link set dev {far}a up", "ip link set dev lo up",
    ):  # fmt: skip
        subprocess.run([*host, *command.split()], check=True)
    for command in (f"addr add {OUTSIDE}/24 dev {far}b", f"addr add {OUTSIDE6}/64 dev {far}b nodad", f"link set dev {far}b up", "link set dev lo up"):  # fmt: skip
        subprocess.run(["ip", "-n", outside, *command.split()], check=True)


@pytest.fixture
def theirs() -> Iterator[Theirs]:
    path = Path(tempfile.mkdtemp(prefix="tuicon-docker-", dir=os.environ.get("TUICON_TEST_ROOT")))
    with private_dockerd(path, options=("--storage-driver", "vfs", "--experimental", "--ip6tables")) as client:
        subprocess.run(
            [*client, "import", "-", "demo:1"], input=demo.root_archive().getvalue(), check=True, capture_output=True
        )
        yield Theirs(client, int(path.joinpath("pid").read_text()))
        names = subprocess.run([*client, "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
        subprocess.run([*client, "rm", "-f", *names], capture_output=True, check=True)
    shutil.rmtree(path, ignore_errors=True)


class Member:
    """A container of a world, as its inspect shows it."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name = name
        self.way = ("nsenter", "-t", str(document["State"]["Pid"]), "-n")
        self.end = next(iter(document["NetworkSettings"]["Networks"].values()))
        words = Path(document["ResolvConfPath"]).read_text().split()
        self.server = words[words.index("nameserver") + 1]

    def address(self, version: int) -> str:
        return str(self.end["IPAddress" if version == 4 else "GlobalIPv6Address"])

    def gateway(self, version: int) -> str:
        return str(self.end["Gateway" if version == 4 else "IPv6Gateway"])


def populate(world: World) -> dict[str, Member]:
    """Make the networks and containers of a world; one of them ends at once."""
    for name in ("one", "two", "inner"):
        world.network(name, internal=name == "inner")
    world.run("server", "one", WEB, is_published=True)
    for name, network in (("hidden", "one"), ("inside", "inner")):
        world.run(name, network, WEB)
    for name, network in (("stranger", "two"), ("beside", "inner"), ("gone", "one")):
        world.run(name, network, "sleep 1000")
    found = {name: Member(name, world.inspect(name)) for name in ("server", "hidden", "stranger", "inside", "beside")}
    for name in ("server", "hidden", "inside"):
        way = found[name].way
        eventually(lambda way=way: asked("127.0.0.1", 80, *way) is not None)  # type: ignore[misc]
    world.stop("gone")
    return found


def client_of(found: dict[str, Member], text: str | None) -> str | None:
    """Return who a server has seen."""
    address = str(text).strip("[]")
    names = {one.address(version): one.name for one in found.values() for version in (4, 6)}
    return {**names, OUTSIDE: "outside", OUTSIDE6: "outside"}.get(address, text)


def packets(world: World, found: dict[str, Member], beyond: tuple[str, ...], version: int) -> dict[str, Question]:
    """Return what is asked about one family's packets."""
    host, remote = (HOST, OUTSIDE) if version == 4 else (HOST6, OUTSIDE6)
    server, hidden, stranger, inside, beside = found.values()

    def who(address: str, port: int, way: tuple[str, ...]) -> Question:
        return lambda: client_of(found, asked(address, port, *way))

    def whether(address: str, port: int, way: tuple[str, ...]) -> Question:
        return lambda: asked(address, port, *way) is not None

    def goes_out(member: Member) -> Question:
        words = [*member.way, "ping", "-c", "1", "-W", "3", remote]
        return lambda: subprocess.run(words, capture_output=True, check=False).returncode == 0

    subprocess.run([*beyond, "ip", "route", "add", hidden.address(version), "via", host], check=True)
    questions = {
        "published, from outside": who(host, PORT, beyond),
        "published, from the host": whether(host, PORT, world.host),
        "published, from the loopback": whether("127.0.0.1" if version == 4 else "::1", PORT, world.host),
        "published, from the neighbour": whether(hidden.gateway(version), PORT, hidden.way),
        "published, from itself": whether(server.gateway(version), PORT, server.way),
        "published, from another network": whether(stranger.gateway(version), PORT, stranger.way),
        "published, from another network by the host's address": whether(host, PORT, stranger.way),
        "unpublished, from the neighbour": who(hidden.address(version), 80, server.way),
        "unpublished, from another network": whether(hidden.address(version), 80, stranger.way),
        "unpublished, from the host": whether(hidden.address(version), 80, world.host),
        "unpublished, from outside": whether(hidden.address(version), 80, beyond),
        "internal, from its neighbour": who(inside.address(version), 80, beside.way),
        "internal, from another network": whether(inside.address(version), 80, stranger.way),
        "the way out": goes_out(hidden),
        "the way out of the internal network": goes_out(inside),
    }
    return {f"{version}: {text}": question for text, question in questions.items()}


def names(found: dict[str, Member]) -> dict[str, Question]:
    """Return what is asked about names: code and number of the records of the answer."""

    def resolved(asking: str, name: str, kind: int) -> Question:
        member = found[asking]
        query = [*member.way, sys.executable, "-I", "-S", "-c", QUERY, member.server, name, str(kind)]
        return lambda: subprocess.run(query, capture_output=True, check=False).stdout

    reverse = ".".join(reversed(found["server"].address(4).split("."))) + ".in-addr.arpa"
    questions = {f"{name}, {kind}": resolved("hidden", name, kind) for name, kind in (
        ("server", A), ("SERVER.one", A), ("server", AAAA), ("server", MX), ("gone", A), ("stranger", A),
        ("outside.example", A), ("unknown.example", A), ("failing.outside", A),
    )}  # fmt: skip
    return {**questions, "PTR": resolved("hidden", reverse, PTR), "inside": resolved("beside", "inside", A)}


def facts(world: World, outside: str) -> dict[str, object]:
    """Ask everything of one world, all at once, since what is kept apart answers by silence."""
    found = populate(world)
    beyond = ("ip", "netns", "exec", outside)
    questions = {**packets(world, found, beyond, 4), **packets(world, found, beyond, 6), **names(found)}
    with ThreadPoolExecutor(12) as pool:
        answers = {text: pool.submit(question) for text, question in questions.items()}
        return {text: answer.result() for text, answer in answers.items()}


def test_what_reaches_what_and_which_names_are_known_is_as_in_docker(engine: Engine, theirs: Theirs) -> None:
    found = []
    worlds: tuple[World, ...] = (theirs, Ours(engine))
    for number, world in enumerate(worlds):
        outside = f"td{os.getpid()}{number}"
        subprocess.run(["ip", "netns", "add", outside], check=True)
        try:
            wire(world.host, outside, outside[:13])
            program = ["ip", "netns", "exec", outside, sys.executable, "-I", "-S", "-c", SERVER, OUTSIDE, "tcp"]
            with subprocess.Popen(program, stdout=subprocess.PIPE) as servers:
                assert servers.stdout is not None
                assert servers.stdout.readline() == b"ready\n"
                found.append(facts(world, outside))
                servers.kill()
        finally:
            subprocess.run(["ip", "netns", "del", outside], check=True)
    in_docker, ours = found
    for text, answer in DIFFERENT.items():
        assert ours.pop(text) == answer, text
        del in_docker[text]
    assert ours == in_docker
    assert True in ours.values()
    assert False in ours.values()
