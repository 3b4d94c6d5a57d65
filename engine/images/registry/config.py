"""Where registries are and how to speak to them: registries.conf, certificate directories, plain http.

Sources: containers-registries.conf(5), version 2; containers-certs.d(5); docker's "Deploy a registry server, insecure
registries": the loopback network may speak plain http, other hosts only when they are declared insecure.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any

from engine.errors import InvalidArgument, RegistryError
from engine.model.transfer import RegistryOptions
from engine.model.value import Value, field, replace
from engine.oci.reference import Reference

_DOCKER_HUB = "registry-1.docker.io"
_CONFIG = Path("/etc/containers/registries.conf")
_CERTIFICATES = (Path("/etc/tuicon/certs.d"), Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


class Endpoint(Value, frozen=True):
    """One place that serves a repository.

    Attributes:
        host: Host and port, to connect to.
        repository: The repository's name there.
        account: The registry's name, under which credentials are stored.
        is_insecure: Whether any certificate, and plain http, will do.
        certificates: The directories with this host's certificates.
        is_mirror: Whether it only stands in for the registry.
    """

    host: str
    repository: str
    account: str
    is_insecure: bool = False
    certificates: tuple[Path, ...] = ()
    is_mirror: bool = False


class _Mirror(Value, frozen=True):
    location: str
    insecure: bool = False
    serves: str = "all"


class _Registry(Value, frozen=True):
    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[_Mirror, ...] = field(default=())


class RegistryConfig:
    """What the machine's files say of registries; read once, when it is made.

    Raises:
        InvalidArgument: A file is malformed; the sentence names it.
    """

    def __init__(self, options: RegistryOptions | None = None, files: tuple[Path, ...] | None = None) -> None:
        self._options = options or RegistryOptions()
        self._registries: dict[str, _Registry] = {}
        for path in _config_files() if files is None else files:
            for registry in _read(path):
                self._registries[registry.prefix] = registry

    def endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Return the places to pull a reference from, in the order to try: mirrors, then the registry.

        Raises:
            RegistryError: The registry is blocked.
        """
        found = self._registry_of(reference)
        if found is None:
            return (self.origin(reference),)
        if found.blocked:
            raise RegistryError(f"the registry {found.prefix} is blocked in registries.conf")
        name = f"{reference.registry}/{reference.repository}"
        rest = name[len(found.prefix) :] if not found.prefix.startswith("*.") else name.partition("/")[2]
        wanted = ("all", "digest-only" if reference.digest else "tag-only")
        places = [
            replace(self._endpoint(mirror.location, rest, mirror.insecure), is_mirror=True)
            for mirror in found.mirrors
            if mirror.serves in wanted
        ]
        return (*places, self.origin(reference))

    def origin(self, reference: Reference) -> Endpoint:
        """Return the registry itself, where pushes go."""
        found = self._registry_of(reference)
        if found is None:
            return self._made(reference.registry, reference.repository, is_insecure=False)
        if not found.location or found.prefix.startswith("*."):
            return self._made(reference.registry, reference.repository, is_insecure=found.insecure)
        rest = f"{reference.registry}/{reference.repository}"[len(found.prefix) :]
        return self._endpoint(found.location, rest, found.insecure)

    def host(self, name: str) -> Endpoint:
        """Return a registry by its name alone, for login, catalogue and search."""
        return self.origin(Reference(name, ""))

    def _registry_of(self, reference: Reference) -> _Registry | None:
        name = f"{reference.registry}/{reference.repository}"
        fitting = [registry for prefix, registry in self._registries.items() if _fits(prefix, name)]
        return max(fitting, key=lambda registry: len(registry.prefix), default=None)

    def _endpoint(self, location: str, rest: str, is_insecure: bool) -> Endpoint:
        host, _, path = f"{location.rstrip('/')}/{rest.lstrip('/')}".partition("/")
        return self._made(host, path.strip("/"), is_insecure=is_insecure)

    def _made(self, name: str, repository: str, *, is_insecure: bool) -> Endpoint:
        options = self._options
        allowed = is_insecure or is_loopback(name) if options.verify_tls is None else not options.verify_tls
        places = (options.certificates,) if options.certificates else tuple(base / name for base in _CERTIFICATES)
        host = _DOCKER_HUB if name == "docker.io" else name
        return Endpoint(host, repository, name, allowed, places)


def is_loopback(name: str) -> bool:
    """Return whether a host, maybe with a port, is this machine."""
    host = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() and ":" in name else name
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def certificates(directories: tuple[Path, ...]) -> tuple[list[Path], tuple[Path, Path] | None]:
    """Return the CA files and the client's certificate and key of the first directory that has any.

    Raises:
        InvalidArgument: A client certificate has no key, or a key no certificate.
    """
    for directory in directories:
        try:
            names = sorted(path for path in directory.iterdir() if path.suffix in (".crt", ".cert", ".key"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        pairs = []
        for path in names:
            other = path.with_suffix({".cert": ".key", ".key": ".cert"}.get(path.suffix, path.suffix))
            if not other.exists():
                raise InvalidArgument(f"{path} has no {other.name} beside it")
            if path.suffix == ".cert":
                pairs.append((path, other))
        if names:
            return [path for path in names if path.suffix == ".crt"], pairs[0] if pairs else None
    return [], None


def _config_files() -> tuple[Path, ...]:
    """Return the files that count: the named one, or the machine's and its directory (later ones win)."""
    named = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        return (Path(named),)
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "containers/registries.conf"
    first = own if own.exists() else _CONFIG
    extra = first.with_name("registries.conf.d")
    return (first, *sorted(extra.glob("*.conf")))


def _read(path: Path) -> list[_Registry]:
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} is malformed: {error}") from error
    if "registries" in document:
        raise InvalidArgument(f"{path} is of version 1: [registries] tables are not read any more")
    tables = document.get("registry", [])
    if not isinstance(tables, list):
        raise InvalidArgument(f"{path} is malformed: registry must be [[registry]] tables")
    return [_registry(path, table) for table in tables]


def _registry(path: Path, table: dict[str, Any]) -> _Registry:
    location = _text(path, table, "location")
    prefix = _text(path, table, "prefix") or location
    if not prefix:
        raise InvalidArgument(f"{path} has a [[registry]] with neither prefix nor location")
    by_digest = _flag(path, table, "mirror-by-digest-only")
    mirrors = []
    for mirror in table.get("mirror", []):
        serves = _text(path, mirror, "pull-from-mirror") or ("digest-only" if by_digest else "all")
        if serves not in ("all", "digest-only", "tag-only"):
            raise InvalidArgument(f"{path}: pull-from-mirror must be all, digest-only or tag-only, not {serves!r}")
        where = _text(path, mirror, "location")
        if not where:
            raise InvalidArgument(f"{path}: a mirror of {prefix} has no location")
        mirrors.append(_Mirror(where, _flag(path, mirror, "insecure"), serves))
    return _Registry(
        prefix.rstrip("/"), location, _flag(path, table, "insecure"), _flag(path, table, "blocked"), tuple(mirrors)
    )


def _text(path: Path, table: dict[str, Any], name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str) or "://" in value:
        raise InvalidArgument(f"{path}: {name} must be a host, maybe with a path, not {value!r}")
    return value


def _flag(path: Path, table: dict[str, Any], name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{path}: {name} must be true or false, not {value!r}")
    return value


def _fits(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        return name.partition("/")[0].endswith(prefix[1:])
    return name == prefix or name.startswith((f"{prefix}/", f"{prefix}:"))
