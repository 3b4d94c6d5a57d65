from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel
_FOUR = "ip addr add 10.1.0.1/24 dev one; ip addr add 10.2.0.1/24 dev two; ip route add default via 10.1.0.9 metric 200"
_SIX = "ip addr add fd00:1::1/64 dev two nodad; ip route add default via fd00:1::9 dev two"


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        ("true", ""),
        (_FOUR, "one"),
        (f"{_FOUR}; ip route add default via 10.2.0.9 metric 100", "two"),
        (f"{_FOUR}; ip route add 10.9.0.0/16 via 10.2.0.9", "one"),
        (_SIX, "two"),
        (f"{_FOUR}; {_SIX}", "one"),
    ],
)
def test_the_way_out_is_the_interface_of_the_best_default_route(routes: str, wanted: str) -> None:
    links = "ip link add name one type veth peer name far; ip link add name two type veth peer name away"
    up = "; ".join(f"ip link set {name} up" for name in ("lo", "one", "two", "far", "away"))
    ask = "from engine.networks.networks import NetworkStore; print(NetworkStore.uplink())"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", f'{links}; {up}; {routes}; exec "$@"', "sh", sys.executable, "-c", ask],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == wanted
