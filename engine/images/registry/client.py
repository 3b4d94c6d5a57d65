"""One repository of one registry, by the distribution specification 1.1.

Every digest that a registry gives is computed anew from the bytes it sends.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from engine.errors import ImageError, NotAuthorized, NotFound, RegistryError
from engine.images.registry.auth import Authorizer
from engine.images.registry.config import Endpoint
from engine.images.registry.credentials import Credentials
from engine.images.registry.transport import Answer, Body, Stream, Transport
from engine.model.value import Value
from engine.oci.digest import is_digest
from engine.oci.manifest import INDEXES, MANIFESTS, OCI_INDEX

ACCEPTED = ", ".join(sorted(INDEXES | MANIFESTS))
_LARGEST_MANIFEST = 4 << 20
_PAGE = 100
_MOST_PAGES = 1000


class Document(Value, frozen=True):
    """A manifest or an index as a registry gives it: its bytes, media type and (computed) digest."""

    data: bytes
    media_type: str
    digest: str


class Client:
    """Speaks with one endpoint; used from several threads."""

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials | None = None, stop: threading.Event | None = None
    ) -> None:
        self.endpoint = endpoint
        self.transport = Transport(endpoint, stop)
        self._authorizer = Authorizer(self.transport, credentials)
        self._base = f"/v2/{endpoint.repository}"

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self.transport.close()

    def ping(self) -> None:
        """Check that the registry is there and takes the credentials.

        Raises:
            RegistryError: It is not, or does not.
        """
        answer = self._authorizer.request("GET", self.transport.url("/v2/"), "")
        if answer.status not in (200, 403):
            raise self._wrong(answer, "is no registry of the second version")

    def manifest(self, reference: str) -> Document:
        """Return the manifest or index of a tag or digest.

        Raises:
            NotFound: There is none.
            ImageError: It is not what the digest says.
        """
        answer = self._pull("GET", f"/manifests/{reference}", {"Accept": ACCEPTED})
        if answer.status == 404:
            raise NotFound(
                "image", f"{self._name}:{reference}" if ":" not in reference else f"{self._name}@{reference}"
            )
        if answer.status != 200:
            raise self._wrong(answer, f"did not give the manifest {reference}")
        if len(answer.body) > _LARGEST_MANIFEST:
            raise ImageError(f"the manifest of {self._name} is larger than 4 MiB")
        digest = "sha256:" + hashlib.sha256(answer.body).hexdigest()
        if is_digest(reference) and digest != reference:
            raise ImageError(f"{self.endpoint.host} gave a manifest with the digest {digest}, not {reference}")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        if media_type in ("application/json", "text/plain", "application/octet-stream"):
            media_type = ""  # a plain file server; the document itself says what it is
        return Document(answer.body, media_type, digest)

    def digest_of(self, reference: str) -> str:
        """Return the digest that a tag points to, "" when there is no such tag."""
        answer = self._pull("HEAD", f"/manifests/{reference}", {"Accept": ACCEPTED})
        if answer.status == 404:
            return ""
        if answer.status != 200:
            raise self._wrong(answer, f"did not give the digest of {reference}")
        digest = answer.headers.get("docker-content-digest", "")
        return digest if is_digest(digest) else self.manifest(reference).digest

    def blob(self, digest: str, offset: int = 0) -> Stream:
        """Return a blob from a place on.

        The answer's status is 206 when the registry goes on from there, 200 when it starts from the beginning.

        Raises:
            RegistryError: The registry does not give it.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self.transport.url(f"{self._base}/blobs/{digest}")
        stream = self._authorizer.stream("GET", url, self._scope("pull"), headers)
        if stream.status in (200, 206):
            return stream
        with stream:
            answer = Answer(stream.status, stream.headers, stream.read_all(1 << 16), stream.url)
        raise self._wrong(answer, f"did not give the blob {digest[:19]}…")

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has a blob."""
        answer = self._pull("HEAD", f"/blobs/{digest}", scope=self._scope("pull,push"))
        return answer.status == 200

    def start_upload(self, digest: str, source: str = "") -> tuple[str, int]:
        """Begin an upload, or have the registry take a blob from another of its repositories.

        Args:
            digest: The blob.
            source: That repository, or "".

        Returns:
            The place to upload to and the least size of a piece; ("", 0) when the blob was taken.
        """
        path = f"{self._base}/blobs/uploads/"
        scope = self._scope("pull,push")
        if source:
            path += "?" + urlencode({"mount": digest, "from": source})
            scope += f" repository:{source}:pull"
        answer = self._authorizer.request("POST", self.transport.url(path), scope, {"Content-Length": "0"}, b"")
        if answer.status == 201:
            return "", 0
        if answer.status != 202:
            raise self._wrong(answer, "does not take uploads")
        least = answer.headers.get("oci-chunk-min-length", "")
        return self._location(answer), int(least) if least.isdigit() else 0

    def upload_state(self, place: str) -> tuple[str, int]:
        """Return where to go on with an upload that was cut, and the bytes that the registry has."""
        answer = self._authorizer.request("GET", place, self._scope("pull,push"))
        if answer.status not in (202, 204):
            raise self._wrong(answer, "has forgotten the upload")
        end = answer.headers.get("range", "").rpartition("-")[2]
        return self._location(answer), int(end) + 1 if end.isdigit() and end != "0" else 0

    def upload_piece(self, place: str, body: Body, offset: int, size: int) -> str:
        """Upload one piece of a blob; return the place of the next."""
        headers = {
            "Content-Type": "application/octet-stream", "Content-Length": str(size),
            "Content-Range": f"{offset}-{offset + size - 1}",
        }  # fmt: skip
        with self._authorizer.stream("PATCH", place, self._scope("pull,push"), headers, body) as stream:
            answer = Answer(stream.status, stream.headers, stream.read_all(1 << 16), stream.url)
        if answer.status not in (202, 204):
            raise self._wrong(answer, "refused a piece of a blob")
        return self._location(answer)

    def end_upload(self, place: str, digest: str, body: Body = None, size: int = 0) -> None:
        """End an upload, with a last piece or the whole blob."""
        separator = "&" if urlsplit(place).query else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        url = f"{place}{separator}digest={quote(digest, safe='')}"
        with self._authorizer.stream("PUT", url, self._scope("pull,push"), headers, body or b"") as stream:
            answer = Answer(stream.status, stream.headers, stream.read_all(1 << 16), stream.url)
        if answer.status not in (201, 204):
            raise self._wrong(answer, f"refused the blob {digest[:19]}…")

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Upload a manifest under a tag or its digest."""
        url = self.transport.url(f"{self._base}/manifests/{reference}")
        answer = self._authorizer.request("PUT", url, self._scope("pull,push"), {"Content-Type": media_type}, data)
        if answer.status not in (201, 204):
            raise self._wrong(answer, f"refused the manifest of {reference}")

    def tags(self) -> tuple[str, ...]:
        """Return all tags, sorted."""
        found = self._pages(f"{self._base}/tags/list?n={_PAGE}", "tags", self._scope("pull"))
        return tuple(sorted(set(found)))

    def repositories(self) -> Iterator[str]:
        """Yield the registry's catalogue."""
        yield from self._pages(f"/v2/_catalog?n={_PAGE}", "repositories", "registry:catalog:*")

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of what refers to a manifest, by the API or by the tag that stands in for it."""
        answer = self._pull("GET", f"/referrers/{digest}", {"Accept": OCI_INDEX})
        if answer.status != 200:
            answer = self._pull("GET", f"/manifests/{digest.replace(':', '-')}", {"Accept": OCI_INDEX})
        if answer.status != 200:
            return []
        found = _json(answer, self.endpoint.host).get("manifests")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def _pages(self, path: str, key: str, scope: str) -> Iterator[str]:
        url = self.transport.url(path)
        for _ in range(_MOST_PAGES):
            answer = self._authorizer.request("GET", url, scope)
            if answer.status == 404:
                raise NotFound("repository", self._name)
            if answer.status != 200:
                raise self._wrong(answer, f"does not list its {key}")
            names = _json(answer, self.endpoint.host).get(key) or []
            yield from (name for name in names if isinstance(name, str) and name.isprintable())
            link = answer.headers.get("link", "")
            if not names or 'rel="next"' not in link:
                return
            url = urljoin(answer.url, link.partition("<")[2].partition(">")[0])
            if not self.transport.is_own(url):
                raise RegistryError(f"{self.endpoint.host} continues its list of {key} on another host")

    @property
    def _name(self) -> str:
        return f"{self.endpoint.host}/{self.endpoint.repository}"

    def _scope(self, actions: str) -> str:
        return f"repository:{self.endpoint.repository}:{actions}"

    def _pull(self, method: str, path: str, headers: dict[str, str] | None = None, scope: str = "") -> Answer:
        url = self.transport.url(self._base + path)
        return self._authorizer.request(method, url, scope or self._scope("pull"), headers)

    def _location(self, answer: Answer) -> str:
        place = urljoin(answer.url, answer.headers.get("location", ""))
        if not answer.headers.get("location") or urlsplit(place).scheme not in ("http", "https"):
            raise RegistryError(f"{self.endpoint.host} gave no place to upload to")
        return place

    def _wrong(self, answer: Answer, what: str) -> RegistryError:
        """Return the error for an unexpected answer, with the registry's own message."""
        host, said = self.endpoint.host, _said(answer)
        if answer.status in (401, 403):
            return NotAuthorized(
                f"{host} denies access to {self.endpoint.repository or 'its catalogue'}{said}", status=answer.status,
                hint=f"log in: tuicon login {self.endpoint.account}",
            )  # fmt: skip
        return RegistryError(f"{host} {what} (status {answer.status}{said})", status=answer.status)


def _json(answer: Answer, host: str) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        raise RegistryError(f"{host} gave a malformed answer", status=answer.status) from error
    if not isinstance(document, dict):
        raise RegistryError(f"{host} gave a malformed answer", status=answer.status)
    return document


def _said(answer: Answer) -> str:
    """Return a registry's error message, made safe to print."""
    try:
        first = json.loads(answer.body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    text = "".join(sign for sign in text[:200] if sign.isprintable())
    return f": {text}" if text else ""
