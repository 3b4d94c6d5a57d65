"""References to images, normalised as docker does: "busybox" is "docker.io/library/busybox:latest"."""

from __future__ import annotations

import re

from engine.errors import InvalidArgument
from engine.model.value import Value
from engine.oci.digest import is_digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_LONGEST_NAME = 255


class Reference(Value, frozen=True):
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
        short = self.repository.removeprefix("library/")
        return self.repository if "/" in short else short


def parse(text: str) -> Reference:
    """Parse and normalise a reference, by the grammar of the distribution project's reference package.

    Raises:
        InvalidArgument: With the part that is wrong.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(f"invalid reference {text!r}: 64 hex digits are an id, not a name")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise InvalidArgument(f"invalid reference {text!r}: the digest is not sha256 and 64 hex digits")
    registry, path = _split(rest)
    repository, colon, tag = path.partition(":")
    if not repository or repository == "library/":
        raise InvalidArgument(f"invalid reference {text!r}: it names no repository")
    if not _DOMAIN.fullmatch(registry):
        raise InvalidArgument(f"invalid reference {text!r}: the registry {registry!r} is malformed")
    if not _PATH.fullmatch(repository):
        wrong = "must be lowercase" if repository != repository.lower() else "is malformed"
        raise InvalidArgument(f"invalid reference {text!r}: the repository name {repository!r} {wrong}")
    if len(repository) > _LONGEST_NAME:
        raise InvalidArgument(f"invalid reference {text[:60]!r}…: the repository name is longer than {_LONGEST_NAME}")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"invalid reference {text!r}: the tag {tag!r} is malformed")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def _split(name: str) -> tuple[str, str]:
    """Return (registry, the rest): the first part is a registry when it cannot be a name on Docker Hub."""
    first, slash, rest = name.partition("/")
    if not slash:
        return "docker.io", f"library/{name}"
    if first in ("docker.io", "index.docker.io"):
        return "docker.io", rest if "/" in rest else f"library/{rest}"
    if "." in first or ":" in first or first == "localhost" or first != first.lower():
        return first, rest
    return "docker.io", name


def familiar(reference: str) -> tuple[str, str]:
    """Return (name, tag) of a full reference in the short form that docker prints."""
    parsed = parse(reference)
    return parsed.name, parsed.tag or "<none>"


def familiar_text(reference: str) -> str:
    """Return "name:tag" in the short form."""
    name, tag = familiar(reference)
    return f"{name}:{tag}"
