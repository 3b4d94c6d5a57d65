from __future__ import annotations

from engine.networks.live_rules import concerning

LISTING = """table inet tuicon_ab12cd {
\tmap ports {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = { tcp . 80 : 10.88.0.2 . 8080,
\t\t\t     udp . 53 : 10.89.0.2 . 53 }
\t}

\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\toifname "tuab12cd" ct state established,related counter packets 3 bytes 252 accept
\t\toifname { "tuab12cd",
\t\t\t  "tu11111111" } drop
\t\tiifname "tu11111111" accept
\t}

\tchain nat {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip saddr 10.88.0.0/16 oifname != "tuab12cd" masquerade
\t\tip saddr 10.89.0.0/24 oifname != "tu11111111" masquerade
\t\tdnat ip to meta l4proto . th dport map @ports
\t\tdnat ip to meta l4proto . th dport map @others
\t}
}
"""


def test_lines_that_name_a_networks_bridge_or_addresses_concern_it() -> None:
    assert concerning(LISTING, "tuab12cd", ("10.88.0.0/16",)) == (
        "map ports: tcp . 80 : 10.88.0.2 . 8080",
        'chain forward: oifname "tuab12cd" ct state established,related counter packets 3 bytes 252 accept',
        'chain forward: oifname { "tuab12cd", "tu11111111" } drop',
        'chain nat: ip saddr 10.88.0.0/16 oifname != "tuab12cd" masquerade',
        "chain nat: dnat ip to meta l4proto . th dport map @ports",
    )


def test_a_network_without_rules_has_no_lines() -> None:
    assert concerning("", "tuab12cd", ("10.88.0.0/16",)) == ()
    assert concerning(LISTING, "tu22222222", ("10.90.0.0/16", "fd00::/64")) == ()
