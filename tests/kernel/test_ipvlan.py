"""Containers on an interface of the host that share its hardware address."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument, NotSupported
from engine.linux import rtnetlink
from engine.model.network import Attachment
from tests.kernel.test_connections import SLEEP, reaches, shown
from tests.kernel.test_network import _SUBNET, OUTSIDE, outside

__all__ = ["outside"]


def has_ipvlan() -> bool:
    """Ask the ip program, which does not know how we find out; its test interface has no network to be in the way of."""
    done = subprocess.run(
        "ip link add name ttnone link lo type ipvlan".split(), capture_output=True, text=True, check=False
    )
    return "Unknown device type" not in done.stderr and "not supported" not in done.stderr


def test_a_kernel_without_ipvlan_says_so_and_nothing_is_left(engine: Engine, outside: str) -> None:
    parent = {"parent": f"{outside}a"}
    assert rtnetlink.has_ipvlan() == has_ipvlan()
    for wrong, sentence in (({}, "no interface"), ({**parent, "ipvlan_mode": "l4"}, "l2, l3, l3s")):
        with pytest.raises(InvalidArgument, match=sentence):
            engine.networks.create("lan", driver="ipvlan", subnet=f"{_SUBNET}.0/24", options=wrong)
    if has_ipvlan():
        return  # what it does is tested where it is
    with pytest.raises(NotSupported, match="network lan cannot be made: this kernel has no ipvlan"):
        engine.networks.create("lan", driver="ipvlan", subnet=f"{_SUBNET}.0/24", options=parent)
    assert [network.name for network in engine.networks.list()] == ["bridge", "host", "none"]


@pytest.mark.v2
@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_an_ipvlan_puts_containers_beside_the_host_with_its_hardware_address(
    engine: Engine, outside: str, mode: str
) -> None:
    is_routed = mode == "l3"
    prefix = "198.18.31" if is_routed else _SUBNET
    beyond = ["ip", "netns", "exec", outside]
    if is_routed:
        subprocess.run([*beyond, "ip", "route", "add", f"{prefix}.0/24", "via", f"{_SUBNET}.1"], check=True)
    engine.networks.create(
        "lan", driver="ipvlan", subnet=f"{prefix}.0/24", reserved={} if is_routed else {"outside": OUTSIDE},
        options={"parent": f"{outside}a", "ipvlan_mode": mode},
    )  # fmt: skip
    first = engine.containers.run(replace(SLEEP, network="lan", attachments=(Attachment("lan", f"{prefix}.77"),)))
    second = engine.containers.run(replace(SLEEP, network="none"))
    engine.containers.connections.connect(second.id, Attachment("lan", f"{prefix}.78"))
    with open(f"/sys/class/net/{outside}a/address") as file:
        assert first.endpoints[0].mac == file.read().strip()
    assert first.endpoints[0].mac in shown(engine, first, "cat /sys/class/net/eth0/address")
    route = shown(engine, first, "ip route")
    assert ("default dev eth0" if is_routed else f"default via {prefix}.1 dev eth0") in route
    assert reaches(engine, first, OUTSIDE)
    assert reaches(engine, first, f"{prefix}.78")
    back = [*beyond, "ping", "-c", "1", "-W", "10", f"{prefix}.77"]
    assert subprocess.run(back, check=False, stdout=subprocess.DEVNULL).returncode == 0
    with pytest.raises(InvalidArgument, match="share the MAC address"):
        engine.containers.create(replace(SLEEP, network="lan", attachments=(Attachment("lan", mac="02::77"),)))
    engine.containers.connections.disconnect(second.id, "lan")
    assert engine.system.check().found == ()
