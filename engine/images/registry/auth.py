"""Authorization: Basic, and Bearer tokens from the realm that a registry names.

Sources: distribution's "Token Authentication Specification" and "OAuth2 token"; RFC 9110 section 11 (challenges).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from engine.errors import NotAuthorized, RegistryError
from engine.images.registry.credentials import Credentials
from engine.images.registry.transport import Answer, Body, Stream, Transport

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z0-9-]+)(?:\s+(?=[A-Za-z0-9_-]+\s*=)|\s*(?:,|$))")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LIVES_AT_LEAST = 60.0
_CLIENT = "tuicon"


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the (scheme, parameters) of a WWW-Authenticate header, schemes in lower case."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        if parameter and found:
            quoted, bare = parameter[2], parameter[3]
            found[-1][1][parameter[1].lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(header, position)
        if not scheme or scheme.end() == position:
            break
        found.append((scheme[1].lower(), {}))
        position = scheme.end()
    return found


class Authorizer:
    """Sends requests to one endpoint with the authorization it asks for; tokens are kept by scope."""

    def __init__(self, transport: Transport, credentials: Credentials | None) -> None:
        self._transport = transport
        self._credentials = credentials
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._basic = ""

    def request(
        self, method: str, url: str, scope: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request and read its answer.

        Raises:
            NotAuthorized: The registry refuses the credentials, or wants some.
            RegistryError: There is no answer.
        """
        answer = self._transport.request(method, url, {**(headers or {}), **self._header(url, scope)}, body)
        if answer.status == 401 and self._transport.is_own(answer.url):
            self._answer_challenge(answer.headers.get("www-authenticate", ""), scope)
            answer = self._transport.request(method, url, {**(headers or {}), **self._header(url, scope)}, body)
        if answer.status == 401:
            raise self._refused()
        return answer

    def stream(
        self, method: str, url: str, scope: str, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> Stream:
        """Send a request once and return the answer unread; a body that is a file or an iterator is sent once only.

        Raises:
            NotAuthorized: The registry refuses the credentials, or wants some.
            RegistryError: There is no answer.
        """
        stream = self._transport.stream(method, url, {**(headers or {}), **self._header(url, scope)}, body)
        if stream.status != 401 or not self._transport.is_own(stream.url):
            return stream
        with stream:
            challenge = stream.headers.get("www-authenticate", "")
        self._answer_challenge(challenge, scope)
        if body is not None:
            raise RegistryError("the authorization ended in the middle of an upload")
        stream = self._transport.stream(method, url, {**(headers or {}), **self._header(url, scope)}, body)
        if stream.status == 401:
            stream.close()
            raise self._refused()
        return stream

    def _header(self, url: str, scope: str) -> dict[str, str]:
        if not self._transport.is_own(url):
            return {}
        with self._lock:
            token, until = self._tokens.get(scope, ("", 0.0))
            if token and time.monotonic() < until:
                return {"Authorization": f"Bearer {token}"}
            return {"Authorization": self._basic} if self._basic else {}

    def _refused(self) -> NotAuthorized:
        registry = self._transport.endpoint.account
        if self._credentials is None:
            return NotAuthorized(f"{registry} wants credentials", status=401, hint=f"log in: tuicon login {registry}")
        return NotAuthorized(f"{registry} refuses the credentials", status=401, hint=f"log in: tuicon login {registry}")

    def _answer_challenge(self, header: str, scope: str) -> None:
        challenges = dict(reversed(parse_challenges(header)))
        if "bearer" in challenges:
            token, seconds = self._fetch_token(challenges["bearer"], scope)
            with self._lock:
                self._tokens[scope] = (token, time.monotonic() + max(seconds, _LIVES_AT_LEAST) * 0.9)
        elif "basic" in challenges:
            if self._credentials is None or not self._credentials.user:
                raise self._refused()
            with self._lock:
                self._basic = self._credentials.basic()
        else:
            raise RegistryError(f"{self._transport.endpoint.account} asks for an unknown kind of authorization")

    def _fetch_token(self, challenge: dict[str, str], scope: str) -> tuple[str, float]:
        realm = challenge.get("realm", "")
        parts = urlsplit(realm)
        registry = self._transport.endpoint.account
        is_plain = parts.scheme == "http" and self._transport.endpoint.is_insecure
        if not parts.hostname or not (parts.scheme == "https" or is_plain):
            raise RegistryError(f"{registry} names the malformed or insecure token realm {realm[:200]!r}")
        fields = [("service", challenge["service"])] if challenge.get("service") else []
        fields += [("scope", one) for one in (scope or challenge.get("scope", "")).split(" ") if one]
        if self._credentials and self._credentials.identity_token:
            answer = self._refresh(realm, fields, self._credentials.identity_token)
        else:
            headers = {"Authorization": self._credentials.basic()} if self._credentials else {}
            separator = "&" if parts.query else "?"
            answer = self._transport.request("GET", f"{realm}{separator}{urlencode(fields)}", headers)
        if answer.status in (400, 401, 403):
            raise self._refused()
        return _token(answer, registry)

    def _refresh(self, realm: str, fields: list[tuple[str, str]], token: str) -> Answer:
        scopes = " ".join(value for name, value in fields if name == "scope")
        form = [pair for pair in fields if pair[0] != "scope"]
        form += [("scope", scopes), ("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", token)]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.request("POST", realm, headers, urlencode(form).encode())


def _token(answer: Answer, registry: str) -> tuple[str, float]:
    """Return the token of an answer and how many seconds it lives."""
    try:
        document: dict[str, Any] = json.loads(answer.body)
        token = document.get("token") or document.get("access_token")
        seconds = float(document.get("expires_in") or 0)
    except (ValueError, AttributeError, TypeError) as error:
        raise RegistryError(f"the token service of {registry} gave a malformed answer") from error
    if answer.status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryError(f"the token service of {registry} gave no token (status {answer.status})")
    return token, seconds
