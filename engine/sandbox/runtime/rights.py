"""Capabilities that cannot be had: left out with a warning (runtime-spec config.md, "Linux Process")."""

from __future__ import annotations

from engine.linux import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


def drop_ungrantable(process: Document, *, has_user: bool) -> list[str]:
    """Leave out of `process.capabilities` what is unknown or cannot be granted; return a sentence about it.

    Args:
        process: `process` of a config; changed.
        has_user: Whether the process is in a user namespace, where all known ones can be had.
    """
    sets: dict[str, list[str]] = process.get("capabilities") or {}
    granted = {f"CAP_{name}" for name in (capabilities.NAMES if has_user else capabilities.available())}
    lost = {name for names in sets.values() for name in names or () if name not in granted}
    kept = {kind: [name for name in names or () if name in granted] for kind, names in sets.items()}
    raisable = set(kept.get("permitted") or ()) & set(kept.get("inheritable") or ())
    unraisable = {name for name in kept.get("ambient") or () if name not in raisable}
    if unraisable:
        kept["ambient"] = [name for name in kept["ambient"] if name in raisable]
    if not lost | unraisable:
        return []
    process["capabilities"] = kept
    return [f"process.capabilities: these cannot be granted and were left out: {', '.join(sorted(lost | unraisable))}"]
