"""Verbs on networks and ports."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from engine.errors import Conflict
from engine.model.network import Attachment
from engine.model.tunnel import Peer
from tuicon.cli import output
from tuicon.cli.containers import confirm, each
from tuicon.cli.failure import Usage
from tuicon.cli.network_flags import addresses_of
from tuicon.cli.words import pairs
from tuicon.model import units
from tuicon.model.ports import bracketed

if TYPE_CHECKING:
    from engine.api import Engine

_LARGEST_PORT = 65535


def create(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network create."""
    network = engine.networks.create(
        arguments.name, driver=arguments.driver, internal=arguments.internal, reserved=pairs(arguments.aux_address),
        labels=pairs(arguments.label), options=pairs(arguments.opt), ipv6=arguments.ipv6, **addresses_of(arguments),
    )  # fmt: skip
    print(network.id)
    return 0


def remove(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network rm."""
    return each(arguments.names, engine.networks.remove)


def prune(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network prune."""
    confirm("This removes all networks that no running container uses.", arguments.force)
    for name in engine.networks.prune():
        print(name)
    return 0


def connect(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network connect."""
    mac, aliases = arguments.mac_address.lower(), tuple(arguments.alias)
    asked = Attachment(arguments.network, arguments.ip, mac, aliases, arguments.ip6)
    engine.containers.connections.connect(arguments.container, asked)
    return 0


def disconnect(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network disconnect."""
    engine.containers.connections.disconnect(arguments.container, arguments.network)
    return 0


def reach(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network reach: 0 when the target is reached, else 1."""
    target, number = _target(arguments.target)
    found = engine.containers.reach(arguments.container, target, number)
    if arguments.json:
        output.as_json({**output.plain(found), "is_reached": found.is_reached, "stopped_at": found.stopped_at})
        return int(not found.is_reached)
    words = {True: "ok", False: "fails", None: "-"}
    rows = [
        (step.name, words[step.is_ok], "" if step.milliseconds is None else f"{step.milliseconds:.2f} ms", step.detail)
        for step in found.steps
    ]
    output.table(("STEP", "STATE", "TIME", "DETAIL"), rows)
    return int(not found.is_reached)


def _target(text: str) -> tuple[str, int]:
    """Return what stands before the port, and the port; 0 for none. An IPv6 address with a port stands in brackets."""
    whole, colon, number = text.rpartition(":")
    if not colon or (":" in whole and not whole.endswith("]")):
        return text.removeprefix("[").removesuffix("]"), 0
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= _LARGEST_PORT:
        raise Usage(f"invalid target {text!r}: {number!r} is no port")
    return whole.removeprefix("[").removesuffix("]"), int(number)


def peer_add(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network peer add."""
    peer = Peer(arguments.public_key, tuple(arguments.allow), arguments.endpoint, arguments.keepalive)
    engine.networks.tunnels.add(arguments.network, peer)
    return 0


def peer_rm(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network peer rm."""
    engine.networks.tunnels.drop(arguments.network, arguments.public_key)
    return 0


def peer_ls(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network peer ls."""
    tunnel = engine.networks.tunnels.get(arguments.network)
    if arguments.json:
        output.as_json(tunnel)
        return 0
    print(f"public key {tunnel.public_key}, port {tunnel.port}/udp, interface {tunnel.interface}")
    rows = [
        (state.peer.public_key, state.endpoint or "-", ",".join(state.peer.allowed),
         state.handshake_at.isoformat(timespec="seconds") if state.handshake_at else "never",
         units.size(state.received), units.size(state.sent))
        for state in tunnel.peers
    ]  # fmt: skip
    output.table(("PEER", "ENDPOINT", "ALLOWED", "HANDSHAKE", "RECEIVED", "SENT"), rows)
    return 0


def rules(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network rules."""
    found = engine.networks.nft_rules(arguments.network)
    if arguments.json:
        output.as_json(found)
        return 0
    for line in found:
        print(line)
    return 0


def port(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon port.

    Raises:
        Conflict: The port that is asked for is not published.
    """
    container = engine.containers.get(arguments.container)
    number, _, protocol = arguments.port.partition("/")
    wanted = f"{number}/{protocol or 'tcp'}" if number else ""
    found = [one for one in container.ports if wanted in ("", f"{one.port}/{one.protocol}")]
    if wanted and not found:
        raise Conflict(f"container {container.name} publishes no port {wanted}")
    if arguments.json:
        output.as_json(found)
        return 0
    for one in found:
        host = f"{bracketed(one.host_ip)}:{one.host_port}"
        print(host if wanted else f"{one.port}/{one.protocol} -> {host}")
    return 0
