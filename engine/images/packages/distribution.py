"""Which distribution an image is made of: os-release(5)."""

from __future__ import annotations

import re

from engine.images.packages.tree import Tree, Unreadable
from engine.model.packages import Distribution

_PLACES = ("etc/os-release", "usr/lib/os-release")
_LARGEST = 1 << 16
_ESCAPED = re.compile(r"\\(.)")


def read(tree: Tree) -> Distribution:
    """Return the distribution; an empty one when the image has no os-release."""
    for path in _PLACES:
        try:
            data = tree.read_found(path, _LARGEST)
        except Unreadable:
            continue
        if data is not None:
            return parse(data.decode(errors="replace"))
    return Distribution()


def parse(text: str) -> Distribution:
    """Return what an os-release says."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name] = _unquoted(value)
    return Distribution(
        id=values.get("ID", "linux").lower(), version=values.get("VERSION_ID", ""),
        codename=values.get("VERSION_CODENAME", ""), name=values.get("PRETTY_NAME", values.get("NAME", "")),
    )  # fmt: skip


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1] if value[0] == "'" else _ESCAPED.sub(r"\1", value[1:-1])
    return value
