"""A container's root file system as an archive, read by tar, by docker and by ourselves."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import CopyFailed
from engine.model.container import Mount
from tests.kernel.conftest import Docker
from tests.kernel.test_copy import listing, run
from tests.kernel.test_lifecycle import spec

SCRIPT = """
mkdir -p /data/sub; echo text >/data/file; ln /data/file /data/again; ln -s /data /link; mkfifo /pipe; mknod /node c 1 3
chmod 4755 /data/file; chown 70000:3000000 /data/sub; echo unseen >/vol/unseen; echo unseen >/scratch/unseen
touch -d @1000000000 /data/sub; touch "/a b" "/$(printf 'latin-\\351')"; mkdir -p /$(printf 'long%060d/%060d/%060d' 1 2 3)
dd if=/dev/zero of=/sparse bs=1 count=1 seek=20000000 2>/dev/null
"""


def exported(engine: Engine, ref: str) -> bytes:
    buffer = io.BytesIO()
    engine.containers.export(ref, buffer)
    return buffer.getvalue()


def test_it_has_the_root_file_system_and_nothing_that_is_mounted(engine: Engine, root: Path) -> None:
    mounts = (Mount("volume", "/vol", "kept"), Mount("tmpfs", "/scratch"))
    container = run(engine, SCRIPT, mounts=mounts)
    data = exported(engine, container)
    assert len(data) < 10 << 20
    names = subprocess.run(
        ["tar", "-t", "--quoting-style=literal"], input=data, capture_output=True, check=True
    ).stdout.split(b"\n")
    assert {b"vol/", b"scratch/", b"proc/", b"dev/", b"etc/hosts", b"a b", b"latin-\xe9"} <= set(names)
    assert not any(re.match(rb"(vol|scratch|proc|dev|sys)/.", name) for name in names)
    engine.containers.stop(container, timeout=0)
    assert listing(exported(engine, container)) == listing(data)
    out = root / "out"
    out.mkdir()
    subprocess.run(["tar", "-xp", "--xattrs", "--numeric-owner", "-C", out], input=data, check=True)
    assert out.joinpath("sparse").stat().st_blocks * 512 < 1 << 20
    assert out.joinpath("sparse").read_bytes() == bytes(20_000_001)
    assert out.joinpath("data/file").stat().st_ino == out.joinpath("data/again").stat().st_ino
    found = out.joinpath("data/sub").stat()
    assert (found.st_uid, found.st_gid, found.st_mtime) == (70000, 3000000, 1_000_000_000)
    assert out.joinpath("node").stat().st_rdev == os.makedev(1, 3)
    assert out.joinpath("data/again").stat().st_mode & 0o7777 == 0o4755


def test_docker_and_we_import_it(engine: Engine, docker: Docker) -> None:
    """docker's export of what it imported has what ours had."""
    container = run(engine, "mkdir /vol /scratch;" + SCRIPT)
    data = exported(engine, container)
    image = engine.images.import_rootfs(io.BytesIO(data), "again:1")
    again = engine.containers.create(spec("true", image="again:1"))
    assert listing(exported(engine, again.id)) == listing(data)
    assert len(image.layers) == 1
    assert docker("import", "-", "again:1", input=data).returncode == 0
    assert docker("create", "--name", "again", "again:1", "true").returncode == 0
    theirs = docker("export", "again").stdout
    own = re.compile(r"\.dockerenv|dev($|/)|etc/(hosts|hostname|resolv\.conf|mtab)$|(proc|sys)$")
    assert [item for item in listing(theirs) if not own.match(str(item[0]))] == [
        item for item in listing(data) if not own.match(str(item[0]))
    ]
    docker("rm", "again")


def test_owners_are_those_inside(engine: Engine) -> None:
    container = run(engine, "mkdir /mine; chown 5:6 /mine", userns="auto")
    owners = {item[0]: item[3:5] for item in listing(exported(engine, container))}
    assert (owners["mine"], owners["bin"], owners["etc/hosts"]) == ((5, 6), (0, 0), (0, 0))


def test_the_command_line_writes_a_file_whole_or_not_at_all(engine: Engine, root: Path) -> None:
    container = run(engine)
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "export", container]
    cwd = Path(__file__).resolve().parents[2]
    data = subprocess.run(argv, check=True, capture_output=True, cwd=cwd).stdout
    subprocess.run([*argv, "-o", root / "file.tar"], check=True, cwd=cwd)
    assert listing(root.joinpath("file.tar").read_bytes()) == listing(data)
    assert root.joinpath("file.tar").stat().st_mode & 0o777 == 0o600
    with pytest.raises(CopyFailed, match="cannot write"):
        engine.containers.export(container, root / "none" / "file.tar")
    small = root / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=True)
    try:
        with pytest.raises(CopyFailed, match="No space left"):
            engine.containers.export(container, small / "file.tar")
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
