"""Networks for tests of the console: the builtin ones and what a test adds, with members, ports and traffic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.errors import Conflict, NotFound
from engine.model.container import Container
from engine.model.limits import Limits
from engine.model.network import Attachment, Endpoint, Network, PublishedPort
from engine.model.reach import Reach, ReachStep
from engine.model.usage import InterfaceCounters
from tuicon.model.members import networks_of

if TYPE_CHECKING:
    from tests.fakes import FakeBackend

RULES = (
    "map ports: tcp . 8080 : 10.88.0.3 . 80",
    'chain guard: iifname { "tuicon0", "tu4be0c71d22" } ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop',
    "chain prerouting: meta l4proto { tcp, udp, sctp } fib daddr type local dnat ip to meta l4proto . th dport map @ports",
    'chain forward: oifname "tuicon0" ct state established,related counter packets 1204 bytes 903112 accept',
    'chain forward: iifname "tuicon0" oifname "tuicon0" counter packets 0 bytes 0 accept',
    'chain postrouting: ip saddr 10.88.0.0/16 oifname != "tuicon0" counter packets 31 bytes 1960 masquerade',
)


def builtin_networks() -> list[Network]:
    """Return bridge, host and none."""
    from tests.fakes import NOW

    bridge = Network(
        "1" * 64, "bridge", "bridge", NOW, subnet="10.88.0.0/16", gateway="10.88.0.1", bridge="tuicon0", builtin=True
    )
    return [
        bridge,
        Network("2" * 64, "host", "host", NOW, builtin=True),
        Network("3" * 64, "none", "null", NOW, builtin=True),
    ]


def more_networks() -> list[Network]:
    """Return a bridge with two members, an internal one, one on an interface of the host, and an empty one."""
    from tests.fakes import NOW

    return [
        Network("4" * 64, "backend", "bridge", NOW, subnet="10.89.1.0/24", gateway="10.89.1.1", bridge="tu4be0c71d22"),
        Network("5" * 64, "vault", "bridge", NOW, subnet="10.89.2.0/24", gateway="10.89.2.1", bridge="tu9c1f0e7a55", internal=True),
        Network("6" * 64, "lan", "macvlan", NOW, subnet="192.0.2.0/24", gateway="192.0.2.1", options={"parent": "eth0"}),
        Network("7" * 64, "spare", "bridge", NOW, subnet="10.89.3.0/24", gateway="10.89.3.1", bridge="tuc0ffee0001", mtu=1400),
    ]  # fmt: skip


def an_endpoint(network: str, address: str, number: int, interface: str = "eth0", *aliases: str) -> Endpoint:
    """Return a container's place in a network."""
    mac = f"0a:58:0a:00:{number:02x}:{int(address.rpartition('.')[2]):02x}"
    gateway = address.rpartition(".")[0] + ".1"
    return Endpoint(network, address, 24, gateway, mac, f"t00{number:08x}", interface, tuple(aliases))


def interfaces_of(container: Container, number: int, tick: int) -> tuple[InterfaceCounters, ...]:
    """Return counters that move with time, the same in every run; the second interface is quieter."""
    found = []
    for place, endpoint in enumerate(container.endpoints):
        speed = 0 if number == 8 else (9 - number) * (7 + number * number) * 9000 // (1 + 3 * place)
        rx, tx = tick * speed, tick * speed // (2 + number)
        found.append(
            InterfaceCounters(
                endpoint.interface or "eth0", rx, tx, rx // 900, tx // 500, rx_dropped=3 if number == 4 else 0
            )
        )
    return tuple(found)


def with_networks() -> FakeBackend:
    """Return a backend with eight containers in six networks."""
    from tests.fakes import eight

    backend = eight()
    backend.networks.items += more_networks()
    places = {
        "gateway": (an_endpoint("bridge", "10.88.0.3", 1), an_endpoint("backend", "10.89.1.2", 1, "eth1", "www", "proxy")),
        "database": (an_endpoint("backend", "10.89.1.3", 2, "eth0", "db", "postgres"), an_endpoint("vault", "10.89.2.2", 2, "eth1")),
        "cache": (an_endpoint("backend", "10.89.1.4", 3),),
        "worker": (an_endpoint("bridge", "10.88.0.4", 4), an_endpoint("backend", "10.89.1.5", 4, "eth1")),
        "metrics": (an_endpoint("lan", "192.0.2.40", 8),),
    }  # fmt: skip
    ports = tuple(PublishedPort("0.0.0.0", host, "10.88.0.3", port) for host, port in ((8080, 80), (8443, 443)))
    limits = {"gateway": Limits(net_rate_in=8 << 20, net_rate_out=1 << 20), "worker": Limits(net_rate_in=950 << 10)}
    stopped = {"migrate": "backend", "backup": "vault", "spare": "host"}
    items = []
    for item in backend.items:
        endpoints = places.get(item.name, ())
        network = endpoints[0].network if endpoints else stopped.get(item.name, "bridge")
        more = tuple(Attachment(one.network) for one in endpoints[1:])
        spec = replace(item.spec, network=network, attachments=more)
        changed = replace(item, endpoints=endpoints, spec=spec, limits=limits.get(item.name, item.limits))
        items.append(replace(changed, ports=ports) if item.name == "gateway" else changed)
    backend.items = items
    return backend


def a_reach(source: str, target: str, port: int) -> Reach:
    """Return a test that comes through to the database, stops at the rules for host, and at the port for all others."""
    address = "10.89.1.3" if target == "database" else "10.89.1.5"
    way = (
        ReachStep("name", True, f"10.89.1.1 says {address}", 0.42), ReachStep("interface", True, "eth0 is up with 10.89.1.4"),
        ReachStep("port", True, "t00000000a3 is up on the bridge tu4be0c71d22"), ReachStep("route", True, "eth0, directly"),
    )  # fmt: skip
    if target == "host":
        blocked = ReachStep("firewall", False, "network backend is internal: it has no way out")
        return Reach(source, target, "10.89.1.1", port, (*way[1:], blocked, ReachStep("ping", None)))
    is_open = target == "database"
    tcp = ReachStep("tcp", is_open, f"port {port} is open" if is_open else f"nothing listens on port {port}", 0.11)
    steps = (
        ReachStep("target", True, f"container {target} runs in networks backend"), *way,
        ReachStep("firewall", True, "neighbours on one bridge"), ReachStep("neighbour", True, f"{address} is at 0a:58:0a:00:02:03"),
        ReachStep("ping", True, f"{address} answers", 0.08), tcp,
    )  # fmt: skip
    return Reach(source, target, address, port, steps)


class FakeNetworks:
    """The three builtin ones, and what a test adds."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.items = builtin_networks()

    def _do(self, *call: Any) -> None:
        self._backend.calls.append(call)
        error = self._backend.failures.get(call[0])
        if error:
            raise error

    def uplink(self) -> str:
        return "eth0"

    def list(self) -> tuple[Network, ...]:
        return tuple(self.items)

    def inspect(self, ref: str) -> dict[str, Any]:
        return {"Id": ref}

    def nft_rules(self, ref: str) -> tuple[str, ...]:
        return RULES

    def create(self, name: str, **more: Any) -> Network:
        from tests.fakes import NOW

        self._do("create_network", name, more)
        given = {key: value for key, value in more.items() if key in ("subnet", "gateway", "internal", "options")}
        made = Network(f"{len(self.items) + 1:064x}", name, more["driver"], NOW, bridge="tu0", **given)
        self.items.append(made)
        self._backend.news.set()
        return made

    def remove(self, ref: str) -> None:
        found = next((item for item in self.items if ref in (item.id, item.name)), None)
        if found is None:
            raise NotFound("network", ref)
        if found.builtin:
            raise Conflict(f"{found.name} is a builtin network and cannot be removed")
        self._do("remove_network", found.name)
        self.items.remove(found)
        self._backend.news.set()


class FakeConnections:
    """Puts containers into networks, in memory."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def connect(self, ref: str, attachment: Attachment) -> None:
        found = self._backend.containers.get(ref)
        self._backend.networks._do("connect", found.name, attachment)
        address = attachment.address or "10.89.1.9"
        endpoint = an_endpoint(attachment.network, address, 9, f"eth{len(found.endpoints)}", *attachment.aliases)
        places = (*found.endpoints, endpoint) if found.status.is_alive else ()
        self._replace(found, places, (*networks_of(found), attachment.network))

    def disconnect(self, ref: str, network: str) -> None:
        found = self._backend.containers.get(ref)
        self._backend.networks._do("disconnect", found.name, network)
        left = tuple(name for name in networks_of(found) if name != network)
        self._replace(found, tuple(one for one in found.endpoints if one.network != network), left or ("none",))

    def _replace(self, found: Container, endpoints: tuple[Endpoint, ...], names: tuple[str, ...]) -> None:
        spec = replace(found.spec, network=names[0], attachments=tuple(map(Attachment, names[1:])))
        changed = replace(found, endpoints=endpoints, spec=spec)
        self._backend.items = [changed if item.id == found.id else item for item in self._backend.items]
        self._backend.news.set()
