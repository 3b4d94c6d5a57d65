"""Attacks by layers: entries that lead out of the layer, fill the disk, or cannot be removed again."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import EngineError, ImageError
from engine.images import demo
from engine.images.compression import Decompressed
from engine.images.unpack import UnpackLimits, unpack
from engine.linux import files, inside
from engine.model.container import Mount
from tests.attacks.world import attacker, entry, executed, finish, hostile_image, spec, tar_of
from tests.kernel.test_images import docker_archive
from tests.kernel.test_lifecycle import output, until

DIRECTORY, LINK, HARD, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE


class Host:
    """A directory of the host beside the layer, which must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.path = root / "outside"
        self.path.mkdir(mode=0o700)
        self.path.joinpath("secret").write_text("secret")
        self.path.joinpath("full").mkdir()
        self.layer = root / "layer"
        self.layer.mkdir()
        self.before = self.look()

    def look(self) -> list[tuple[str, int, int, int, bytes]]:
        found = []
        for path in [self.path, *sorted(self.path.rglob("*"))]:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path), status.st_mode, status.st_nlink, status.st_uid, content))
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def attacks(out: str) -> dict[str, tuple[tuple[tarfile.TarInfo, bytes], ...]]:
    """Return layers that try to reach a directory of the host."""
    up = "../" * 20 + out.lstrip("/")
    through = entry("way", LINK, link=out)
    climbing = entry("way", LINK, link=up)
    return {
        "dots": (entry(f"{up}/made", content=b"x"),),
        "dots inside": (entry(f"a/../../{out}/made", content=b"x"),),
        "absolute": (entry(f"{out}/secret", content=b"x"),),
        "through a link": (through, entry("way/secret", content=b"x")),
        "through a climbing link": (climbing, entry("way/secret", content=b"x")),
        "through two links": (entry("a", LINK, link="b"), entry("b", LINK, link=out), entry("a/secret", content=b"x")),
        "through a link in a link": (entry("d", DIRECTORY), entry("d/up", LINK, link="../" * 9), entry(f"d/up{out}/secret", content=b"x")),
        "over a link to a file": (entry("f", LINK, link=f"{out}/secret"), entry("f", content=b"x")),
        "directory over a link": (through, entry("way", DIRECTORY, mode=0o777, uid=7)),
        "root is a link": (entry("./", LINK, link=out), entry("made", content=b"x")),
        "root gets a mode": (entry("./", DIRECTORY, mode=0o4777, uid=7), entry("../", DIRECTORY, mode=0o777)),
        "directory becomes a link": (entry("d", DIRECTORY), entry("d/a", content=b""), entry("d", LINK, link=out), entry("d/secret", content=b"x")),
        "hard link to a path": (entry("h", HARD, link=f"{out}/secret"), entry("h", content=b"x")),
        "hard link that climbs": (entry("h", HARD, link=f"{up}/secret"),),
        "hard link through a link": (through, entry("h", HARD, link="way/secret")),
        "hard link of a link": (entry("l", LINK, link=f"{out}/secret"), entry("h", HARD, link="l"), entry("h", content=b"x")),
        "whiteout through a link": (through, entry("way/.wh.secret")),
        "opaque through a link": (through, entry("way/.wh..wh..opq")),
        "whiteout of the parent": (entry("d/.wh..."), entry(".wh...")),
        "whiteout over a link": (through, entry(".wh.way"), entry("way/secret", content=b"x")),
        "device through a link": (through, entry("way/node", tarfile.BLKTYPE, devmajor=7, devminor=0)),
        "fifo through a link": (through, entry("way/pipe", FIFO)),
        "link through a link": (through, entry("way/soft", LINK, link="/")),
        "times and modes through a link": (through, entry("way/full", DIRECTORY, mode=0o777, uid=7)),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(attacks("/x")))
def test_an_entry_never_leaves_its_layer(host: Host, name: str) -> None:
    """CVE-2018-15664, CVE-2019-14271, CVE-2021-29136 and CVE-2026-17106."""
    with contextlib.suppress(ImageError):
        unpack(io.BytesIO(tar_of(*attacks(str(host.path))[name])), host.layer)
    assert host.look() == host.before
    assert host.layer.is_dir()
    assert not host.layer.is_symlink()


def test_gnu_tar_agrees_that_the_attack_would_work(host: Host) -> None:
    """A check of these tests: a reader that trusts names does write through the link."""
    archive = io.BytesIO(tar_of(*attacks(str(host.path))["through a link"]))
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(host.layer, filter="fully_trusted")
    assert host.look() != host.before


@pytest.mark.parametrize("name", ["through a link", "directory over a link", "whiteout through a link"])
def test_a_link_of_one_layer_does_not_lead_the_next_one_out(engine: Engine, root: Path, name: str) -> None:
    """The link is in one layer, what goes through it in the next; then it is run."""
    host = Host(root)
    first, *rest = attacks(str(host.path))[name]
    layers = (demo.root_archive().getvalue(), tar_of(first), tar_of(*rest))
    engine.images.load(io.BytesIO(docker_archive(*layers, tag="layered:1")))
    finish(engine, spec("sh", "-c", "ls /way; echo x >/way/secret; chmod 777 /way", image="layered:1"))
    assert host.look() == host.before


@pytest.mark.parametrize("attribute", ["trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.opaque"])
def test_overlay_attributes_are_refused(host: Host, attribute: str) -> None:
    hostile = entry("x", pax_headers={f"SCHILY.xattr.{attribute}": str(host.path)})
    with pytest.raises(ImageError, match=attribute):
        unpack(io.BytesIO(tar_of(hostile)), host.layer)


def test_endless_depth_is_refused(host: Host) -> None:
    with pytest.raises(ImageError, match="deeper"):
        unpack(io.BytesIO(tar_of(entry("d/" * 1500 + "f"))), host.layer)


@pytest.mark.parametrize("bomb", ["gzip", "sparse", "claimed size", "entries", "base-256 size"])
def test_bombs_are_refused(host: Host, bomb: str) -> None:
    """Small archives that would fill the disk."""
    limits = UnpackLimits(entries=1000, bytes=64 << 20)
    if bomb == "gzip":
        with pytest.raises(ImageError, match="times its size"):
            Decompressed(io.BytesIO(gzip.compress(bytes(300 << 20), 9))).digest()
        return
    if bomb == "entries":
        data = tar_of(*(entry(f"f{number}") for number in range(1001)))
    elif bomb == "sparse":
        data = tar_of(entry("s", pax_headers={"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(1 << 60), "GNU.sparse.name": "s"}))  # fmt: skip
    else:
        info = tarfile.TarInfo("f")
        info.size = 1 << (60 if bomb == "base-256 size" else 32)
        data = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ImageError):
        unpack(io.BytesIO(data), host.layer, limits)
    assert sum(path.lstat().st_blocks for path in host.layer.rglob("*")) < 1000


def with_header(offset: int, field: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return an archive whose one header has a field that no library would write."""
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = kind
    header[offset : offset + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def with_pax(kind: bytes = tarfile.REGTYPE, **headers: str) -> bytes:
    return tar_of(entry("x", kind, pax_headers=headers))


IMPOSSIBLE = {
    "a time after the end of time": with_pax(mtime="1" + "0" * 30),
    "the same of a directory": with_pax(DIRECTORY, mtime="9" * 19),
    "the same of a link": tar_of(entry("x", LINK, link="y", pax_headers={"mtime": "9" * 19})),
    "the same in base 256": with_header(136, b"\x80" + b"\x7f" * 11),
    "an owner above 32 bits": with_pax(uid="9" * 15),
    "an owner that chown takes for none": with_pax(uid=str((1 << 32) - 1)),
    "an owner below 0": with_header(108, b"\xff" * 8),
    "a device number above all": with_header(329, b"\x80" + b"\x7f" * 7, tarfile.CHRTYPE),
    "a device number below 0": with_header(329, b"\xff" * 8, tarfile.CHRTYPE),
    "an attribute with a null byte": tar_of(entry("x", pax_headers={"SCHILY.xattr.user.a\0b": "y"})),
    "capabilities that are none": tar_of(entry("x", pax_headers={"SCHILY.xattr.security.capability": "junk"})),
    "a sparse map without data": tar_of(entry("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "5"})),
    "half of a sparse map": tar_of(entry("x", pax_headers={"GNU.sparse.map": "1,2,3", "GNU.sparse.size": "5"})),
    "a name longer than any": tar_of(entry("n" * 300)),
    "a link longer than any": tar_of(entry("x", LINK, link="y" * 5000)),
    "a link to itself": tar_of(entry("x"), entry("x", HARD, link="x")),
    "a hard link to a directory": tar_of(entry("d", DIRECTORY), entry("x", HARD, link="d")),
    "a file in a file": tar_of(entry("x"), entry("x/y")),
    "a kind that is none": with_header(156, b"V"),
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_file_can_be_is_refused_in_one_sentence(host: Host, what: str) -> None:
    with pytest.raises(ImageError) as caught:
        unpack(io.BytesIO(IMPOSSIBLE[what]), host.layer)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tree_that_a_container_made_endlessly_deep_is_removed(engine: Engine) -> None:
    """Depth that no path can name: removing must need neither a stack nor a descriptor for each step."""
    code = "for _ in range(1500):\n  os.mkdir('d'); os.chdir('d')\nprint('made')"
    container = engine.containers.run(attacker(code, workdir="/tmp"))
    assert engine.containers.wait(container.id, timeout=300) == 0
    engine.containers.remove(container.id)
    assert list(engine.root.joinpath("trash").iterdir()) == []


# While a volume is filled from the image, its directories become links to the host's.
_RACE = """
print("racing", flush=True)
while not os.path.exists("/vol/stop"):
    try:
        os.symlink(sys.argv[1], "/vol/l")
    except OSError:
        pass
    libc.renameat2(-100, b"/vol/d", -100, b"/vol/l", 2)
"""


def test_filling_a_volume_follows_no_link(engine: Engine, root: Path) -> None:
    """CVE-2018-15664's kin: copy-up into a volume, from an image that has a link where the volume goes."""
    host = Host(root)
    image = hostile_image(
        engine,
        entry(str(host.path).lstrip("/"), DIRECTORY, mode=0o755),
        entry("data", LINK, link=str(host.path)),
        entry("deep/way", LINK, link=str(host.path)),
        entry("deep/way2/.wh.secret"),
    )
    finish(engine, spec("sh", "-c", "ls /data /deep", image=image, mounts=(Mount("volume", "/data", "first"), Mount("volume", "/deep", "other"))))  # fmt: skip
    data = Path(engine.volumes.get("first").mountpoint)
    assert not data.joinpath("secret").exists()
    assert host.look() == host.before


def test_filling_a_volume_follows_no_link_that_a_container_puts_into_it_meanwhile(engine: Engine, root: Path) -> None:
    host = Host(root)
    source = root / "source"
    source.joinpath("d/e").mkdir(parents=True)
    source.joinpath("d/secret").write_text("overwritten")
    before = host.look()
    racer = engine.containers.run(attacker(_RACE, str(host.path), mounts=(Mount("volume", "/vol", "raced"),)))
    until(lambda: "racing" in output(engine, racer.id))
    fds = [os.open(path, os.O_RDONLY) for path in (source, engine.volumes.get("raced").mountpoint)]
    for _ in range(300):
        with contextlib.suppress(OSError):
            inside.copy_tree(*fds)
        for name in ("d", "l"):
            with contextlib.suppress(OSError):  # it becomes a link and a directory in turns
                files.remove_tree(Path(engine.volumes.get("raced").mountpoint, name))
    assert host.look() == before
    executed(engine, racer.id, "touch", "/vol/stop")
    for fd in fds:
        os.close(fd)
    with pytest.raises(EngineError):
        engine.volumes.remove("raced")
