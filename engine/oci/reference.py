"""References to images, normalised as docker does: "busybox" is "docker.io/library/busybox:latest"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import InvalidArgument
from engine.oci.digest import is_digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference; tag and digest may be empty, not both."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Return the full form."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository in the short form that docker prints."""
        if self.registry != "docker.io":
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix("library/")


def parse(text: str) -> Reference:
    """Parse and normalise a reference.

    Raises:
        InvalidArgument: With the part that is wrong.
    """
    rest, _, digest = text.partition("@")
    if "@" in text and not is_digest(digest):
        raise InvalidArgument(f"invalid reference {text!r}: the digest is not sha256 and 64 hex digits")
    head, _, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"invalid reference {text!r}: the tag {tag!r} is malformed")
    name = f"{head}/{last}" if head else last
    first, slash, path = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, path
    else:
        registry, repository = "docker.io", name if slash else f"library/{name}"
    if registry == "index.docker.io":
        registry = "docker.io"
    if not _DOMAIN.fullmatch(registry):
        raise InvalidArgument(f"invalid reference {text!r}: the registry {registry!r} is malformed")
    if not _PATH.fullmatch(repository) or len(repository) > _LONGEST_NAME:
        wrong = "must be lowercase" if repository != repository.lower() else "is malformed"
        raise InvalidArgument(f"invalid reference {text!r}: the repository name {repository!r} {wrong}")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def familiar(reference: str) -> tuple[str, str]:
    """Return (name, tag) of a full reference in the short form that docker prints."""
    parsed = parse(reference)
    return parsed.name, parsed.tag or "<none>"


def familiar_text(reference: str) -> str:
    """Return "name:tag" in the short form."""
    name, tag = familiar(reference)
    return f"{name}:{tag}"
