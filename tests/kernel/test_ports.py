"""Published ports with real packets: from outside, the host's loopback, neighbours and other networks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers.system import System
from engine.errors import EngineError, InvalidArgument, StartFailed
from engine.linux import nfnetlink, nftables, procfs
from engine.model.container import Container, ContainerSpec, RestartPolicy
from engine.model.finding import Finding
from engine.model.network import PortMapping
from tests.kernel.oci import eventually
from tests.kernel.test_network import _SUBNET, IMAGE, OUTSIDE, executed, outside

__all__ = ["outside"]
HOST = f"{_SUBNET}.1"
SERVER = """
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' > /www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec busybox httpd -f -p 80 -h /www
"""


CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as server:
    server.settimeout(60)
    server.sendall(b"GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n")
    print(server.makefile().read().split("\\n\\n")[-1])
"""


ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
print("ready", flush=True)
server.sendto(*server.recvfrom(100))
"""


def serve(engine: Engine, *ports: PortMapping, **more: object) -> Container:
    """Run a web server that tells its clients who they are, and wait until it listens."""
    spec = replace(ContainerSpec(IMAGE, command=("sh", "-c", SERVER), ports=ports), **more)  # type: ignore[arg-type]
    container = engine.containers.run(spec)
    wait_until_listening(engine, container)
    return engine.containers.get(container.id)


def wait_until_listening(engine: Engine, container: Container) -> None:
    script = "netstat -ltn | grep -q ':80 '"
    eventually(lambda: executed(engine, container.id, "sh", "-c", script)[0] == 0)


def asked(address: str, port: int, *prefix: str) -> str | None:
    """Return the client's address as the server saw it; None when there was no way to it."""
    client = [*prefix, sys.executable, "-I", "-S", "-c", CLIENT, address, str(port)]
    done = subprocess.run(client, capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("[::ffff:").removesuffix("]") if done.returncode == 0 else None


def asked_inside(container: Container, address: str, port: int) -> str | None:
    return asked(address, port, "nsenter", "-t", str(container.pid), "-n")


def elements(engine: Engine) -> list[tuple[str, bytes, bytes]]:
    return [element for name in nfnetlink.MAPS for element in nfnetlink.dump(engine.networks.firewall.table, name)]


def test_a_published_port_is_reached_from_everywhere_and_nothing_else_is(engine: Engine, outside: str) -> None:
    engine.networks.create("other")
    server = serve(engine, PortMapping(80))
    neighbour = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000")))
    stranger = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "1000"), network="other"))
    port, endpoint = server.ports[0].host_port, server.endpoints[0]
    beyond = ("ip", "netns", "exec", outside)
    other_gateway = engine.networks.get("other").gateway

    assert asked(HOST, port, *beyond) == OUTSIDE  # the sender's address is kept
    assert asked("127.0.0.1", port) == endpoint.gateway
    assert asked(HOST, port) in (HOST, endpoint.gateway)
    assert asked_inside(neighbour, endpoint.gateway, port) == endpoint.gateway
    assert asked_inside(server, endpoint.gateway, port) == endpoint.gateway  # the way back to itself
    assert asked_inside(stranger, other_gateway, port) is not None

    subprocess.run([*beyond, "ip", "route", "add", endpoint.address, "via", HOST], check=True)
    assert asked(endpoint.address, 80, *beyond) is None  # past the host's port, by a neighbour that knows the way
    assert asked_inside(stranger, endpoint.address, 80) is None
    assert asked_inside(neighbour, endpoint.address, 80) is not None


def test_a_port_on_one_address_is_not_on_the_others(engine: Engine, outside: str) -> None:
    server = serve(engine, PortMapping(80, host_ip="127.0.0.1"), PortMapping(80, host_ip=HOST))
    local, public = server.ports
    assert (local.host_ip, public.host_ip) == ("127.0.0.1", HOST)
    assert asked("127.0.0.1", local.host_port) is not None
    assert asked(HOST, local.host_port, "ip", "netns", "exec", outside) is None
    assert asked(HOST, public.host_port, "ip", "netns", "exec", outside) == OUTSIDE
    assert asked("127.0.0.1", public.host_port) is None


def test_a_container_cannot_reach_what_listens_on_the_hosts_loopback(engine: Engine) -> None:
    server = serve(engine, PortMapping(80))
    inside = ("nsenter", "-t", str(server.pid), "-n")
    for command in (
        "sysctl -qw net.ipv4.conf.all.route_localnet=1", "ip addr del 127.0.0.1/8 dev lo",
        f"ip route add 127.0.0.1 via {server.endpoints[0].gateway}",
    ):  # fmt: skip
        subprocess.run([*inside, *command.split()], check=True)
    with socket.create_server(("127.0.0.1", 0)) as secret:
        reach = [*inside, "busybox", "nc", "-w", "3", "127.0.0.1", str(secret.getsockname()[1]), "-e", "true"]
        assert subprocess.run(reach, capture_output=True, check=False).returncode != 0
        nftables.run(f"flush chain inet {engine.networks.firewall.table} guard")
        assert (
            subprocess.run(reach, capture_output=True, check=False).returncode == 0
        )  # so it was the guard that kept it out


def test_a_taken_port_fails_the_start_and_names_who_has_it(engine: Engine) -> None:
    server = serve(engine, PortMapping(80), name="first")
    taken = server.ports[0].host_port
    second = engine.containers.create(
        ContainerSpec(IMAGE, command=("sleep", "1000"), ports=(PortMapping(80, first=taken, last=taken),))
    )
    with pytest.raises(StartFailed, match=f"0.0.0.0:{taken}/tcp: it is in use by container first"):
        engine.containers.start(second.id)
    one = PortMapping(80, "tcp", "127.0.0.1", taken, taken)
    with pytest.raises(StartFailed, match=f"127.0.0.1:{taken}/tcp: it is in use by container first"):
        engine.containers.run(ContainerSpec(IMAGE, ports=(one,)))
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        number = foreign.getsockname()[1]
        with pytest.raises(StartFailed, match=rf"in use by process {os.getpid()} \("):
            engine.containers.run(ContainerSpec(IMAGE, ports=(PortMapping(80, first=number, last=number),)))
    with pytest.raises(StartFailed, match="does not have the address"):
        engine.containers.run(ContainerSpec(IMAGE, ports=(PortMapping(80, host_ip="198.51.100.1"),)))
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("", taken))  # held although nobody listens
    assert len(elements(engine)) == 1
    engine.containers.remove(server.id, force=True)
    assert elements(engine) == []
    engine.containers.start(second.id)
    assert engine.containers.get(second.id).ports[0].host_port == taken


def test_ranges_exposed_ports_and_udp_are_published(engine: Engine) -> None:
    spec = ContainerSpec(
        IMAGE, command=("sleep", "1000"), publish_all=True, exposed=("53/udp", "81/tcp"),
        ports=tuple(PortMapping(number) for number in range(1000, 1300)),
    )  # fmt: skip
    container = engine.containers.run(spec)
    published = {(port.port, port.protocol): port.host_port for port in container.ports}
    assert len(published) == 302
    assert len(elements(engine)) == 302
    echo = [sys.executable, "-I", "-S", "-c", ECHO]
    with (
        subprocess.Popen(["nsenter", "-t", str(container.pid), "-n", *echo], stdout=subprocess.PIPE) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        client.settimeout(60)
        client.sendto(b"hello", ("127.0.0.1", published[53, "udp"]))
        assert client.recv(100) == b"hello"
    found = engine.containers.inspect(container.id)
    assert found["NetworkSettings"]["Ports"]["81/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": str(published[81, "tcp"])}]
    assert found["HostConfig"]["PortBindings"]["1000/tcp"] == [{"HostIp": "", "HostPort": ""}]
    assert found["Config"]["ExposedPorts"]["53/udp"] == {}
    assert executed(engine, container.id, "sh", "-c", "ulimit -n")[1].strip() == str(ulimit_of_launcher())


def ulimit_of_launcher() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_free_port_of_a_range_is_taken(engine: Engine) -> None:
    with socket.create_server(("", 0)) as foreign:
        first = foreign.getsockname()[1]
        container = engine.containers.run(
            ContainerSpec(IMAGE, command=("sleep", "1000"), ports=(PortMapping(80, first=first, last=first + 5),))
        )
        assert first < container.ports[0].host_port <= first + 5


def test_ports_come_back_with_a_restart_and_survive_new_networks_and_flushed_rules(engine: Engine) -> None:
    policy = RestartPolicy("always")
    server = serve(engine, PortMapping(80), restart=policy)
    port = server.ports[0].host_port
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: engine.containers.get(server.id).restart_count == 1)
    wait_until_listening(engine, server)
    assert engine.containers.get(server.id).ports[0].host_port == port
    assert asked("127.0.0.1", port) is not None
    engine.networks.create("later")
    engine.containers.run(ContainerSpec(IMAGE, command=("true",), network="later"))
    assert asked("127.0.0.1", port) is not None
    nftables.delete_table("inet", engine.networks.firewall.table)
    assert [finding.kind for finding in check(engine.system)] == ["rules"]
    assert check(engine.system, repair=True) == ()
    assert asked("127.0.0.1", port) is not None


def check(system: System, *, repair: bool = False) -> tuple[Finding, ...]:
    return system.check(repair=repair).left


def test_ports_of_a_container_that_was_killed_with_its_monitor_lead_nowhere(engine: Engine) -> None:
    server = serve(engine, PortMapping(80))
    port = server.ports[0].host_port
    kill_with_monitor(engine, server)
    assert len(elements(engine)) == 1
    other = serve(engine, PortMapping(80, first=port, last=port))
    assert asked("127.0.0.1", port) is not None
    assert nfnetlink.address_of(elements(engine)[0]) == other.endpoints[0].address
    engine.containers.remove(server.id)
    assert asked("127.0.0.1", port) is not None
    kill_with_monitor(engine, engine.containers.get(other.id))
    assert check(engine.system, repair=True) == ()
    assert elements(engine) == []


def kill_with_monitor(engine: Engine, container: Container) -> None:
    state = engine.containers._registry.state(container.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: not procfs.is_same_process(state.pid, state.pid_start))


def test_a_port_outlives_its_monitor(engine: Engine) -> None:
    server = serve(engine, PortMapping(80))
    state = engine.containers._registry.state(server.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    eventually(lambda: not procfs.is_same_process(state.monitor_pid, state.monitor_start))
    port = server.ports[0].host_port
    assert asked("127.0.0.1", port) is not None
    with pytest.raises(EngineError, match=r"in use|leads to"):
        engine.containers.run(
            ContainerSpec(IMAGE, command=("sleep", "9"), ports=(PortMapping(80, first=port, last=port),))
        )
    engine.containers.remove(server.id, force=True)
    assert elements(engine) == []


def test_ports_of_another_containers_network_are_refused(engine: Engine) -> None:
    server = serve(engine, name="owner")
    with pytest.raises(InvalidArgument, match="published ports of its own"):
        engine.containers.create(ContainerSpec(IMAGE, network=f"container:{server.name}", ports=(PortMapping(80),)))
    quiet = engine.containers.run(ContainerSpec(IMAGE, command=("sleep", "9"), network="none", ports=(PortMapping(1),)))
    assert quiet.ports == ()
    engine.networks.create("inner", internal=True)
    inner = engine.containers.run(
        ContainerSpec(IMAGE, command=("sleep", "9"), network="inner", ports=(PortMapping(80),))
    )
    assert inner.ports == ()
    switch = f"/proc/sys/net/ipv4/conf/{engine.networks.get('inner').bridge}/route_localnet"
    assert Path(switch).read_text() == "0\n"
