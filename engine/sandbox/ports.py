"""The published ports of one container: sockets that hold them on the host, and the elements that lead to it.

A socket is bound for each port and never listened on, so that nobody else can have the port while the monitor lives,
and a port that somebody has fails the start. The packets never come to it: nftables rewrites their destination before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource

from engine.linux import files, nfnetlink, procfs
from engine.linux.light import json, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.sandbox.resolver import Resolver

    Document = dict[str, Any]

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_LOWEST_HELD = 4096
_FEW = 128
_TRIES = 16


class Ports:
    """Holds the ports from the first start to the monitor's end, and lets them lead to the container while it runs.

    Attributes:
        published: What is in force, in the shape of engine.model.network.PublishedPort.
    """

    def __init__(self, settings: Document, resolver: Resolver) -> None:
        network: Document = settings.get("network") or {}
        self._wanted: list[Document] = network.get("ports") or []
        self._table = str(network.get("table") or "")
        self._lock = str(network.get("lock") or "")
        self._address, self._address6 = _addresses_for_ports(network.get("endpoints") or [])
        self._running = os.path.dirname(str(settings["state"]))
        self._resolver = resolver
        self._held: list[int] = []
        self._is_open = False
        self.published: list[Document] = []

    def hold(self) -> None:
        """Take the ports on the host; those that are held stay so.

        Raises:
            OSError: With a sentence that names the port, and who has it.
        """
        if self._held or not self._wanted or not self._address:
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_many = len(self._wanted) > _FEW
        if is_many:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            for wanted in self._wanted:
                places = self._places(wanted)
                taken, host_port = self._take(wanted, places)
                self._held += [_move_up(fd) if is_many else fd for fd in taken]
                self.published += [
                    {"host_ip": host_ip, "host_port": host_port, "address": address, "port": wanted["port"],
                        "protocol": wanted["protocol"]}
                    for host_ip, address in places
                ]  # fmt: skip
        except OSError as error:
            self.release()
            if error.errno in (errno.EMFILE, errno.ENFILE):
                text = f"{len(self._wanted)} ports are more than this host's limit of open files allows"
                raise OSError(error.errno, text) from error
            raise
        finally:
            if is_many:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def _places(self, wanted: Document) -> list[tuple[str, str]]:
        """Return the host's address and the container's, of each family in which a port is published."""
        host_ip = str(wanted["host_ip"])
        if ":" in host_ip and not self._address6:
            named = f"{_bracketed(host_ip)}:{wanted['first']}/{wanted['protocol']}"
            raise OSError(errno.EAFNOSUPPORT, f"cannot publish port {named}: the container has no IPv6 address")
        if host_ip:
            return [(host_ip, self._address6 if ":" in host_ip else self._address)]
        return [("0.0.0.0", self._address), *([("::", self._address6)] if self._address6 else [])]  # noqa: S104 - docker's word for all

    def _take(self, wanted: Document, places: list[tuple[str, str]]) -> tuple[list[int], int]:
        """Bind the first free port of a mapping; return the sockets' descriptors and the port."""
        first, last = int(wanted["first"]), int(wanted["last"])
        numbers = [*range(first, last + 1)] if first else [0] * _TRIES
        while True:
            number = numbers.pop(0)
            try:
                return _bind_all(str(wanted["protocol"]), [host_ip for host_ip, _ in places], number)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and numbers:
                    continue
                named = f"{_bracketed(str(error.filename))}:{first}/{wanted['protocol']}"
                raise OSError(error.errno, f"cannot publish port {named}: {self._reason(error, wanted)}") from error

    def _reason(self, error: OSError, wanted: Document) -> str:
        if error.errno == errno.EADDRNOTAVAIL:
            return "this host does not have the address"
        if error.errno != errno.EADDRINUSE:
            return error.strerror or str(error)
        if wanted["first"] != wanted["last"]:
            return f"all ports up to {wanted['last']} are in use"
        is_new, protocol, number = ":" in str(error.filename), wanted["protocol"], wanted["first"]

        def has_it(state: Document) -> bool:
            return any(
                (port["protocol"], port["host_port"], ":" in port["host_ip"]) == (protocol, number, is_new)
                for port in state.get("ports") or []
            )

        holder = self._container_that(has_it) or procfs.holder_of_port(protocol, int(number))
        return f"it is in use by {holder}" if holder else "it is in use"

    def open(self) -> None:
        """Let the ports lead to the container.

        Raises:
            OSError: A port leads to another container that runs, or the rules are gone.
        """
        elements = self._elements()
        if not elements:
            return
        with files.FileLock(self._lock, shared=True):  # else somebody who writes all rules anew would miss these
            self._is_open = True
            try:
                nfnetlink.add(self._table, elements)
            except FileExistsError:
                stale = self._stale(elements)
                nfnetlink.add(self._table, elements, instead=stale)
            except FileNotFoundError:
                text = "cannot publish ports: the nftables rules are gone; mend them with: tuicon system check --repair"
                raise OSError(errno.ENOENT, text) from None

    def _stale(self, elements: list[nfnetlink.Element]) -> list[nfnetlink.Element]:
        """Return the elements that stand in the way and lead to nobody any more.

        Raises:
            OSError: One leads to a container that runs.
        """
        keys = {element[:2] for element in elements}
        stale = [element for element in self._in_the_way(elements) if element[:2] in keys]
        for element in stale:
            holder = self._container_that(_leads_by(element))
            if holder:
                raise OSError(errno.EADDRINUSE, f"cannot publish a port: it leads to {holder} already")
        return stale

    def _in_the_way(self, elements: list[nfnetlink.Element]) -> list[nfnetlink.Element]:
        """Return all elements of the maps that some elements belong to."""
        names = {element[0] for element in elements}
        return [element for name in names for element in nfnetlink.dump(self._table, name)]

    def _container_that(self, fits: Callable[[Document], bool]) -> str:
        """Return "container NAME" of another container that runs and whose state fits; empty when none does."""
        directory = os.path.dirname(self._running)
        for name in os.listdir(directory):
            try:
                state: Document = json.loads(files.read_file(f"{directory}/{name}/state.json"))
            except (OSError, ValueError):
                continue
            if name == os.path.basename(self._running) or not _is_used(state):
                continue
            if fits(state):
                return f"container {state.get('name') or name[:12]}"
        return ""

    def close(self) -> None:
        """Let the ports lead nowhere; they stay held."""
        if not self._is_open:
            return
        wanted = set(self._elements())
        with files.FileLock(self._lock, shared=True):
            found = self._in_the_way([*wanted])
            nfnetlink.delete(self._table, [element for element in found if element in wanted])
        self._is_open = False

    def follow(self, endpoints: list[Document], *, is_running: bool) -> bool:
        """Have the ports lead to the endpoint that is to have them by now; return whether something changed.

        Without such an endpoint they are given back to the host. No queries are led from an address that has gone.

        Args:
            endpoints: Those that the container has.
            is_running: Whether they lead there at once, or when they are opened.

        Raises:
            OSError: One cannot be had; then all are given back.
        """
        addresses = _addresses_for_ports(endpoints) if self._wanted else ("", "")
        asks = self._resolver.redirect
        has_asker = not asks or asks[0] in [endpoint["address"] for endpoint in endpoints]
        before = self._address, self._address6
        if addresses == before and has_asker:
            return False
        self.close()
        self._resolver.redirect = asks if has_asker else None
        self._address, self._address6 = addresses
        try:
            if [*map(bool, addresses)] != [*map(bool, before)]:  # what is held depends on the families
                self.release()
            for port in self.published:
                port["address"] = self._address6 if ":" in port["host_ip"] else self._address
            self.hold()
            if is_running:
                self.open()
        except OSError:
            self._address = self._address6 = ""
            self.release()
            raise
        return True

    def release(self) -> None:
        """Give the ports back to the host."""
        for fd in self._held:
            os.close(fd)
        self._held.clear()
        self.published.clear()

    def _elements(self) -> list[nfnetlink.Element]:
        return elements_of(self.published, self._resolver.redirect)


def _addresses_for_ports(endpoints: list[Document]) -> tuple[str, str]:
    """Return the IPv4 and the IPv6 address of the endpoint that ports lead to."""
    lead: Document = next((endpoint for endpoint in endpoints if endpoint.get("reflects")), {})
    return str(lead.get("address") or ""), str(lead.get("address6") or "")


def elements_of(published: list[Document], redirect: list[Any] | None) -> list[nfnetlink.Element]:
    """Return the elements of the maps that a container's published ports and its resolver need."""
    resolvers = [nfnetlink.resolver_element(*redirect)] if redirect else []
    return resolvers + [
        nfnetlink.port_element(port["protocol"], port["host_ip"], port["host_port"], port["address"], port["port"])
        for port in published
    ]


def _leads_by(wanted: nfnetlink.Element) -> Callable[[Document], bool]:
    """Return what tells whether the container of a state record has the key of an element."""

    def fits(state: Document) -> bool:
        held = elements_of(state.get("ports") or [], state.get("resolver"))
        return any(element[:2] == wanted[:2] for element in held)

    return fits


def _is_used(state: Document) -> bool:
    """Return whether the container of a state record, or its monitor, lives."""
    return any(
        procfs.is_same_process(int(state[f"{who}pid"]), int(state[f"{who}{start}"]))
        for who, start in (("", "pid_start"), ("monitor_", "start"))
    )


def _bind_all(protocol: str, addresses: list[str], port: int) -> tuple[list[int], int]:
    """Bind a socket at one port of each address; return their descriptors and the port.

    Raises:
        OSError: Its filename is the address that failed.
    """
    taken: list[int] = []
    for address in addresses:
        try:
            fd, port = _bind(protocol, address, port)
        except OSError as error:
            for fd in taken:
                os.close(fd)
            raise OSError(error.errno, error.strerror, address) from error
        taken.append(fd)
    return taken, port


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _bind(protocol: str, host_ip: str, port: int) -> tuple[int, int]:
    """Bind a socket; return its descriptor and the port.

    A kernel without SCTP has nobody who could take its ports, so there is nothing to hold: the descriptor is that of a
    socket that is not bound.
    """
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    try:
        channel = socket.socket(family, _TYPES[protocol] | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if protocol != "sctp" or not port or error.errno != errno.EPROTONOSUPPORT:
            raise
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), port
    with channel:
        if family == socket.AF_INET6:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        channel.bind((host_ip, port))
        found = int(channel.getsockname()[1])
        return channel.detach(), found


def _move_up(fd: int) -> int:
    """Move a descriptor out of the low numbers, which the container's first process is limited to."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LOWEST_HELD)
    os.close(fd)
    return moved
