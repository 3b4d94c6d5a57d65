"""Names of containers: asked for inside them, as their programs do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument
from engine.linux import nftables
from engine.model.container import Container, ContainerSpec
from engine.model.network import Attachment, Endpoint, PortMapping
from tests.kernel.oci import eventually
from tests.kernel.test_network import IMAGE, executed

SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))
UPSTREAM = f"127.8.0.{os.getpid() % 250 + 1}"
SERVER = """
import socket, sys, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
listener = socket.create_server((sys.argv[1], 53)) if sys.argv[2:] else None

def answer(query, most):
    end = query.index(b"\\0", 12) + 5
    if b"failing" in query:
        return query[:2] + b"\\x81\\x82" + b"\\0\\1" + bytes(6) + query[12:end]
    count = 0 if b"outside" not in query else 100 if b"many" in query else 1
    flags = b"\\x83\\x80" if count > most else b"\\x81\\x80" if count else b"\\x81\\x83"
    head = query[:2] + flags + b"\\0\\1" + min(count, most).to_bytes(2, "big") + bytes(4)
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4\\xc0\\0\\2"
    return head + query[12:end] + b"".join(record + bytes([42 + number]) for number in range(min(count, most)))

def serve():
    while True:
        with listener.accept()[0] as channel:
            stream = channel.makefile("rwb")
            text = answer(stream.read(int.from_bytes(stream.read(2), "big")), 100)
            for byte in len(text).to_bytes(2, "big") + text[:20]:
                channel.sendall(bytes([byte]))
            channel.sendall(text[20:])

if listener:
    threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    server.sendto(answer(query, 20), client)
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
    """A name server on the host's loopback, over UDP and TCP; it knows names with "outside" in them."""

    def __enter__(self) -> None:
        program = [sys.executable, "-I", "-S", "-c", SERVER, UPSTREAM, "tcp"]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


LIBC = """
import socket, sys
print(len({item[4][0] for item in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET, socket.SOCK_STREAM)}))
"""


def counted(engine: Engine, container: Container, name: str, options: str = "") -> int:
    """Return how many addresses the host's C library finds for a name, asking as a program in the container does."""
    conf = f"{engine.root}/containers/{container.id}/resolv.conf"
    script = f'mount --bind {conf} /etc/resolv.conf && exec {sys.executable} -I -S -c "$0" {name}'
    inside = ["nsenter", "-t", str(container.pid), "-n", "unshare", "-m", "sh", "-c", script, LIBC]
    environment = {**os.environ, "RES_OPTIONS": options}
    done = subprocess.run(inside, capture_output=True, text=True, check=False, env=environment)
    return int(done.stdout) if done.returncode == 0 else 0


def test_answers_that_are_too_long_are_asked_for_over_tcp(engine: Engine) -> None:
    engine.networks.create("mesh", subnet="198.18.41.0/24")
    nobody = "127.0.0.1" if UPSTREAM != "127.0.0.1" else "127.0.0.2"  # nothing listens there
    asking = replace(SLEEP, name="asking", network="mesh", dns=(nobody, UPSTREAM))
    container = engine.containers.run(asking)
    for number in range(100, 180):
        member = Endpoint("mesh", f"198.18.41.{number}", mac="02:00:00:00:00:01")
        engine.networks.announce(member, f"{number:064x}", ("member", "crowd"))
    with private_resolver():
        assert counted(engine, container, "crowd") == 80  # cut short over UDP
        assert counted(engine, container, "many.outside.example") == 100
        assert counted(engine, container, "asking", "use-vc") == 1
        assert counted(engine, container, "outside.example", "use-vc") == 1
        assert counted(engine, container, "unknown.example", "use-vc") == 0
        assert counted(engine, container, "failing.outside", "use-vc") == 0
        assert counted(engine, container, "failing.outside") == 0
    assert len({looked_up_first(engine, container, "crowd") for _ in range(3)}) == 3  # each gets its share
    engine.system.check(repair=True)


def test_a_server_that_is_silent_leaves_the_query_to_the_next(engine: Engine) -> None:
    engine.networks.create("mesh")
    silent = UPSTREAM.replace("127.8.", "127.9.")
    container = engine.containers.run(replace(SLEEP, network="mesh", dns=(silent, UPSTREAM)))
    with private_resolver(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, ThreadPoolExecutor(2) as pool:
        one.bind((silent, 53))
        with socket.create_server((silent, 53)):  # the kernel takes connections, and nobody reads from them
            once = "timeout:30 attempts:1"  # the program itself does not ask again
            found = [
                pool.submit(counted, engine, container, "outside.example", f"{once} {more}") for more in ("", "use-vc")
            ]
            assert [answer.result() for answer in found] == [1, 1]


def looked_up_first(engine: Engine, container: Container, name: str) -> str:
    return executed(engine, container.id, "nslookup", name)[1].split("Address: ")[1].split()[0]


FLOOD = """
import select, socket, struct, sys
def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1"
    return struct.pack("!H", len(message)) + message
def connect():
    return socket.create_connection((sys.argv[1], 53), 60)
idle = [connect() for _ in range(50)]
for number, channel in enumerate(idle):
    try:
        channel.sendall((b"", b"\\xff\\xff" + bytes(20), b"\\0\\5abcde", query("self")[:9], query("x.example") * 500)[number % 5])
    except OSError:
        pass
with connect() as channel:
    channel.sendall(query("self") * 3)
    text = b""
    while len(text) < 3 * (2 + 22 + 16):
        text += channel.recv(1000)
    print("answered", flush=True)
    print(len(channel.recv(1000)), flush=True)  # nothing more: it is closed, since we are silent
"""


def sockets(pid: int) -> int:
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found += os.readlink(path).startswith("socket:")
    return found


def test_no_container_exhausts_its_resolver(engine: Engine) -> None:
    engine.networks.create("mesh")
    container = engine.containers.run(replace(SLEEP, name="self", network="mesh", dns=("192.0.2.1",)))
    state = engine.containers._registry.state(container.id)
    assert state is not None
    before = sockets(state.monitor_pid)
    gateway = engine.networks.get("mesh").gateway
    inside = ["nsenter", "-t", str(container.pid), "-n", sys.executable, "-I", "-S", "-c", FLOOD, gateway]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        assert sockets(state.monitor_pid) <= before + 8 * 5
        assert process.stdout.readline() == "0\n"
    eventually(lambda: sockets(state.monitor_pid) <= before)
    assert looked_up(engine, container, "self") == [container.endpoints[0].address]
    assert state.resolver is not None
    with socket.create_connection((gateway, state.resolver[1]), 60) as stranger:  # the host is not the container
        assert stranger.recv(1) == b""


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
