"""A container that moves its volume's files about while the engine reads and writes them."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from pathlib import Path

from engine.api import Engine
from engine.errors import CopyFailed, EngineError
from engine.model.container import Mount
from engine.model.volume import Wishes
from tests.attacks.world import spec

MARK = b"only the host may know this"
SWAPS = 'while :; do mv /data/d /data/e; ln -s "$0" /data/d; rm /data/d; ln "/data/e/file" /data/f; rm /data/f; mv /data/e /data/d; done'


def test_directories_that_become_links_lead_nobody_to_the_host(engine: Engine, root: Path) -> None:
    secret = root / "secret"
    secret.mkdir()
    secret.joinpath("file").write_bytes(MARK)
    engine.volumes.create("moving")
    data = Path(engine.volumes.get("moving").mountpoint)
    data.joinpath("d").mkdir()
    data.joinpath("d/file").write_text("of the volume")
    engine.volumes.clone("moving", "still")
    mounts = (Mount("volume", "/data", "moving"),)
    container = engine.containers.run(spec("sh", "-c", SWAPS, str(secret), mounts=mounts))
    failed = (EngineError, OSError)
    deadline, rounds = time.monotonic() + 4, 0
    while time.monotonic() < deadline or rounds < 3:
        rounds += 1
        exported = io.BytesIO()
        with suppress(CopyFailed):
            engine.volumes.export("moving", exported)
        assert MARK not in exported.getvalue()
        with suppress(*failed):
            engine.volumes.sync("moving", "taken", Wishes(deletes=True))
        with suppress(*failed):
            engine.volumes.sync("still", "moving", Wishes())
        with suppress(*failed):
            engine.volumes.clone("moving", f"clone{rounds}")
        for path in ("/d/file", "/d"):
            with suppress(*failed), engine.volumes.open("moving", path) as file:
                assert file.read() == b"of the volume"
        with suppress(*failed):
            engine.volumes.measure("moving")
    engine.containers.remove(container.id, force=True)
    assert os.listdir(secret) == ["file"]
    assert secret.joinpath("file").read_bytes() == MARK
    for volume in engine.volumes.list():
        found = [
            path.read_bytes() for path in Path(volume.mountpoint).rglob("*") if path.is_file() and not path.is_symlink()
        ]
        assert MARK not in found, volume.name
