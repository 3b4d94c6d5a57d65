from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.images.analyse.index import Item
from engine.images.analyse.tree import Stack, entries
from engine.images.analyse.waste import waste
from engine.model.contents import Change, FileEntry
from tuicon.model.filetree import FileTree, content_text, mode_text
from tuicon.model.text import one_line, printable


def file(path: str, size: int = 1, checksum: int = 0, mode: int = 0) -> Item:
    return Item(path.encode(), "-", size, mode, checksum=checksum)


def folder(path: str) -> Item:
    return Item(path.encode(), "d", mode=0o755)


def removal(path: str) -> Item:
    return Item(path.encode(), "w")


def opaque(path: str) -> Item:
    return Item(path.encode(), "o")


def link(path: str, target: str) -> Item:
    return Item(path.encode(), "l", link=target.encode())


def stacked(*layers: list[Item], mark_after: int = -1) -> Stack:
    stack = Stack()
    for number, items in enumerate(layers):
        stack.apply(number, items)
        if number == mark_after:
            stack.mark()
    return stack


def changes(stack: Stack) -> dict[str, Change]:
    return {entry.path: entry.change for entry in entries(stack)}


def paths(stack: Stack) -> set[str]:
    return {path for path, change in changes(stack).items() if change is not Change.REMOVED}


def test_a_deletion_hides_what_is_below_and_not_what_its_own_layer_brings() -> None:
    base = [folder("a"), file("a/old"), file("gone")]
    for upper in ([removal("a"), folder("a"), file("a/new")], [folder("a"), file("a/new"), removal("a")]):
        assert paths(stacked(base, upper)) == {"/a", "/a/new", "/gone"}


def test_an_opaque_directory_keeps_only_what_its_own_layer_brings() -> None:
    stack = stacked([folder("a"), file("a/old"), folder("a/sub"), file("a/sub/old")], [file("a/new"), opaque("a")])
    assert paths(stack) == {"/a", "/a/new"}


def test_a_file_in_place_of_a_directory_hides_what_was_in_it_and_the_reverse() -> None:
    base = [folder("a"), file("a/old"), file("b")]
    assert paths(stacked(base, [file("a"), folder("b"), file("b/new")])) == {"/a", "/b", "/b/new"}


def test_changes_are_those_since_the_mark() -> None:
    base = [folder("same"), file("same/file"), folder("d"), file("d/a", 1, 7), file("d/b"), file("d/c"), file("mode")]
    upper = [folder("same"), file("same/file"), file("d/a", 1, 8), removal("d/b"), file("d/new"), file("mode", mode=4)]
    assert changes(stacked(base, upper, mark_after=0)) == {
        "/same": Change.UNCHANGED, "/same/file": Change.UNCHANGED, "/d": Change.INSIDE, "/d/a": Change.CHANGED,
        "/d/b": Change.REMOVED, "/d/c": Change.UNCHANGED, "/d/new": Change.ADDED, "/mode": Change.CHANGED,
    }  # fmt: skip


def test_what_comes_and_goes_after_the_mark_leaves_no_trace() -> None:
    assert changes(stacked([], [file("a")], [removal("a")], mark_after=0)) == {}


def test_sizes_of_directories_are_what_is_in_them_now_and_at_the_mark() -> None:
    stack = stacked([file("d/a", 10), file("d/b", 5)], [removal("d/a"), file("d/c", 2)], mark_after=0)
    (top,) = [entry for entry in entries(stack) if entry.path == "/d"]
    assert (top.size, top.before) == (7, 15)


@pytest.mark.parametrize(
    ("path", "found"),
    [("usr/lib/x", b"usr/lib/x"), ("lib/x", b"usr/lib/x"), ("up/usr/lib/x", b"usr/lib/x"), ("/lib/../lib/./x", b"usr/lib/x"),
        ("loop/x", None), ("nothing", None), ("usr/lib/x/../x", b"usr/lib/x"), ("../../lib", b"usr/lib")],
)  # fmt: skip
def test_links_are_followed_inside_the_tree(path: str, found: bytes | None) -> None:
    stack = stacked([file("usr/lib/x"), link("lib", "usr/lib"), link("up", "../../../.."), link("loop", "loop")])
    result = stack.find(path.encode())
    assert (result and result[0]) == found


def test_the_score_is_what_dives_own_test_expects() -> None:
    # wagoodman/dive, efficiency_test.go: TestEfficiency, there without entries for the directories
    layers = [
        [file("etc/nginx/nginx.conf", 2000), file("etc/nginx/public", 3000)],
        [file("etc/nginx/nginx.conf", 5000), file("etc/athing", 10000)],
    ]
    found = waste(layers)
    assert found.efficiency == (2000 + 3000 + 10000) / (7000 + 3000 + 10000)
    assert [(one.path, one.count, one.size) for one in found.paths] == [("/etc/nginx/nginx.conf", 2, 7000)]


def test_an_image_without_bytes_wastes_nothing() -> None:
    assert (waste([]).efficiency, waste([[file("a", 0)], [file("a", 0)]]).user_wasted) == (1.0, 0.0)


def test_waste_of_layers_that_only_delete_is_more_than_any_share() -> None:
    assert waste([[folder("a"), file("a/b", 10)], [removal("a/b")]]).user_wasted == float("inf")


names = st.sampled_from("abc")
places = st.lists(names, min_size=1, max_size=3).map("/".join)
items = st.lists(st.one_of(places.map(file), places.map(folder), places.map(removal), places.map(opaque)), max_size=12)


@settings(deadline=None)
@given(st.lists(items, max_size=4))
def test_any_layers_make_a_tree_with_parents_first_and_sizes_that_add_up(layers: list[list[Item]]) -> None:
    found = entries(stacked(*layers, mark_after=0))
    seen = {""}
    for entry in found:
        assert entry.path.rpartition("/")[0] in seen
        seen.add(entry.path)
    tops = [entry for entry in found if entry.path.count("/") == 1 and entry.change is not Change.REMOVED]
    alive = [entry for entry in found if entry.kind != "d" and entry.change is not Change.REMOVED]
    assert sum(entry.size for entry in tops) >= len(alive)
    assert 0 <= waste(layers).efficiency <= 1


def test_deep_trees_and_many_deletions_take_no_square_of_time() -> None:  # with it, this would not end
    deep = "/".join(["d"] * 255)
    base = [file(f"{deep}"), *(file(f"wide/{number}") for number in range(20_000))]
    upper = [*(removal("/".join(["d"] * depth)) for depth in range(1, 255)), *(removal("wide") for _ in range(20_000))]
    found = waste([base, upper])
    assert entries(stacked(base, upper)) == ()
    assert found.efficiency == 1.0


def an_entry(path: str, size: int = 0, change: Change = Change.UNCHANGED, kind: str = "-") -> FileEntry:
    return FileEntry(path, kind, size, size, 0o644, 0, 0, 0, "", change, 0)


TREE = FileTree([
    an_entry("/bin", 30, kind="d"), an_entry("/bin/big", 20), an_entry("/bin/small", 10),
    an_entry("/etc", 50, Change.INSIDE, "d"), an_entry("/etc/new", 50, Change.ADDED), an_entry("/etc/old", 0, kind="d"),
])  # fmt: skip


def shown(**how: object) -> list[str]:
    return [TREE.entries[place].path for place in TREE.lines(**how)]  # type: ignore[arg-type]


def test_folded_directories_hide_what_is_in_them() -> None:
    assert shown(opened=()) == ["/bin", "/etc"]
    assert shown(opened={"/etc"}) == ["/bin", "/etc", "/etc/new", "/etc/old"]
    assert shown(depth=1) == ["/bin", "/etc"]


def test_a_filter_keeps_parents_and_can_exclude() -> None:
    assert shown(pattern="SMALL") == ["/bin", "/bin/small"]
    assert shown(pattern="bin !big") == ["/bin", "/bin/small"]
    assert shown(changed_only=True) == ["/etc", "/etc/new"]


def test_the_largest_come_first_when_asked() -> None:
    assert shown(by_size=True) == ["/etc", "/etc/new", "/etc/old", "/bin", "/bin/big", "/bin/small"]


def test_names_reach_no_terminal_raw() -> None:
    assert printable("a\x1b[31m\u202eb\udcff\x9b") == "a\\x1b[31m\\u202eb\\xff\\x9b"
    assert one_line("RUN a && \\\n  b\x07") == "RUN a && \\ b\\x07"


def test_modes_are_shown_as_ls_does_and_binaries_as_numbers() -> None:
    assert mode_text(FileEntry("/x", "-", 0, 0, 0o4755, 0, 0, 0, "", Change.ADDED, 0)) == "-rwsr-xr-x"
    assert content_text(b"plain\n") == "plain\n"
    assert content_text(b"\0A") == "00000000  00 41" + " " * 44 + ".A"


def test_an_index_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    from engine.images import tar
    from engine.images.analyse import index

    buffer = io.BytesIO()
    writer = index.IndexWriter(buffer)
    for number in range(10_000):
        writer.add(tar.Entry(f"./d/f{number}\udcff", tar.FILE, 0o644, 1, 2, number, 10**9, "", (0, 0)), number)
    writer.finish()
    path = tmp_path_factory.mktemp("index") / "index"
    path.write_bytes(buffer.getvalue())
    found = index._read(path)
    assert len(found) == 10_000
    assert found[-1] == Item(b"d/f9999\xff", "-", 9999, 0o644, 1, 2, 1, b"", 9999)
    assert path.stat().st_size < 30 * 10_000
