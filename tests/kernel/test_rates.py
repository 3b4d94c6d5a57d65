"""Limits on network traffic, measured by transfers between containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, InvalidArgument
from engine.model.container import Container, ContainerSpec, RestartPolicy
from engine.model.limits import Limits
from engine.model.network import Attachment
from tests.kernel.oci import eventually
from tests.kernel.test_network import IMAGE

SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))
RATE = 2 << 20
SIZE = 3 << 20
RECEIVE = """
import socket, time
with socket.create_server(("", 7000)) as server:
    print("ready", flush=True)
    client, _ = server.accept()
    got, began = 0, time.monotonic()
    while data := client.recv(65536):
        got += len(data)
    print(got / (time.monotonic() - began))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 60) as channel:
    channel.sendall(bytes(int(sys.argv[2])))
"""


def rate(sender: Container, receiver: Container) -> float:
    """Return the bytes per second of a transfer between two containers."""

    def inside(container: Container, code: str, *arguments: str) -> list[str]:
        return ["nsenter", "-t", str(container.pid), "-n", sys.executable, "-I", "-S", "-c", code, *arguments]

    with subprocess.Popen(inside(receiver, RECEIVE), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        subprocess.run(inside(sender, SEND, receiver.endpoints[0].address, str(SIZE)), check=True)
        return float(process.stdout.read())


def is_limited(measured: float) -> bool:
    return RATE / 4 < measured < RATE * 1.3


def test_rates_are_limited_in_each_direction_and_changed_while_traffic_flows(engine: Engine) -> None:
    peer = engine.containers.run(SLEEP)
    policy = RestartPolicy("always")
    container = engine.containers.run(replace(SLEEP, limits=Limits(net_rate_in=RATE), restart=policy))
    assert is_limited(rate(peer, container))
    assert rate(container, peer) > 2 * RATE
    engine.containers.update(container.id, lambda limits: replace(limits, net_rate_in=None, net_rate_out=RATE))
    assert is_limited(rate(container, peer))
    assert rate(peer, container) > 2 * RATE
    engine.containers.update(container.id, lambda limits: replace(limits, net_rate_out=4 * RATE))
    assert 1.3 * RATE < rate(container, peer) < 5.2 * RATE

    os.kill(container.pid, signal.SIGKILL)
    eventually(lambda: engine.containers.get(container.id).restart_count == 1)
    engine.containers.update(container.id, lambda limits: replace(limits, net_rate_in=RATE))
    again = engine.containers.get(container.id)
    assert rate(again, peer) < 5.2 * RATE  # what was changed outlives the restart
    assert is_limited(rate(peer, again))
    assert len(engine.networks.shapers()) == 1
    engine.containers.update(container.id, lambda limits: replace(limits, net_rate_out=None))
    assert engine.networks.shapers() == ()
    assert rate(again, peer) > 2 * RATE


def test_what_limits_a_rate_goes_with_its_container(engine: Engine) -> None:
    limited = replace(SLEEP, limits=Limits(net_rate_in=RATE, net_rate_out=RATE))
    ended = engine.containers.run(limited)
    assert len(engine.networks.shapers(ended.id)) == 1
    engine.containers.stop(ended.id, timeout=0)
    assert engine.networks.shapers() == ()
    killed = engine.containers.run(limited)
    state = engine.containers._registry.state(killed.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: not engine.containers.get(killed.id).status.is_alive)
    assert engine.system.check(repair=True).left == ()
    assert engine.networks.shapers() == ()


def queues(interface: str) -> dict[str, dict[str, int]]:
    """Return the options of an interface's queueing disciplines by their kinds, as tc(8) shows them."""
    done = subprocess.run(["tc", "-j", "qdisc", "show", "dev", interface], check=True, capture_output=True)
    return {one["kind"]: one.get("options") or {} for one in json.loads(done.stdout)}


def test_a_burst_goes_at_once_in_each_direction(engine: Engine) -> None:
    peer = engine.containers.run(SLEEP)
    bursts = Limits(net_rate_in=RATE, net_burst_in=2 * SIZE, net_rate_out=RATE, net_burst_out=2 * SIZE)
    container = engine.containers.run(replace(SLEEP, limits=bursts))
    assert rate(peer, container) > 2 * RATE
    assert rate(container, peer) > 2 * RATE
    engine.containers.update(container.id, lambda limits: replace(limits, net_burst_in=None, net_burst_out=1 << 20))
    host_end = container.endpoints[0].host_interface
    assert is_limited(rate(peer, container))
    assert abs(queues(engine.networks.shapers()[0])["tbf"]["burst"] - (1 << 20)) < 1 << 16
    assert queues(host_end)["tbf"]["rate"] == RATE


def test_rates_on_trial_are_reverted_when_whoever_asked_is_gone(engine: Engine) -> None:
    engine.networks.create("front")
    limited = replace(SLEEP, network="front", limits=Limits(net_rate_in=RATE))
    container = engine.containers.run(limited)
    engine.containers.connections.connect(container.id, Attachment("bridge"))
    ends = [endpoint.host_interface for endpoint in engine.containers.get(container.id).endpoints]
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "update", "--trial", "10s", "--net-rate-in", "0",
        "--net-rate-out", str(4 * RATE), container.id]  # fmt: skip
    process = subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    eventually(lambda: len(engine.networks.shapers()) == 2 and all("tbf" not in queues(end) for end in ends))
    process.kill()
    process.wait()
    assert engine.containers.get(container.id).limits == Limits(net_rate_out=4 * RATE)
    eventually(lambda: engine.containers.get(container.id).limits == limited.limits)
    assert [queues(end)["tbf"]["rate"] for end in ends] == [RATE, RATE]
    assert engine.networks.shapers() == ()

    tuning = engine.containers.tuning
    tuning.update(container.id, lambda limits: replace(limits, net_rate_in=2 * RATE), seconds=300)
    tuning.confirm(container.id)
    engine.containers.restart(container.id, timeout=0)
    end = engine.containers.get(container.id).endpoints[0].host_interface
    assert queues(end)["tbf"]["rate"] == 2 * RATE
    tuning.undo(container.id)
    assert queues(end)["tbf"]["rate"] == RATE


def test_a_rate_without_a_network_of_its_own_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="network host has no rate"):
        engine.containers.create(replace(SLEEP, network="host", limits=Limits(net_rate_in=RATE)))
    with pytest.raises(InvalidArgument, match="needs a network rate"):
        engine.containers.create(replace(SLEEP, limits=Limits(net_burst_in=1 << 20)))
    with pytest.raises(InvalidArgument, match="at least 64 KiB"):
        engine.containers.create(replace(SLEEP, limits=Limits(net_rate_in=RATE, net_burst_in=1 << 10)))
    with pytest.raises(InvalidArgument, match="network rate"):
        engine.containers.create(replace(SLEEP, limits=Limits(net_rate_in=1)))
    alone = engine.containers.run(replace(SLEEP, network="none"))
    with pytest.raises(Conflict, match="no network of its own"):
        engine.containers.update(alone.id, lambda limits: replace(limits, net_rate_in=RATE))
    assert engine.containers.get(alone.id).limits.net_rate_in is None
