"""Vulnerabilities as people read them; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.model.packages import Severity, Vulnerability


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
