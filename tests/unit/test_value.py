"""Records are as good as dataclasses, and need no dataclasses."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from engine.model.container import ContainerSpec, Mount
from engine.model.limits import Limits
from engine.model.value import Value, asdict, names, replace

if TYPE_CHECKING:
    from typing import Any

SPEC = ContainerSpec("busybox", mounts=(Mount("tmpfs", "/t"),), labels={"a": "b"}, limits=Limits(cpus=0.5))


def test_dataclasses_functions_take_records() -> None:
    assert dataclasses.is_dataclass(SPEC)
    assert [field.name for field in dataclasses.fields(SPEC)] == list(names(SPEC))
    assert dataclasses.replace(SPEC, image="alpine") == replace(SPEC, image="alpine") != SPEC
    assert dataclasses.asdict(SPEC) == asdict(SPEC)


def test_a_record_inside_a_record_becomes_a_dict_too() -> None:
    (mount,) = asdict(SPEC)["mounts"]
    assert (mount["kind"], mount["target"], mount["read_only"]) == ("tmpfs", "/t", False)
    assert asdict(SPEC)["limits"]["cpus"] == 0.5


def test_records_cannot_be_changed_and_do_not_share_their_defaults() -> None:
    with pytest.raises(AttributeError):
        SPEC.image = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        replace(SPEC, no_such_field=1)  # type: ignore[call-arg]
    assert ContainerSpec("a").labels is not ContainerSpec("b").labels
    assert not hasattr(SPEC, "__dict__")


def test_records_of_different_kinds_are_not_equal() -> None:
    class One(Value, frozen=True):
        a: int

    class Other(Value, frozen=True):
        a: int

    left: Any = One(1)
    assert left == One(1)
    assert left != Other(1)
    assert {One(1), One(1)} == {One(1)}
