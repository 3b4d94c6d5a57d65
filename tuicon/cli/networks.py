"""Verbs on networks and ports."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from engine.errors import Conflict
from tuicon.cli import output
from tuicon.cli.containers import each
from tuicon.cli.words import pairs

if TYPE_CHECKING:
    from engine.api import Engine


def create(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network create."""
    network = engine.networks.create(
        arguments.name, subnet=arguments.subnet, internal=arguments.internal, labels=pairs(arguments.label)
    )
    print(network.id)
    return 0


def remove(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon network rm."""
    return each(arguments.names, engine.networks.remove)


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
        host = f"{one.host_ip}:{one.host_port}"
        print(host if wanted else f"{one.port}/{one.protocol} -> {host}")
    return 0
