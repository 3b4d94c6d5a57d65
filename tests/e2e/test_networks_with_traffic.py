# ruff: noqa: F811 - fixtures of other modules
from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from engine.api import Engine
from engine.model.container import Container, ContainerSpec
from tests.e2e.screen import ConsoleScreen
from tests.kernel.conftest import engine, root  # noqa: F401 - fixtures
from tests.kernel.test_network import IMAGE

pytestmark = pytest.mark.kernel
SLEEP = ContainerSpec(IMAGE, command=("sleep", "1000"))


@contextmanager
def traffic(sender: Container, address: str) -> Iterator[None]:
    ping = ["nsenter", "-t", str(sender.pid), "-n", "ping", "-q", "-i", "0.01", "-s", "1400", address]
    with subprocess.Popen(ping, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def address_in(engine: Engine, name: str, network: str) -> str:
    return next((one.address for one in engine.containers.get(name).endpoints if one.network == network), "")


def test_a_container_is_connected_seen_at_work_limited_and_disconnected(engine: Engine) -> None:
    engine.networks.create("back")
    engine.networks.create("shop")
    web = engine.containers.run(replace(SLEEP, name="web", network="shop"))
    client = engine.containers.run(replace(SLEEP, name="client", network="back"))
    screen = ConsoleScreen(str(engine.root), columns=160)
    screen.until(lambda seen: seen.count("● running") == 2)
    screen.press("3")
    screen.until("c connect")
    screen.press("jjjj")
    screen.until(lambda seen: re.search(rf"● web +eth0 +{web.endpoints[0].address}", seen))

    screen.press("c")
    screen.until("Connect a container to shop")
    screen.press("client\r")
    screen.until(lambda _seen: address_in(engine, "client", "shop"))
    address = address_in(engine, "client", "shop")
    screen.until(lambda seen: re.search(rf"● client +eth1 +{address} +↓ +0 +↑ +0", seen))

    screen.press("r")
    screen.until("What does client reach?")
    screen.press("web\r")
    screen.until("client reaches web")
    screen.press("\x1b")
    screen.until(lambda seen: "What does client reach?" not in seen)

    with traffic(client, web.endpoints[0].address):
        screen.until(lambda seen: re.search(rf"━+─* ● client +eth1 +{address} +↓ *[\d.]+[KM]/s ↑ *[\d.]+[KM]/s", seen))
        screen.until(lambda seen: re.search(r"━+─* ● web +eth0 +[\d.]+ +↓ *[\d.]+[KM]/s ↑ *[\d.]+[KM]/s", seen))
    screen.until(lambda seen: re.search(rf"├─+ ● client +eth1 +{address} +↓ +0 +↑ +0", seen))

    screen.press("t")
    screen.until("Limit the traffic of client")
    screen.press("512k\r")
    screen.until(lambda seen: re.search(rf"● client +eth1 +{address} +↓ +0≤512K", seen))
    assert engine.containers.get("client").limits.net_rate_in == 512 << 10
    screen.press("u")
    screen.until(lambda _seen: engine.containers.get("client").limits.net_rate_in is None)

    screen.press("C")
    screen.until("Disconnect client from shop?")
    screen.press("y")
    screen.until(lambda seen: address not in seen and "● web" in seen)
    assert address_in(engine, "client", "shop") == ""
    screen.press("q")
    assert screen.close() == 0
