"""HTTP to registries: pooled connections, TLS by host, proxies, redirects by hand, back-off, errors as sentences.

What is secret stays with its host: an Authorization header is never sent on after a redirect, and no redirect leads
from https to http unless the host was declared insecure.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from engine.errors import InvalidArgument, RegistryError
from engine.images.registry.config import Endpoint, certificates, is_loopback

if TYPE_CHECKING:
    import urllib3

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
PATIENCE = 15.0
"""Seconds that a host may be silent."""
_CONNECTS_WITHIN = 20.0
_LONGEST_PAUSE = 30.0
_LARGEST_DOCUMENT = 4 << 20
_BLOCK = 1 << 18
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE")
TRIES = 6
Body = bytes | IO[bytes] | Iterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str


class Stopped(Exception):
    """The transfer was asked to stop."""


class Transport:
    """Connections to the hosts of one endpoint; used from several threads.

    Attributes:
        endpoint: Where it leads.
        stop: Set to end all transfers soon.
    """

    def __init__(self, endpoint: Endpoint, stop: threading.Event | None = None) -> None:
        self.endpoint = endpoint
        self.stop = stop or threading.Event()
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._scheme = ""

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def interrupt(self) -> None:
        """End all transfers: those that wait for bytes wake up."""
        self.stop.set()
        with self._lock:
            for response in self._open:
                try:
                    response.shutdown()
                except (OSError, ValueError, RuntimeError):
                    continue  # it ended by itself

    def url(self, path: str) -> str:
        """Return the URL of a path of the endpoint's own host."""
        return f"{self._scheme or self._find_scheme()}://{self.endpoint.host}{path}"

    def is_own(self, url: str) -> bool:
        """Return whether a URL leads to the endpoint's own host by the endpoint's own scheme."""
        parts = urlsplit(url)
        return parts.netloc == self.endpoint.host and parts.scheme == (self._scheme or self._find_scheme())

    def _find_scheme(self) -> str:
        """Find out whether an insecure host speaks TLS; a secure one must."""
        if not self.endpoint.is_insecure:
            self._scheme = "https"
            return "https"
        import urllib3

        with self._lock:
            if self._scheme:
                return self._scheme
            try:
                response = self._pool("https").request(
                    "GET", f"https://{self.endpoint.host}/v2/", redirect=False, retries=False, preload_content=False
                )
                response.close()
                self._scheme = "https"
            except (urllib3.exceptions.HTTPError, OSError) as error:
                cause = _cause(error)  # the request itself says what is wrong when that fails too
                is_tls = isinstance(cause, ssl.SSLError) and cause.reason not in _NO_TLS
                self._scheme = "https" if is_tls else "http"
        return self._scheme

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request and read its whole answer; temporary failures are tried again.

        Raises:
            RegistryError: There is no answer, or it is larger than 4 MiB.
        """
        silences = 0
        for number in range(TRIES):
            try:
                answer = self._request_once(method, url, headers or {}, body)
            except RegistryError as error:
                silences += isinstance(_cause(error), TimeoutError)
                is_refused = isinstance(_cause(error), ConnectionRefusedError)
                if number == TRIES - 1 or not is_temporary(error) or is_refused or silences > 1:
                    raise
                self.pause(number)
                continue
            if answer.status not in _TEMPORARY or number == TRIES - 1:
                return answer
            self.pause(number, answer.headers.get("retry-after", ""))
        raise AssertionError("unreachable")

    def _request_once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        with self.stream(method, url, headers, body) as stream:
            data = stream.read_all(_LARGEST_DOCUMENT)
            return Answer(stream.status, stream.headers, data, stream.url)

    def stream(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = None) -> Stream:
        """Send a request once, follow redirects, and return the answer with its body unread.

        Raises:
            RegistryError: There is no answer.
        """
        sent = dict(headers or {})
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._send(method, url, sent, body)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location or method not in ("GET", "HEAD"):
                return Stream(self, response, url)
            self.forget(response)
            response.close()  # its body is of no use and of any length
            target = urljoin(url, location)
            self._check_redirect(url, target)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            url = target
        raise RegistryError(f"{self.endpoint.host} redirects without end")

    def _check_redirect(self, source: str, target: str) -> None:
        parts = urlsplit(target)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(f"{self.endpoint.host} redirects to a place that is no web address")
        if parts.scheme == "http" and urlsplit(source).scheme == "https" and not self.endpoint.is_insecure:
            raise RegistryError(f"{self.endpoint.host} redirects from https to plain http at {parts.netloc}")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> urllib3.BaseHTTPResponse:
        import urllib3

        if self.stop.is_set():
            raise Stopped
        try:
            response = self._pool(urlsplit(url).scheme, url).request(
                method, url, headers={"User-Agent": "tuicon", "Accept-Encoding": "identity", **headers}, body=body,
                redirect=False, retries=False, preload_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failure(urlsplit(url).netloc, error) from error
        with self._lock:
            self._open.add(response)
        return response

    def forget(self, response: urllib3.BaseHTTPResponse) -> None:
        """Take note that a response is read or given up."""
        with self._lock:
            self._open.discard(response)

    def _pool(self, scheme: str, url: str = "") -> urllib3.PoolManager:
        """Return the pool for a URL: with the host's own certificates, or the system's for other hosts."""
        import urllib3

        host = urlsplit(url).netloc or self.endpoint.host
        kind = "own" if host == self.endpoint.host else "other"
        proxy = _proxy(scheme, host)
        key = f"{kind} {proxy}"
        pool = self._pools.get(key)
        if pool is None:
            timeout = urllib3.Timeout(connect=min(_CONNECTS_WITHIN, PATIENCE), read=PATIENCE)
            options: dict[str, Any] = {
                "timeout": timeout,
                "maxsize": 8,
                "blocksize": _BLOCK,
                "ssl_context": self._context(kind == "own"),
            }
            try:
                pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
            except urllib3.exceptions.HTTPError as error:
                raise InvalidArgument("the proxy in HTTP_PROXY or HTTPS_PROXY is malformed") from error
            self._pools[key] = pool
        return pool

    def _context(self, is_own: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.endpoint.is_insecure and is_own:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if not is_own:
            return context
        authorities, pair = certificates(self.endpoint.certificates)
        for path in authorities:
            try:
                context.load_verify_locations(path)
            except (ssl.SSLError, OSError) as error:
                raise InvalidArgument(f"{path} is no PEM certificate") from error
        if pair is not None:
            try:
                context.load_cert_chain(pair[0], pair[1], password="")  # else OpenSSL asks on the terminal
            except (ssl.SSLError, OSError) as error:
                raise InvalidArgument(f"{pair[0]} and {pair[1].name} are no certificate and key") from error
        if authorities and context.verify_mode == ssl.CERT_NONE:
            context.verify_mode = ssl.CERT_REQUIRED  # who gives a CA wants it asked
            context.check_hostname = True
        return context

    def pause(self, number: int, retry_after: str = "") -> None:
        """Wait before another try: 0.2 s, doubled each time, or as the registry asks, at most 30 s.

        Raises:
            Stopped: The transfer was asked to stop meanwhile.
        """
        seconds = float(retry_after) if retry_after.isdigit() else 0.2 * 2**number
        if self.stop.wait(min(seconds, _LONGEST_PAUSE)):
            raise Stopped


class Stream:
    """An answer whose body is read in pieces; closed by its context."""

    def __init__(self, transport: Transport, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self._transport = transport
        self._response = response
        self.url = url
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def __enter__(self) -> Stream:
        """Return the stream."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()

    def close(self) -> None:
        """Close the stream; its connection is kept when the body was read to its end."""
        self._transport.forget(self._response)
        self._response.close()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes.

        Raises:
            RegistryError: The connection was cut or is silent for too long.
            Stopped: The transfer was asked to stop.
        """
        import urllib3

        try:
            data: bytes = self._response.read1(size)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._transport.stop.is_set():
                raise Stopped from error
            raise failure(urlsplit(self.url).netloc, error) from error
        if self._transport.stop.is_set():
            raise Stopped
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            RegistryError: It is larger than `limit`, or cut.
        """
        parts = []
        while data := self.read(1 << 16):
            parts.append(data)
            limit -= len(data)
            if limit < 0:
                raise RegistryError(f"the answer of {urlsplit(self.url).netloc} is too large", status=self.status)
        return b"".join(parts)


def failure(host: str, error: Exception) -> RegistryError:
    """Return a sentence for what urllib3 or the socket says."""
    import urllib3.exceptions as found

    cause = _cause(error)
    tests: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (ssl.SSLCertVerificationError, f"the certificate of {host} is not trusted: {getattr(cause, 'verify_message', '')}"),
        (found.NameResolutionError, f"the host {host} cannot be found"),
        (ConnectionRefusedError, f"{host} refuses connections"),
        (found.ConnectTimeoutError, f"{host} does not answer: the connection timed out"),
        ((found.ReadTimeoutError, TimeoutError), f"{host} has been silent for too long"),
        ((found.IncompleteRead, found.ProtocolError), f"{host} cut the connection"),
        (found.ProxyError, f"the proxy to {host} fails"),
        (ssl.SSLError, f"TLS with {host} failed: {getattr(cause, 'reason', '') or cause}"),
    )  # fmt: skip
    hints = {"not trusted": "put its authority's certificate into /etc/tuicon/certs.d/HOST/ca.crt"}
    for kinds, text in tests:
        if isinstance(error, kinds) or isinstance(cause, kinds):
            hint = next((hint for part, hint in hints.items() if part in text), "")
            return RegistryError(text, hint=hint)
    number = getattr(cause, "strerror", None)
    return RegistryError(f"cannot reach {host}: {number or str(cause)[:200]}")


def _cause(error: BaseException) -> BaseException:
    """Return what the socket or the TLS library said first."""
    for inner in (
        getattr(error, "reason", None),
        getattr(error, "original_error", None),
        *error.args[:1],
        error.__cause__,
    ):
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error


def is_temporary(error: RegistryError) -> bool:
    """Return whether trying again may help."""
    if error.status:
        return error.status in _TEMPORARY
    lasting = ("not trusted", "cannot be found", "TLS with", "too large", "redirects")
    return not any(part in str(error) for part in lasting)


def _proxy(scheme: str, host: str) -> str:
    """Return the proxy for a host by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; loopback needs none."""
    proxies = getproxies()
    if not proxies or is_loopback(host) or proxy_bypass(host):
        return ""
    found = proxies.get(scheme) or proxies.get("all") or ""
    return found if not found or "://" in found else f"http://{found}"
