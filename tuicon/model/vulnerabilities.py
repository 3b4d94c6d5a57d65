"""Vulnerabilities as people read them; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.model.packages import Package, Severity, Vulnerability
from tuicon.model.rows import Cell, Column, Row

_STYLES = {
    Severity.CRITICAL: "bad",
    Severity.HIGH: "bad",
    Severity.MEDIUM: "warn",
    Severity.LOW: "",
    Severity.UNKNOWN: "muted",
}
_WIDE, _WIDEST = 100, 140
_DIGITS = 12


def main_name(item: Vulnerability) -> str:
    """Return the name that most people know: the CVE, else the advisory's id."""
    if item.id.startswith("CVE-"):
        return item.id
    return next((name for name in item.aliases if name.startswith("CVE-")), item.id)


def counted(items: Iterable[Vulnerability]) -> str:
    """Return "no known vulnerability", or how many of which severity there are."""
    found = Counter(item.severity for item in items)
    total = sum(found.values())
    if not total:
        return "no known vulnerability"
    parts = ", ".join(f"{found[level]} {level.name.lower()}" for level in reversed(Severity) if found[level])
    return f"{total} known {'vulnerability' if total == 1 else 'vulnerabilities'}: {parts}"


def vulnerability_columns(width: int) -> tuple[Column, ...]:
    """Return the columns that fit into a width; the widest one has the summary too."""
    is_wide, has_summary = width >= _WIDE, width >= _WIDEST
    return (
        Column("severity", "SEVERITY", 10), Column("name", "VULNERABILITY", 20 if is_wide else 17),
        Column("package", "PACKAGE", 28 if has_summary else None), Column("version", "VERSION", 24 if is_wide else 14),
        Column("fixed", "FIXED IN", 24 if is_wide else 14), *([Column("summary", "SUMMARY", None)] if has_summary else []),
    )  # fmt: skip


def vulnerability_rows(items: Iterable[Vulnerability], columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """Return a row for each vulnerability of a package."""
    names = {column.id for column in columns}
    rows = []
    for item in items:
        severity = Cell(item.severity.name.lower(), _STYLES.get(item.severity, "muted"), sort=-item.severity)
        cells = [severity, Cell(main_name(item)), Cell(item.package.name), Cell(item.package.version)]
        cells.append(Cell(item.fixed_in, "ok") if item.fixed_in else Cell("not fixed", "muted"))
        if "summary" in names:
            cells.append(Cell(item.summary, "muted"))
        rows.append(Row(key_of(item), tuple(cells)))
    return tuple(rows)


def package_columns(width: int) -> tuple[Column, ...]:
    """Return the columns that fit into a width."""
    is_wide = width >= _WIDE
    return (
        Column("kind", "KIND", 6), Column("name", "PACKAGE", None), Column("version", "VERSION", 24 if is_wide else 18),
        Column("source", "SOURCE", 20 if is_wide else 14), *([Column("license", "LICENCE", 24)] if is_wide else []),
        Column("layer", "LAYER", 12),
    )  # fmt: skip


def package_rows(items: Iterable[Package], columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """Return a row for each package."""
    names = {column.id for column in columns}
    rows = []
    for item in items:
        cells = [Cell(item.kind, "accent"), Cell(item.name), Cell(item.version), Cell(item.source, "muted")]
        if "license" in names:
            cells.append(Cell(", ".join(item.licenses), "muted"))
        cells.append(Cell(short_layer(item), "muted"))
        rows.append(Row(key_of(item), tuple(cells)))
    return tuple(rows)


def key_of(item: Vulnerability | Package) -> str:
    """Return what tells a row from others."""
    if isinstance(item, Package):
        return f"{item.purl} {item.path} {item.name} {item.version}"
    return f"{item.id} {key_of(item.package)}"


def short_layer(package: Package) -> str:
    """Return the digits of a package's layer that people compare."""
    return package.layer.removeprefix("sha256:")[:_DIGITS]


def vulnerability_facts(item: Vulnerability) -> tuple[tuple[str, str], ...]:
    """Return what is known of a vulnerability, as (word, text); the most wanted first."""
    score = f", CVSS {item.score:.1f}" if item.score is not None else ""
    others = [name for name in item.names if name != main_name(item)]
    package = item.package
    facts = (
        (main_name(item), item.summary), ("severity", f"{item.severity.name.lower()}{score}"), ("also", ", ".join(others)),
        ("package", f"{package.name} {package.version}"), ("fixed in", item.fixed_in or "no version yet"),
        ("found at", f"{package.path} in layer {short_layer(package)}"), ("more at", item.url),
    )  # fmt: skip
    return tuple(fact for fact in facts if fact[1])


def package_facts(item: Package) -> tuple[tuple[str, str], ...]:
    """Return what is known of a package, as (word, text)."""
    facts = (
        (item.name, item.version), ("built from", f"{item.source} {item.source_version}".strip()),
        ("licences", ", ".join(item.licenses)), ("supplier", item.supplier),
        ("found at", f"{item.path} in layer {short_layer(item)}"), ("belongs to", item.owner), ("purl", item.purl),
    )  # fmt: skip
    return tuple(fact for fact in facts if fact[1])
