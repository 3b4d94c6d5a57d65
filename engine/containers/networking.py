"""A container's places in networks: taken before a start, and changed while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.containers import publishing
from engine.containers.isolation import CONTAINER
from engine.containers.knobs import TRAFFIC_FIELDS
from engine.containers.records import NETWORKING, Known, Record, Registry
from engine.errors import Conflict, InvalidArgument
from engine.linux import rtnetlink
from engine.model.container import ContainerSpec
from engine.model.image import Image
from engine.model.limits import Limits
from engine.model.network import Attachment, Network
from engine.model.value import Value, asdict, replace
from engine.networks import ports, resolver
from engine.networks.drivers import DRIVERS, host_binding, is_divided, parent_of
from engine.networks.networks import DEFAULT, NetworkStore
from engine.sandbox.connect import ADD, DROP, ROUTE, shape
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths

if TYPE_CHECKING:
    from engine.containers.launch import Launcher
    from engine.containers.lifecycle import Lifecycle

_ALONE = ("host", "none")
Ask = Callable[[dict[str, Any]], object]


class Attached(Value, frozen=True):
    """What a monitor needs to know of networks.

    Attributes:
        settings: "endpoints", and what publishes ports.
        leases: Files that the monitor deletes at the end.
        gateway: The host as the container reaches it; empty for none.
    """

    settings: dict[str, Any]
    leases: list[str]
    gateway: str = ""


def attachments(spec: ContainerSpec) -> tuple[Attachment, ...]:
    """Return what a container asks of bridge networks, its first network first; nothing for host, none and others'."""
    if spec.network in _ALONE or spec.network.startswith(CONTAINER):
        return ()
    found = {attachment.network: attachment for attachment in spec.attachments}
    first = found.pop(spec.network, Attachment(spec.network))
    return (first, *found.values())


class Networking:
    """Leases addresses, describes endpoints, and moves running containers into networks and out of them."""

    def __init__(self, paths: Paths, networks: NetworkStore) -> None:
        self._paths = paths
        self._networks = networks

    def check(self, spec: ContainerSpec) -> ContainerSpec:
        """Check a specification; return it with the networks' names for their ids.

        Raises:
            NotFound: A network does not exist.
            InvalidArgument: What is asked of one makes no sense.
        """
        if spec.network.startswith(CONTAINER) or spec.network in _ALONE:
            if any(_rates(spec.limits).values()):
                raise InvalidArgument(f"network {spec.network.partition(':')[0]} has no rate that could be limited")
            if spec.attachments:
                raise InvalidArgument(f"a container with network {spec.network.partition(':')[0]} has no other network")
            return spec

        def name_of(ref: str) -> str:
            return self._networks.get(ref).name

        named = tuple(replace(item, network=name_of(item.network)) for item in spec.attachments)
        names = [item.network for item in named]
        double = next((name for name in names if names.count(name) > 1), None)
        alone = next((name for name in names if name in _ALONE), None)
        if double or alone:
            text = f"network {double} is named twice" if double else f"network {alone} excludes others"
            raise InvalidArgument(text)
        for attachment in named:
            self._networks.check(attachment)
        return replace(spec, network=name_of(spec.network), attachments=named)

    def prepare(self, record: Record, image: Image) -> Attached:
        """Lease addresses in all networks of a container that is about to start."""
        spec = record.spec
        self._paths.running(record.id).joinpath(NETWORKING).unlink(missing_ok=True)
        wanted = attachments(spec)
        if not wanted and spec.network != "none":
            gateway = "" if spec.network.startswith(CONTAINER) else self._networks.get(spec.network).gateway
            return Attached({"endpoints": []}, [], gateway)
        endpoints: list[dict[str, Any]] = []
        leases: list[str] = []
        for attachment in wanted:
            endpoint, lease, _ = self._join(record, attachment, endpoints)
            endpoints.append(endpoint)
            leases += lease
        settings: dict[str, Any] = {"endpoints": endpoints}
        exposes = (*spec.exposed, *image.settings.exposed_ports)
        mappings = ports.wanted(spec.ports, exposes, publish_all=spec.publish_all)
        settings |= self._networks.firewall.connection()
        if mappings:
            binding = host_binding(self._networks.get(wanted[0].network)) if wanted else ""
            settings["ports"] = [{**asdict(one), "host_ip": one.host_ip or binding} for one in mappings]
            publishing.lead(endpoints, self._networks.firewall)
        settings["resolver"] = self._resolver(spec, endpoints)
        return Attached(settings, leases, self._networks.get(spec.network).gateway)

    def _resolver(self, spec: ContainerSpec, endpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the settings of the resolver; a container that is in the default network alone has none."""
        endpoint = next((item for item in endpoints if item["bridge"] and item["network"] != DEFAULT), None)
        if endpoint is None:
            return None
        has_way_out = any(item["gateway"] for item in endpoints)
        return {
            "address": self._networks.get(endpoint["network"]).gateway, "source": endpoint["address"],
            "names": str(self._networks.names), "servers": resolver.upstream(spec.dns) if has_way_out else [],
            "completes": resolver.completes(spec.dns_options),
        }  # fmt: skip

    def rename(self, container_id: str, name: str) -> None:
        """Let the networks of a running container know its other name."""
        self._networks.rename(container_id, name)

    def _join(
        self, record: Record, attachment: Attachment, others: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], list[str], Network]:
        """Lease an address; return the endpoint, the leases and the network."""
        taken = {endpoint["interface"] for endpoint in others}
        interface = next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)
        endpoint, network, held = self._networks.prepare(attachment, record.id, interface)
        routes = bool(endpoint.gateway) and not any(other["routes"] for other in others)
        routes6 = bool(endpoint.gateway6) and not any(other.get("routes6") for other in others)
        described = {**asdict(endpoint), "bridge": network.bridge, "mtu": network.mtu, **parent_of(network), "routes": routes, "routes6": routes6, "divided": is_divided(network),
            "shaper": self._networks.shaper(record.id, interface), "rates": _rates(record.limits)}  # fmt: skip
        leases = [str(lease) for lease in held]
        if network.name != DEFAULT:
            names = (record.name, record.id[:12], *attachment.aliases)
            leases.append(str(self._networks.announce(endpoint, record.id, names)))
        return described, leases, network

    def connect(self, known: Known, attachment: Attachment, ask: Ask) -> None:
        """Put a container into one more network, at once when it runs; its lock is held.

        Args:
            known: The container.
            attachment: The network, and what is asked of it.
            ask: Asks the launcher.

        Raises:
            Conflict: It is in that network already, or it has no network of its own.
        """
        record, spec = known.record, known.record.spec
        if spec.network == "host" or spec.network.startswith(CONTAINER):
            raise Conflict(f"container {record.name} has no network of its own that could be connected")
        network = self._networks.get(attachment.network)
        if network.driver not in DRIVERS:
            raise Conflict(f"a container cannot be connected to network {network.name}")
        attachment = replace(attachment, network=network.name)
        before = attachments(spec)
        if network.name in [item.network for item in before]:
            raise Conflict(f"container {record.name} is in network {network.name} already")
        self._networks.check(attachment)
        if known.state:
            self._connect_now(known, attachment, ask)
        self._save(record, (*before, attachment))

    def _connect_now(self, known: Known, attachment: Attachment, ask: Ask) -> None:
        current = self._current(known)
        endpoint, leases, network = self._join(known.record, attachment, current["endpoints"])
        is_published = bool(self._published(known)) and self._lead([*current["endpoints"], endpoint]) is not None
        try:
            self._write(known, [*current["endpoints"], endpoint], [*current["leases"], *leases])
            ask(self._request(known, endpoint, ADD))
            if is_published and known.state:
                publishing.follow(self._paths.running(known.record.id), known.state)
        except BaseException:
            self._write(known, current["endpoints"], current["leases"])
            for name in (endpoint["host_interface"], endpoint["shaper"]):
                rtnetlink.delete_link(name)
            self._networks.leave(network.name, known.record.id)
            raise

    def _lead(self, endpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
        return publishing.lead(endpoints, self._networks.firewall)

    def _published(self, known: Known) -> list[dict[str, Any]]:
        """Return the ports that a running container has published, or would have in a network that allows it."""
        settings = records.load_json(self._paths.container(known.record.id) / "monitor.json")
        found: list[dict[str, Any]] = settings["network"].get("ports") or []
        return found if known.state and known.state.has_monitor else []

    def disconnect(self, known: Known, ref: str, ask: Ask) -> None:
        """Take a container out of a network, at once when it runs; its lock is held.

        Raises:
            Conflict: It is not in that network, or nobody is there to take back the ports that it publishes there.
        """
        record, name = known.record, self._networks.get(ref).name
        before = attachments(record.spec)
        after = tuple(item for item in before if item.network != name)
        if len(after) == len(before):
            raise Conflict(f"container {record.name} is not in network {name}")
        if known.state:
            self._disconnect_now(known, name, ask)
        self._save(record, after)
        if known.state and known.state.has_monitor:
            publishing.follow(self._paths.running(record.id), known.state)

    def _disconnect_now(self, known: Known, name: str, ask: Ask) -> None:
        current = self._current(known)
        endpoint = next((item for item in current["endpoints"] if item["network"] == name), None)
        if endpoint is None:
            return
        has_ports = bool(endpoint.get("reflects"))
        if has_ports and not self._published(known):
            raise Conflict(
                f"the ports of container {known.record.name} cannot be unpublished: no monitor is there to do it"
            )
        left = [item for item in current["endpoints"] if item is not endpoint]
        heirs = _heirs(endpoint, left)
        leads_to = self._lead(left) if has_ports else None
        if leads_to:
            rtnetlink.reflect(leads_to["host_interface"])
        if endpoint["bridge"]:
            rtnetlink.delete_link(endpoint["host_interface"])
        else:
            ask(self._request(known, endpoint, DROP))
        rtnetlink.delete_link(endpoint["shaper"])
        self._write(known, left, [path for path in current["leases"] if name not in Path(path).parts])
        self._networks.leave(name, known.record.id)
        for heir in heirs:
            ask(self._request(known, heir, ROUTE))

    def limit(self, known: Known, limits: Limits) -> None:
        """Have a running container's traffic limited from now on; its lock is held.

        Raises:
            Conflict: It has no network of its own.
            OSError: This kernel refuses.
        """
        bridged = [endpoint for endpoint in self._current(known)["endpoints"] if endpoint["bridge"]]
        if not bridged and any(_rates(limits).values()):
            raise Conflict(f"container {known.record.name} has no network of its own that could be limited")
        for endpoint in bridged:
            shape({**endpoint, "rates": _rates(limits)})

    def keep_limits(self, known: Known, limits: Limits) -> None:
        """Write down how a running container's traffic is limited, for its monitor; its lock is held."""
        current = self._current(known)
        for endpoint in current["endpoints"]:
            endpoint["rates"] = _rates(limits)
        self._write(known, current["endpoints"], current["leases"])

    def _current(self, known: Known) -> dict[str, Any]:
        """Return the endpoints and leases of a running container."""
        with contextlib.suppress(FileNotFoundError):
            return records.load_json(self._paths.running(known.record.id) / NETWORKING)
        settings = records.load_json(self._paths.container(known.record.id) / "monitor.json")
        return {"endpoints": settings["network"]["endpoints"], "leases": settings["leases"]}

    def _write(self, known: Known, endpoints: list[dict[str, Any]], leases: list[str]) -> None:
        """Write down what a running container has by now; its monitor and everybody else reads it there."""
        path = self._paths.running(known.record.id) / NETWORKING
        records.save(path, {"endpoints": endpoints, "leases": leases})

    @staticmethod
    def _request(known: Known, endpoint: dict[str, Any], what: str) -> dict[str, Any]:
        assert known.state
        return {"action": "network", "id": known.record.id, "pid": known.state.pid, "pid_start": known.state.pid_start,
            "endpoint": endpoint, "what": what}  # fmt: skip

    def _save(self, record: Record, wanted: tuple[Attachment, ...]) -> None:
        network = wanted[0].network if wanted else "none"
        changed = replace(record, spec=replace(record.spec, network=network, attachments=wanted))
        records.save(self._paths.container(record.id) / "record.json", changed)


def _rates(limits: Limits) -> dict[str, float]:
    """Return limits as engine.linux.traffic knows them."""
    return {name.removeprefix("net_").removeprefix("rate_"): getattr(limits, name) or 0 for name in TRAFFIC_FIELDS}


def _heirs(endpoint: dict[str, Any], left: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have others take over the default routes of an endpoint that goes; return each with the route that it got."""
    found = []
    for routes, gateway in (("routes", "gateway"), ("routes6", "gateway6")):
        heir = next((item for item in left if item.get(gateway)), None) if endpoint.get(routes) else None
        if heir:
            heir[routes] = True
            found.append({**heir, "routes": False, "routes6": False, routes: True})
    return found


class Connections:
    """Connects containers to networks, and disconnects them, by their names."""

    def __init__(
        self, networking: Networking, registry: Registry, lifecycle: Lifecycle, launcher: Launcher,
        networks: NetworkStore, journal: Journal,
    ) -> None:  # fmt: skip
        self._networking = networking
        self._registry = registry
        self._lifecycle = lifecycle
        self._launcher = launcher
        self._networks = networks
        self._journal = journal

    def limit(self, known: Known, before: Limits, after: Limits) -> None:
        """Have a running container's traffic limited as `after` says; its lock is held.

        Raises:
            Conflict: It has no network of its own.
            OSError: This kernel refuses; what was in force is again.
        """
        try:
            self._networking.limit(known, after)
        except OSError:
            self._networking.limit(known, before)
            raise

    def keep_limits(self, known: Known, limits: Limits) -> None:
        """Write down how a running container's traffic is limited, for its monitor; its lock is held."""
        self._networking.keep_limits(known, limits)

    def connect(self, ref: str, attachment: Attachment) -> None:
        """Put a container into one more network, at once when it runs.

        Raises:
            Conflict: It is in that network already, or has no network of its own.
            NotFound: There is no such network.
        """
        container_id = self._registry.resolve(ref)
        with self._lifecycle.lock(container_id):
            self._networking.connect(self._registry.known(container_id), attachment, self._launcher.ask)
        self._tell("connect", attachment.network, container_id)

    def disconnect(self, ref: str, network: str) -> None:
        """Take a container out of a network, at once when it runs.

        Raises:
            Conflict: It is not in that network, or nobody is there to take back the ports that it publishes there.
            NotFound: There is no such network.
        """
        container_id = self._registry.resolve(ref)
        with self._lifecycle.lock(container_id):
            self._networking.disconnect(self._registry.known(container_id), network, self._launcher.ask)
        self._tell("disconnect", network, container_id)

    def _tell(self, action: str, ref: str, container_id: str) -> None:
        network = self._networks.get(ref)
        self._journal.append("network", action, network.id, network.name, container=container_id)
