from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, ImageError, NotFound
from engine.images import demo
from engine.images.compression import Decompressed
from engine.images.unpack import UnpackLimits, unpack
from engine.model.container import ContainerSpec
from engine.oci.digest import of_bytes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


ROOT = Path(__file__).resolve().parents[2]


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "", **values: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(content), link, 0o644
    for key, value in values.items():
        setattr(info, key, value)
    return info, content


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def docker_archive(*layers: bytes, tag: str = "app:1", compress: Callable[[bytes], bytes] = bytes) -> bytes:
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["cat", "/a"], "Env": ["X=1"]},
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(layer) for layer in layers]},
    }).encode()  # fmt: skip
    names = [f"layer{number}.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
    files = [
        ("manifest.json", manifest),
        ("config.json", config),
        *((name, compress(layer)) for name, layer in zip(names, layers, strict=True)),
    ]
    return tar_of(*(entry(name, content=content) for name, content in files))


def oci_layout(
    layer: bytes, *, media: str = "+gzip", compress: Callable[[bytes], bytes] = gzip.compress, damage: bool = False,
    **changes: object,
) -> bytes:  # fmt: skip
    blob = compress(layer)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [of_bytes(layer)]}}
    ).encode()

    def described(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": of_bytes(data), "size": len(data)}

    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": described(config, "config.v1+json"),
        "layers": [described(blob, f"layer.v1.tar{media}")], **changes,
    }).encode()  # fmt: skip
    top = {**described(manifest, "manifest.v1+json"), "annotations": {"org.opencontainers.image.ref.name": "layout:1"}}
    index = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
    stored = [("index.json", index), ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]
    for data in (config, manifest, blob):
        content = data[:-8] + b"\0" * 8 if damage and data is blob else data
        stored.append((f"blobs/sha256/{of_bytes(data)[7:]}", content))
    return tar_of(*(entry(name, content=content) for name, content in stored))


def test_a_docker_archive_is_loaded_and_runs(engine: Engine) -> None:
    base = demo.root_archive().getvalue()
    (image,) = engine.images.load(io.BytesIO(docker_archive(base, tar_of(entry("a", content=b"hello\n")))))
    assert image.references == ("docker.io/library/app:1",)
    container = engine.containers.run(ContainerSpec("app:1", network="none"))
    assert engine.containers.wait(container.id, timeout=60) == 0
    assert [item.text for item in engine.containers.logs(container.id)] == ["hello\n"]
    with pytest.raises(Conflict):
        engine.images.remove("app:1")
    engine.containers.remove(container.id)
    assert engine.images.remove("app:1")[0] == "Untagged: app:1"
    with pytest.raises(NotFound):
        engine.images.get("app:1")


def test_layers_are_shared_and_stay_while_one_image_needs_them(engine: Engine) -> None:
    base = tar_of(entry("base", content=b"base"))
    engine.images.load(io.BytesIO(docker_archive(base, tar_of(entry("one")), tag="one:1")))
    engine.images.load(io.BytesIO(docker_archive(base, tar_of(entry("two")), tag="two:1", compress=gzip.compress)))
    one, two = engine.images.get("one:1"), engine.images.get("two:1")
    assert one.layers[0] == two.layers[0]
    engine.images.remove("one:1")
    assert engine.images.lower_directories(two)[-1].joinpath("base").read_text() == "base"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain", "directory"])
def test_an_oci_layout_is_loaded(engine: Engine, root: Path, kind: str) -> None:
    layer = tar_of(entry("file", content=b"x" * 1000))
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zstd": zstd.compress,
        "plain": bytes,
        "directory": gzip.compress,
    }
    data = oci_layout(layer, compress=compressors[kind])
    if kind == "directory":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(root / "layout", filter="data")
        (image,) = engine.images.load(root / "layout")
    else:
        (image,) = engine.images.load(io.BytesIO(data))
    assert image.references == ("docker.io/library/layout:1",)
    assert engine.images.lower_directories(image)[0].joinpath("file").stat().st_size == 1000


def test_a_layout_that_gives_only_a_tag_makes_an_image_without_a_name(engine: Engine) -> None:
    data = oci_layout(tar_of(entry("file"))).replace(b"layout:1", b"justatag")
    (image,) = engine.images.load(io.BytesIO(data))
    assert image.references == ()


@pytest.mark.parametrize(
    "wrong",
    ["damaged", "cut", "cut layer", "no archive", "lies", "layers and manifests", "media type", "layer type", "schema"],
)
def test_what_is_no_image_is_refused_and_nothing_is_kept(engine: Engine, wrong: str) -> None:
    before = engine.images.list()
    layer = tar_of(entry("file", content=os.urandom(5000)))
    data = {
        "damaged": oci_layout(layer, damage=True),
        "cut": docker_archive(layer)[:4000],
        "no archive": b"nonsense" * 200,
        "lies": docker_archive(layer, compress=lambda _layer: tar_of(entry("other"))),
        "cut layer": docker_archive(layer, compress=lambda layer: gzip.compress(layer)[:-20]),
        "layers and manifests": oci_layout(layer, manifests=[]),
        "media type": oci_layout(layer, mediaType="application/vnd.docker.distribution.manifest.v1+json"),
        "layer type": oci_layout(layer, media="+evil"),
        "schema": oci_layout(layer, schemaVersion=1),
    }[wrong]
    with pytest.raises(ImageError) as caught:
        engine.images.load(io.BytesIO(data))
    assert len(str(caught.value).splitlines()) == 1
    assert len([*engine.root.joinpath("layers").iterdir()]) == 1
    assert engine.images.list() == before
    assert list(engine.root.joinpath("trash").iterdir()) == []
    assert not list(engine.root.joinpath("layers").glob("*.tmp"))


def unpacked(tmp_path: Path, data: bytes, limits: UnpackLimits | None = None) -> Path:
    target = tmp_path / "layer"
    target.mkdir()
    unpack(io.BytesIO(data), target, limits)
    return target


@pytest.mark.parametrize(
    "entries",
    [
        (entry("../escape", content=b"x"),),
        (entry("a/../../escape", content=b"x"),),
        (entry("hard", tarfile.LNKTYPE, link="../../../../etc/passwd"),),
        (entry("hard", tarfile.LNKTYPE, link="missing"),),
        (entry(".wh.", content=b""),),
        (entry("x", content=b"", pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/etc"}),),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, entries: tuple[tuple[tarfile.TarInfo, bytes], ...]) -> None:
    with pytest.raises(ImageError):
        unpacked(tmp_path, tar_of(*entries))
    assert not tmp_path.joinpath("escape").exists()


def test_a_link_made_by_the_layer_does_not_lead_out(tmp_path: Path) -> None:
    """CVE-2021-29136 and CVE-2018-15664: a later entry goes through an earlier link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar_of(
        entry("up", tarfile.SYMTYPE, link=str(outside)),
        entry("etc", tarfile.DIRTYPE),
        entry("way", tarfile.SYMTYPE, link="../../../../etc"),
        entry("way/made", content=b"inside"),
    )
    layer = unpacked(tmp_path, data)
    assert layer.joinpath("etc/made").read_text() == "inside"
    second = tmp_path / "second"
    second.mkdir()
    with pytest.raises(ImageError):
        unpack(io.BytesIO(tar_of(entry("up", tarfile.SYMTYPE, link=str(outside)), entry("up/x", content=b"x"))), second)
    assert list(outside.iterdir()) == []


def test_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="entries"):
        unpacked(tmp_path, tar_of(*(entry(f"f{number}") for number in range(10))), UnpackLimits(entries=5))
    shutil.rmtree(tmp_path / "layer")
    with pytest.raises(ImageError, match="larger"):
        unpacked(tmp_path, tar_of(entry("f", content=b"x" * 5000)), UnpackLimits(bytes=1000))


def test_a_bomb_is_refused() -> None:
    stream = Decompressed(io.BytesIO(zstd.compress(bytes(400 << 20))))
    with pytest.raises(ImageError, match="times its size"):
        stream.digest()


def test_all_kinds_of_entries_are_as_gnu_tar_makes_them(tmp_path: Path) -> None:
    """The same tree by GNU tar and by us: modes, owners, times, links, devices, attributes, holes."""
    source = tmp_path / "source"
    source.joinpath("dir/sub").mkdir(parents=True)
    source.joinpath("dir/file").write_bytes(b"content")
    os.chmod(source / "dir/file", 0o4751)
    os.chown(source / "dir/file", 123, 456)
    os.link(source / "dir/file", source / "dir/hard")
    source.joinpath("dir/soft").symlink_to("../nowhere")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    source.joinpath("n" * 180).write_bytes(b"long name")
    with source.joinpath("sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    os.setxattr(source / "dir/file", "user.note", b"kept")
    os.utime(source / "dir/sub", ns=(10**18, 10**18 + 7))
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "--xattrs", "--sparse", "--format=pax", "-C", source, "-cf", archive, "."], check=True)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    with archive.open("rb") as stream:
        unpack(stream, ours)
    subprocess.run(["tar", "--xattrs", "-xpf", archive, "-C", theirs], check=True)
    listing = "find . -printf '%P %y %m %U %G %s %T@ %l\\n' | sort"
    expected = subprocess.run(listing, shell=True, cwd=theirs, check=True, capture_output=True, text=True).stdout
    assert subprocess.run(listing, shell=True, cwd=ours, check=True, capture_output=True, text=True).stdout == expected
    assert os.getxattr(ours / "dir/file", "user.note") == b"kept"
    assert os.stat(ours / "dir/file").st_ino == os.stat(ours / "dir/hard").st_ino
    assert os.stat(ours / "sparse").st_blocks * 512 < 1 << 20
    assert os.stat(ours / "null").st_rdev == os.makedev(1, 3)


def test_whiteouts_hide_what_is_below(engine: Engine) -> None:
    base = demo.root_archive().getvalue()
    lower = tar_of(entry("d/a", content=b"a"), entry("d/b", content=b"b"), entry("e/old", content=b"o"))
    upper = tar_of(entry("d/.wh.a"), entry("e/.wh..wh..opq"), entry("e/new", content=b"n"))
    engine.images.load(io.BytesIO(docker_archive(base, lower, upper, tag="white:1")))
    container = engine.containers.run(ContainerSpec("white:1", command=("ls", "/d", "/e"), network="none"))
    engine.containers.wait(container.id, timeout=60)
    assert "".join(item.text for item in engine.containers.logs(container.id)).split() == ["/d:", "b", "/e:", "new"]


def test_the_demo_image_is_the_same_each_time_and_needs_no_busybox(engine: Engine, root: Path) -> None:
    assert demo.root_archive().getvalue() == demo.root_archive().getvalue()
    tools = root / "tools"
    tools.mkdir()
    for name in ("sh", "dash", "ls", "cat", "sleep", "dd", "head", "echo"):
        found = shutil.which(name)
        if found:
            tools.joinpath(name).symlink_to(found)
    engine.images.import_rootfs(demo.root_archive(str(tools)), "plain:1", settings=demo.SETTINGS)
    container = engine.containers.run(
        ContainerSpec("plain:1", command=("sh", "-c", "ls / && echo works"), network="none")
    )
    assert engine.containers.wait(container.id, timeout=60) == 0
    assert "works\n" in [item.text for item in engine.containers.logs(container.id)]


def test_a_killed_load_leaves_nothing_that_counts(engine: Engine) -> None:
    layer = tar_of(*(entry(f"f{number}", content=os.urandom(2000)) for number in range(4000)))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from engine.api import Engine; Engine(Path({str(engine.root)!r})).images.load(sys.stdin.buffer)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    data = docker_archive(layer)
    process.stdin.write(data[: len(data) // 2])
    process.stdin.flush()
    process.kill()
    process.wait()
    assert [image.references for image in engine.images.list()] == [("docker.io/tuicon/demo:latest",)]
    engine.images.collect()
    assert list(engine.root.joinpath("trash").iterdir()) == []
    assert len(engine.images.load(io.BytesIO(data))) == 1


def in_a_small_place(place: Path, options: str, script: str, *words: str, driver: str = "") -> tuple[str, str]:
    """Run commands on a state root that lies on a tmpfs of its own; return what they print, and their complaints."""
    place.mkdir()
    program = [sys.executable, "-m", "tuicon", "--root", str(place / "state"), "--storage-driver", driver]
    mount = 'mount -t tmpfs -o "$1" none "$2"; place=$2; shift 2;'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount + script, "sh", options, str(place), *program, *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["docker archive", "layout", "root file system"])
def test_a_disk_that_gets_full_is_one_sentence_and_nothing_is_left(root: Path, kind: str) -> None:
    layer = tar_of(*(entry(f"f{number}", content=os.urandom(900_000)) for number in range(12)))
    words = ["load", "-i", str(root / "file")]
    if kind == "layout":
        with tarfile.open(fileobj=io.BytesIO(oci_layout(layer))) as archive:
            archive.extractall(root / "file", filter="data")
    else:
        root.joinpath("file").write_bytes(docker_archive(layer) if kind == "docker archive" else layer)
    if kind == "root file system":
        words = ["import", str(root / "file"), "x:1"]
    script = '"$@"; echo "$?"; cd "$place/state"; find blobs/sha256 layers trash images -mindepth 1'
    out, complaint = in_a_small_place(root / "small", "size=8m", script, *words)
    assert out == "1\n"
    assert complaint.endswith("No space left on device\n")
    assert len(complaint.splitlines()) == 1


def test_a_disk_that_gets_full_while_a_root_is_copied_leaves_no_half_of_it(root: Path) -> None:
    script = """
    "$@" demo image >/dev/null
    while "$@" create tuicon/demo >/dev/null; do made=$((made + 1)); done
    cd "$place/state"; ls -A trash; ls names | wc -l; ls containers | wc -l; "$@" rm $(ls containers) | wc -l
    "$@" system check"""
    out, complaint = in_a_small_place(root / "small", "size=8m", script, driver="vfs")
    names, containers, removed, verdict = out.splitlines()
    assert (names, verdict) == (containers, "nothing is wrong")
    assert containers == removed != "0"
    assert len([line for line in complaint.splitlines() if "No space left on device" in line]) == 1


def test_what_cannot_be_written_can_be_looked_at(root: Path) -> None:
    root.joinpath("file").write_bytes(docker_archive(tar_of(entry("file"))))
    script = """
    "$@" demo image >/dev/null; mount -o remount,ro "$place"
    "$@" images -q; for verb in load rmi tag; do
    case $verb in load) "$@" load -i "${place%/*}/file" ;; rmi) "$@" rmi tuicon/demo ;; tag) "$@" tag tuicon/demo a:b ;; esac
    echo "$verb $?"; done"""
    out, complaint = in_a_small_place(root / "small", "size=32m", script)
    identifier, *codes = out.splitlines()
    assert (len(identifier), codes) == (12, ["load 1", "rmi 1", "tag 1"])
    assert [line.startswith("tuicon: Read-only file system") for line in complaint.splitlines()] == [True] * 3
