from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from engine.model.network import InForce, Network, PublishedPort
from engine.networks.addresses import choose_subnet, private_pool
from engine.networks.rules import ruleset

PLAIN = Network("1", "plain", "bridge", datetime.now(UTC), "10.1.0.0/24", "10.1.0.1", "tuplain")
DUAL = Network(
    "2", "dual", "bridge", datetime.now(UTC), "10.2.0.0/24", "10.2.0.1", "tudual", subnet6="fd00::/64", gateway6="fd00::1"
)  # fmt: skip


def test_rules_speak_of_ipv6_only_where_a_network_has_it() -> None:
    ports = (PublishedPort("::", 8080, "fd00::2", 80), PublishedPort("::1", 8080, "fd00::2", 80))
    assert "ip6" not in ruleset("t", (PLAIN,))  # a kernel without IPv6 would refuse
    text = ruleset("t", (PLAIN, DUAL), InForce(ports))
    assert 'ip6 saddr fd00::/64 oifname != "tudual" masquerade' in text
    assert "elements = { tcp . 8080 : fd00::2 . 80 }" in text
    assert "elements = { ::1 . tcp . 8080 : fd00::2 . 80 }" in text


def test_a_private_pool_is_local_and_the_same_for_the_same_host() -> None:
    pool = ipaddress.IPv6Network(private_pool("a"))
    assert pool.subnet_of(ipaddress.IPv6Network("fd00::/8"))  # RFC 4193, section 3.1: locally assigned
    assert pool.prefixlen == 48
    assert private_pool("a") != private_pool("b")
    first, second, *_ = pool.subnets(new_prefix=64)
    assert choose_subnet(str(pool), 64, ("10.0.0.0/8", str(first))) == str(second)


def test_a_small_subnet_is_chosen_when_no_large_one_is_left() -> None:
    taken = ("10.88.0.0/16", "10.89.0.0/24")
    assert choose_subnet("10.88.0.0/15", 16, taken) == "10.89.16.0/20"
