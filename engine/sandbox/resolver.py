"""A container's name server: names of its networks' containers from files, all else from the host's servers.

It lives in the container's monitor and listens on the bridge's address, at a port of its own; an element of a map in our
table leads the container's queries to it, so the container's own port 53 stays free.
"""

from __future__ import annotations

import errno
import os
import time

from engine.linux import files
from engine.linux.light import json, socket
from engine.sandbox import dns
from engine.sandbox.inquiries import PATIENCE, PORT, Inquiries
from engine.sandbox.streams import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.streams import Streams

    Document = dict[str, Any]

_FAMILIES = {dns.A: socket.AF_INET, dns.AAAA: socket.AF_INET6}
_ID = 64
_MOST_PENDING = 64
_TRIES = 16
_SETTLED_AFTER = 0.1


class Names:
    """What is known of a network's names; read anew when its directory changes.

    Attributes:
        network: The network's name.
        addresses: The addresses of each name, in lower case.
        names: The name of each address.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.network = os.path.basename(directory)
        self._stamp = 0
        self.addresses: dict[str, list[str]] = {}
        self.names: dict[str, str] = {}

    def refresh(self) -> None:
        """Read the files when one came or went."""
        try:
            stamp = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            self.addresses, self.names = {}, {}
            return
        if stamp == self._stamp:
            return
        addresses: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        for file in sorted(os.listdir(self._directory)):
            if len(file) != _ID:  # being written
                continue
            try:
                found, _, *known = files.read_file(f"{self._directory}/{file}").decode().split()
            except (FileNotFoundError, ValueError):
                continue
            for address in found.split(","):
                names[address] = f"{known[0]}.{self.network}"
                for name in known:
                    addresses.setdefault(name.lower(), []).append(address)
        self.addresses, self.names = addresses, names
        is_settled = time.time() - stamp / 1e9 > _SETTLED_AFTER  # one more change could have the same time
        self._stamp = stamp if is_settled else 0


class Pending:
    """A query that a server of the host was asked."""

    def __init__(
        self, channel: socket.socket, client: tuple[str, int], query: bytes, question: dns.Question, server: int
    ) -> None:  # fmt: skip
        self.channel = channel
        self.client = client
        self.query = query
        self.question = question
        self.server = server
        self.since = time.monotonic()


class Resolver(Timer):
    """Answers one container, over UDP here and over TCP by its inquiries.

    Attributes:
        redirect: The container's address and our port, once we listen; else None.
    """

    def __init__(self, settings: Document, streams: Streams) -> None:
        network: Document = settings.get("network") or {}
        self._settings: Document = network.get("resolver") or {}
        self._endpoints: list[Document] = network.get("endpoints") or []
        self._changes = str(settings.get("networking") or "")
        self._streams = streams
        self._servers: list[str] = self._settings.get("servers") or []
        self._known: dict[str, Names] = {}
        self._pending: dict[int, Pending] = {}
        self._channel: socket.socket | None = None
        self._turn = 0
        self._inquiries = Inquiries(streams, str(self._settings.get("source")), self._servers, self._records)
        self.redirect: list[Any] | None = None

    def listen(self) -> None:
        """Listen on the bridge's address, at one port over UDP and TCP; it is fine to be asked again.

        Raises:
            OSError: The bridge is gone.
        """
        if not self._settings or self._channel:
            return
        address = str(self._settings["address"])
        for left in reversed(range(_TRIES)):
            channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                channel.bind((address, 0))
                self._inquiries.listen(address, channel.getsockname()[1])
            except OSError as error:
                channel.close()
                if error.errno != errno.EADDRINUSE or not left:
                    raise
            else:
                break
        self._channel = channel
        self._streams.watch(channel.fileno(), self._answer_all)
        self.redirect = [self._settings["source"], channel.getsockname()[1]]

    def left(self) -> float | None:
        """Return the milliseconds until a server has been silent for too long."""
        ends = [pending.since + PATIENCE for pending in self._pending.values()]
        lefts = [max(0.0, min(ends) - time.monotonic()) * 1000 + 1] if ends else []
        other = self._inquiries.left()
        return min([*lefts, *([] if other is None else [other])], default=None)

    def tick(self) -> None:
        """Ask others instead of servers that have been silent for too long."""
        now = time.monotonic()
        for pending in [one for one in self._pending.values() if now > one.since + PATIENCE]:
            self._finish(pending, b"")
        self._inquiries.tick()

    def _answer_all(self) -> None:
        assert self._channel
        while True:
            try:
                query, client = self._channel.recvfrom(dns.LARGEST)
            except OSError:
                return
            question = dns.parse(query)
            if client[0] != self._settings["source"] or question is None:
                continue
            records = self._records(question)
            if records is None:
                self._forward(query, client, question)
            else:
                self._send(dns.answer(query, question, records), client)

    def _send(self, message: bytes, client: tuple[str, int]) -> None:
        assert self._channel
        try:
            self._channel.sendto(message, client)
        except OSError:
            return  # the container has gone, or does not keep up

    def _records(self, question: dns.Question) -> list[bytes] | None:
        """Return the records that answer a question about our names; None when it is about others'."""
        address = dns.reversed_address(question.name) if question.kind == dns.PTR else ""
        for names in self._networks():
            if address in names.names:
                return [dns.encode_name(names.names[address])]
            found = names.addresses.get(question.name.removesuffix(f".{names.network}"))
            if found:
                return self._addresses(found, _FAMILIES.get(question.kind))
        is_single = question.kind in _FAMILIES and "." not in question.name
        return [] if is_single and self._settings.get("completes") else None

    def _addresses(self, found: list[str], family: int | None) -> list[bytes]:
        """Return the addresses of a family; another one comes first each time, so that all get their share of the load."""
        fitting = [one for one in found if family and (":" in one) == (family == socket.AF_INET6)]
        self._turn += 1
        first = self._turn % len(fitting) if fitting else 0
        return [socket.inet_pton(family or 0, one) for one in (*fitting[first:], *fitting[:first])]

    def _networks(self) -> list[Names]:
        """Return the names of all networks that the container is in by now."""
        endpoints = self._endpoints
        try:
            endpoints = json.loads(files.read_file(self._changes))["endpoints"]
        except FileNotFoundError:
            pass
        found = []
        for endpoint in endpoints:
            name = str(endpoint["network"])
            names = self._known.setdefault(name, Names(f"{self._settings['names']}/{name}"))
            names.refresh()
            found.append(names)
        return found

    def _forward(self, query: bytes, client: tuple[str, int], question: dns.Question) -> None:
        """Ask a server of the host; who asks again has got no answer, so the next server is asked."""
        again = next((one for one in self._pending.values() if (one.client, one.query) == (client, query)), None)
        for pending in list(self._pending.values()):
            if pending is again or len(self._pending) >= _MOST_PENDING:
                self._forget(pending)
        first = again.server + 1 if again else 0
        for number in range(first, first + len(self._servers)):
            if self._ask(number % len(self._servers), query, client, question):
                return
        self._send(dns.answer(query, question, [], dns.SERVER_FAILURE), client)

    def _ask(self, number: int, query: bytes, client: tuple[str, int], question: dns.Question) -> bool:
        """Send a query to a server, from a port that nobody can foresee; return whether that worked."""
        server = self._servers[number]
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError:
            return False
        try:
            channel.connect((server, PORT))
            channel.send(query)
        except OSError:
            channel.close()
            return False
        pending = Pending(channel, client, query, question, number)
        self._pending[channel.fileno()] = pending
        self._streams.watch(channel.fileno(), lambda: self._relay(pending))
        return True

    def _relay(self, pending: Pending) -> None:
        try:
            message = pending.channel.recv(dns.LARGEST_TCP)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message or message[:2] == pending.query[:2]:
            self._finish(pending, message)

    def _finish(self, pending: Pending, message: bytes) -> None:
        """Pass a server's answer on; one that settles nothing, or is not there, leaves the query to the next."""
        self._forget(pending)
        if not message or not dns.settles(message):
            for number in range(pending.server + 1, len(self._servers)):
                if self._ask(number, pending.query, pending.client, pending.question):
                    return
        failure = dns.answer(pending.query, pending.question, [], dns.SERVER_FAILURE)
        self._send(message or failure, pending.client)

    def _forget(self, pending: Pending) -> None:
        if self._pending.pop(pending.channel.fileno(), None):
            self._streams.unwatch(pending.channel.fileno())
            pending.channel.close()
