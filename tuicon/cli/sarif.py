"""Scan results as SARIF 2.1.0, which code hosts show beside the code (OASIS SARIF v2.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from engine.model.packages import ScanResult, Severity, Vulnerability
from tuicon.model.vulnerabilities import main_name

_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning"}
_TYPICAL = {
    Severity.CRITICAL: 9.5, Severity.HIGH: 8.0, Severity.MEDIUM: 5.5, Severity.LOW: 2.0, Severity.NEGLIGIBLE: 0.0,
    Severity.UNKNOWN: 0.0,
}  # fmt: skip


def document(result: ScanResult, shown: Sequence[Vulnerability]) -> dict[str, Any]:
    """Return a log with one run: a rule for each advisory, a result for each package that has it."""
    ignored = [(item.vulnerability, {"kind": "external", "justification": item.reason}) for item in result.ignored]
    places: dict[str, int] = {}
    rules: list[dict[str, Any]] = []
    for item in (*shown, *(item for item, _ in ignored)):
        if item.id not in places:
            places[item.id] = len(rules)
            rules.append(_rule(item))
    results = [_result(item, places[item.id], result) for item in shown]
    results += [{**_result(item, places[item.id], result), "suppressions": [why]} for item, why in ignored]
    driver = {
        "name": "tuicon", "version": version("tuicon"), "rules": rules,
        "informationUri": "https://github.com/google/osv.dev",
    }  # fmt: skip
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _rule(item: Vulnerability) -> dict[str, Any]:
    score = item.score if item.score is not None else _TYPICAL[item.severity]
    text = item.summary or f"{main_name(item)} in {item.package.name}"
    return {
        "id": item.id, "name": main_name(item), "shortDescription": {"text": f"{main_name(item)}: {item.package.name}"},
        "fullDescription": {"text": text}, "helpUri": item.url,
        "defaultConfiguration": {"level": _LEVELS.get(item.severity, "note")},
        "properties": {"security-severity": f"{score:.1f}", "tags": ["security", item.severity.name.lower()]},
    }  # fmt: skip


def _result(item: Vulnerability, place: int, result: ScanResult) -> dict[str, Any]:
    fixed = f"fixed in {item.fixed_in}" if item.fixed_in else "not fixed yet"
    text = f"{item.package.name} {item.package.version} has {main_name(item)} ({item.severity.name.lower()}), {fixed}."
    location = {
        "physicalLocation": {
            "artifactLocation": {"uri": item.package.path.lstrip("/")},
            "region": {"startLine": 1},
        },
        "message": {"text": f"{result.inventory.reference}: {item.package.path} in layer {item.package.layer}"},
    }
    return {
        "ruleId": item.id, "ruleIndex": place, "level": _LEVELS.get(item.severity, "note"), "message": {"text": text},
        "locations": [location], "partialFingerprints": {"package/v1": f"{item.id} {item.package.purl}"},
    }  # fmt: skip
