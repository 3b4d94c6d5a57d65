"""Tests of what a driver itself does, for tests/kernel/test_drivers.py to run on each of them."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

from engine.api import Engine
from engine.images import demo
from engine.model.container import ContainerSpec
from engine.store.drivers.drivers import driver_of
from engine.store.drivers.merge import open_all
from tests.kernel.test_images import docker_archive, entry, tar_of

SCRIPT = """
echo more >>/d/keep; rm /d/gone; rm -r /whole; mkdir /whole; touch /whole/new; mv /d/moved /d/sub/moved
mkdir -p /fresh/deep; echo x >/fresh/deep/file; ln /fresh/deep/file /fresh/hard; ln -s /nowhere /fresh/link
chmod 700 /modes; touch -d 2001-02-03 /times; rm /file; mkdir /file; rm -r /tree; echo file >/tree; mknod /node c 1 3
"""
CHANGES = """
C /d
D /d/gone
C /d/keep
D /d/moved
C /d/sub
A /d/sub/moved
C /file
A /fresh
A /fresh/deep
A /fresh/deep/file
A /fresh/hard
A /fresh/link
C /modes
A /node
C /times
C /tree
C /whole
A /whole/new
D /whole/x
D /whole/y
""".strip().splitlines()
LIST = "find . -mindepth 1 -printf '%P %y %m %U %G %s %l\\n' | sort"


def image_of(engine: Engine) -> str:
    directory, hard = tarfile.DIRTYPE, tarfile.LNKTYPE
    lower = tar_of(
        *(entry(name, directory, mode=0o755) for name in ("d", "d/sub", "whole", "tree", "modes", "hidden", "opaque")),
        *(entry(name, content=name.encode()) for name in ("d/gone", "d/keep", "d/moved", "whole/x", "whole/y", "tree/a", "file", "times", "hidden/a", "opaque/a")),
    )  # fmt: skip
    upper = tar_of(
        entry("d/first", content=b"linked"), entry("d/second", hard, link="d/first"), entry(".wh.hidden"),
        entry("opaque/.wh..wh..opq"), entry("opaque/b", content=b"b", uid=3, gid=4, mode=0o4755),
        entry("sparse", content=b"\\0" * 100), entry("d/sub", directory, mode=0o1777),
    )  # fmt: skip
    engine.images.load(io.BytesIO(docker_archive(demo.root_archive().getvalue(), lower, upper, tag="tree:1")))
    return "tree:1"


def run(engine: Engine, image: str, *command: str) -> tuple[str, str]:
    container = engine.containers.run(ContainerSpec(image, command=command, network="none"))
    assert engine.containers.wait(container.id, timeout=120) == 0
    return container.id, "".join(line.text for line in engine.containers.logs(container.id))


def test_a_container_sees_its_layers_merged(engine: Engine) -> None:
    """Whiteouts, opaque directories, hard links, owners and modes, as the image-spec has them (layer.md)."""
    script = "ls -d /hidden 2>/dev/null; ls /opaque; stat -c '%u %g %a' /opaque/b /d/sub; stat -c %h /d/first; ls /d"
    _, text = run(engine, image_of(engine), "sh", "-c", script)
    assert text.split() == "b 3 4 4755 0 0 1777 2 first gone keep moved second sub".split()


def test_changes_are_told_as_docker_tells_them(engine: Engine) -> None:
    image = image_of(engine)
    driver = driver_of(engine.containers._paths)
    layers = engine.images.lower_directories(engine.images.get(image))
    container_id, _ = run(engine, image, "sh", "-ec", SCRIPT)
    found = [
        f"{change.kind} {change.path}" for change in driver.changes(engine.root / "containers" / container_id, layers)
    ]
    mounted = {"/dev", "/proc", "/sys", "/etc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}  # made to mount on
    assert [line for line in found if line[2:] not in mounted] == CHANGES


def test_an_upper_directory_over_the_image_is_the_container(engine: Engine, root: Path) -> None:
    """Given to the kernel's overlayfs, or to this engine as a layer, it shows what the container had."""
    image = image_of(engine)
    layers = engine.images.lower_directories(engine.images.get(image))
    container_id, _ = run(engine, image, "sh", "-ec", SCRIPT)
    seen = subprocess.run(LIST, shell=True, cwd=view(engine, root, container_id, layers), check=True, capture_output=True, text=True)  # fmt: skip
    lines = {line.split()[0]: line for line in seen.stdout.splitlines()}
    assert {"whole/new", "d/sub/moved", "fresh/hard", "node", "opaque/b", "file"} <= lines.keys()
    assert {"whole/x", "d/gone", "d/moved", "tree/a", "hidden"} & lines.keys() == set()
    assert lines["modes"].split()[1:3] == ["d", "700"]
    assert lines["fresh/link"].endswith(" /nowhere")
    merged = root / "merged"
    assert merged.joinpath("fresh/hard").stat().st_nlink == 2
    assert stat.S_ISCHR(merged.joinpath("node").stat().st_mode)
    assert list(engine.root.joinpath("trash").iterdir()) == []


def view(engine: Engine, root: Path, container_id: str, layers: tuple[Path, ...]) -> Path:
    from engine.store.drivers.merge import merge

    merged = root / "merged"
    merged.mkdir()
    with driver_of(engine.containers._paths).upper(engine.root / "containers" / container_id, layers) as upper:
        for layer in (*reversed(layers), upper):
            with ExitStack() as stack:
                merge(*open_all((layer, merged), stack))
    return merged


def test_names_that_are_no_text_and_deep_directories_are_kept(engine: Engine) -> None:
    deep = "/".join("d" * 100)
    layer = tar_of(entry("raw-\udcff", content=b"x"), entry(f"{deep}/file", content=b"deep"))
    archive = docker_archive(demo.root_archive().getvalue(), layer, tag="odd:1")
    engine.images.load(io.BytesIO(archive))
    _, text = run(engine, "odd:1", "sh", "-c", f"ls / | grep -c raw; cat /{deep}/file")
    assert text == "1\ndeep"


def test_what_a_container_occupies_is_its_own(engine: Engine) -> None:
    container_id, _ = run(engine, "tuicon/demo", "sh", "-c", "head -c 3000000 /dev/urandom >/large")
    usage = {line.kind: line for line in engine.system.disk_usage()}
    assert 3_000_000 <= usage["Containers"].size < 12_000_000
    own, whole = engine.containers.sizes(container_id)
    assert 3_000_000 <= own < 3_100_000
    assert whole == own + engine.images.get("tuicon/demo").size
    engine.containers.remove(container_id)
    assert os.listdir(engine.root / "containers") == []


def test_a_container_may_change_while_it_is_looked_at(engine: Engine) -> None:
    script = "while :; do mkdir -p /a/b/c; touch /a/b/c/d /etc/new; rm -r /a /etc/new; touch /a; rm /a; done"
    container = engine.containers.run(ContainerSpec("tuicon/demo", command=("sh", "-c", script), network="none"))
    driver = driver_of(engine.containers._paths)
    layers = engine.images.lower_directories(engine.images.get("tuicon/demo"))
    directory = engine.root / "containers" / container.id
    seen = {change.path for _ in range(200) for change in driver.changes(directory, layers)}
    assert "/etc" in seen
    assert engine.system.disk_usage()[1].count == 1
    engine.containers.remove(container.id, force=True)
