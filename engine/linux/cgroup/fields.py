"""Reading `linux.resources`: numbers with their name when they are wrong, and one sentence for what cannot be had."""

from __future__ import annotations

import errno

from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Write = tuple[str, str, str]
    Section = Mapping[str, object]
    HasFile = Callable[[str, str], bool]


def integer(section: Section, name: str, where: str) -> int | None:
    """Return a number, or None when it is not given.

    Raises:
        CgroupError: It is not a number.
    """
    value = section.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CgroupError(errno.EINVAL, f"linux.resources.{where}.{name} is not a whole number: {value!r}")
    return value


def entries(section: Section, name: str, where: str) -> list[dict[str, object]]:
    """Return a list of objects; empty when it is not given.

    Raises:
        CgroupError: It is something else.
    """
    value = section.get(name) or []
    if not isinstance(value, list | tuple) or not all(isinstance(entry, dict) for entry in value):
        raise CgroupError(errno.EINVAL, f"linux.resources.{where}{name} is not a list of objects")
    return list(value)


def not_on(version: int, field: str) -> CgroupError:
    """Return the refusal of a field that a cgroup version does not have."""
    return CgroupError(errno.EOPNOTSUPP, f"linux.resources.{field} does not exist on cgroup v{version}")


def limit_text(value: int, unlimited: str) -> str:
    """Return a limit as the kernel reads it; nothing and below stand for no limit."""
    return str(value) if value > 0 else unlimited
