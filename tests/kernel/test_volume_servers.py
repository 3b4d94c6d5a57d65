"""Volumes on a real NFS server, the kernel's, in a network namespace of its own; the host's kernel has none, the lab's has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from engine.model.container import Mount
from tests.kernel.test_lifecycle import spec, until
from tests.kernel.test_volume_drivers import executed, sleeper, text_in

pytestmark = pytest.mark.v2

SERVER, CLIENT = "10.213.0.2", "10.213.0.1"
BEGIN = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/sm /run/rpcbind
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount -t nfsd nfsd /proc/fs/nfsd
rpcbind -w
exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 "*:$1"
rpc.mountd
rpc.nfsd --grace-time 10 --lease-time 10 2
echo ready
exec sleep infinity
"""


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


class Server:
    """An NFS server with one export: what is `/` to version 4 has its own path for version 3.

    Attributes:
        export: Its directory.
    """

    def __init__(self, export: Path) -> None:
        self.export = export
        run("ip", "netns", "add", "tuicon-nfs")
        run("ip", "link", "add", "tuinfs0", "type", "veth", "peer", "name", "tuinfs1", "netns", "tuicon-nfs")
        run("ip", "address", "add", f"{CLIENT}/24", "dev", "tuinfs0")
        run("ip", "link", "set", "tuinfs0", "up")
        run("ip", "-n", "tuicon-nfs", "address", "add", f"{SERVER}/24", "dev", "tuinfs1")
        self.connect(is_there=True)
        words = ["ip", "netns", "exec", "tuicon-nfs", "unshare", "--mount", "sh", "-c", BEGIN, "sh", str(export)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"

    def connect(self, *, is_there: bool) -> None:
        """Have the server there, or silent."""
        run("ip", "-n", "tuicon-nfs", "link", "set", "tuinfs1", "up" if is_there else "down")

    def end(self) -> None:
        run("nsenter", "--target", str(self._process.pid), "--mount", "--net", "rpc.nfsd", "0")
        pids = subprocess.run(["ip", "netns", "pids", "tuicon-nfs"], check=True, capture_output=True, text=True).stdout
        for pid in pids.split():
            os.kill(int(pid), signal.SIGKILL)
        self._process.wait()
        run("ip", "netns", "delete", "tuicon-nfs")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    for module in ("nfsd", "nfs", "nfsv3", "nfsv4"):
        run("modprobe", module)
    export = Path(tempfile.mkdtemp(prefix="export-", dir=os.environ.get("TUICON_TEST_ROOT")))
    made = Server(export)
    yield made
    made.end()
    shutil.rmtree(export)


@pytest.fixture
def share(server: Server) -> Iterator[Path]:
    """A directory that is exported, of one test."""
    path = Path(tempfile.mkdtemp(dir=server.export))
    yield path
    shutil.rmtree(path)


def mounted() -> list[str]:
    """Return the versions of NFS that the host's network namespace has mounted anything by."""
    return [line.split()[0] for line in Path("/proc/fs/nfsfs/volumes").read_text().splitlines()[1:]]


def test_a_share_is_mounted_for_containers_alone(server: Server, engine: Engine, share: Path) -> None:
    share.joinpath("file").write_text("served\n")
    docker = {"type": "nfs", "device": f":/{share.name}", "o": f"addr={SERVER},vers=4.1,soft"}
    volumes = {
        "newest": ("nfs", {"server": SERVER, "share": f"/{share.name}"}, "vers=4.2"),
        "old": ("nfs", {"server": SERVER, "share": str(share), "version": "3"}, "vers=3"),
        "docker": ("local", docker, "vers=4.1"),
    }  # fmt: skip
    before = Path("/proc/self/mountinfo").read_text()
    for name, (driver, options, version) in volumes.items():
        engine.volumes.create(name, driver=driver, options=options)
        first = sleeper(engine, Mount("volume", "/s", name))
        script = f"cat /s/file; grep ' /s ' /proc/mounts; mkdir -p /s/sub; echo {name} >/s/sub/{name}"
        served, line = executed(engine, first.id, "sh", "-c", script).splitlines()
        assert served == "served"
        assert {version, "soft"} <= set(line.split()[3].split(","))
        script = f"cat /s/{name}; ! touch /s/more 2>/dev/null"
        second = Mount("volume", "/s", name, subpath="sub", read_only=True)
        assert text_in(engine, script, second) == f"{name}\n"
        until(lambda: len(mounted()) == 1)  # the one before goes in the kernel's own time
        assert Path("/proc/self/mountinfo").read_text() == before
        engine.containers.remove(first.id, force=True)
    assert sorted(path.name for path in share.joinpath("sub").iterdir()) == sorted(volumes)


def test_a_share_starts_with_what_the_image_has_and_goes_with_its_containers(
    server: Server, engine: Engine, share: Path
) -> None:
    engine.volumes.create("empty", driver="nfs", options={"server": SERVER, "share": f"/{share.name}"})
    for container in [sleeper(engine, Mount("volume", "/etc", "empty")) for _ in range(2)]:
        assert mounted() == ["v4"]
        state = engine._registry.state(container.id)
        assert state is not None
        for pid in (state.monitor_pid, state.pid):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not mounted())
    assert share.joinpath("passwd").read_text().startswith("root")


def test_a_dead_server_is_named_in_time_and_nothing_else_waits_for_it(
    server: Server, engine: Engine, share: Path
) -> None:
    engine.volumes.create("far", driver="nfs", options={"server": SERVER, "share": f"/{share.name}"})
    engine.volumes.create("missing", driver="nfs", options={"server": SERVER, "share": f"/{share.name}/none"})
    running = sleeper(engine, Mount("volume", "/s", "far"))
    with pytest.raises(StartFailed, match=f"volume missing: the server {SERVER}: No such file"):
        engine.containers.run(spec("true", mounts=(Mount("volume", "/s", "missing"),)))
    server.connect(is_there=False)
    try:
        engine.volumes.create(
            "dead",
            driver="nfs",
            options={"server": SERVER, "share": f"/{share.name}", "version": "4.2", "o": "nosharecache"},
        )
        said: list[str] = []

        def start(name: str) -> None:
            try:
                engine.containers.run(spec("true", mounts=(Mount("volume", "/s", name),)))
            except StartFailed as error:
                said.append(str(error))

        names = ["dead", "dead", "far", "far"]  # not there yet, and mounted by another container
        threads = [threading.Thread(target=start, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reason = f"the server {SERVER}: no answer within 15 seconds"
        assert sorted(said) == [f"cannot mount the volume {name}: {reason}" for name in names]
        assert {volume.name for volume in engine.volumes.list()} == {"far", "missing", "dead"}
        assert engine.volumes.inspect("dead")["Options"]["server"] == SERVER
        engine.containers.stop(running.id, timeout=0)
        for container in engine.containers.list():
            engine.containers.remove(container.id, force=True)
        engine.volumes.remove("dead")
    finally:
        server.connect(is_there=True)
