"""How bad an advisory is: from its CVSS vectors by the library cvss, else from the words that its database uses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from engine.model.packages import Severity

_WORDS = {
    "unimportant": Severity.NEGLIGIBLE, "negligible": Severity.NEGLIGIBLE, "none": Severity.NEGLIGIBLE,
    "low": Severity.LOW, "minor": Severity.LOW, "medium": Severity.MEDIUM, "moderate": Severity.MEDIUM,
    "high": Severity.HIGH, "important": Severity.HIGH, "critical": Severity.CRITICAL,
}  # fmt: skip
_BANDS = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
_NEWEST_FIRST = ("CVSS_V4", "CVSS_V3", "CVSS_V2")
_LONGEST = 512


def rate(vectors: Iterable[tuple[str, str]], word: str) -> tuple[Severity, float | None]:
    """Return the severity and the base score.

    A database that calls something negligible for its own distribution knows better than a score for all.

    Args:
        vectors: OSV's severities, as (type, vector or word); the newest version of CVSS counts.
        word: What the database says of it; may be empty.
    """
    stated = _WORDS.get(word.strip("* ").lower(), Severity.UNKNOWN)
    if stated is Severity.NEGLIGIBLE:
        return stated, None
    found = sorted(vectors, key=lambda item: _NEWEST_FIRST.index(item[0]) if item[0] in _NEWEST_FIRST else 9)
    for kind, text in found:
        score = score_of(kind, text)
        if score is not None:
            return band(score, is_old=kind == "CVSS_V2"), score
        if kind not in _NEWEST_FIRST and text.lower() in _WORDS:
            stated = stated or _WORDS[text.lower()]
    return stated, None


def band(score: float, *, is_old: bool = False) -> Severity:
    """Return the band of a score (CVSS v3.1 section 5; NVD's bands for version 2, which has no critical one)."""
    found = next((name for least, name in _BANDS if score >= least), Severity.NEGLIGIBLE)
    return min(found, Severity.HIGH) if is_old else found


@lru_cache(maxsize=4096)
def score_of(kind: str, vector: str) -> float | None:
    """Return the base score of a vector; None when it is malformed or of an unknown kind."""
    if kind not in _NEWEST_FIRST or len(vector) > _LONGEST:
        return None
    import cvss
    from cvss.exceptions import CVSSError

    rules = {"CVSS_V4": cvss.CVSS4, "CVSS_V3": cvss.CVSS3, "CVSS_V2": cvss.CVSS2}
    try:
        return float(rules[kind](vector).base_score)
    except (CVSSError, ValueError, KeyError, ArithmeticError):
        return None
