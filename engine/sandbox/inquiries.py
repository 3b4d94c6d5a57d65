"""DNS over TCP for one container: its connections, and those on which the host's servers are asked (RFC 7766).

Nothing waits here: the monitor's loop says when a connection can be read or written. What a container can make us keep is
bounded: few connections, few queries on each, and neither for long.
"""

from __future__ import annotations

import errno
import select
import struct
import time

from engine.linux.light import socket
from engine.sandbox import dns
from engine.sandbox.streams import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.sandbox.dns import Question
    from engine.sandbox.streams import Streams

PORT = 53
PATIENCE = 4.0
_IDLE = 5.0
_MOST_CLIENTS = 8
_MOST_ASKED = 4
_CHUNK = 4096


class Client:
    """A connection of the container, and what came on it and is to go."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.fd = channel.fileno()
        self.received = b""
        self.unsent = b""
        self.asked = 0
        self.since = time.monotonic()


class Inquiry:
    """A query that a server of the host is asked on a connection of its own."""

    def __init__(self, channel: socket.socket, client: Client, query: bytes, question: Question, server: int) -> None:
        self.channel = channel
        self.fd = channel.fileno()
        self.client = client
        self.query = query
        self.question = question
        self.server = server
        self.unsent = _framed(query)
        self.received = b""
        self.since = time.monotonic()


class Inquiries(Timer):
    """Answers one container over TCP.

    Attributes:
        source: The container's address; others are not answered.
    """

    def __init__(
        self, streams: Streams, source: str, servers: list[str], records_of: Callable[[Question], list[bytes] | None]
    ) -> None:  # fmt: skip
        self._streams = streams
        self.source = source
        self._servers = servers
        self._records_of = records_of
        self._listener: socket.socket | None = None
        self._clients: dict[int, Client] = {}
        self._inquiries: dict[int, Inquiry] = {}

    def listen(self, address: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The port is taken, or the address is gone.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listener.bind((address, port))
            listener.listen(_MOST_CLIENTS)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._streams.watch(listener.fileno(), self._accept)

    def left(self) -> float | None:
        """Return the milliseconds until somebody has been silent for too long; None when there is nobody."""
        ends = [client.since + _IDLE for client in self._clients.values() if not client.asked]
        ends += [inquiry.since + PATIENCE for inquiry in self._inquiries.values()]
        return max(0.0, min(ends) - time.monotonic()) * 1000 + 1 if ends else None

    def tick(self) -> None:
        """Drop those who have been silent for too long."""
        now = time.monotonic()
        for inquiry in [one for one in self._inquiries.values() if now > one.since + PATIENCE]:
            if self._inquiries.get(inquiry.fd) is inquiry:  # else its client has just been dropped
                self._finish(inquiry, b"")
        for client in [one for one in self._clients.values() if not one.asked and now > one.since + _IDLE]:
            self._drop(client)

    def _accept(self) -> None:
        assert self._listener
        try:
            channel, peer = self._listener.accept()
        except OSError:
            return
        if peer[0] != self.source:
            channel.close()
            return
        if len(self._clients) >= _MOST_CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.since))
        channel.setblocking(False)
        client = Client(channel)
        self._clients[client.fd] = client
        self._watch(client)

    def _watch(self, client: Client) -> None:
        """Have the loop tell when a connection can go on; one with enough queries under way is not read."""
        events = select.POLLOUT if client.unsent else select.POLLIN if client.asked < _MOST_ASKED else 0
        self._streams.watch(client.fd, lambda: self._serve(client), events)

    def _serve(self, client: Client) -> None:
        try:
            if client.unsent:
                client.unsent = client.unsent[client.channel.send(client.unsent) :]
                client.since = time.monotonic()
            else:
                data = client.channel.recv(_CHUNK)
                if not data:
                    self._drop(client)
                    return
                client.received += data
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        self._read(client)

    def _read(self, client: Client) -> None:
        """Take the queries that have come whole, as long as the container reads its answers."""
        while not client.unsent and client.asked < _MOST_ASKED and len(client.received) >= 2:
            size = int.from_bytes(client.received[:2], "big")
            if len(client.received) < 2 + size <= 2 + dns.LARGEST:
                break
            query, client.received = client.received[2 : 2 + size], client.received[2 + size :]
            question = dns.parse(query) if size <= dns.LARGEST else None
            if question is None:
                self._drop(client)
                return
            client.since = time.monotonic()
            records = self._records_of(question)
            if records is None:
                self._ask(client, query, question, 0)
            else:
                self._send(client, dns.answer(query, question, records, largest=dns.LARGEST_TCP))
        if client.fd in self._clients:
            self._watch(client)

    def _send(self, client: Client, message: bytes) -> None:
        client.unsent += _framed(message)
        try:
            client.unsent = client.unsent[client.channel.send(client.unsent) :]
        except OSError:  # it does not keep up, or has gone: the loop will tell
            return

    def _ask(self, client: Client, query: bytes, question: Question, first: int) -> None:
        """Ask the first server from a certain one on that can be asked."""
        for number in range(first, len(self._servers)):
            channel = _connected(self._servers[number])
            if channel:
                self._begin(Inquiry(channel, client, query, question, number))
                return
        self._send(client, dns.answer(query, question, [], dns.SERVER_FAILURE))

    def _begin(self, inquiry: Inquiry) -> None:
        self._inquiries[inquiry.fd] = inquiry
        inquiry.client.asked += 1
        self._streams.watch(inquiry.fd, lambda: self._go_on(inquiry), select.POLLOUT)

    def _go_on(self, inquiry: Inquiry) -> None:
        try:
            if inquiry.unsent:
                inquiry.unsent = inquiry.unsent[inquiry.channel.send(inquiry.unsent) :]
                if not inquiry.unsent:
                    self._streams.watch(inquiry.fd, lambda: self._go_on(inquiry))
                return
            data = inquiry.channel.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        inquiry.received += data
        size = int.from_bytes(inquiry.received[:2], "big")
        is_whole = len(inquiry.received) >= 2 + size > 2
        if is_whole or not data:
            self._finish(inquiry, inquiry.received[2 : 2 + size] if is_whole else b"")

    def _finish(self, inquiry: Inquiry, message: bytes) -> None:
        """Pass a server's answer on; one that settles nothing leaves the query to the next."""
        self._forget(inquiry)
        client = inquiry.client
        client.asked -= 1
        client.since = time.monotonic()
        is_last = inquiry.server + 1 >= len(self._servers)
        if message[:2] == inquiry.query[:2] and (is_last or dns.settles(message)):
            self._send(client, message)
        else:
            self._ask(client, inquiry.query, inquiry.question, inquiry.server + 1)
        self._read(client)

    def _forget(self, inquiry: Inquiry) -> None:
        self._streams.unwatch(inquiry.fd)
        del self._inquiries[inquiry.fd]
        inquiry.channel.close()

    def _drop(self, client: Client) -> None:
        for inquiry in [one for one in self._inquiries.values() if one.client is client]:
            self._forget(inquiry)
        self._streams.unwatch(client.fd)
        del self._clients[client.fd]
        client.channel.close()


def _connected(server: str) -> socket.socket | None:
    """Return a connection that is on its way to a server; None when there is no way."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        channel = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except OSError:
        return None
    number = channel.connect_ex((server, PORT))
    if number in (0, errno.EINPROGRESS):
        return channel
    channel.close()
    return None


def _framed(message: bytes) -> bytes:
    """Return a message as it goes over TCP: its length comes first (RFC 1035, section 4.2.2)."""
    return struct.pack("!H", len(message)) + message
