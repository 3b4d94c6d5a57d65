"""Registries for tests: Debian's docker-registry, a proxy that cuts connections, and a server that says what it is told."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WAITS = 90.0
HTPASSWD = "user:$2y$04$1TQ.9Muu3LI0DRuN0dCfkuUCkIKUlaipkTUYTmz9CBDUMOPVDdZIa"  # "secret", by htpasswd -B


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAITS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.02)
            continue
        return
    raise AssertionError(f"the server on port {port} did not start")


@contextmanager
def docker_registry(directory: Path, http_section: str = "", auth: str = "") -> Iterator[str]:
    """Run Debian's docker-registry; yield its host and port."""
    assert shutil.which("docker-registry"), "docker-registry is missing (tests/setup test)"
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n  secret: x\n{http_section}{auth}"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}  # it reads those
    with directory.joinpath("log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log, env=plain)
    try:
        wait_for_port(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Cutter:
    """A proxy that cuts a connection after some bytes of the answer, or takes its time; notes the request lines.

    Attributes:
        cut_after: Bytes of answers to pass on in one connection; None for all.
        cuts: How many connections it may still cut.
        pause: Seconds to wait after each piece of an answer.
        cut_requests_after: The same for requests, such as uploads.
        seen: What was asked, one text a request head.
    """

    def __init__(self, target: str) -> None:
        self._target = (target.rpartition(":")[0], int(target.rpartition(":")[2]))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.cut_after: int | None = None
        self.cut_requests_after: int | None = None
        self.cuts = 0
        self.pause = 0.0
        self.seen: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(16384):
                if not is_answer and data.split(b" ", 1)[0] in (b"GET", b"PUT", b"PATCH", b"POST", b"HEAD"):
                    self.seen.append(data.partition(b"\r\n\r\n")[0].decode(errors="replace"))
                limit = self.cut_after if is_answer else self.cut_requests_after
                if limit is not None and self.cuts > 0 and passed + len(data) > limit:
                    self.cuts -= 1
                    target.sendall(data[: limit - passed])
                    break
                target.sendall(data)
                passed += len(data)
                if is_answer and self.pause:
                    time.sleep(self.pause)
        except OSError:
            pass
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@dataclass
class Page:
    """What a told server answers."""

    body: bytes = b""
    kind: str = "application/octet-stream"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Told:
    """An HTTP server that answers what it is told, and remembers the headers that it was sent."""

    def __init__(self, pages: dict[str, Page] | None = None) -> None:
        self.pages = pages or {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                told.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                page = told.page(self.path, self.headers.get("Authorization", ""))
                self.send_response(page.status)
                self.send_header("Content-Type", page.kind)
                self.send_header("Content-Length", str(len(page.body)))
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(page.body)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.name = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def page(self, path: str, authorization: str) -> Page:
        return self.pages.get(path, Page(b'{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}', status=404))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put_image(self, name: str, layer: bytes, blob: bytes, **changes: Any) -> dict[str, Any]:
        """Serve an image of one layer as name:1, with fields of its manifest changed; return the manifest."""
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }).encode()  # fmt: skip
        manifest: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest_of(blob), "size": len(blob)}],
            **changes,
        }  # fmt: skip
        data = json.dumps(manifest).encode()
        for reference in ("1", digest_of(data)):
            self.pages[f"/v2/{name}/manifests/{reference}"] = Page(data, manifest.get("mediaType") or OCI_MANIFEST)
        for item in (config, blob):
            self.pages[f"/v2/{name}/blobs/{digest_of(item)}"] = Page(item)
        return manifest


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def certificate(directory: Path, name: str, authority: Path | None = None, key: str = "ec") -> Path:
    """Make a key and a certificate, by itself or by an authority; return the certificate's path without its suffix."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    kinds = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["-newkey", "rsa:2048"]}
    command = ["openssl", "req", "-x509", *kinds[key], "-nodes",
        "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{path}.key", "-out", f"{path}.crt"]  # fmt: skip
    if authority is None:
        command += ["-addext", "basicConstraints=critical,CA:TRUE"]
    else:
        command += ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return path


class TokenServer(Told):
    """Docker's token service: gives out signed tokens for what the user may do, by the specification."""

    def __init__(self, key: Path, users: dict[str, str]) -> None:
        super().__init__()
        self._key = key
        self._users = users
        self._certificate = ssl.PEM_cert_to_DER_cert(Path(f"{key}.crt").read_text())

    def page(self, path: str, authorization: str) -> Page:
        query = parse_qs(urlsplit(path).query)
        user = ""
        if authorization:
            user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            if self._users.get(user) != password:
                return Page(b"{}", status=401)
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = (
                scope.rsplit(":", 1)[0].partition(":")[0],
                scope.split(":")[1],
                scope.rsplit(":", 1)[1],
            )
            allowed = [action for action in actions.split(",") if user or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        return Page(json.dumps({"token": self._token(query["service"][0], access), "expires_in": 300}).encode())

    def _token(self, service: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(self._certificate).decode()]}
        claims = {"iss": "tests", "sub": "", "aud": service, "exp": now + 300, "nbf": now - 300, "iat": now - 300,
            "jti": "1", "access": access}  # fmt: skip
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (head, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", f"{self._key}.key"],
            input=signed.encode(), check=True, capture_output=True,
        )  # fmt: skip
        return f"{signed}.{_b64(done.stdout)}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
