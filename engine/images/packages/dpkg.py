"""Debian's packages: dpkg's status file, the status.d of images without dpkg, and copyright files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.images.packages.tree import Tree, Unreadable
from engine.model.packages import Package

STATUS = "var/lib/dpkg/status"
STATUS_D = "var/lib/dpkg/status.d"
_INFO = "var/lib/dpkg/info"
_LARGEST_LIST = 16 << 20
_LARGEST_COPYRIGHT = 512 << 10
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)]+)\))?")


def parse(text: str) -> Iterator[Package]:
    """Yield the installed packages of a status file (deb-control(5), dpkg-query(1))."""
    for fields in _stanzas(text):
        name, version = fields.get("Package", ""), fields.get("Version", "")
        if not name or not version or fields.get("Status", "ok installed").split()[-1] != "installed":
            continue
        source = _SOURCE.match(fields.get("Source", ""))
        yield Package(
            "deb", name, version, architecture=fields.get("Architecture", ""),
            source=source[1] if source else "", source_version=(source[2] or "") if source else "",
            supplier=fields.get("Maintainer", ""),
        )  # fmt: skip


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def files(tree: Tree, package: Package) -> Iterator[str]:
    """Yield the paths that a package installed."""
    for name in (f"{package.name}:{package.architecture}", package.name):
        try:
            data = tree.read_found(f"{_INFO}/{name}.list", _LARGEST_LIST)
        except Unreadable:
            continue
        if data is not None:
            yield from (line.lstrip("/") for line in data.decode(errors="surrogateescape").splitlines())
            return


def licenses(tree: Tree, package: Package) -> tuple[str, ...]:
    """Return the licences that a machine-readable copyright file names (copyright-format 1.0), sorted."""
    try:
        data = tree.read_found(f"usr/share/doc/{package.name}/copyright", _LARGEST_COPYRIGHT, may_be_cut=True)
    except Unreadable:
        return ()
    text = (data or b"").decode(errors="replace")
    if "copyright-format" not in text[:2000]:
        return ()
    names = (line[8:].strip() for line in text.splitlines() if line.startswith("License:"))
    return tuple(sorted({name for name in names if name}))
