"""Packages of npm: package.json below node_modules, and package-lock.json where nothing is installed beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from engine.images.packages.tree import Unreadable
from engine.model.packages import Package

_DEEPEST = 100
_Document = TypeVar("_Document")


class _Manifest(msgspec.Struct):
    name: Any = None
    version: Any = None
    license: Any = None
    licenses: Any = None


class _Locked(msgspec.Struct):
    name: str = ""
    version: str = ""
    license: Any = None
    dev: bool = False
    link: bool = False
    dependencies: Any = None


class _Lock(msgspec.Struct):
    packages: dict[str, _Locked] | None = None
    dependencies: dict[str, Any] | None = None


def parse_manifest(data: bytes) -> Package | None:
    """Return the package that a package.json describes; None when it has no name or version."""
    found = _decode(data, _Manifest)
    if not isinstance(found.name, str) or not isinstance(found.version, str) or not found.name or not found.version:
        return None
    return Package("npm", found.name, found.version, licenses=_licenses(found.license, found.licenses))


def parse_lock(data: bytes) -> Iterator[Package]:
    """Yield the packages that a package-lock.json wants installed, but for those of development.

    All three versions of the format are known (docs.npmjs.com, "package-lock.json").
    """
    found = _decode(data, _Lock)
    if found.packages is None:
        yield from _old(found.dependencies or {}, 0)
        return
    for path, item in found.packages.items():
        name = item.name or path.rpartition("node_modules/")[2]
        if path and name and item.version and not item.dev and not item.link:
            yield Package("npm", name, item.version, licenses=_licenses(item.license, None))


def _old(dependencies: dict[str, Any], depth: int) -> Iterator[Package]:
    if depth > _DEEPEST:
        raise Unreadable(f"is nested deeper than {_DEEPEST} levels")
    for name, value in dependencies.items():
        try:
            item = msgspec.convert(value, _Locked)
        except msgspec.ValidationError as error:
            raise Unreadable(f"is malformed: {error}") from error
        if item.version and not item.dev:
            yield Package("npm", name, item.version)
        if isinstance(item.dependencies, dict):
            yield from _old(item.dependencies, depth + 1)


def _licenses(stated: object, old: object) -> tuple[str, ...]:
    """Return licences of the two ways to write them: "MIT" or {"type": "MIT"}, or a list of those."""
    items = old if isinstance(old, list) and not stated else [stated]
    texts = (item.get("type") if isinstance(item, dict) else item for item in items)
    return tuple(text for text in texts if isinstance(text, str) and text)


def _decode(data: bytes, kind: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Unreadable(f"is malformed: {error}") from error
