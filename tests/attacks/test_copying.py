"""Attacks on copies: hostile archives, and containers that change their files while these are copied."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from engine.api import Engine
from engine.containers import copy
from engine.containers.views import Owners, View
from engine.errors import CopyFailed, EngineError, ImageError
from engine.linux import inside
from engine.model.container import Mount
from tests.attacks.test_layers import Host, attacks
from tests.attacks.world import attacker, entry, executed, hostile_image, spec, tar_of
from tests.kernel.test_lifecycle import output, until

DIRECTORY, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("name", list(attacks("/x")))
def test_an_archive_never_leaves_its_destination(host: Host, name: str) -> None:
    """CVE-2018-15664: whatever an archive has, and whatever links lay there before."""
    root_fd = inside.open_root(host.layer)
    host.layer.joinpath("dest").mkdir()
    host.layer.joinpath("dest/waiting").symlink_to(host.path)
    beside = host.layer / "beside"
    beside.mkdir()
    try:
        for hostile in (
            attacks(str(host.path))[name],
            (entry("waiting/secret", content=b"x"),),
            attacks("/beside")[name],
        ):
            with contextlib.suppress(CopyFailed, ImageError):
                copy.copy_in_archive(View(root_fd, Owners()), io.BytesIO(tar_of(*hostile)), "/dest")
    finally:
        os.close(root_fd)
    assert host.look() == host.before
    assert os.listdir(beside) == []
    assert sorted(os.listdir(host.layer)) == ["beside", "dest"]


# A directory and a link to the host's path change places, and so do a file and a link, while both are copied.
_RACE = """
for name in ("d", "l"):
    os.makedirs("/w/" + name)
    open("/w/" + name + "/secret", "w").write("harmless")
os.rmdir("/w/l") if not os.listdir("/w/l") else (os.unlink("/w/l/secret"), os.rmdir("/w/l"))
os.symlink(sys.argv[1], "/w/l")
open("/w/f", "w").write("harmless")
os.symlink(sys.argv[1] + "/secret", "/w/g")
print("racing", flush=True)
while not os.path.exists("/w/stop"):
    libc.renameat2(-100, b"/w/d", -100, b"/w/l", 2)
    libc.renameat2(-100, b"/w/f", -100, b"/w/g", 2)
"""


def test_links_that_change_places_with_what_is_copied_lead_nowhere(engine: Engine, root: Path) -> None:
    """CVE-2018-15664, GHSA-vp62-88p7-qqf5, GHSA-rg2x-37c3-w2rh: there is no moment between the check and the use."""
    host = Host(root)
    source = root / "source"
    source.joinpath("d").mkdir(parents=True)
    source.joinpath("d/secret").write_text("overwritten")
    source.joinpath("f").write_text("overwritten")
    racer = engine.containers.run(attacker(_RACE, str(host.path)))
    until(lambda: "racing" in output(engine, racer.id))
    out = root / "out"
    deadline, rounds = time.monotonic() + 4, 0
    while time.monotonic() < deadline or rounds < 5:
        rounds += 1
        for way_in, way in ((source / "d/secret", "/w/d/secret"), (f"{source}/.", "/w"), (source / "f", "/w/f")):
            with contextlib.suppress(EngineError):
                engine.containers.copy_in(racer.id, str(way_in), way)
        for way, way_out in (("/w/d/", out), ("/w/f", out / "f")):
            with contextlib.suppress(EngineError):
                engine.containers.copy_out(racer.id, way, str(way_out), follow_link=True)
        for path in out.rglob("*"):
            assert path.is_symlink() or path.is_dir() or path.read_text() in ("harmless", "overwritten")
    assert host.look() == host.before
    executed(engine, racer.id, "touch", "/w/stop")
    engine.containers.remove(racer.id, force=True)


def test_what_is_copied_out_cannot_harm_its_new_owner(engine: Engine, root: Path) -> None:
    """Set-id bits, capabilities and devices that a container prepared; pipes, and depth without end."""
    code = """
os.makedirs("/w")
open("/w/tool", "w").write("evil")
os.chmod("/w/tool", 0o6755)
os.mknod("/w/disk", 0o060666, os.makedev(7, 0))
os.mkfifo("/w/pipe")
os.makedirs("/deep")
os.chdir("/deep")
for _ in range(400):
    os.mkdir("d"); os.chdir("d")
print("made", flush=True)
time.sleep(1000)
"""
    container = engine.containers.run(attacker(code))
    until(lambda: "made" in output(engine, container.id))
    copied = engine.containers.copy_out(container.id, "/w", str(root / "out"))
    assert root.joinpath("out/tool").stat().st_mode & 0o7777 == 0o755
    assert sorted(os.listdir(root / "out")) == ["pipe", "tool"]
    assert copied.warnings == ("out/disk is left out: it is a device",)
    with pytest.raises(CopyFailed, match="deeper"):
        engine.containers.copy_out(container.id, "/deep", str(root / "deep"))
    for path in ("/proc/1/root/etc/passwd", "/proc/self/fd/0", "/proc/1/cwd"):
        with pytest.raises(CopyFailed):
            engine.containers.copy_out(container.id, path, str(root / "magic"), follow_link=True)


def test_no_program_or_library_of_the_container_is_run(engine: Engine) -> None:
    """CVE-2019-14271, GHSA-x86f-5xw2-fm2r: neither name lookups nor decompressors come from inside."""
    trap = b"#!/bin/sh\ntouch /ran\n"
    programs = [entry(f"bin/{name}", content=trap, mode=0o755) for name in ("unpigz", "gzip", "xz", "zstd", "tar")]
    libraries = [entry(f"lib/{name}", content=trap, mode=0o755) for name in ("libnss_files.so.2", "libnss_dns.so.2")]
    image = hostile_image(engine, *programs, *libraries, entry("etc/nsswitch.conf", content=b"passwd: dns\n"))
    for container in (engine.containers.run(spec("sleep", "1000", image=image)), engine.containers.create(spec("true", image=image))):  # fmt: skip
        engine.containers.copy_in(container.id, io.BytesIO(gzip.compress(tar_of(entry("new", content=b"x")))), "/tmp")
        engine.containers.copy_out(container.id, "/tmp", io.BytesIO())
        with pytest.raises(CopyFailed, match="there is no /ran"):
            engine.containers.copy_out(container.id, "/ran", io.BytesIO())


def test_a_mount_target_that_is_a_link_stays_inside(engine: Engine, root: Path) -> None:
    """The files of a container that does not run are reached by mounts, and their targets are the image's."""
    host = Host(root)
    same = entry(f"{str(host.path).lstrip('/')}/full", DIRECTORY, mode=0o755)
    image = hostile_image(
        engine, same, entry("data", LINK, link=str(host.path)), entry("tmp/up", LINK, link="../" * 30)
    )
    mounts = (Mount("volume", "/data", "kept"), Mount("volume", f"/tmp/up{host.path}/full", "kept2"))
    container = engine.containers.create(spec("true", image=image, mounts=mounts))
    source = root / "source"
    source.write_text("x")
    engine.containers.copy_in(container.id, str(source), "/data/secret")
    engine.containers.copy_in(container.id, str(source), f"/tmp/up{host.path}/full")
    assert host.look() == host.before
    assert Path(engine.volumes.get("kept").mountpoint, "secret").read_text() == "x"


def test_an_archive_that_a_container_swells_is_bounded_by_what_it_promised(engine: Engine) -> None:
    """A file that grows for ever while it is copied ends where its header said."""
    code = """
file = open("/grows", "wb", 0)
file.write(bytes(1 << 20))
print("growing", flush=True)
while True:
    file.write(bytes(1 << 16)); file.truncate(1 << 20) if file.tell() > 1 << 24 else None
"""
    container = engine.containers.run(attacker(code))
    until(lambda: "growing" in output(engine, container.id))
    buffer = io.BytesIO()
    engine.containers.copy_out(container.id, "/grows", buffer)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        assert archive.getnames() == ["grows"]
    engine.containers.remove(container.id, force=True)
