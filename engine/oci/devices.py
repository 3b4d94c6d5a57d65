"""Devices of a container as OCI documents; pure.

The list of rules that every container starts from is docker's; "allow" rules for making nodes ("m") are harmless,
because a node that no rule lets open is a name only. Source: runtime-spec config-linux.md ("Devices").
"""

from __future__ import annotations

import re
from typing import Any

from engine.errors import InvalidArgument

Document = dict[str, Any]
Node = tuple[str, int, int, int, int, int]

STANDARD = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_TTY_NUMBERS = ((5, 1), (5, 2), (136, None))  # console, ptmx, pts
_RULE = re.compile(r"([abc]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
_CDI_NAME = re.compile(
    r"[A-Za-z][\w.-]*[A-Za-z0-9]/[A-Za-z]([\w-]*[A-Za-z0-9])?=[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?", re.ASCII
)


def standard_nodes() -> list[Document]:
    """Return the nodes that every container has."""
    return [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
        for name, major, minor in STANDARD
    ]


def standard_rules() -> list[Document]:
    """Return the device rules that every container starts from: nothing but the standard nodes and terminals."""
    numbers = [*((major, minor) for _, major, minor in STANDARD), *_TTY_NUMBERS]
    return [
        {"allow": False, "access": "rwm"},
        *({"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")),
        *(_allow("c", major, minor, "rwm") for major, minor in numbers),
    ]


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> Document:
    numbers = {"major": major, "minor": minor}
    return {"allow": True, "type": kind, **{name: number for name, number in numbers.items() if number is not None},
        "access": access}  # fmt: skip


def is_cdi_name(text: str) -> bool:
    """Return whether a device is named "vendor/class=name" (CDI specification, "Kind")."""
    return _CDI_NAME.fullmatch(text) is not None


def check_permissions(text: str, device: str) -> None:
    """Check the permissions of a device.

    Raises:
        InvalidArgument: They are not made of r, w and m, each at most once.
    """
    if not text or set(text) - set("rwm") or len(set(text)) != len(text):
        raise InvalidArgument(f"invalid permissions {text!r} of device {device}: any of r, w and m")


def node(path: str, found: Node) -> Document:
    """Return the document of a node: its path inside, and what it is on the host (type, numbers, mode, owner)."""
    kind, major, minor, mode, uid, gid = found
    return {
        "path": path, "type": kind, "major": major, "minor": minor, "fileMode": mode, "uid": uid, "gid": gid,
    }  # fmt: skip


def rule_of(device: Document, permissions: str) -> Document:
    """Return the rule that lets a container use a node."""
    return _allow(str(device["type"]), device["major"], device["minor"], permissions)


def parse_rule(text: str) -> Document:
    """Return docker's --device-cgroup-rule ("c 42:* rmw") as a document.

    Raises:
        InvalidArgument: It is malformed.
    """
    found = _RULE.fullmatch(text)
    if not found:
        raise InvalidArgument(
            f"invalid device cgroup rule {text!r}: expected TYPE MAJOR:MINOR MODE, such as 'c 42:* rwm'"
        )
    kind, major, minor, access = found.groups()
    numbers = [None if number == "*" else int(number) for number in (major, minor)]
    return _allow(kind, numbers[0], numbers[1], access)
