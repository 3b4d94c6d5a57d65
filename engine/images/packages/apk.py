"""Alpine's packages: apk's installed database (apk-tools, apk-v2 database format)."""

from __future__ import annotations

from collections.abc import Iterator

from engine.model.packages import Package

PLACES = ("lib/apk/db/installed", "usr/lib/apk/db/installed")


def parse(text: str) -> Iterator[tuple[Package, list[str]]]:
    """Yield packages and the paths that they installed."""
    fields: dict[str, str] = {}
    paths: list[str] = []
    directory = ""
    for line in [*text.splitlines(), ""]:
        name, _, value = line.partition(":")
        if not line:
            if fields.get("P") and fields.get("V"):
                yield _package(fields), paths
            fields, paths, directory = {}, [], ""
        elif name == "F":
            directory = value
        elif name == "R":
            paths.append(f"{directory}/{value}" if directory else value)
        else:
            fields.setdefault(name, value)


def _package(fields: dict[str, str]) -> Package:
    return Package(
        "apk", fields["P"], fields["V"], architecture=fields.get("A", ""), source=fields.get("o", ""),
        licenses=(fields["L"],) if fields.get("L") else (), supplier=fields.get("m", ""),
    )  # fmt: skip
