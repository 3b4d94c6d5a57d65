from __future__ import annotations

from datetime import UTC, datetime

from engine.model.network import Network
from engine.networks.rules import ruleset


def network(name: str, bridge: str, subnet: str) -> Network:
    return Network(name, name, "bridge", datetime.now(UTC), subnet=subnet, bridge=bridge)


def test_a_tunnel_leads_to_its_networks_bridge_and_nowhere_else() -> None:
    mesh = network("mesh", "tu1", "10.90.0.0/24")
    text = ruleset("tuicon", (mesh, network("other", "tu2", "10.91.0.0/24")), None, [(mesh, "wg1")])
    forward = [line.strip() for line in text.partition("chain forward")[2].partition("}")[0].splitlines()]
    assert forward[2:6] == [
        'iifname "wg1" oifname "tu1" accept', 'iifname "tu1" oifname "wg1" accept', 'iifname "wg1" drop', 'oifname "wg1" drop',
    ]  # fmt: skip
    assert 'iifname "wg1" fib daddr type local drop' in text
    assert text.index('ip saddr 10.90.0.0/24 oifname "wg1" accept') < text.index("masquerade")
