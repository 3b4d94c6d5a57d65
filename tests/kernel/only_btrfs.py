"""Tests of what only btrfs has, for tests/kernel/test_drivers.py to run where there is one."""

from __future__ import annotations

import io
import os
from pathlib import Path

from engine.api import Engine
from engine.linux import btrfs, files
from engine.model.container import ContainerSpec
from engine.store.drivers.drivers import driver_of
from tests.kernel.test_images import docker_archive, entry, tar_of

LARGE = 64 << 20


def free(path: Path) -> int:
    os.sync()
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def test_subvolumes_in_subvolumes_are_removed(root: Path) -> None:
    """Whoever writes to a btrfs may make them, without any privilege, as deep as he wants."""
    place = root / "place"
    place.mkdir()
    fd = os.open(place, os.O_RDONLY)
    for _ in range(300):
        btrfs.create(fd, "sub")
        os.mkdir("plain", dir_fd=fd)
        inner = os.open("sub", os.O_RDONLY, dir_fd=fd)
        os.mkdir("directory", dir_fd=inner)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(fd)
        fd = os.open("directory", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
    os.close(fd)
    files.remove_tree(place)
    assert list(root.iterdir()) == []


def test_containers_and_layers_share_what_they_have_in_common(engine: Engine, root: Path) -> None:
    lower = tar_of(entry("large", content=os.urandom(LARGE)))
    engine.images.load(io.BytesIO(docker_archive(lower, tar_of(entry("small", content=b"x")), tag="large:1")))
    before = free(root)
    for _ in range(5):
        engine.containers.create(ContainerSpec("large:1", command=("x",)))
    assert before - free(root) < LARGE / 4


def test_copies_share_extents_where_there_is_a_way(root: Path) -> None:
    with Engine(root / "copies", storage_driver="vfs") as engine:
        engine.images.load(io.BytesIO(docker_archive(tar_of(entry("large", content=os.urandom(LARGE))), tag="large:1")))
        before = free(root)
        container = engine.containers.create(ContainerSpec("large:1", command=("x",)))
        assert before - free(root) < LARGE / 4
        layers = engine.images.lower_directories(engine.images.get("large:1"))
        assert (
            list(driver_of(engine.containers._paths).changes(root / "copies/containers" / container.id, layers)) == []
        )
        engine.system.reset()


def test_snapshots_and_clones_of_volumes_share_everything(engine: Engine, root: Path) -> None:
    data = Path(engine.volumes.create("large").mountpoint)
    data.joinpath("file").write_bytes(os.urandom(LARGE))
    before = free(root)
    kept = engine.volumes.snapshot("large", "one")
    made = engine.volumes.clone("large", "other", from_snapshot="one")
    assert (kept.how, made.how) == ("snapshot", "snapshot")
    data.joinpath("file").unlink()
    assert Path(made.volume.mountpoint, "file").stat().st_size == LARGE
    engine.volumes.restore("large", "one")
    assert data.joinpath("file").stat().st_size == LARGE
    assert before - free(root) < LARGE / 4
    engine.volumes.remove("other")
    engine.volumes.remove("large")
    assert list((engine.root / "trash").iterdir()) == []


def test_files_share_their_data_where_the_volume_is_no_subvolume(engine: Engine, root: Path) -> None:
    """One that was made on another file system and moved here, or by an earlier version."""
    volume = Path(engine.volumes.create("plain").mountpoint)
    fd = os.open(volume.parent, os.O_RDONLY)
    btrfs.delete(fd, "data")
    os.close(fd)
    volume.mkdir()
    volume.joinpath("file").write_bytes(os.urandom(LARGE))
    before = free(root)
    assert engine.volumes.clone("plain", "copy").how == "reflink"
    assert before - free(root) < LARGE / 4
    assert engine.volumes.snapshot("copy").how == "snapshot"
