from __future__ import annotations

from typing import Any

import pytest

from engine.errors import CopyFailed
from engine.volumes.sync import Item, checked, plan


def item(name: str, kind: str = "-", **more: Any) -> Item:
    values: dict[str, Any] = {"mode": 0o644, "uid": 0, "gid": 0, "size": 1, "mtime_ns": 5}
    return Item(name.encode(), kind, **(values | more))


ROOT = item("", "d")
LEFTOVER = ".tuicon.0123456789abcdef"


def test_only_what_differs_is_asked_for() -> None:
    ours = [
        ROOT,
        item("same"),
        item("size"),
        item("time"),
        item("mode"),
        item("dir", "d"),
        item("gone"),
        item(LEFTOVER),
    ]
    theirs = [
        ROOT, item("same"), item("size", size=2), item("time", mtime_ns=6), item("mode", mode=0o600, xattrs={"user.a": b"x"}),
        item("dir", "d", mode=0o700), item("new"),
    ]  # fmt: skip
    found = plan(theirs, ours, deletes=False)
    assert (found.wanted, found.touched) == ((2, 3, 6), (4, 5))
    assert (found.removed, found.leftovers) == ((), (LEFTOVER.encode(),))
    assert plan(theirs, ours, deletes=True).removed == (b"gone",)


def test_contents_that_are_compared_decide_alone() -> None:
    ours = [ROOT, item("moved", digest=b"a"), item("hidden", digest=b"a")]
    theirs = [ROOT, item("moved", digest=b"a", mtime_ns=9), item("hidden", digest=b"b")]
    found = plan(theirs, ours, deletes=False)
    assert (found.wanted, found.touched) == ((2,), (1,))


def test_of_a_directory_that_goes_only_its_own_name_is_told() -> None:
    ours = [ROOT, item("d", "d"), item("d/e", "d"), item("d/e/f"), item("d2")]
    assert plan([ROOT], ours, deletes=True).removed == (b"d", b"d2")


def test_names_of_a_file_that_is_sent_are_linked_anew() -> None:
    ours = [ROOT, item("a"), item("b", "h", link=b"a"), item("c", "h", link=b"a")]
    theirs = [ROOT, item("a", size=7), item("b", "h", link=b"a"), item("c")]
    assert plan(theirs, ours, deletes=False).wanted == (1, 2, 3)
    assert plan(ours, ours, deletes=True).wanted == ()


def test_something_of_another_kind_is_in_the_way_of_a_directory_and_the_reverse() -> None:
    ours = [ROOT, item("a", "d"), item("b"), item("c")]
    theirs = [ROOT, item("a"), item("b", "d"), item("c", "l", link=b"/")]
    found = plan(theirs, ours, deletes=False)
    assert (found.blocked, found.wanted) == ((b"a", b"b"), (1, 2, 3))


@pytest.mark.parametrize(
    "items",
    [
        [item("x")], [ROOT, item("../x")], [ROOT, item("/x")], [ROOT, item("a/../b")], [ROOT, item("a//b")], [ROOT, item("a/b")],
        [ROOT, item("l", "l"), item("l/x")], [ROOT, item("a"), item("a")], [ROOT, ROOT], [ROOT, item("a\0b")], [ROOT, item("s", "s")],
        [ROOT, item("h", "h", link=b"/etc/passwd")], [ROOT, item("."), item("./x")],
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(items: list[Item]) -> None:
    with pytest.raises(CopyFailed, match="the other end"):
        list(checked(items))
