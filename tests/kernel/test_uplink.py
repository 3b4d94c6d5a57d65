from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel
_FOUR = "ip addr add 10.1.0.1/24 dev a; ip addr add 10.2.0.1/24 dev c; ip route add default via 10.1.0.9 metric 200"
_SIX = "ip addr add fd00:1::1/64 dev c nodad; ip route add default via fd00:1::9 dev c"


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        ("true", ""),
        (_FOUR, "a"),
        (f"{_FOUR}; ip route add default via 10.2.0.9 metric 100", "c"),
        (f"{_FOUR}; ip route add 10.9.0.0/16 via 10.2.0.9", "a"),
        (_SIX, "c"),
        (f"{_FOUR}; {_SIX}", "a"),
    ],
)
def test_the_way_out_is_the_interface_of_the_best_default_route(routes: str, wanted: str) -> None:
    links = "ip link add a type veth peer name b; ip link add c type veth peer name d"
    up = "; ".join(f"ip link set {name} up" for name in ("lo", *"abcd"))
    ask = "from engine.networks.networks import NetworkStore; print(NetworkStore.uplink())"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", f'{links}; {up}; {routes}; exec "$@"', "sh", sys.executable, "-c", ask],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == wanted
