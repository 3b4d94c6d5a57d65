"""`tuicon metrics`: prints metrics, or serves them to Prometheus."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tuicon.cli.failure import Usage

if TYPE_CHECKING:
    from engine.api import Engine

_LONGEST_WAIT = 10.0


def metrics(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon metrics."""
    if not arguments.listen:
        sys.stdout.write(engine.metrics().text(openmetrics=True))
        return 0
    server = _server(engine, *parse_listen(arguments.listen))
    host, port = server.server_address[:2]
    text = host.decode() if isinstance(host, bytes) else host
    print(f"metrics at http://{f'[{text}]' if ':' in text else text}:{port}/metrics", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0


def parse_listen(text: str) -> tuple[str, int]:
    """Return the address and port of "PORT", ":PORT", "ADDRESS:PORT" or "[ADDRESS]:PORT"; without one it is loopback.

    Raises:
        Usage: It is none of these.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdigit() or int(port) > 65535:
        raise Usage(f"invalid address {text!r}: expected [ADDRESS]:PORT, such as 127.0.0.1:9580")
    return host or "127.0.0.1", int(port)


def _server(engine: Engine, host: str, port: int) -> ThreadingHTTPServer:
    source = engine.metrics()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = _LONGEST_WAIT
        server_version = "tuicon"
        sys_version = ""

        def do_GET(self) -> None:
            """Answer with the metrics, in the format that is asked for."""
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            openmetrics = "application/openmetrics-text" in self.headers.get("Accept", "")
            with lock:
                body = source.text(openmetrics=openmetrics).encode()
            self.send_response(200)
            self.send_header("Content-Type", source.content_type(openmetrics=openmetrics))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing for each request."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that went away."""

    try:
        return Server((host, port), Handler)
    except OSError as error:
        raise Usage(f"cannot listen at {host}:{port}: {error.strerror}") from error
