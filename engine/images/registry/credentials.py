"""Credentials: docker's config.json and the helper programs it names.

Sources: docker's "docker login, credential stores"; docker-credential-helpers' protocol (get, store and erase, one JSON
document or a server's name on stdin); containers-auth.json(5). A secret is never an argument of a program.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import InvalidArgument, RegistryError
from engine.linux import files

_DOCKER_HUB = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_WAITS = 60.0
_NOTHING_FOUND = "credentials not found"
_TOKEN_USER = "<token>"  # noqa: S105 - the protocol's word for "the secret is an identity token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry knows a user by: user and password, or an identity token."""

    user: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class CredentialStore:
    """Docker's config.json; podman's auth.json is read when docker's has nothing."""

    def __init__(self, path: Path | None = None) -> None:
        home = os.environ.get("DOCKER_CONFIG")
        self.path = path or (Path(home) if home else Path("~/.docker").expanduser()) / "config.json"

    def get(self, registry: str) -> Credentials | None:
        """Return the credentials of a registry, None when there are none.

        Raises:
            InvalidArgument: The file is malformed.
            RegistryError: A helper fails.
        """
        document = _read(self.path)
        helper = _helper(document, registry)
        if helper:
            return _ask_helper(helper, _server(registry))
        return _stored(document, registry, self.path) or self._podmans(registry)

    @staticmethod
    def _podmans(registry: str) -> Credentials | None:
        named = os.environ.get("REGISTRY_AUTH_FILE")
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.geteuid()}"
        path = Path(named) if named else Path(runtime) / "containers/auth.json"
        return _stored(_read(path), registry, path)

    def servers(self) -> tuple[str, ...]:
        """Return the keys under which credentials are kept, by the file or by a helper.

        Raises:
            InvalidArgument: The file is malformed.
        """
        return tuple(_read(self.path).get("auths") or {})

    def put(self, registry: str, credentials: Credentials) -> str:
        """Keep credentials; return the path of the file, or "" when a helper keeps them.

        Raises:
            InvalidArgument: The file is malformed.
            RegistryError: A helper fails.
        """
        with self._locked():
            document = _read(self.path)
            helper = _helper(document, registry)
            entries = document.setdefault("auths", {})
            if helper:
                secret = credentials.identity_token or credentials.password
                user = _TOKEN_USER if credentials.identity_token else credentials.user
                _run_helper(
                    helper, "store", json.dumps({"ServerURL": _server(registry), "Username": user, "Secret": secret})
                )
                entries[_server(registry)] = {}
            else:
                entries[_server(registry)] = _entry(credentials)
            self._write(document)
        return "" if helper else str(self.path)

    def delete(self, registry: str) -> bool:
        """Forget the credentials of a registry; return whether there were any."""
        if not self.path.exists():
            return False
        with self._locked():
            document = _read(self.path)
            entries = document.get("auths") or {}
            keys = [key for key in entries if _host_of(key) == _host_of(_server(registry))]
            helper = _helper(document, registry)
            if helper and _ask_helper(helper, _server(registry)):
                _run_helper(helper, "erase", _server(registry))
                keys = keys or [_server(registry)]
            for key in keys:
                entries.pop(key, None)
            if keys:
                self._write(document)
        return bool(keys)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidArgument(f"cannot make {self.path.parent}: {error.strerror}") from error
        with files.FileLock(self.path.with_name(".config.json.lock")) as lock:
            try:
                yield
            finally:
                Path(lock.path).unlink()

    def _write(self, document: dict[str, Any]) -> None:
        target = self.path.resolve()  # others' tools keep it as a link
        files.write_atomic(target, json.dumps(document, indent="\t").encode() + b"\n", 0o600, durable=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise InvalidArgument(f"{path} is malformed: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("auths") or {}, dict):
        raise InvalidArgument(f"{path} is malformed: it is no object with auths")
    return document


def _stored(document: dict[str, Any], registry: str, path: Path) -> Credentials | None:
    wanted = _host_of(_server(registry))
    entry = next((value for key, value in (document.get("auths") or {}).items() if _host_of(key) == wanted), None)
    if not isinstance(entry, dict):
        return None
    user, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidArgument(f"{path}: the credentials of {registry} are malformed") from error
    token = str(entry.get("identitytoken", ""))
    return Credentials(user, password.rstrip("\0"), token) if user or token else None


def _entry(credentials: Credentials) -> dict[str, str]:
    plain = f"{credentials.user}:{'' if credentials.identity_token else credentials.password}"
    entry = {"auth": base64.b64encode(plain.encode()).decode()}
    return {**entry, "identitytoken": credentials.identity_token} if credentials.identity_token else entry


def _server(registry: str) -> str:
    """Return the key under which docker stores a registry."""
    return _DOCKER_HUB if registry in ("docker.io", "index.docker.io", "registry-1.docker.io") else registry


def _host_of(key: str) -> str:
    """Return the host of a key, which may be a URL."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _helper(document: dict[str, Any], registry: str) -> str:
    helpers = document.get("credHelpers") or {}
    name = helpers.get(_server(registry)) or helpers.get(registry) or document.get("credsStore") or ""
    if name and not _HELPER_NAME.fullmatch(str(name)):
        raise InvalidArgument(f"the credential helper {str(name)[:80]!r} has a malformed name")
    return str(name)


def _ask_helper(name: str, server: str) -> Credentials | None:
    output = _run_helper(name, "get", server)
    if output is None:
        return None
    try:
        found = json.loads(output)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"the credential helper {name} gave a malformed answer") from error
    return Credentials("", "", secret) if user == _TOKEN_USER else Credentials(user, secret)


def _run_helper(name: str, action: str, text: str) -> str | None:
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, action], input=text, capture_output=True, text=True, check=False, timeout=_HELPER_WAITS
        )
    except FileNotFoundError as error:
        raise RegistryError(f"the credential helper {program} is not installed") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise RegistryError(f"the credential helper {program} failed to {action}") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip())[:200]
    if action == "get" and _NOTHING_FOUND in said:
        return None
    raise RegistryError(f"the credential helper {program} failed to {action}: {said}")
