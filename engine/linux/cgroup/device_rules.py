"""`linux.resources.devices`: which devices may be made, read and written (runtime-spec "Allowed Device list").

The rules count in their order, the last that fits wins, and what none names is denied. The devices that every
container has are allowed after them, as OCI runtimes do. v1 takes rules as text; v2 takes a BPF program.
"""

from __future__ import annotations

import errno

from engine.linux.cgroup.fields import entries, integer
from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import Section, Write

_ALL = -1
_ACCESS = "mrw"


class Rule:
    """One rule.

    Attributes:
        is_allowed: Whether it allows.
        kind: "a" (both), "b" or "c".
        major, minor: Numbers; -1 stands for all.
        access: Some of "rwm".
    """

    __slots__ = ("access", "is_allowed", "kind", "major", "minor")

    def __init__(self, is_allowed: bool, kind: str, major: int, minor: int, access: str) -> None:
        self.is_allowed = is_allowed
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def is_total(self) -> bool:
        """Return whether it speaks of every access to every device, so that no earlier rule counts."""
        return self.kind == "a" and self.major == self.minor == _ALL and set(self.access) == set(_ACCESS)

    def is_wider_than(self, other: Rule) -> bool:
        """Return whether it speaks of the devices of another rule and of more, and of the same access."""
        pairs = ((self.major, other.major), (self.minor, other.minor))
        covers = self.kind == other.kind and all(own in (_ALL, number) for own, number in pairs)
        return covers and any(own != number for own, number in pairs) and bool(set(self.access) & set(other.access))

    def text(self) -> str:
        """Return the rule as v1 reads it."""
        major, minor = ("*" if number == _ALL else number for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


_NODES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, _ALL))
DEFAULT_RULES = (
    *(Rule(True, kind, _ALL, _ALL, "m") for kind in "cb"),  # making a node is harmless where opening it is denied
    *(Rule(True, "c", major, minor, "rwm") for major, minor in _NODES),
)


def rules_of(resources: Section) -> list[Rule]:
    """Return the rules that count, first to last, or nothing when `devices` is not given.

    Raises:
        CgroupError: A rule is wrong.
    """
    given = [_rule(entry) for entry in entries(resources, "devices", "")]
    if not given:
        return []
    found = [Rule(False, "a", _ALL, _ALL, "rwm"), *given]
    start = max(index for index, rule in enumerate(found) if rule.is_total())
    return found[start:] if found[start].is_allowed and start == len(found) - 1 else [*found[start:], *DEFAULT_RULES]


def _rule(entry: Section) -> Rule:
    kind, access = entry.get("type") or "a", entry.get("access") or "rwm"
    if kind not in ("a", "b", "c", "u") or not isinstance(access, str) or set(access) - set(_ACCESS):
        raise CgroupError(errno.EINVAL, f"linux.resources.devices: not a device rule: {dict(entry)}")
    numbers = [integer(entry, name, "devices") for name in ("major", "minor")]
    major, minor = (_ALL if number is None else max(_ALL, number) for number in numbers)
    return Rule(bool(entry.get("allow")), "c" if kind == "u" else str(kind), major, minor, access)


def plan_v1(rules: list[Rule]) -> list[Write]:
    """Return the writes to devices.allow and devices.deny.

    Raises:
        CgroupError: v1 keeps exceptions from one default, so it cannot deny a part of what another rule allows.
    """
    each: list[Rule] = []
    for rule in rules:
        # The kernel takes "a" for everything, whatever the numbers: it is spelt out.
        kinds = "bc" if rule.kind == "a" and not rule.is_total() else rule.kind
        each += [Rule(rule.is_allowed, kind, rule.major, rule.minor, rule.access) for kind in kinds]
    for index, rule in enumerate(each[1:], 1):
        for earlier in each[1:index]:
            if rule.is_allowed == each[0].is_allowed != earlier.is_allowed and earlier.is_wider_than(rule):
                text = f"linux.resources.devices: cgroup v1 cannot make {rule.text()!r} an exception from {earlier.text()!r}"
                raise CgroupError(errno.EOPNOTSUPP, text)
    names = {True: "devices.allow", False: "devices.deny"}
    writes = [("devices", names[rule.is_allowed], "a" if rule.kind == "a" else rule.text()) for rule in each]
    return list(dict.fromkeys(writes))
