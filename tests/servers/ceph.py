"""Volumes on a real Ceph cluster of one node, on a port of the loopback interface: mon, osd (in memory) and mds.

Where the kernel has ceph (the lab's), it mounts it; elsewhere ceph-fuse does. Run by `make test-ceph`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from engine.linux import procfs
from engine.model.container import Mount
from tests.kernel import conftest as kernel
from tests.kernel.test_lifecycle import spec, until
from tests.kernel.test_volume_drivers import executed, sleeper, text_in

root, engine = kernel.root, kernel.engine
MONITOR = "127.0.0.1:16789"
WITHIN = 600
CONFIG = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:13300,v1:127.0.0.1:16789]
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {place}/keyring
osd objectstore = memstore
memstore device bytes = 268435456
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
run dir = {place}
admin socket =
pid file = {place}/$name.pid
log file = {place}/$name.log
mon data = {place}/mon
mon data avail crit = 1
osd data = {place}/osd
mds data = {place}/mds
"""


class Cluster:
    """A cluster in a directory.

    Attributes:
        key: Of client.admin.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "mds"):
            place.joinpath(name).mkdir()
        place.joinpath("conf").write_text(CONFIG.format(fsid=fsid, place=place))
        self._keyring("keyring", "mon.", "--cap", "mon", "allow *")
        self._keyring(
            "keyring",
            "client.admin",
            *(word for kind in ("mon", "osd", "mds", "mgr") for word in ("--cap", kind, "allow *")),
        )
        self._call(
            "monmaptool", "--create", "--fsid", fsid, "--addv", "a", "[v2:127.0.0.1:13300,v1:127.0.0.1:16789]", "monmap"
        )
        self._call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._call("ceph-mon", "-i", "a")
        self._begin_osd()
        keyring = self._call(
            "ceph", "auth", "get-or-create", "mds.a", "mon", "allow profile mds", "osd", "allow rwx", "mds", "allow *"
        )
        place.joinpath("mds/keyring").write_text(keyring)
        self._call("ceph-mds", "-i", "a", "--keyring", "mds/keyring")
        for pool in ("meta", "data"):
            self._call("ceph", "osd", "pool", "create", pool, "8")
        self._call("ceph", "fs", "new", "files", "meta", "data")
        until(lambda: "up:active" in self._call("ceph", "mds", "stat"), WITHIN)
        self.key = self._call("ceph", "auth", "print-key", "client.admin").strip()

    def _begin_osd(self) -> None:
        identity = str(uuid.uuid4())
        self._keyring("osd/keyring", "osd.0")
        self._call(
            "ceph",
            "auth",
            "add",
            "osd.0",
            "mon",
            "allow profile osd",
            "osd",
            "allow *",
            "mgr",
            "allow profile osd",
            "-i",
            "osd/keyring",
        )
        self._call("ceph", "osd", "new", identity)
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity, "--keyring", "osd/keyring")
        self._call("ceph-osd", "-i", "0", "--keyring", "osd/keyring")

    def _keyring(self, file: str, name: str, *more: str) -> None:
        made = () if self.place.joinpath(file).exists() else ("--create-keyring",)
        self._call("ceph-authtool", file, *made, "--gen-key", "-n", name, *more)

    def _call(self, *words: str) -> str:
        environment = {**os.environ, "CEPH_CONF": str(self.place / "conf")}
        done = subprocess.run(
            words, cwd=self.place, env=environment, capture_output=True, text=True, check=False, timeout=WITHIN
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        for path in self.place.glob("*.pid"):
            os.kill(int(path.read_text()), number)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    place = Path(tempfile.mkdtemp(prefix="ceph-", dir=os.environ.get("TUICON_TEST_ROOT")))
    made = Cluster(place)
    yield made
    made.signal(signal.SIGKILL)
    shutil.rmtree(place)


def programs() -> list[str]:
    return [line for pid in procfs.process_ids() if "ceph-fuse" in (line := command_of(pid))]


def command_of(pid: int) -> str:
    try:
        return procfs.command_line(pid)
    except OSError:
        return ""


def test_a_directory_of_a_cluster_is_shared_and_goes_with_the_last_container(
    cluster: Cluster, engine: Engine, root: Path
) -> None:
    key = root / "key"
    key.write_text(cluster.key)
    engine.volumes.create(
        "files", driver="cephfs", options={"monitors": MONITOR, "fs": "files", "secretfile": str(key)}
    )
    mount = Mount("volume", "/f", "files")
    before = Path("/proc/self/mountinfo").read_text()
    first = sleeper(engine, mount)
    executed(engine, first.id, "sh", "-c", "mkdir -p /f/sub && echo one >/f/sub/file")
    assert text_in(engine, "cat /f/sub/file", mount) == "one\n"
    assert text_in(engine, "cat /f/file", Mount("volume", "/f", "files", subpath="sub")) == "one\n"
    assert "ceph" in executed(engine, first.id, "grep", " /f ", "/proc/mounts")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not [line for line in programs() if cluster.key in line]
    engine.volumes.create(
        "below", driver="cephfs", options={"monitors": MONITOR, "path": "/sub", "secret": cluster.key}
    )
    assert text_in(engine, "cat /f/file", Mount("volume", "/f", "below")) == "one\n"
    state = engine._registry.state(first.id)
    assert state is not None
    for pid in (state.monitor_pid, state.pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not programs())
    assert text_in(engine, "cat /f/sub/file", mount) == "one\n"
    until(lambda: not programs())


def test_a_wrong_key_and_a_dead_cluster_are_named_in_time(cluster: Cluster, engine: Engine) -> None:
    wrong = {"monitors": MONITOR, "fs": "files", "secret": "AQBSUxJnAAAAABAAxxxxxxxxxxxxxxxxxxxxxx=="}
    engine.volumes.create("wrong", driver="cephfs", options=wrong)
    engine.volumes.create("dead", driver="cephfs", options={"monitors": "127.0.0.1:1", "secret": cluster.key})
    for name, server in (("wrong", "127.0.0.1:16789"), ("dead", "127.0.0.1:1")):
        with pytest.raises(StartFailed, match=f"volume {name}: the server {server}: ") as caught:
            engine.containers.run(spec("true", mounts=(Mount("volume", "/f", name),)))
        assert len(str(caught.value).splitlines()) == 1
    began = time.monotonic()
    assert {volume.name for volume in engine.volumes.list()} == {"wrong", "dead"}
    assert engine.volumes.inspect("dead")["Driver"] == "cephfs"
    assert time.monotonic() - began < WITHIN
    until(lambda: not programs())
