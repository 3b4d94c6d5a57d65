"""Names of containers: asked for inside them, as their programs do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument
from engine.linux import nftables
from engine.model.container import Container, ContainerSpec
from engine.model.network import Attachment, PortMapping
from tests.kernel.oci import eventually
from tests.kernel.test_network import IMAGE, executed

SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))
UPSTREAM = f"127.8.0.{os.getpid() % 250 + 1}"
SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    end = query.index(b"\\0", 12) + 5
    known = b"outside" in query
    head = query[:2] + (b"\\x81\\x80" if known else b"\\x81\\x83") + b"\\0\\1" + (b"\\0\\1" if known else b"\\0\\0") + b"\\0\\0\\0\\0"
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4\\xc0\\0\\2\\x2a"
    server.sendto(head + query[12:end] + (record if known else b""), client)
"""


def looked_up(engine: Engine, container: Container, name: str) -> list[str]:
    """Return the addresses, or the names for an address, that nslookup prints inside a container; sorted."""
    code, text = executed(engine, container.id, "nslookup", name)
    if code:
        return []
    answer = text.split("\n\n", 1)[1]
    found = [line.partition("Address: ")[2] or line.partition("name = ")[2] for line in answer.splitlines()]
    return sorted({item.strip() for item in found if item})


def test_containers_of_a_network_find_each_other_by_name(engine: Engine) -> None:
    engine.networks.create("mesh")
    engine.networks.create("other")
    first = engine.containers.run(replace(SLEEP, name="first", network="mesh"))
    aliased = (Attachment("mesh", aliases=("db", "cache")),)
    second = engine.containers.run(replace(SLEEP, name="second", network="mesh", attachments=aliased))
    third = engine.containers.run(replace(SLEEP, network="mesh", attachments=(Attachment("mesh", aliases=("db",)),)))
    stranger = engine.containers.run(replace(SLEEP, name="stranger", network="other"))
    address = second.endpoints[0].address
    for name in ("second", "Second.mesh", "cache", second.short_id):
        assert looked_up(engine, first, name) == [address]
    assert looked_up(engine, first, "db") == sorted([address, third.endpoints[0].address])
    assert looked_up(engine, first, address) == ["second.mesh"]
    assert looked_up(engine, first, "stranger") == []
    assert looked_up(engine, stranger, "second") == []
    assert executed(engine, first.id, "ping", "-c", "1", "-W", "10", "second")[0] == 0  # as programs ask

    engine.containers.rename("second", "renamed")
    assert looked_up(engine, first, "renamed") == [address]
    assert looked_up(engine, first, "second") == []
    engine.containers.stop(third.id, timeout=0)
    assert looked_up(engine, first, "db") == [address]
    engine.containers.connections.connect(stranger.id, Attachment("mesh", aliases=("guest",)))
    assert looked_up(engine, stranger, "renamed") == [address]
    assert len(looked_up(engine, first, "guest")) == 1
    engine.containers.connections.disconnect(stranger.id, "mesh")
    assert looked_up(engine, first, "guest") == []
    members = engine.networks.inspect("mesh")["Containers"]
    assert members[second.id]["Name"] == "renamed"

    nftables.delete_table("inet", engine.networks.firewall.table)
    assert [finding.kind for finding in engine.system.check(repair=True).found] == ["rules"]
    assert looked_up(engine, first, "renamed") == [address]
    engine.containers.remove(second.id, force=True)
    assert looked_up(engine, first, "renamed") == []
    assert engine.system.check().found == ()


def test_other_names_are_asked_of_the_servers_that_are_given(engine: Engine) -> None:
    engine.networks.create("mesh")
    engine.networks.create("inner", internal=True)
    asking = replace(SLEEP, network="mesh", dns=(UPSTREAM,), dns_search=("example.test",))
    with private_resolver():
        container = engine.containers.run(asking)
        assert looked_up(engine, container, "outside.example") == ["192.0.2.42"]
        assert looked_up(engine, container, "unknown.example") == []
        text = executed(engine, container.id, "cat", "/etc/resolv.conf")[1]
        gateway = engine.networks.get("mesh").gateway
        assert text.split("\n")[:2] == [f"nameserver {gateway}", "search example.test"]
        assert "options ndots:0" in text
        inner = engine.containers.run(replace(asking, network="inner"))
        assert looked_up(engine, inner, "outside.example") == []
    with pytest.raises(InvalidArgument, match="alias"):
        engine.containers.create(replace(SLEEP, network="mesh", attachments=(Attachment("mesh", aliases=("a b",)),)))


class private_resolver:  # noqa: N801 - used as a function
    """A name server on the host's loopback; it knows names with "outside" in them."""

    def __enter__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-I", "-S", "-c", SERVER, UPSTREAM], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_a_container_may_serve_names_itself(engine: Engine) -> None:
    engine.networks.create("mesh")
    server = engine.containers.run(replace(SLEEP, name="server", network="mesh", ports=(PortMapping(53, "udp"),)))
    program = [sys.executable, "-I", "-S", "-c", SERVER, "0.0.0.0"]
    with subprocess.Popen(["nsenter", "-t", str(server.pid), "-n", *program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"  # its port 53 was free
            assert looked_up(engine, server, "server") == [server.endpoints[0].address]
        finally:
            process.kill()


def test_many_containers_start_resolve_and_leave(engine: Engine) -> None:
    engine.networks.create("mesh")
    crowd = [engine.containers.run(replace(SLEEP, name=f"member{number}", network="mesh")) for number in range(12)]
    for container in crowd:
        assert looked_up(engine, crowd[0], container.name) == [container.endpoints[0].address]
    for container in crowd[1:]:
        engine.containers.remove(container.id, force=True)
    names = Path(engine.run_root, "names", "mesh")
    assert os.listdir(names) == [crowd[0].id]
    engine.containers.stop(crowd[0].id, timeout=0)
    eventually(lambda: not os.listdir(names))
    assert engine.system.check().found == ()
