"""Decides whether a version is affected, and where that ends (OSV schema 1.7, "Evaluation")."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.images.scan import versions
from engine.images.scan.advisories import Affected, Span
from engine.images.scan.versions import Incomparable

_ORDER = {"fixed": 0, "introduced": 1, "last_affected": 2, "limit": 3}


class Match(NamedTuple):
    """A version is affected; the first version after it that is fixed, or empty."""

    fixed_in: str


class _Event(NamedTuple):
    """An event at a version; the key of "0", which is before every version, is None."""

    kind: str
    version: str
    key: Any

    @property
    def order(self) -> tuple[Any, ...]:
        return (0, 0, 0) if self.key is None else (1, self.key, _ORDER.get(self.kind, 9))


def match(affected: Affected, ecosystem: str, version: str) -> Match | None:
    """Return what an advisory says of a version; None when it is not affected.

    Args:
        affected: What the advisory says of the package.
        ecosystem: The ecosystem without its release, whose rules order the versions.
        version: The installed version.

    Raises:
        Incomparable: A version is malformed, and no other part of the advisory decides.
    """
    problem: Incomparable | None = None
    for span in affected.spans:
        try:
            found = _in_span(span, "SEMVER" if span.kind == "SEMVER" else ecosystem, version)
        except Incomparable as error:
            problem = error
            continue
        if found:
            return found
    if version in affected.versions:
        return Match("")
    if problem:
        raise problem
    return None


def _in_span(span: Span, rule: str, version: str) -> Match | None:
    here = versions.key(rule, version)
    events = [_Event(kind, at, None if at == "0" else versions.key(rule, at)) for kind, at in span.events if at != "*"]
    limits = [event for event in events if event.kind == "limit"]
    if limits and not any(event.key is not None and here < event.key for event in limits):
        return None
    events.sort(key=lambda event: event.order)
    is_affected = False
    for event in events:
        reached = event.key is None or event.key <= here
        if event.kind == "introduced" and reached:
            is_affected = True
        elif (event.kind == "fixed" and reached) or (event.kind == "last_affected" and reached and event.key != here):
            is_affected = False
    if not is_affected:
        return None
    later = (event.version for event in events if event.kind == "fixed" and event.key is not None and here < event.key)
    return Match(next(later, ""))
