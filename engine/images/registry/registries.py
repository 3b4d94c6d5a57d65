"""Everything that speaks to a registry: pull, push, login, tags, search, updates, referrers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from engine.errors import (
    Cancelled,
    EngineError,
    ImageError,
    InvalidArgument,
    NotAuthorized,
    NotFound,
    RegistryError,
    StoreError,
)
from engine.images.catalogue import Catalogue
from engine.images.registry import pull as pulling
from engine.images.registry import push as pushing
from engine.images.registry.client import Client
from engine.images.registry.config import Endpoint, RegistryConfig
from engine.images.registry.credentials import Credentials, CredentialStore
from engine.images.registry.transport import Stopped
from engine.model.transfer import (
    Progress,
    Pulled,
    Pushed,
    Referrer,
    RegistryOptions,
    SearchResult,
    Update,
    Watch,
)
from engine.model.value import replace
from engine.oci import manifest as documents
from engine.oci import reference as references
from engine.oci.reference import Reference
from engine.store.journal import Journal

_HUB_INDEX = Endpoint("index.docker.io", "", "docker.io")
_MOST_RESULTS = 100
_LOOKS_EVERY = 0.1


def _ignore(_: Progress) -> None:
    return


class Registries:
    """The registries, as this machine's files describe them, in front of one store."""

    def __init__(self, catalogue: Catalogue, journal: Journal) -> None:
        self._catalogue = catalogue
        self._journal = journal

    def pull(
        self, reference: str, *, platform: str = "", options: RegistryOptions | None = None, watch: Watch = _ignore,
        stop: threading.Event | None = None,
    ) -> Pulled:  # fmt: skip
        """Pull an image: from its mirrors if it has any, else from its registry; only what is missing is fetched.

        Args:
            reference: A tag or a digest; with both, the digest counts.
            platform: "[os/]architecture[/variant]"; "" for this machine's.
            options: What to do otherwise than the machine's files say.
            watch: Is told of each layer's progress, from several threads.
            stop: Set by another thread to call it off.

        Raises:
            Cancelled: It was called off; what had arrived is collected.
            NotFound: There is no such image.
            ImageError: It is damaged, hostile, no image, or not for the platform; nothing is kept that counts.
            RegistryError: No place gives it. What has arrived is kept for the next pull until the store is collected.
        """
        parsed = references.parse(reference)
        wanted = documents.parse_platform(platform) if platform else None
        self._catalogue.paths.prepare()
        places = RegistryConfig(options).endpoints(parsed)
        for endpoint in places:
            try:
                with self._client(endpoint, options, stop) as client:
                    pulled = pulling.pull(self._catalogue, client, parsed, wanted, watch)
                break
            except (RegistryError, NotFound):
                if not endpoint.is_mirror:
                    raise
            except (ImageError, StoreError, Cancelled):
                self._catalogue.collect()
                raise
        self._journal.append("image", "pull", pulled.image.id, pulled.reference)
        return pulled

    def push(
        self, reference: str, *, options: RegistryOptions | None = None, watch: Watch = _ignore,
        stop: threading.Event | None = None,
    ) -> Pushed:  # fmt: skip
        """Push an image to the registry that its reference names.

        Args:
            reference: A tag.
            options: What to do otherwise than the machine's files say.
            watch: Is told of each blob's progress, from several threads.
            stop: Set by another thread to call it off.

        Raises:
            Cancelled: It was called off; the registry has no manifest of it.
            NotFound: There is no such image here.
            RegistryError: The registry refuses or fails.
        """
        parsed = references.parse(reference)
        if parsed.digest:
            raise InvalidArgument("an image is pushed under a tag, not under a digest")
        image = self._catalogue.get(str(parsed))
        with self._client(RegistryConfig(options).origin(parsed), options, stop) as client:
            pushed = pushing.push(self._catalogue, client, image, parsed, watch)
        called = f"{parsed.registry}/{parsed.repository}@{pushed.digest}"
        self._catalogue.save(replace(image, repo_digests=tuple(sorted({*image.repo_digests, called}))))
        self._journal.append("image", "push", image.id, pushed.reference)
        return pushed

    def local_tags(self, repository: str) -> tuple[str, ...]:
        """Return the references of a repository that are in the store.

        Raises:
            NotFound: There are none.
        """
        wanted = _repository(repository)
        found = [name for image in self._catalogue.list() for name in image.references]
        fitting = [name for name in found if _repository(name) == wanted]
        if not fitting:
            raise NotFound("image", repository)
        return tuple(sorted(fitting))

    def tags(self, repository: str, *, options: RegistryOptions | None = None) -> tuple[str, ...]:
        """Return the tags that a registry has of a repository.

        Raises:
            NotFound: There is no such repository.
        """
        parsed = _repository(repository)
        with self._client(RegistryConfig(options).origin(parsed), options) as client:
            return client.tags()

    def manifest(self, reference: str, *, options: RegistryOptions | None = None) -> dict[str, Any]:
        """Return the manifest or index of a reference as its registry has it, with its digest under "digest"."""
        parsed = references.parse(reference)
        with self._client(RegistryConfig(options).origin(parsed), options) as client:
            found = client.manifest(parsed.digest or parsed.tag)
        documents.decode_manifest(found.data, str(parsed), found.media_type)
        document: dict[str, Any] = json.loads(found.data)
        return {"digest": found.digest, **document}

    def check(self, reference: str, *, options: RegistryOptions | None = None) -> Update:
        """Ask a registry whether it has a newer image for a reference than the store, without fetching it.

        Raises:
            NotFound: There is no such image here.
            RegistryError: The registry does not answer.
        """
        parsed = references.parse(reference)
        image = self._catalogue.get(str(parsed))
        with self._client(RegistryConfig(options).origin(parsed), options) as client:
            remote = client.digest_of(parsed.digest or parsed.tag)
        name = f"{parsed.registry}/{parsed.repository}@"
        known = [called.removeprefix(name) for called in image.repo_digests if called.startswith(name)]
        local = remote if remote in (*known, image.digest) else next(iter(known), image.digest)
        return Update(str(parsed), local, remote)

    def referrers(self, reference: str, *, options: RegistryOptions | None = None) -> tuple[Referrer, ...]:
        """Return what refers to an image in its registry: signatures, bills of materials, attestations."""
        parsed = references.parse(reference)
        with self._client(RegistryConfig(options).origin(parsed), options) as client:
            digest = parsed.digest or client.digest_of(parsed.tag)
            found = client.referrers(digest) if digest else []
        return tuple(_referrer(item) for item in found)

    def search(self, term: str, *, limit: int = 25, options: RegistryOptions | None = None) -> tuple[SearchResult, ...]:
        """Search Docker Hub, or with "registry/term" the catalogue of another registry.

        Raises:
            RegistryError: The registry has no search, or refuses it.
        """
        limit = max(1, min(limit, _MOST_RESULTS))
        host, slash, rest = term.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            with self._client(RegistryConfig(options).host(host), options) as client:
                found = (name for name in client.repositories() if rest in name)
                return tuple(SearchResult(f"{host}/{name}") for name, _ in zip(found, range(limit), strict=False))
        with self._client(_HUB_INDEX, options) as client:
            url = client.transport.url(f"/v1/search?{urlencode({'q': term, 'n': limit})}")
            answer = client.transport.request("GET", url)
        try:
            results = json.loads(answer.body)["results"]
            return tuple(_search_result(item) for item in results[:limit])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"Docker Hub gave a malformed answer (status {answer.status})") from error

    def login(self, registry: str, user: str, password: str, *, options: RegistryOptions | None = None) -> str:
        """Check credentials with a registry and keep them.

        Returns:
            The file that keeps them, or "" when a credential helper does.

        Raises:
            NotAuthorized: The registry refuses them; nothing is kept.
        """
        name = registry_name(registry)
        credentials = Credentials(user, password)
        with Client(RegistryConfig(options).host(name), credentials) as client:
            client.ping()
        return CredentialStore().put(name, credentials)

    def login_again(self, registry: str, *, options: RegistryOptions | None = None) -> str:
        """Check the credentials that are kept; return the user's name, "" when none are kept or they are refused."""
        name = registry_name(registry)
        credentials = CredentialStore().get(name)
        if credentials is None:
            return ""
        with Client(RegistryConfig(options).host(name), credentials) as client:
            try:
                client.ping()
            except NotAuthorized:
                return ""
        return credentials.user

    def logout(self, registry: str) -> bool:
        """Forget the credentials of a registry; return whether there were any."""
        return CredentialStore().delete(registry_name(registry))

    def accounts(self) -> tuple[str, ...]:
        """Return the registries whose credentials are kept in docker's config.json."""
        return tuple(sorted({registry_name(server) for server in CredentialStore().servers()}))

    @contextmanager
    def _client(
        self, endpoint: Endpoint, options: RegistryOptions | None, stop: threading.Event | None = None
    ) -> Iterator[Client]:
        """Yield a client that knows the endpoint's own credentials, and nobody else's."""
        given = options.credentials if options else None
        credentials = Credentials(*given) if given and not endpoint.is_mirror else None
        with Client(endpoint, credentials or CredentialStore().get(endpoint.account)) as client:
            try:
                with _interrupted_by(stop, client):
                    yield client
            except EngineError:
                raise
            except Stopped as error:
                raise Cancelled("the transfer was called off") from error
            except BaseException:
                client.transport.interrupt()
                raise


@contextmanager
def _interrupted_by(stop: threading.Event | None, client: Client) -> Iterator[None]:
    """End a client's transfers soon after an event is set, also those that wait for bytes."""
    if stop is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            if stop.wait(_LOOKS_EVERY):
                client.transport.interrupt()
                return

    thread = threading.Thread(target=look, name="tuicon-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def registry_name(text: str) -> str:
    """Return the name of a registry as a user gives it: an address of a web page will do.

    Raises:
        InvalidArgument: It is none.
    """
    name = text.removeprefix("https://").removeprefix("http://").partition("/")[0] or "docker.io"
    name = "docker.io" if name in ("index.docker.io", "registry-1.docker.io") else name
    references.parse(f"{name}/x" if name != "docker.io" else "x")
    if references.parse(f"{name}/x").registry != name:
        raise InvalidArgument(f"{text[:80]!r} is no registry: give its host, and its port when it has one")
    return name


def _repository(text: str) -> Reference:
    return replace(references.parse(text), tag="", digest="")


def _referrer(item: dict[str, Any]) -> Referrer:
    notes = item.get("annotations")
    annotations = {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}
    size = item.get("size")
    kind = str(item.get("artifactType") or item.get("mediaType") or "")
    return Referrer(str(item.get("digest", "")), kind, size if isinstance(size, int) else 0, annotations)


def _search_result(item: dict[str, Any]) -> SearchResult:
    stars = item.get("star_count")
    return SearchResult(
        str(item["name"]), str(item.get("description") or ""), stars if isinstance(stars, int) else 0,
        bool(item.get("is_official")),
    )  # fmt: skip
