"""Times networks side by side with docker and podman: attaching, starting with a port, throughput, many ports, many containers.

We and the peers run in network namespaces of our own, so that nobody else's rules slow one of us down. Throughput is that of one TCP connection for a second, in turns; the client
and the server are the same programs for all. Run as root: python -m tests.bench_network [ROUNDS]
"""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.api import Engine
from engine.model.container import ContainerSpec
from engine.model.network import Attachment, PortMapping
from tests.bench import (
    IMAGE,
    Contender,
    milliseconds,
    peer_published_start,
    private_dockerd,
    private_podman,
    published_start,
    report,
    rootfs_archive,
    take_turns,
)

ROUNDS, TRANSFERS = 10, 7
ALONE = "TUICON_BENCH_ALONE"
ENTER = """
mount --rbind /sys/fs/cgroup /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup && umount -l /mnt
ip link set lo up && exec "$@"
"""
CROWD = 200
PORTS = 1000
SPEC = ContainerSpec(IMAGE, command=("sleep", "100000"))
RECEIVE = """
import socket, time
with socket.create_server(("", 7000)) as server:
    print("ready", flush=True)
    client, _ = server.accept()
    buffer, got, began = bytearray(1 << 20), 0, time.monotonic()
    while size := client.recv_into(buffer):
        got += size
    print(got / (time.monotonic() - began))
"""
SEND = """
import socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as channel:
    data, until = bytes(1 << 20), time.monotonic() + 1
    while time.monotonic() < until:
        channel.sendall(data)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way for bytes: the processes in whose network namespaces client and server are, and where the client connects."""

    name: str
    client: int
    server: int
    address: str
    port: int


def speed(way: Way) -> float:
    """Return the bytes per second that one connection carries."""

    def inside(pid: int, *program: str) -> list[str]:
        return ["nsenter", "-t", str(pid), "-n", sys.executable, "-I", "-S", "-c", *program]

    with subprocess.Popen(inside(way.server, RECEIVE), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            subprocess.run(inside(way.client, SEND, way.address, str(way.port)), check=True)
        except BaseException:
            process.kill()
            raise
        return float(process.stdout.read())


def bench_speed(title: str, ours: Way, theirs: Way | None) -> None:
    """Print how many bytes a way carries, and the ratio to the peer's; the two take turns."""
    found: dict[str, list[float]] = {}
    for number in range(TRANSFERS + 1):
        for way in (ours, theirs):
            if way and (measured := speed(way)) and number:
                found.setdefault(way.name, []).append(measured)
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratio = f"   {medians[ours.name] / medians[theirs.name]:.2f} of {theirs.name}" if theirs else ""
    print(f"\n{title}")
    for name, median in medians.items():
        print(f"  {name:<44} {median / 1e9:8.2f} GB/s {ratio if name == ours.name else ''}".rstrip())


def attach(engine: Engine) -> Contender:
    """Time the attaching of a running container to one more network."""
    engine.networks.create("bench-mesh")
    engine.containers.run(ContainerSpec(IMAGE, name="bench-attached", command=("sleep", "100000")))
    connections = engine.containers.connections

    def once() -> float:
        taken = milliseconds(lambda: connections.connect("bench-attached", Attachment("bench-mesh")))
        connections.disconnect("bench-attached", "bench-mesh")
        return taken

    return Contender("tuicon engine, warm: network connect", once)


def peer_attach(name: str, client: list[str]) -> Contender:
    """Time the same by a client with docker's verbs."""

    def call(*words: str) -> object:
        return subprocess.run([*client, *words], check=True, capture_output=True)

    call("network", "create", "bench-mesh")
    call("run", "-d", "--name", "bench-attached", IMAGE, "sleep", "100000")

    def once() -> float:
        taken = milliseconds(lambda: call("network", "connect", "bench-mesh", "bench-attached"))
        call("network", "disconnect", "bench-mesh", "bench-attached")
        return taken

    return Contender(f"{name} network connect", once)


def our_ways(engine: Engine) -> tuple[Way, Way]:
    """Return the way between two containers, and that through a published port."""
    server = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "100000"), ports=(PortMapping(7000),)))
    client = engine.containers.run(SPEC)
    endpoint, port = server.endpoints[0], server.ports[0].host_port
    return (
        Way("tuicon", client.pid, server.pid, endpoint.address, 7000),
        Way("tuicon", os.getpid(), server.pid, endpoint.gateway, port),
    )


def docker_ways(client: list[str], daemon: int) -> tuple[Way, Way]:
    """Return the same two of docker."""

    def call(*words: str) -> str:
        return subprocess.run([*client, *words], check=True, capture_output=True, text=True).stdout.strip()

    call("run", "-d", "--name", "bench-server", "-p", "7000", IMAGE, "sleep", "100000")
    call("run", "-d", "--name", "bench-client", IMAGE, "sleep", "100000")
    sender, receiver = (int(call("inspect", "-f", "{{.State.Pid}}", f"bench-{name}")) for name in ("client", "server"))
    settings = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}"
    address, gateway = call("inspect", "-f", settings, "bench-server").split()
    port = int(call("port", "bench-server", "7000").splitlines()[0].rpartition(":")[2])
    return Way("docker", sender, receiver, address, 7000), Way("docker", daemon, receiver, gateway, port)


def bench_ports(engine: Engine) -> None:
    """Print how long a container takes to start with very many published ports, and how long to end."""
    spec = ContainerSpec(
        IMAGE, command=("sleep", "100000"), ports=tuple(PortMapping(1 + port) for port in range(PORTS))
    )
    plain = min(_start_and_end(engine, SPEC)[0] for _ in range(3))
    times = [_start_and_end(engine, spec) for _ in range(3)]
    started, ended = (min(values) for values in zip(*times, strict=True))
    print(f"\n{PORTS} published ports of one container")
    print(f"  start {started:.0f} ms, which is {started - plain:.0f} ms for the ports; end {ended:.0f} ms")


def _start_and_end(engine: Engine, spec: ContainerSpec) -> tuple[float, float]:
    container = engine.containers.create(spec)
    started = milliseconds(lambda: engine.containers.start(container.id))
    return started, milliseconds(lambda: engine.containers.remove(container.id, force=True))


def bench_crowd(engine: Engine) -> None:
    """Print what it costs that very many containers of one network start, find each other, and leave."""
    engine.networks.create("bench-crowd")
    names = [f"bench-member{number}" for number in range(CROWD)]

    def each(action: Callable[[str], object]) -> float:
        return milliseconds(lambda: [action(name) for name in names]) / CROWD

    started = each(lambda name: engine.containers.run(
        ContainerSpec(IMAGE, name=name, command=("sleep", "100000"), network="bench-crowd")))  # fmt: skip
    addresses = {name: engine.containers.get(name).endpoints[0].address for name in names}
    following = dict(zip(names, [*names[1:], names[0]], strict=True))

    def resolve(name: str) -> None:
        reach = engine.containers.reach(name, following[name])
        if not reach.is_reached or reach.address != addresses[following[name]]:
            sys.exit(f"bench: {name} does not reach {following[name]}: {reach}")

    resolved = each(resolve)
    removed = each(lambda name: engine.containers.remove(name, force=True))
    found = engine.system.check().found
    if found:
        sys.exit(f"bench: the containers left {found}")
    print(f"\n{CROWD} containers on one bridge, milliseconds for each")
    print(f"  start {started:.1f}, find and ping the next one by name {resolved:.1f}, leave {removed:.1f}")


def main() -> None:
    """Run everything and print it."""
    if not os.environ.get(ALONE):
        again = [sys.executable, "-m", "tests.bench_network", *sys.argv[1:]]
        command = ["unshare", "--net", "--mount", "sh", "-ec", ENTER, "sh", *again]
        sys.exit(subprocess.run(command, check=False, env={**os.environ, ALONE: "1"}).returncode)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print("\nNetworks")
    with tempfile.TemporaryDirectory(prefix="tuicon-bench-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        scratch, archive = Path(name), rootfs_archive()
        engine = stack.enter_context(Engine(scratch / "tuicon"))
        stack.callback(engine.system.reset)
        engine.images.import_rootfs(io.BytesIO(archive), IMAGE)
        engine.containers.run(SPEC)
        attaching, starting = [attach(engine)], [published_start(engine)]
        ours, theirs = our_ways(engine), None
        if shutil.which("dockerd"):
            scratch.joinpath("docker").mkdir()
            client = stack.enter_context(private_dockerd(scratch / "docker"))
            subprocess.run([*client, "import", "-", IMAGE], input=archive, check=True, stdout=subprocess.DEVNULL)
            daemon = int(scratch.joinpath("docker/pid").read_text())
            theirs = docker_ways(client, daemon)
            attaching.append(peer_attach("docker", client))
            starting.append(peer_published_start("docker", client))
            if shutil.which("podman") and shutil.which("runc"):
                podman, run = private_podman(scratch / "podman", archive)
                inside = ["nsenter", "-t", str(daemon), "-n", *podman]
                starting.append(peer_published_start("podman", inside, *run[3:]))  # without its --network none
        report("One more network for a container that runs", [attaching[0].name], take_turns(attaching, rounds))
        report("A bridge and a published port", [starting[0].name], take_turns(starting, rounds))
        bench_speed("TCP between two containers", ours[0], theirs[0] if theirs else None)
        bench_speed("TCP from the host through a published port", ours[1], theirs[1] if theirs else None)
        bench_ports(engine)
        bench_crowd(engine)


if __name__ == "__main__":
    main()
