"""Python's packages: the metadata in dist-info and egg-info (packaging.python.org, "Core metadata")."""

from __future__ import annotations

from engine.model.packages import Package

_LICENCE_CLASS = "License :: OSI Approved :: "


def is_metadata(path: str) -> bool:
    """Return whether a path is that of a package's metadata."""
    directory, _, name = path.rpartition("/")
    if name == "METADATA":
        return directory.endswith(".dist-info")
    if name == "PKG-INFO":
        return directory.endswith((".egg-info", "EGG-INFO"))
    return name.endswith(".egg-info")


def parse(text: str) -> Package | None:
    """Return the package that a metadata file describes; None when it has no name or version."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line:
            break
        name, colon, value = line.partition(": ")
        if colon and not line[0].isspace():
            fields.setdefault(name.lower(), []).append(value.strip())
    names, versions = fields.get("name"), fields.get("version")
    if not names or not versions:
        return None
    return Package("pypi", names[0], versions[0], licenses=_licenses(fields), supplier=fields.get("author", [""])[0])


def _licenses(fields: dict[str, list[str]]) -> tuple[str, ...]:
    stated = fields.get("license-expression") or fields.get("license") or []
    if stated and stated[0] not in ("", "UNKNOWN"):
        return (stated[0],)
    classes = (text.removeprefix(_LICENCE_CLASS) for text in fields.get("classifier", ()) if "License ::" in text)
    return tuple(sorted(classes))
