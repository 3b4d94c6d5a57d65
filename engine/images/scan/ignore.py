"""Ignore files: vulnerabilities that somebody decided to live with, in TOML.

[[ignore]]
id = "CVE-2024-1234"        # or any other name of it
package = "openssl"         # only in this package, or of this source
until = 2026-12-31          # the last day on which this holds
reason = "no TLS in here"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from engine.errors import InvalidArgument
from engine.model.packages import Ignored, IgnoreRule, Vulnerability

_KEYS = {"id", "package", "until", "reason"}
_LARGEST = 4 << 20


def read(path: Path) -> tuple[IgnoreRule, ...]:
    """Return the rules of a file.

    Raises:
        InvalidArgument: It cannot be read, is malformed, or has an unknown key.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.loads(file.read(_LARGEST).decode())
    except OSError as error:
        raise InvalidArgument(f"cannot read the ignore file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the ignore file {path} is malformed: {error}") from error
    entries = found.pop("ignore", [])
    if found or not isinstance(entries, list):
        raise InvalidArgument(
            f"the ignore file {path} has {', '.join(found) or 'ignore'}, where only [[ignore]] is known"
        )
    return tuple(_rule(path, number, entry) for number, entry in enumerate(entries, 1))


def _rule(path: Path, number: int, entry: Any) -> IgnoreRule:  # noqa: ANN401 - TOML
    where = f"entry {number} of the ignore file {path}"
    if not isinstance(entry, dict):
        raise InvalidArgument(f"{where} is no table")
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise InvalidArgument(
            f"{where} has the unknown key {unknown[0]!r}", hint="id, package, until and reason are known"
        )
    until = entry.get("until")
    until = until.date() if isinstance(until, datetime) else until
    texts = {name: entry.get(name, "") for name in ("id", "package", "reason")}
    wrong = next((name for name, value in texts.items() if not isinstance(value, str)), "")
    if wrong or not texts["id"]:
        raise InvalidArgument(f"{where} has no text as {wrong or 'id'}")
    if until is not None and not isinstance(until, date):
        raise InvalidArgument(f"{where} has no date as until, such as 2026-12-31")
    return IgnoreRule(texts["id"], texts["package"], until, texts["reason"])


def apply(
    rules: Iterable[IgnoreRule], found: Iterable[Vulnerability], today: date
) -> tuple[tuple[Vulnerability, ...], tuple[Ignored, ...], tuple[str, ...]]:  # fmt: skip
    """Return what is left, what is ignored, and a warning for each rule that has ended."""
    given = tuple(rules)
    ended = [rule for rule in given if rule.until and rule.until < today]
    valid = [rule for rule in given if rule not in ended]
    left: list[Vulnerability] = []
    ignored: list[Ignored] = []
    for item in found:
        fitting = next((rule for rule in valid if _fits(rule, item)), None)
        if fitting:
            ignored.append(Ignored(item, fitting.reason, fitting.until))
        else:
            left.append(item)
    warnings = tuple(f"the ignore rule for {rule.id} ended on {rule.until}" for rule in ended)
    return tuple(left), tuple(ignored), warnings


def _fits(rule: IgnoreRule, item: Vulnerability) -> bool:
    return rule.id in item.names and rule.package in ("", item.package.name, item.package.source)
