"""Tests of reachability as texts, and where in a picture of networks they stop; pure."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from engine.model.container import Container
from engine.model.reach import Reach
from engine.model.value import Value
from tuicon.model.members import networks_of
from tuicon.model.snapshot import Snapshot
from tuicon.model.text import printable
from tuicon.model.topology import UPLINK, Mark

_LARGEST_PORT = 65535
_GLYPHS = {True: ("✓", "success"), False: ("✗", "error"), None: ("·", "muted")}
_AT_TARGET = ("target", "far port", "far interface", "ping", "tcp")
_AT_SOURCE = ("interface", "port")


class Target(Value, frozen=True):
    """What is to be reached; port 0 stands for a ping alone."""

    name: str
    port: int = 0

    @property
    def text(self) -> str:
        """As people write it."""
        name = f"[{self.name}]" if ":" in self.name and self.port else self.name
        return f"{name}:{self.port}" if self.port else name


def target_of(text: str) -> Target:
    """Parse NAME, ADDRESS, NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT.

    Raises:
        ValueError: There is no name, or the port is none.
    """
    if not text:
        raise ValueError("a container, host, a name or an address")
    whole, colon, number = text.rpartition(":")
    if not colon or (":" in whole and not whole.endswith("]")):
        return Target(text.removeprefix("[").removesuffix("]"))
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= _LARGEST_PORT:
        raise ValueError(f"{number or 'nothing'} is no port: 1 to {_LARGEST_PORT}")
    return Target(whole.removeprefix("[").removesuffix("]"), int(number))


def steps_text(reach: Reach, colors: Mapping[str, str]) -> Text:
    """Return the hops, a line each: how it went, what it is, how long it took, what was found.

    Args:
        reach: The test.
        colors: The theme's variables.
    """
    text = Text()
    for step in reach.steps:
        glyph, color = _GLYPHS[step.is_ok]
        time = "" if step.milliseconds is None else f"{step.milliseconds:.2f} ms"
        text.append(f"{glyph} ", colors[color])
        text.append(f"{step.name:<13}", "" if step.is_ok is not None else colors["muted"])
        text.append(f"{time:>9}  ", colors["muted"])
        text.append(f"{printable(step.detail)}\n", colors["error"] if step.is_ok is False else "")
    return text


def verdict(reach: Reach) -> str:
    """Return one sentence."""
    target = Target(reach.target, reach.port).text
    address = f" ({reach.address})" if reach.address not in ("", reach.target) else ""
    if reach.is_reached:
        return f"{reach.source} reaches {target}{address}"
    return f"{reach.source} does not reach {target}{address}: it stops at {reach.stopped_at or 'the start'}"


def mark_of(reach: Reach, source: Container, network: str, snapshot: Snapshot) -> Mark | None:
    """Return where in a picture a test stopped; None when it came through.

    Args:
        reach: The test.
        source: The container from which it was made.
        network: The name of the network in which the cursor was on it.
        snapshot: The moment.
    """
    failed = next((step for step in reach.steps if step.is_ok is False), None)
    if reach.is_reached or failed is None:
        return None
    text = f"{source.name} → {Target(reach.target, reach.port).text}: {failed.name}: {failed.detail}"
    return Mark(_places(failed.name, reach, source, network, snapshot), text)


def _places(step: str, reach: Reach, source: Container, network: str, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the hops that a step is about, the best first: which of them is there depends on what is drawn."""
    bridge = f"bridge:{network}"
    if step in _AT_SOURCE:
        return f"member:{network}/{source.id}", bridge
    if step == "firewall":
        return f"nat:{network}", bridge
    if step in _AT_TARGET:
        named = [one for one in snapshot.containers if reach.target in (one.name, one.id, one.short_id)]
        ends = named or [one for one in snapshot.containers if reach.address in _addresses(one)]
        members = [f"member:{name}/{one.id}" for one in ends for name in (network, *networks_of(one))]
        return (*members, UPLINK, bridge)
    return (bridge,)


def _addresses(container: Container) -> set[str]:
    return {address for one in container.endpoints for address in (one.address, one.address6)} - {""}
