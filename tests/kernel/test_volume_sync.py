"""Volumes brought up to each other: here, through a stand-in for ssh, by ends that lie, and cut off anywhere."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path

import msgspec
import pytest

from engine.api import Engine, wire
from engine.errors import CopyFailed, InvalidArgument
from engine.model.volume import Wishes
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_crash import Site, operate, site, walk
from tests.kernel.test_images import entry, tar_of
from tests.kernel.test_volume_files import data_of, filled, look

__all__ = ["site"]
EXACTLY = Wishes(deletes=True)
STAND_IN = """#!/bin/sh
# What ssh does with its arguments: the command goes to a shell, which parses it anew.
[ "$1" = there ] && shift && exec sh -c "$*"
echo "ssh: Could not resolve hostname $1" >&2; exit 255
"""


def test_what_differs_is_sent_and_the_rest_is_not(engine: Engine) -> None:
    data = filled(engine)
    done = engine.volumes.sync("full", "copy", EXACTLY)
    copy = data_of(engine, "copy")
    assert look(copy) == look(data)
    assert copy.joinpath("sparse").stat().st_blocks * 512 < 1 << 20
    assert os.getxattr(copy / "second", "user.colour") == b"blue\0green"
    assert done.sent == done.files - 1

    done = engine.volumes.sync("full", "copy", EXACTLY)
    assert (done.sent, done.touched, done.removed, done.size) == (0, 0, 0, 0)

    before = {path.name: path.lstat().st_ino for path in copy.rglob("*")}
    data.joinpath("d/file").write_text("longer text\n")
    os.setxattr(data / ("n" * 200), "user.new", b"1")
    data.joinpath("d/sub").rmdir()
    data.joinpath("d/sub").write_text("a file where a directory was")
    data.joinpath("link").unlink()
    data.joinpath("link").mkdir()
    data.joinpath("link/in").write_text("it")
    copy.joinpath("extra/deep").mkdir(parents=True)
    copy.joinpath("extra/deep/x").touch()
    dry = engine.volumes.sync("full", "copy", Wishes(deletes=True, is_dry=True))
    assert copy.joinpath("extra/deep/x").exists()
    assert {(change.kind, change.path) for change in dry.changes} >= {
        ("C", "/d/file"), ("C", "/" + "n" * 200), ("A", "/link/in"), ("D", "/extra"), ("C", "/second"),
    }  # fmt: skip
    done = engine.volumes.sync("full", "copy", EXACTLY)
    assert (done.sent, done.touched, done.removed, done.changes) == (dry.sent, dry.touched, dry.removed, dry.changes)
    assert look(copy) == look(data)
    after = {path.name: path.lstat().st_ino for path in copy.rglob("*")}
    assert (before["sparse"], before["n" * 200]) == (after["sparse"], after["n" * 200]), (
        "what was sent anew is another file"
    )
    assert before["file"] != after["file"]


def test_contents_are_compared_when_that_is_asked_for(engine: Engine) -> None:
    data = filled(engine)
    engine.volumes.sync("full", "copy", EXACTLY)
    found = data.joinpath("second").stat()
    data.joinpath("second").write_text("TEXT\n")
    os.utime(data / "second", ns=(0, found.st_mtime_ns))
    assert engine.volumes.sync("full", "copy", EXACTLY).sent == 0
    assert engine.volumes.sync("full", "copy", Wishes(by_content=True)).sent == 2  # both of its names
    assert data_of(engine, "copy").joinpath("d/file").read_text() == "TEXT\n"


def test_without_delete_nothing_goes_and_a_full_directory_is_in_the_way(engine: Engine) -> None:
    for name in ("one", "two"):
        engine.volumes.create(name)
    data_of(engine, "one").joinpath("x").write_text("file")
    data_of(engine, "two").joinpath("x").mkdir()
    data_of(engine, "two").joinpath("x/kept").touch()
    with pytest.raises(CopyFailed, match="x is in the way"):
        engine.volumes.sync("one", "two", Wishes())
    assert data_of(engine, "two").joinpath("x/kept").exists()
    for source, target in (("one", "one"), ("a:one", "b:two"), ("-oProxyCommand=x:one", "two"), ("h;x:one", "two")):
        with pytest.raises(InvalidArgument):
            engine.volumes.sync(source, target, Wishes())


@pytest.fixture
def there(engine: Engine, root: Path) -> Path:
    """Another state root, on the "host" there; the stand-in for ssh is beside it."""
    root.joinpath("ssh").write_text(STAND_IN)
    root.joinpath("ssh").chmod(0o755)
    return root / "there"


def remote(root: Path, there: Path) -> list[str]:
    program = f"{sys.executable} -m tuicon --root {there}"
    return ["-e", str(root / "ssh"), "--remote-tuicon", program]


def test_another_host_is_one_end(engine: Engine, root: Path, there: Path) -> None:
    data = filled(engine)
    done = tuicon(engine, "volume", "sync", *remote(root, there), "full", "there:copy")
    assert done.returncode == 0, done.stderr
    with Engine(there) as other:
        copy = data_of(other, "copy")
        assert look(copy) == look(data)
        copy.joinpath("new").write_text("made there")
        done = tuicon(engine, "volume", "sync", "-v", "--delete", *remote(root, there), "there:copy", "full")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == ["C /", "A /new"]
        assert look(data) == look(copy)
        failures = {
            ("nowhere:copy", "full"): "nowhere: ssh: Could not resolve hostname nowhere",
            ("there:none", "full"): "the other end says: no such volume: none",
        }
        for words, text in failures.items():
            done = tuicon(engine, "volume", "sync", *remote(root, there), *words)
            assert (done.returncode, text in done.stderr) == (1, True), done.stderr
        other.system.reset()


def test_an_end_that_lies_gets_nothing_done(engine: Engine, root: Path) -> None:
    """What the other end sends was not asked for, is no MessagePack, or has no end."""
    engine.volumes.create("mine")
    data_of(engine, "mine").joinpath("kept").write_text("mine")

    def said(*frames: tuple[str, object]) -> bytes:
        parts = [msgspec.msgpack.encode(frame) for frame in frames]
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)

    top = ("item", (b"", "d", 0o755, 0, 0, 0, 0))
    file = ("item", (b"wanted", "-", 0o644, 0, 0, 3, 0))
    unasked = tar_of(entry("evil", content=b"x"))
    attempts = [
        b"", b"HTTP/1.1 400 Bad Request", said(("items", None)), said(top, ("item", (b"../x", "-", 0, 0, 0, 0, 0)), ("items", None)),
        said(top, file, ("items", None), ("data", unasked), ("data", b"")), said(top, file, ("items", None), ("data", 5)),
        said(top, ("item", (b"x", "-", 1 << 20, -1, 0, 0, 0))), said(top, ("item", [])), said(("done", None)),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(CopyFailed):
            engine.volumes.serve("mine", wire(io.BytesIO(attempt), lambda _data: None), EXACTLY, receives=True)
        assert sorted(os.listdir(data_of(engine, "mine"))) == ["kept"]
    for places in ([5], [-1], [0, 0], ["x"], "x"):
        with pytest.raises(CopyFailed, match="files that there are not"):
            engine.volumes.serve(
                "mine", wire(io.BytesIO(said(("want", places))), lambda _data: None), Wishes(), receives=False
            )


def test_who_is_killed_in_a_sync_leaves_each_file_old_or_new(site: Site) -> None:
    def prepare(engine: Engine) -> None:
        for name, text in (("src", "new" * 1000), ("dst", "old")):
            engine.volumes.create(name)
            for number in range(3):
                data_of(engine, name).joinpath(f"file{number}").write_text(text)
        data_of(engine, "dst").joinpath("extra").write_text("old")

    def attempt(number: int) -> None:
        prepare(site.engine)
        operate(site, lambda engine: engine.volumes.sync("src", "dst", EXACTLY), number)
        for path in data_of(site.engine, "dst").iterdir():
            if path.name.startswith(".tuicon."):
                continue  # what the next sync removes
            assert path.read_text() in ("old", "new" * 1000), path
        site.engine.volumes.sync("src", "dst", EXACTLY)
        assert look(data_of(site.engine, "dst")) == look(data_of(site.engine, "src"))

    walk("sync", attempt, site)
