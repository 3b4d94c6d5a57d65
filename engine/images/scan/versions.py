"""Compares versions by the rules of an ecosystem.

The rules are those of the library univers, but for apk: there it goes by Gentoo's grammar and refuses "_git", "_p" with a
date and other suffixes that Alpine uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_DPKG = ("Debian", "Ubuntu")
_APK = ("Alpine", "Wolfi", "Chainguard", "MinimOS", "Alpaquita", "BellSoft Hardened Containers")
_RPM = ("Red Hat", "Rocky Linux", "AlmaLinux", "SUSE", "openSUSE", "Mageia", "openEuler", "Azure Linux", "Photon OS")
_SEMVER = ("npm", "Go", "crates.io", "SwiftURL", "Hex", "Pub", "GitHub Actions")
_LONGEST = 256
_TOKEN = re.compile(
    r"(?P<digits>\d+)|\.(?P<more>\d+)|(?P<letter>[a-z])|_(?P<suffix>[a-z]+)(?P<number>\d*)|~(?P<hash>[0-9a-f]+)|-r(?P<revision>\d+)"
)
_BEFORE = ("alpha", "beta", "pre", "rc")
_AFTER = ("cvs", "svn", "git", "hg", "p")
_END = (0,)


class Incomparable(ValueError):
    """A version that its ecosystem's rules do not know."""


@lru_cache(maxsize=1 << 16)
def key(ecosystem: str, version: str) -> Any:  # noqa: ANN401 - each ecosystem has its own type
    """Return something that orders as the version does among those of its ecosystem.

    Args:
        ecosystem: An OSV ecosystem, without its release.
        version: A version.

    Raises:
        Incomparable: The version is malformed, or the ecosystem unknown.
    """
    if len(version) > _LONGEST:
        raise Incomparable(f"a version of {len(version)} characters")
    rule = _rule(ecosystem)
    if rule is None:
        raise Incomparable(f"the versions of {ecosystem} have no known order")
    try:
        return rule(version)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise Incomparable(f"{version!r} is no version of {ecosystem}") from error


def _rule(ecosystem: str) -> Callable[[str], Any] | None:
    if ecosystem in _APK:
        return apk_key
    from univers import versions

    rules: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(_DPKG, versions.DebianVersion), **dict.fromkeys(_RPM, versions.RpmVersion),
        **dict.fromkeys(_SEMVER, versions.SemverVersion), "SEMVER": versions.SemverVersion,
        "PyPI": versions.PypiVersion, "Maven": versions.MavenVersion,
        "RubyGems": versions.RubygemsVersion, "NuGet": versions.NugetVersion, "Packagist": versions.ComposerVersion,
    }  # fmt: skip
    return rules.get(ecosystem)


def apk_key(version: str) -> tuple[tuple[int | str, ...], ...]:
    """Return a key that orders as apk does (apk-package(5), "pkgver"; apk-tools' src/version.c).

    What comes first in a version weighs most: a number goes on before a letter, a letter before a suffix, a suffix
    before a revision, and the end of the version is smaller than all but a suffix that means "before".

    Raises:
        Incomparable: The version is malformed.
    """
    tokens: list[tuple[int | str, ...]] = []
    place = 0
    while place < len(version):
        match = _TOKEN.match(version, place)
        if not match or (match["digits"] is not None) != (place == 0):
            raise Incomparable(f"{version!r} is no version of apk")
        tokens += _apk_tokens(match)
        place = match.end()
    if not tokens:
        raise Incomparable("an empty version")
    return (*tokens, _END)


def _apk_tokens(match: re.Match[str]) -> list[tuple[int | str, ...]]:
    if match["digits"] is not None:
        return [(7, 1, int(match["digits"]))]
    if match["more"] is not None:
        digits = match["more"]
        return [(7, 0, digits) if digits[0] == "0" else (7, 1, int(digits))]  # with a zero first, it is a fraction
    if match["letter"] is not None:
        return [(6, match["letter"])]
    if match["revision"] is not None:
        return [(2, int(match["revision"]))]
    if match["hash"] is not None:
        return [(3, match["hash"])]
    suffix = match["suffix"]
    if suffix not in (*_BEFORE, *_AFTER):
        raise Incomparable(f"the suffix {suffix!r}")
    weight = (-1, _BEFORE.index(suffix)) if suffix in _BEFORE else (5, _AFTER.index(suffix))
    return [weight, *([(4, int(match["number"]))] if match["number"] else [])]
