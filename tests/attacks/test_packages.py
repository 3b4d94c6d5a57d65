"""Images that want more than their packages to be read: links out, pipes, bombs, and documents that lie."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.images.packages import golang, java, npm, rpm
from engine.images.packages.tree import Unreadable
from engine.model.packages import Inventory
from tests.kernel.packages import DEBIAN, jar, load, status
from tests.kernel.test_images import docker_archive, entry, tar_of


def read(engine: Engine, image: str) -> Inventory:
    return engine.images.packages(image)


@pytest.mark.parametrize(
    "place", ["var/lib/dpkg/status", "var/lib/dpkg", "var", "opt/x.dist-info/METADATA", "opt/x.dist-info"]
)
@pytest.mark.parametrize("way", ["absolute", "up"])
def test_links_lead_nowhere_out_of_the_image(engine: Engine, root: Path, place: str, way: str) -> None:
    secret = root / "secret"
    secret.mkdir()
    for name in ("status", "METADATA"):
        secret.joinpath(name).write_bytes(b"Package: secret\nName: secret\nVersion: 1\n\n")
    target = f"{secret}/{place.rpartition('/')[2]}" if place.endswith(("status", "METADATA")) else str(secret)
    target = target if way == "absolute" else "../" * 30 + target.lstrip("/")
    assert read(engine, load(engine, {"etc/os-release": DEBIAN, place: target})).packages == ()


def test_links_are_followed_as_the_container_follows_them(engine: Engine) -> None:
    image = load(
        engine,
        {"data/real": status("inside 1"), "a": "b", "b": "a"},
        {"var/lib/dpkg/status": "/../../data/link", "data/link": "./real", "lib/apk": "/a/x", "usr/lib/sysimage/rpm": "/usr/lib/sysimage/rpm"},
    )  # fmt: skip
    assert [package.name for package in read(engine, image).packages] == ["inside"]


def test_pipes_and_devices_are_not_waited_for(engine: Engine) -> None:
    kinds = ((tarfile.FIFOTYPE, "a.jar"), (tarfile.CHRTYPE, "b.jar"), (tarfile.FIFOTYPE, "x.dist-info/METADATA"))
    nodes = [entry(name, kind, devmajor=1, devminor=5, mode=0o777) for kind, name in kinds]
    nodes.append(entry("var/lib/dpkg/status", tarfile.FIFOTYPE))
    engine.images.load(io.BytesIO(docker_archive(tar_of(*nodes), tag="pipes:1")))
    assert read(engine, "pipes:1").packages == ()


def test_damaged_documents_become_warnings_and_hide_nothing_else(engine: Engine) -> None:
    deep = b'{"name":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    nested: dict[str, object] = {}
    for _ in range(150):
        nested = {"x": {"version": "1", "dependencies": nested}}
    image = load(engine, {
        "etc/os-release": DEBIAN, "var/lib/dpkg/status": status("good 1"), "usr/lib/sysimage/rpm/rpmdb.sqlite": b"nonsense",
        "a/node_modules/deep/package.json": deep, "b/node_modules/list/package.json": b"[]", "c/cut.jar": jar({"x": b"y"})[:40],
        "d/package-lock.json": json.dumps({"dependencies": nested}).encode(), "bin/elf": b"\x7fELF\2\1" + b"\xff" * 200,
        "e/node_modules/long/package.json": b'{"name":"long","version":"' + b"9" * 100_000 + b'"}',
        "f/x.dist-info/METADATA": b"Name: evil\x1b[2J\nVersion: 1\n",
    })  # fmt: skip
    found = read(engine, image)
    names = {package.name: package.version for package in found.packages}
    assert (names["good"], len(names["long"]), names["evil?[2J"]) == ("1", 1000, "1")
    assert [warning.partition(" ")[0] for warning in sorted(found.warnings)] == [
        "a/node_modules/deep/package.json", "b/node_modules/list/package.json", "c/cut.jar", "d/package-lock.json",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
    ]  # fmt: skip


def test_archives_that_unpack_to_too_much_are_left() -> None:
    bomb = jar({"META-INF/maven/g/a/pom.properties": bytes(4 << 20)})
    with pytest.raises(Unreadable, match="too much"):
        list(java.parse(io.BytesIO(bomb), "bomb.jar", java.Budget(3 << 20)))
    many = jar({f"{number}.jar": jar({"a": os.urandom(1 << 20)}) for number in range(4)})
    with pytest.raises(Unreadable, match="too much"):
        list(java.parse(io.BytesIO(many), "many.jar", java.Budget(3 << 20)))
    matryoshka = jar({"META-INF/maven/g/a/pom.properties": b"groupId=g\nartifactId=a\nversion=0\n"})
    for _ in range(9):
        matryoshka = jar({"inner.jar": matryoshka})
    assert list(java.parse(io.BytesIO(matryoshka), "outer.jar", java.Budget(3 << 20))) == []
    lying = bytearray(jar({"a": b"b"}))
    lying[-10:-6] = struct.pack("<I", 1 << 30)
    with pytest.raises(Unreadable, match="more entries"):
        list(java.parse(io.BytesIO(bytes(lying)), "lying.jar", java.Budget(3 << 20)))


def test_archives_with_a_foreign_compression_or_a_password_are_left() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", b"Bundle-SymbolicName: a\nBundle-Version: 1\n")
    data = bytearray(buffer.getvalue())
    place = data.rfind(b"PK\1\2")
    for offset, value in ((8, 1), (10, 99)):  # encrypted; a method that nobody knows
        changed = bytearray(data)
        changed[place + offset] = value
        with pytest.raises(Unreadable):
            list(java.parse(io.BytesIO(bytes(changed)), "x.jar", java.Budget(3 << 20)))


def a_database(script: str, rows: tuple[bytes, ...] = ()) -> bytes:
    database = sqlite3.connect(":memory:")
    database.executescript(script)
    for row in rows:
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (row,))
    database.commit()
    return database.serialize()


def test_a_database_can_make_us_do_nothing_but_read_rows() -> None:
    table = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB);"
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT 1 AS hnum, x AS blob FROM n"
    with pytest.raises(Unreadable, match="no table"):
        list(rpm.parse(a_database(f"CREATE VIEW Packages AS {endless};")))
    header = struct.pack(">II", 1, 8) + struct.pack(">IIII", 1000, 6, 0xFFFFFFFF, 1) + b"name\0\0\0\0"
    assert list(rpm.parse(a_database(table, (header,)))) == []
    for bad in (b"", struct.pack(">II", 0xFFFFFFFF, 1), struct.pack(">II", 1, 1 << 31) + bytes(16)):
        with pytest.raises(Unreadable, match=r"damaged|longer"):
            list(rpm.parse(a_database(table, (bad,))))
    numbers = struct.pack(">IIII", 1000, 6, 0, 1) + struct.pack(">IIII", 1003, 4, 0, 0x0FFFFFFF)
    with pytest.raises(Unreadable, match="damaged"):
        list(rpm.parse(a_database(table, (struct.pack(">II", 2, 8) + numbers + b"name\0\0\0\0",))))


def test_programs_that_lie_about_themselves_give_nothing() -> None:
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQ", 1, 6, 0, 0, 0, 1 << 62) + bytes(16)
    start = ident + header + segment
    padded = start + bytes(128 - len(start))
    inline = b"\xff Go buildinf:\x08\x02" + bytes(16)
    for tail in (
        inline + b"\xff" * 20,
        inline + b"\xff\xff\xff\x7f",
        b"\xff Go buildinf:\x08\x00" + b"\xff" * 16,
        b"\xff Go buildinf:\x03\x00" + bytes(16),
    ):
        assert list(golang.parse(io.BytesIO(padded + tail))) == []
    good = inline + b"\x08go1.22.1" + bytes([32 + 21]) + bytes(16) + b"dep\texample.org\tv1.0\n" + bytes(16)
    assert [(item.name, item.version) for item in golang.parse(io.BytesIO(padded + good))] == [
        ("stdlib", "1.22.1"),
        ("example.org", "v1.0"),
    ]


@pytest.mark.parametrize(
    "data", [b"", b"null", b"\xff\xfe", b'{"packages":{"":{"version":5}}}', b'{"dependencies":{"a":7}}', b"[1]"]
)
def test_a_lock_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable, match="malformed"):
        list(npm.parse_lock(data))


def test_a_large_number_of_layers_is_walked_without_a_stack(engine: Engine) -> None:
    deep = "/".join("d" * 3 for _ in range(100))
    layers: list[dict[str, bytes | str | None]] = [
        {f"{deep}/{number}.dist-info/METADATA": b"Name: n%d\nVersion: 1\n" % number} for number in range(10)
    ]
    before = len(os.listdir("/proc/self/fd"))
    assert len(read(engine, load(engine, *layers)).packages) == 10
    assert len(os.listdir("/proc/self/fd")) == before


def a_program() -> bytes:
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    start = b"\x7fELF\2\1\1" + bytes(9) + header + struct.pack("<IIQQQQ", 1, 6, 0, 0, 0, 256) + bytes(16)
    return (
        start
        + bytes(8)
        + b"\xff Go buildinf:\x08\x02"
        + bytes(16)
        + b"\x08go1.22.1"
        + bytes([53])
        + bytes(16)
        + b"dep\ta\tv1\n"
    )


def a_header() -> bytes:
    tags = ((1000, 6, 0, 1), (1001, 6, 5, 1), (1003, 4, 8, 1), (1116, 4, 8, 1), (1117, 8, 0, 1), (1118, 8, 5, 1))
    entries = b"".join(struct.pack(">IIII", *tag) for tag in tags)
    return struct.pack(">II", len(tags), 12) + entries + b"name\0" + b"1\0\0" + struct.pack(">I", 0)


@pytest.mark.parametrize("kind", ["program", "rpm", "archive", "manifest", "lock"])
def test_a_document_with_any_bytes_wrong_is_read_or_refused(kind: str) -> None:
    lock = b'{"packages":{"node_modules/a":{"version":"1"}},"dependencies":{"c":{"version":"1","dependencies":{}}}}'
    table = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB);"
    readers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "program": (a_program(), lambda data: list(golang.parse(io.BytesIO(data)))),
        "rpm": (a_header(), lambda data: list(rpm.parse(a_database(table, (data,))))),
        "archive": (jar({"a.jar": jar({"META-INF/MANIFEST.MF": b"Bundle-Version: 1\n"})}), lambda data: list(java.parse(io.BytesIO(data), "a-1.jar", java.Budget(1 << 20)))),
        "manifest": (b'{"name":"x","version":"1","license":{"type":"MIT"},"licenses":["b"]}', npm.parse_manifest),
        "lock": (lock, lambda data: list(npm.parse_lock(data))),
    }  # fmt: skip
    whole, parse = readers[kind]
    assert parse(whole)
    chosen = random.Random(kind)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chosen.choice((1, 2, 8))):
            damaged[chosen.randrange(len(damaged))] = chosen.choice((0, 0x7F, 0x80, 0xFF, chosen.randrange(256)))
        with contextlib.suppress(Unreadable):
            parse(bytes(damaged[: chosen.choice((len(damaged), chosen.randrange(len(damaged))))]))
