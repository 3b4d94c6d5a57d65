"""Advisories in the OSV format (OSV schema 1.7): the parts of them that a scan needs, in a small form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.images.packages.purl import normal_python_name

_LONGEST_SUMMARY = 200
_RANGES = ("ECOSYSTEM", "SEMVER")


class Rating(msgspec.Struct, array_like=True):
    """A CVSS vector, or a word, and its kind."""

    type: str
    score: str


class Content(msgspec.Struct, array_like=True):
    """An advisory without what it affects."""

    id: str
    aliases: list[str]
    upstream: list[str]
    summary: str
    ratings: list[Rating]
    word: str
    modified: str
    url: str


class Span(msgspec.Struct, array_like=True):
    """A range of versions: its kind, and its events as (kind, version)."""

    kind: str
    events: list[tuple[str, str]]


class Affected(msgspec.Struct, array_like=True):
    """What an advisory says of one package."""

    spans: list[Span]
    versions: list[str]
    ratings: list[Rating]
    word: str


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Rating(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Range(msgspec.Struct):
    type: str = ""
    events: list[dict[str, str]] | None = None


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Rating] | None = None
    ecosystem_specific: Any = None
    database_specific: Any = None


class _Reference(msgspec.Struct):
    type: str = ""
    url: str = ""


class Document(msgspec.Struct):
    """An OSV document."""

    id: str
    modified: str = ""
    withdrawn: str | None = None
    aliases: list[str] | None = None
    upstream: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Rating] | None = None
    affected: list[_Affected] | None = None
    references: list[_Reference] | None = None
    database_specific: Any = None


decode = msgspec.json.Decoder(Document).decode
decode_several = msgspec.json.Decoder(list[Document]).decode
encode = msgspec.msgpack.Encoder().encode
decode_content = msgspec.msgpack.Decoder(Content).decode
decode_affected = msgspec.msgpack.Decoder(Affected).decode


def content_of(document: Document) -> Content:
    """Return what is kept of an advisory."""
    lines = (document.summary or document.details or "").strip().splitlines() or [""]
    references = document.references or []
    advisory = next((item.url for item in references if item.type == "ADVISORY"), "")
    url = advisory or (references[0].url if references else f"https://osv.dev/vulnerability/{document.id}")
    return Content(
        document.id, document.aliases or [], document.upstream or [], lines[0][:_LONGEST_SUMMARY],
        _ratings(document.severity), _word(document.database_specific), document.modified, url,
    )  # fmt: skip


def affected_of(document: Document) -> Iterator[tuple[str, str, Affected]]:
    """Yield (ecosystem, name, what is affected) of an advisory."""
    for item in document.affected or ():
        if item.package is None:
            continue
        ecosystem, name = item.package.ecosystem, item.package.name
        spans = [
            Span(found.type, [pair for event in found.events or () for pair in event.items()])
            for found in item.ranges or ()
            if found.type in _RANGES
        ]
        word = _word(item.ecosystem_specific) or _word(item.database_specific)
        kept = Affected(spans, item.versions or [], _ratings(item.severity), word)
        yield ecosystem, normal_python_name(name) if ecosystem == "PyPI" else name, kept


def _ratings(found: list[_Rating] | None) -> list[Rating]:
    return [Rating(item.type, item.score) for item in found or ()]


def _word(specific: object) -> str:
    """Return how a database calls the severity in its own part: GitHub and Red Hat "severity", Debian "urgency"."""
    if not isinstance(specific, dict):
        return ""
    found = specific.get("severity") or specific.get("urgency")
    return found if isinstance(found, str) else ""
