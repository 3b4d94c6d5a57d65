"""Allocation profiles: TOML files with the limits of many containers, applied in one step."""

from __future__ import annotations

import argparse
import fnmatch
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.model.limits import Limits
from engine.model.value import Value
from tuicon.model import limit_flags
from tuicon.model.failure import Usage

Change = Callable[[Limits], Limits]


class Profile(Value, frozen=True):
    """What a file asks for.

    Attributes:
        changes: For each name or pattern of names ("web-*"), what to do to the limits.
        may_overcommit: Whether all together may be more than the host has.
    """

    changes: dict[str, Change]
    may_overcommit: bool = False


def parse(text: str) -> Profile:
    """Parse a profile: tables [containers.NAME] whose keys are the flags of `update`.

    Raises:
        Usage: It is malformed, or a limit is unknown.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Usage(f"the profile is no TOML: {error}") from error
    unknown = set(document) - {"containers", "overcommit", "description"}
    if unknown:
        raise Usage(f"the profile has an unknown key {min(unknown)!r}: containers, overcommit, description")
    containers = document.get("containers")
    if not isinstance(containers, dict) or not containers:
        raise Usage("the profile has no [containers.NAME]")
    return Profile(
        {name: parse_change(name, table) for name, table in containers.items()}, bool(document.get("overcommit"))
    )


def parse_change(name: str, table: object) -> Change:
    """Return the change that a table of limits asks for; its keys are the flags of `update`.

    Raises:
        Usage: A limit is unknown or malformed.
    """
    if not isinstance(table, dict) or not table:
        raise Usage(f"{name}: no limit is named")
    parser = _Parser(add_help=False, allow_abbrev=False)
    limit_flags.add_flags(parser)
    words = [word for key, value in table.items() for word in _words(name, key, value)]
    try:
        return limit_flags.change_of(parser.parse_args(words))
    except (Usage, ValueError) as error:
        raise Usage(f"{name}: {error}") from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise Usage(message.replace("unrecognized arguments: --", "unknown limit "))


def _words(name: str, key: str, value: Any) -> list[str]:  # noqa: ANN401 - TOML
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, dict):
        separator = "=" if key.replace("_", "-") == "cgroup-conf" else ":"
        return [word for item, text in value.items() for word in (flag, f"{item}{separator}{text}")]
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    if not isinstance(value, str | int | float):
        raise Usage(f"{name}: the limit {key} is neither a text nor a number")
    return [f"{flag}={value}"]


def load(path: Path) -> str:
    """Return the text of a file.

    Raises:
        Usage: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def matched(profile: Profile, names: list[str]) -> dict[str, Change]:
    """Return the change of each container; a name goes before a pattern.

    Raises:
        Usage: A name or pattern fits no container.
    """
    found: dict[str, Change] = {}
    for pattern, change in sorted(profile.changes.items(), key=lambda item: "*" not in item[0]):
        fitting = fnmatch.filter(names, pattern)
        if not fitting:
            raise Usage(f"the profile names {pattern!r}, and no container is named so")
        found |= dict.fromkeys(fitting, change)
    exact = {name: change for name, change in profile.changes.items() if name in names}
    return found | exact
