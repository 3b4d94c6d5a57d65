"""How far packets get from a container, and at which hop they stop: what is known of the way, and what packets find."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.containers.isolation import CONTAINER
from engine.containers.launch import Launcher
from engine.containers.records import Known, Registry
from engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from engine.linux import files, rtnetlink
from engine.model.limits import Limits
from engine.model.network import Network, PublishedPort
from engine.model.reach import Reach, ReachStep
from engine.model.value import Value
from engine.networks.networks import DEFAULT, NetworkStore
from engine.store.paths import Paths

_PATIENCE = 1.0
_IFF_UP = 1
_FORWARDING = "3"  # BR_STATE_FORWARDING, uapi linux/if_bridge.h
_MIB = 1 << 20
HOST = "host"


class _End(Value, frozen=True):
    """A container at one end of the way.

    Attributes:
        known: The container.
        files: The directory of its /etc/hosts and /etc/resolv.conf, which those who share a network share.
        endpoints: As its monitor knows them; none of network host and none.
    """

    known: Known
    files: Path
    endpoints: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        return self.known.record.name

    @property
    def networks(self) -> set[str]:
        return {str(endpoint["network"]) for endpoint in self.endpoints}


class Prober:
    """Finds the way from a container that runs to a container, the host, an address or a name."""

    def __init__(self, paths: Paths, registry: Registry, networks: NetworkStore, launcher: Launcher) -> None:
        self._paths = paths
        self._registry = registry
        self.networks = networks
        self.launcher = launcher

    def reach(self, ref: str, target: str, port: int) -> Reach:
        """Find out how far packets get.

        Args:
            ref: The container that sends them.
            target: A container, "host", an address or a name.
            port: Of a TCP connection; 0 for a ping alone.

        Raises:
            Conflict: The container is not running.
            InvalidArgument: The target or the port is none.
        """
        if not 0 <= port <= 65535 or not target or not target.isprintable() or len(target) > 253:
            raise InvalidArgument(f"invalid target {target!r}: a container, host, an address or a name, and a TCP port")
        source = self._end(self._registry.resolve(ref))
        if source.known.state is None:
            raise Conflict(f"container {source.name} is not running")
        way = _Way(self, source, target, port, self._target(target))
        steps = tuple(way.steps())
        return Reach(source.name, target, way.address, port, steps)

    def _target(self, target: str) -> _End | None:
        if target == HOST or _is_address(target):
            return None
        try:
            return self._end(self._registry.resolve(target))
        except NotFound:
            return None

    def _end(self, container_id: str) -> _End:
        known = self._registry.known(container_id)
        owner = known
        while owner.record.spec.network.startswith(CONTAINER):
            owner = self._registry.known(owner.record.spec.network.removeprefix(CONTAINER))
        endpoints = self._registry.endpoints(owner.record.id, owner.state)
        return _End(known, self._paths.container(owner.record.id), endpoints)

    def holder(self, address: str) -> _End | None:
        """Return the running container that has an address."""
        for container_id in self._registry.ids():
            try:
                found = self._end(container_id)
            except EngineError:
                continue
            if found.known.state and any(address == endpoint["address"] for endpoint in found.endpoints):
                return found
        return None

    def published(self, address: str, port: int) -> PublishedPort | None:
        """Return the published TCP port that a port of the host leads to."""
        return next(
            (one for one in self._registry.in_force().ports
             if one.protocol == "tcp" and one.host_port == port and one.host_ip in ("0.0.0.0", address)),  # noqa: S104 - compared
            None,
        )  # fmt: skip

    def limits(self, end: _End) -> Limits:
        """Return the limits in force of a container."""
        return self._registry.limits(end.known)


class _Way:
    """One way; the questions are asked when the first step needs an answer."""

    def __init__(self, prober: Prober, source: _End, target: str, port: int, end: _End | None) -> None:
        self._prober = prober
        self._source = source
        self._target = target
        self._port = port
        self._named = end
        self._literal = target if _is_address(target) else ""

    def steps(self) -> Iterator[ReachStep]:
        """Yield the steps in the order of the way; those after one that failed are not tried."""
        is_stopped = False
        for name, look in self._plan():
            step = ReachStep(name, None) if is_stopped else look(name)
            yield step
            is_stopped = is_stopped or (step.is_ok is False and name != "ping")

    def _plan(self) -> Iterator[tuple[str, Callable[[str], ReachStep]]]:
        """Yield the steps that apply to this way."""
        if self._named:
            yield "target", self._look_at_target
        if not self._literal and self._target != HOST:
            yield "name", self._look_at_name
        if self._source.endpoints:
            yield "interface", lambda name: self._look_at_interface(name, self._answer, self._near)
        if self._near and self._near["bridge"]:
            yield "port", lambda name: _look_at_port(name, self._near)
        yield "route", self._look_at_route
        if self._rates:
            yield "rate", lambda name: ReachStep(name, is_ok=True, detail=self._rates)
        yield "firewall", self._look_at_firewall
        if self._far and self._far["bridge"]:
            yield "far port", lambda name: _look_at_port(name, self._far)
            yield "far interface", lambda name: self._look_at_interface(name, self._far_answer, self._far)
        if self._source.endpoints:
            yield "neighbour", self._look_at_neighbour
        yield "ping", lambda name: self._came_through(name, "ping")
        if self._port:
            yield "tcp", lambda name: self._came_through(name, "tcp")

    @cached_property
    def _end(self) -> _End | None:
        """The container at the other end; None when it is no container that we know."""
        return self._named or (self._prober.holder(self.address) if self.address else None)

    @cached_property
    def _common(self) -> set[str]:
        return self._source.networks & self._named.networks if self._named else set()

    @cached_property
    def _known_address(self) -> str:
        """The address that we know without asking for it; empty when there is none."""
        if self._target == HOST or (self._named and self._named.known.record.spec.network == HOST):
            routed = [item for item in self._source.endpoints if item["routes"]] or list(self._source.endpoints)
            return self._prober.networks.get(routed[0]["network"]).gateway if routed else "127.0.0.1"
        if self._named and self._named.endpoints:
            there = self._named.endpoints
            shared = [item for item in there if item["network"] in self._common]
            return str((shared or there)[0]["address"])
        return self._literal or _in_hosts(self._source.files / "hosts", self._target)

    @cached_property
    def _question(self) -> str:
        """The name that the container's servers are asked for; empty for none.

        The names of containers are known within networks that users made, and nowhere else.
        """
        if self._literal or self._target == HOST:
            return ""
        if not self._named:
            return "" if self._known_address else self._target
        record = self._named.known.record
        is_known_so = self._target in (record.name, record.id[:12])
        return (self._target if is_known_so else record.name) if self._common - {DEFAULT} else ""

    @cached_property
    def _answer(self) -> dict[str, Any]:
        state = self._source.known.state
        assert state
        return self._prober.launcher.probe({
            "pid": state.pid, "pid_start": state.pid_start, "patience": self._patience, "port": self._port,
            "interfaces": [item["interface"] for item in self._source.endpoints],
            "name": self._question, "servers": _servers(self._source.files / "resolv.conf"), "address": self._known_address,
        })  # fmt: skip

    @property
    def _patience(self) -> float:
        """The seconds to wait for each answer: longer when packets are delayed on purpose."""
        ends = [self._source, *([self._named] if self._named else [])]
        return _PATIENCE + sum(self._prober.limits(end).net_delay or 0 for end in ends) / 1_000_000

    @cached_property
    def _far_answer(self) -> dict[str, Any]:
        state = self._end.known.state if self._end else None
        assert state
        assert self._far
        return self._prober.launcher.probe({
            "pid": state.pid, "pid_start": state.pid_start, "patience": _PATIENCE, "port": 0, "address": "",
            "interfaces": [self._far["interface"]],
        })  # fmt: skip

    @cached_property
    def address(self) -> str:
        """The target's address; empty when there is none."""
        if self._named and self._named.known.state is None:
            return ""
        return str(self._answer["name"].get("address") or "") if self._question else self._known_address

    @cached_property
    def _near(self) -> dict[str, Any]:
        """The container's endpoint that leads to the target; the one that is on its network, or has the default route."""
        found = list(self._source.endpoints)
        for endpoint in found:
            if self.address and _contains(self._prober.networks.get(endpoint["network"]), self.address):
                return endpoint
        return next((endpoint for endpoint in found if endpoint["routes"]), found[0] if found else {})

    @cached_property
    def _far(self) -> dict[str, Any]:
        there = self._end.endpoints if self._end and self._end.known.state else ()
        return next((endpoint for endpoint in there if endpoint["address"] == self.address), {})

    @cached_property
    def _rates(self) -> str:
        """What slows packets down on the way; empty for nothing."""
        ends = [(self._source, "out"), *([(self._end, "in")] if self._end and self._far else [])]
        found = []
        for end, direction in ends:
            limits = self._prober.limits(end)
            rate = getattr(limits, f"net_rate_{direction}") if end.endpoints else None
            found += [f"{end.name} is limited to {rate / _MIB:.3g} MiB/s {direction}"] if rate else []
            if direction == "out" and end.endpoints:
                found += [f"{limits.net_delay / 1000:g} ms delay"] if limits.net_delay else []
                found += [f"{limits.net_loss:g} % loss"] if limits.net_loss else []
        return ", ".join(found)

    @property
    def _is_through(self) -> bool:
        return any("milliseconds" in self._answer.get(name, {}) for name in ("ping", "tcp"))

    def _look_at_target(self, name: str) -> ReachStep:
        end = self._named
        assert end
        if end.known.state is None:
            return ReachStep(
                name, is_ok=False, detail=f"container {end.name} is not running: it is {end.known.status.value}"
            )
        if not end.endpoints and end.known.record.spec.network == "none":
            return ReachStep(name, is_ok=False, detail=f"container {end.name} has no network")
        where = f"networks {', '.join(sorted(end.networks))}" if end.networks else "the host's network"
        return ReachStep(name, is_ok=True, detail=f"container {end.name} runs in {where}")

    def _look_at_name(self, name: str) -> ReachStep:
        if not self._question and not self._named:
            return ReachStep(name, is_ok=True, detail=f"/etc/hosts says {self._known_address}")
        if not self._question:
            text = "no network that knows names has both containers, so their address is taken from the engine"
            return ReachStep(name, is_ok=None, detail=text)
        found = self._answer["name"]
        if not found.get("address"):
            return ReachStep(
                name, is_ok=False, detail=f"{self._question}: {found['error']}", milliseconds=found.get("milliseconds")
            )
        text = f"{found['server']} says {found['address']}"
        ours = [str(item["address"]) for item in self._named.endpoints] if self._named else []
        is_true = not ours or found["address"] in ours
        text += "" if is_true else f", but container {self._target} has {ours[0]}"
        return ReachStep(name, is_true, text, found["milliseconds"])

    @staticmethod
    def _look_at_interface(name: str, answer: dict[str, Any], endpoint: dict[str, Any]) -> ReachStep:
        interface, address = str(endpoint["interface"]), str(endpoint["address"])
        state = answer["interfaces"][interface]
        wrong = ("is gone" if not state else "is down" if not state["is_up"] else
            f"has lost its address {address}" if not state["address"] else "")  # fmt: skip
        return ReachStep(name, not wrong, f"{interface} {wrong or f'is up with {address}'}")

    def _look_at_route(self, name: str) -> ReachStep:
        if not self._source.endpoints and self._source.known.record.spec.network == "none":
            return ReachStep(name, is_ok=False, detail=f"container {self._source.name} has no network")
        route = self._answer.get("route") or {"error": "it has no address"}
        if "error" not in route:
            way = f"through the gateway {route['gateway']}" if route["gateway"] else "directly"
            return ReachStep(name, is_ok=True, detail=f"{route['interface']}, {way}")
        internal = [item for item in sorted(self._source.networks) if self._prober.networks.get(item).internal]
        why = f"network {internal[0]} is internal: it has no way out" if internal else route["error"]
        return ReachStep(name, is_ok=False, detail=f"there is no route to {self.address or self._target}: {why}")

    def _look_at_firewall(self, name: str) -> ReachStep:
        blocked, text = self._rule()
        if blocked and not self._is_through:
            return ReachStep(name, is_ok=False, detail=blocked)
        foreign = [] if self._is_through or not text else self._prober.networks.firewall.warnings()
        return ReachStep(name, is_ok=True, detail="; ".join((text or "neighbours on one bridge", *foreign)))

    def _rule(self) -> tuple[str, str]:
        """Return what of our rules is in the way, and what they do with such packets else."""
        networks = self._prober.networks
        if not self._near:
            return "", "the packets are the host's own"
        mine = networks.get(self._near["network"])
        if _is_local(self.address):
            led = self._prober.published(self.address, self._port)
            holder = self._prober.holder(led.address) if led else None
            name = holder.name if holder else "of somebody"
            return (
                "",
                f"the host's port {self._port} leads to container {name}, port {led.port}"
                if led
                else "to the host itself",
            )
        if _contains(mine, self.address):
            return "", ""
        if mine.internal:
            return f"network {mine.name} is internal: it has no way out", ""
        other = next((one for one in networks.list() if one.bridge and _contains(one, self.address)), None)
        if other:
            text = f"networks {mine.name} and {other.name} are isolated from each other"
            port = next((one for one in self._published_by_target() if one.port == self._port), None)
            return text + (f"; port {port.host_port} of the host leads there" if port else ""), ""
        if not networks.firewall.is_ready(mine.bridge) and mine.bridge:
            return "the nftables rules are gone; mend them with: tuicon system check --repair", ""
        peer = networks.tunnels.way_to(mine, self.address) if mine.is_encrypted and ":" not in self.address else None
        if peer:
            last = f", heard last at {peer.handshake_at:%H:%M:%S} UTC" if peer.handshake_at else ", never heard"
            return "", f"through the tunnel to the host at {peer.endpoint or 'an unknown place'}{last}"
        return "", "they leave with the host's address" if mine.bridge else "they leave with an address of their own"

    def _published_by_target(self) -> tuple[PublishedPort, ...]:
        state = self._end.known.state if self._end else None
        return state.ports if state else ()

    def _look_at_neighbour(self, name: str) -> ReachStep:
        route = self._answer["route"]
        following = route["gateway"] or self.address
        if route["interface"] == "lo":
            return ReachStep(name, is_ok=True, detail="the container itself")
        mac = self._answer["neighbour"]
        is_there = bool(mac) or self._is_through or self._answer.get("tcp", {}).get("errno") == errno.ECONNREFUSED
        return ReachStep(name, is_there, f"{following} is at {mac}" if mac else
            f"{following} is there" if is_there else f"nobody on the bridge has {following}: no answer to ARP")  # fmt: skip

    def _came_through(self, name: str, what: str) -> ReachStep:
        found = self._answer.get(what) or {"error": "nobody answers", "errno": 0}
        if "error" not in found:
            text = f"port {self._port} is open" if what == "tcp" else f"{self.address} answers"
            return ReachStep(name, is_ok=True, detail=text, milliseconds=found["milliseconds"])
        text = str(found["error"])
        if what == "tcp" and found["errno"] == errno.ECONNREFUSED:
            text = f"nothing listens on port {self._port}"
        return ReachStep(name, is_ok=False, detail=text)


def _look_at_port(name: str, endpoint: dict[str, Any]) -> ReachStep:
    """Look at the host's end of an interface, and at the bridge that it is a port of."""
    port, bridge = str(endpoint["host_interface"]), str(endpoint["bridge"])
    directory = Path("/sys/class/net")
    wrong = ""
    if not directory.joinpath(port).exists():
        wrong = f"{port} is gone from the host"
    elif not _is_up(directory / port):
        wrong = f"{port} is down on the host"
    elif not directory.joinpath(port, "brport").exists() or directory.joinpath(port, "master").resolve().name != bridge:
        wrong = f"{port} is not on the bridge {bridge}"
    elif not _is_up(directory / bridge):
        wrong = f"the bridge {bridge} is down"
    elif directory.joinpath(port, "brport/state").read_text().strip() != _FORWARDING:
        wrong = f"the bridge {bridge} does not forward for {port}"
    return ReachStep(name, not wrong, wrong or f"{port} is up on the bridge {bridge}")


def _is_up(interface: Path) -> bool:
    return bool(int(interface.joinpath("flags").read_text(), 16) & _IFF_UP)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _contains(network: Network, address: str) -> bool:
    found, subnet = ipaddress.ip_address(address), network.subnet
    return bool(subnet) and found.version == 4 and found in ipaddress.IPv4Network(subnet)


def _is_local(address: str) -> bool:
    """Return whether an address is the host's."""
    try:
        return rtnetlink.route_to(address)[0] == "lo"
    except OSError:
        return False


def _servers(path: Path) -> list[str]:
    lines = (line.split() for line in _text(path).splitlines())
    return [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1 and _is_address(words[1])]


def _in_hosts(path: Path, name: str) -> str:
    """Return the address that a hosts file has for a name; empty for none."""
    for line in _text(path).splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names and _is_address(address):
            return address
    return ""


def _text(path: Path) -> str:
    try:
        return files.read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return ""
