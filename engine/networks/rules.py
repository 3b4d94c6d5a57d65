"""The nftables rules of the bridges: one table of our own, rebuilt from the networks in one transaction; pure."""

from __future__ import annotations

from engine.model.network import Network


def ruleset(table: str, networks: tuple[Network, ...]) -> str:
    """Return the commands that make the table exactly what the bridge networks need.

    Outgoing traffic is masqueraded, answers come back, neighbours on a bridge reach each other, bridges are
    isolated from each other and from the outside, and an internal network has no way out.
    """
    bridges = [network for network in networks if network.driver == "bridge"]
    forward, masquerade = [], []
    for network in bridges:
        name = f'"{network.bridge}"'
        forward.append(f"oifname {name} ct state established,related accept")
        forward.append(f"iifname {name} oifname {name} accept")
    ours = ", ".join(f'"{network.bridge}"' for network in bridges)
    if bridges:
        forward.append(f"oifname {{ {ours} }} drop")
    for network in bridges:
        name = f'"{network.bridge}"'
        if network.internal:
            forward.append(f"iifname {name} drop")
        else:
            forward.append(f"iifname {name} accept")
            masquerade.append(f"ip saddr {network.subnet} oifname != {name} masquerade")
    inner = "\n".join(f"        {rule}" for rule in forward)
    outer = "\n".join(f"        {rule}" for rule in masquerade)
    return f"""table inet {table} {{}}
delete table inet {table}
table inet {table} {{
    chain forward {{
        type filter hook forward priority 0; policy accept;
{inner}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
{outer}
    }}
}}
"""
