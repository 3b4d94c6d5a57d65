"""What every record is made of: a frozen class that is cheap to define, in a program that lives for a few milliseconds.

A dataclass writes source code and compiles it, and loads `inspect` for that: forty of them cost more than a container's
start. These are msgspec's, made in C; for everybody else they are as good as dataclasses: `dataclasses.replace`, `fields`,
`asdict` and `is_dataclass` take them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import field

if TYPE_CHECKING:
    from dataclasses import Field, replace
    from typing import ClassVar
else:
    from msgspec.structs import replace

__all__ = ["Value", "asdict", "field", "names", "replace"]


class _DataclassFields:
    """`__dataclass_fields__`, made when somebody asks for it."""

    def __get__(self, _: object, owner: type[Value]) -> dict[str, Field[Any]]:
        return _dataclass_fields(owner)


class Value(msgspec.Struct, frozen=True):
    """A record: its fields cannot be assigned, two of one kind with the same fields are equal."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _DataclassFields()


@cache
def _dataclass_fields(owner: type[Value]) -> dict[str, Field[Any]]:
    import dataclasses

    made = dataclasses.make_dataclass(owner.__name__, owner.__struct_fields__)
    return {found.name: found for found in dataclasses.fields(made)}


def names(value: Value | type[Value]) -> tuple[str, ...]:
    """Return the names of the fields."""
    return value.__struct_fields__


def asdict(value: Value) -> dict[str, Any]:
    """Return the fields as a dict; values inside become dicts too."""
    return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}


def _plain(item: object) -> object:
    if isinstance(item, Value):
        return asdict(item)
    if isinstance(item, tuple | list):
        return type(item)(_plain(part) for part in item)
    if isinstance(item, dict):
        return {key: _plain(part) for key, part in item.items()}
    return item
