"""What a check of the state root finds, and what a boot starts."""

from __future__ import annotations

from engine.model.value import Value


class Finding(Value, frozen=True):
    """One thing that is not as it should be.

    Attributes:
        kind: What it is, such as "lease", "cgroup" or "layer".
        subject: Its name or path.
        sentence: What is wrong.
        repair: What a repair does about it; empty when only a person can.
        size: The bytes that a repair frees; 0 when that is not known.
    """

    kind: str
    subject: str
    sentence: str
    repair: str = ""
    size: int = 0


class Checked(Value, frozen=True):
    """A check: what it found, what is left after the repair, and what could not be repaired and why."""

    found: tuple[Finding, ...]
    left: tuple[Finding, ...]
    errors: tuple[str, ...] = ()


class Booted(Value, frozen=True):
    """A container that a boot started, or stopped at the shutdown; error is empty when that went well."""

    id: str
    name: str
    error: str = ""
