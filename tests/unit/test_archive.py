"""The archives that are written, read back by Python's tarfile and by our own reader."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CopyFailed
from engine.images import tar
from engine.images.archive import Stream, archive
from engine.images.tar import Entry, TarReader
from engine.images.tree import Tree
from engine.linux import inside

names = st.binary(min_size=1, max_size=300).map(
    lambda raw: os.fsdecode(b"/".join(part[:200] or b"x" for part in raw.replace(b"\0", b"n").split(b"/")))
)


def entry_of(name: str, kind: bytes = tar.FILE, **values: object) -> Entry:
    entry = Entry(name, kind, 0o644, 0, 0, 0, 0, "", (0, 0))
    for key, value in values.items():
        setattr(entry, key, value)
    return entry


def written(*entries: tuple[Entry, bytes]) -> bytes:
    return b"".join(archive((entry, lambda data=data: iter([data])) for entry, data in entries))  # type: ignore[misc]


def tree_of(path: Path, **options: bool) -> tuple[list[tuple[Entry, bytes]], list[str]]:
    tree = Tree(**options)  # type: ignore[arg-type]
    root_fd = inside.open_root(path)
    try:
        return [(entry, b"".join(content())) for entry, content in tree.walk(root_fd, ".")], tree.warnings
    finally:
        os.close(root_fd)


@given(
    names, names, st.integers(0, 2**32 - 2), st.integers(-(10**18), 4 * 10**18), st.integers(0, 0o7777),
    st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=40)), st.binary(max_size=1500),
)  # fmt: skip
def test_what_is_written_is_read_back_the_same(
    name: str, link: str, uid: int, mtime: int, mode: int, xattrs: dict[str, bytes], data: bytes
) -> None:
    file = entry_of(name, uid=uid, gid=uid, mtime_ns=mtime, mode=mode, xattrs=xattrs, size=len(data))
    symlink = entry_of(name, tar.SYMLINK, link=link)
    whole = written((file, data), (symlink, b""))
    reader = TarReader(io.BytesIO(whole))
    found = [(entry, b"".join(reader.content())) for entry in reader]
    expected = tar.DIRECTORY if name.endswith("/") else tar.FILE
    assert [entry.kind for entry, _ in found] == [expected, tar.SYMLINK]
    first, second = found[0][0], found[1][0]
    assert (first.name, first.uid, first.gid, first.mode, first.mtime_ns, first.xattrs) == (
        name,
        uid,
        uid,
        mode,
        mtime,
        xattrs,
    )
    assert (found[0][1], second.link) == (data, link)
    with tarfile.open(fileobj=io.BytesIO(whole)) as other:
        member = other.next()
        assert member is not None
        assert (member.uid, member.mode, member.size) == (uid, mode, len(data))
        assert member.name.rstrip("/") == name.rstrip("/")


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=60))
def test_holes_are_told_as_others_read_them(runs: list[tuple[int, int]]) -> None:
    regions, data, whole, offset = [], b"", b"", 0
    for hole, length in runs:
        offset += hole * 100
        part = os.urandom(1) * (length * 100)
        regions.append((offset, len(part)))
        data, whole, offset = data + part, whole + bytes(hole * 100) + part, offset + len(part)
    entry = entry_of("dir/sparse", size=len(whole) + 77, sparse=regions)
    with tarfile.open(fileobj=io.BytesIO(written((entry, data), (entry_of("next"), b"")))) as other:
        member, last = other.getmembers()
        assert (member.name, member.size, last.name) == ("dir/sparse", len(whole) + 77, "next")
        content = other.extractfile(member)
        assert content is not None
        assert content.read() == whole + bytes(77)


def test_reading_in_pieces_gives_the_same_bytes(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_bytes(os.urandom(5000))
    root_fd = inside.open_root(tmp_path)
    try:
        whole = b"".join(archive(Tree().walk(root_fd, ".")))
        stream = Stream(archive(Tree().walk(root_fd, ".")))
        pieces = b"".join(iter(lambda: stream.read(333), b""))
    finally:
        os.close(root_fd)
    assert pieces == whole


def test_a_tree_comes_with_links_holes_and_modes(tmp_path: Path) -> None:
    tmp_path.joinpath("b").mkdir(mode=0o751)
    tmp_path.joinpath("b/one").write_text("same")
    tmp_path.joinpath("a").hardlink_to(tmp_path / "b/one")
    tmp_path.joinpath("link").symlink_to("/etc/passwd")
    with tmp_path.joinpath("sparse").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
    os.mkfifo(tmp_path / "pipe")
    found = {entry.name: entry for entry, _ in tree_of(tmp_path)[0]}
    assert list(found) == [".", "./a", "./b", "./b/one", "./link", "./pipe", "./sparse"]
    assert (found["./b/one"].kind, found["./b/one"].link) == (tar.HARDLINK, "./a")
    assert (found["./link"].link, found["./b"].mode) == ("/etc/passwd", 0o751)
    assert found["./sparse"].size == (10 << 20) + 3
    assert sum(length for _, length in found["./sparse"].sparse or ()) < 1 << 20
    plain = {entry.name: (entry, data) for entry, data in tree_of(tmp_path, finds_holes=False)[0]}
    assert plain["./sparse"][0].sparse is None
    assert plain["./sparse"][1] == bytes(10 << 20) + b"end"


def test_a_file_that_changes_meanwhile_has_the_size_that_was_promised(tmp_path: Path) -> None:
    tmp_path.joinpath("grows").write_text("1234")
    tmp_path.joinpath("shrinks").write_text("1234")
    tmp_path.joinpath("vanishes").write_text("1234")
    tree, root_fd, seen = Tree(), inside.open_root(tmp_path), {}
    try:
        for entry, content in tree.walk(root_fd, ""):
            if entry.name == "grows":
                tmp_path.joinpath("grows").write_text("12345678")
                tmp_path.joinpath("vanishes").unlink()
            if entry.name == "shrinks":
                tmp_path.joinpath("shrinks").write_text("12")
            seen[entry.name] = b"".join(content())
    finally:
        os.close(root_fd)
    assert seen == {"": b"", "grows": b"1234", "shrinks": b"12\0\0"}
    assert [warning.partition(";")[0] for warning in tree.warnings] == ["shrinks became shorter meanwhile"]


def test_sockets_are_left_out_and_endless_depth_is_refused(tmp_path: Path) -> None:
    os.mknod(tmp_path / "socket", 0o140600)
    found, warnings = tree_of(tmp_path)
    assert [entry.name for entry, _ in found] == ["."]
    assert warnings == ["./socket is left out: it is a socket"]
    deep = tmp_path
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(CopyFailed, match="deeper"):
        tree_of(tmp_path)
