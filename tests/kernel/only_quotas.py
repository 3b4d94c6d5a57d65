"""Tests of what only file systems with quotas have, for tests/kernel/test_volume_quotas.py to run on each of them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict
from engine.linux import quota
from engine.model.container import ContainerSpec, Mount
from tests.kernel.test_images import entry, tar_of

MIB = 1 << 20


def written(engine: Engine, name: str, mebibytes: int) -> int:
    """Have a container write into a volume; return how many bytes it got there. It may not go beyond a quota, as we may."""
    script = f"dd if=/dev/zero of=/data/file bs=1M count={mebibytes} conv=fsync 2>/dev/null; exit 0"
    mounts = (Mount("volume", "/data", name),)
    container = engine.containers.run(
        ContainerSpec("tuicon/demo", command=("sh", "-c", script), mounts=mounts, network="none")
    )
    assert engine.containers.wait(container.id, timeout=120) == 0
    engine.containers.remove(container.id)
    path = Path(engine.volumes.get(name).mountpoint, "file")
    size = path.stat().st_size
    path.unlink()
    return size


def test_a_volume_holds_its_size_and_no_more(engine: Engine) -> None:
    engine.volumes.create("small", options={"size": "8M"})
    engine.volumes.create("free")
    assert 4 * MIB <= written(engine, "small", 20) <= 8 * MIB
    assert written(engine, "free", 20) == 20 * MIB
    engine.volumes.resize("small", 14 * MIB)
    assert 9 * MIB <= written(engine, "small", 20) <= 14 * MIB
    engine.volumes.resize("small", 0)
    assert written(engine, "small", 20) == 20 * MIB
    assert engine.volumes.inspect("free")["Options"] is None


def test_it_keeps_its_size_when_its_files_are_replaced_or_cloned(engine: Engine) -> None:
    engine.volumes.create("small", options={"size": "8M"})
    assert engine.volumes.inspect("small")["Options"] == {"size": str(8 * MIB)}
    engine.volumes.import_(
        "small", io.BytesIO(tar_of(entry("a", content=b"x" * MIB), entry("d/b", content=b"x" * MIB))), replaces=True
    )
    assert written(engine, "small", 20) <= 6 * MIB
    engine.volumes.snapshot("small", "one")
    engine.volumes.clone("small", "other")
    engine.volumes.restore("small", "one")
    for name in ("small", "other"):
        assert 2 * MIB <= written(engine, name, 20) <= 6 * MIB
    with pytest.raises(Conflict, match="another size"):
        engine.volumes.create("small", options={"size": "9M"})
    assert engine.volumes.create("small", options={"size": "8M"}).quota == 8 * MIB


def test_files_that_were_there_before_count(engine: Engine) -> None:
    engine.volumes.create("late")
    data = Path(engine.volumes.get("late").mountpoint)
    data.joinpath("d").mkdir()
    data.joinpath("d/old").write_bytes(os.urandom(4 * MIB))
    data.joinpath("link").symlink_to("/etc/passwd")
    os.sync()
    engine.volumes.resize("late", 8 * MIB)
    assert written(engine, "late", 20) <= 4 * MIB
    fd = os.open(engine.root / "volumes", os.O_RDONLY)
    try:
        assert _project(fd) == 0, "nothing but the volume is counted"
    finally:
        os.close(fd)


def _project(fd: int) -> int:
    try:
        return quota.project_of(fd)
    except OSError:
        return 0  # btrfs has no projects
