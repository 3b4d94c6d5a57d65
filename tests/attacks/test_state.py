"""Attacks on what lies on the host: the state directories, the sockets, and who may speak to a monitor."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from engine.linux import procfs
from engine.sandbox import protocol
from tests.attacks.world import spec
from tests.kernel.test_lifecycle import output, until

_NOBODY = 65534


@pytest.fixture
def careless() -> Iterator[None]:
    """A caller whose umask hides nothing."""
    old = os.umask(0)
    yield
    os.umask(old)


def test_nobody_else_reads_the_state(careless: None, engine: Engine) -> None:
    """CVE-2021-41091 and CVE-2024-25621: data directories that others could enter."""
    container = engine.containers.run(spec("sleep", "1000", interactive=True))
    engine.volumes.create("kept")
    run = engine._paths.run
    for directory in (engine.root, run):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    opened = []
    for path in [*engine.root.rglob("*"), *run.rglob("*")]:
        status = path.lstat()
        inside_a_root = {"diff", "upper", "work", "data"} & {*path.relative_to(engine.root if engine.root in path.parents else run).parts}  # fmt: skip
        if not inside_a_root and not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022:
            opened.append((str(path), oct(status.st_mode)))
    assert opened == []
    attach = run / "containers" / container.id / "attach.sock"
    assert stat.S_IMODE(attach.stat().st_mode) == 0o600


def inodes_of_sockets(pid: int) -> set[str]:
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{name}")
        if link.startswith("socket:["):
            found.add(link[8:-1])
    return found


def test_no_process_of_ours_has_an_abstract_socket(engine: Engine) -> None:
    """CVE-2020-15257: abstract sockets have no owner and no mode."""
    container = engine.containers.run(spec("sleep", "1000", network="host", interactive=True))
    state = engine._registry.state(container.id)
    assert state is not None
    ours = inodes_of_sockets(state.monitor_pid) | inodes_of_sockets(procfs.stat_of(state.monitor_pid).parent)
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    names = [line[7] for line in lines if len(line) > 7 and line[6] in ours]
    assert any(name.endswith("attach.sock") for name in names)
    assert [name for name in names if name.startswith("@")] == []


def as_nobody(directory: int) -> str:
    """Attach to a monitor as another user, by way of a descriptor that was leaked to it; say what came of it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            channel.connect(f"/proc/self/fd/{directory}/attach.sock")
            channel.settimeout(60)
            channel.send(protocol.STDIN + b"evil\n")
            theirs.send(b"closed" if channel.recv(100) == b"" else b"SERVED")
        except PermissionError:
            theirs.send(b"forbidden")
        except OSError:
            theirs.send(b"closed")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    with ours, theirs:
        return ours.recv(100).decode()


def test_a_monitor_speaks_only_with_root(engine: Engine) -> None:
    """The socket's mode is one wall, the peer's credentials another: each holds without the other."""
    container = engine.containers.run(spec("sh", "-c", "read line; echo got $line", interactive=True))
    place = engine._paths.run / "containers" / container.id
    directory = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        assert as_nobody(directory) == "forbidden"
        place.chmod(0o755)
        place.joinpath("attach.sock").chmod(0o666)
        assert as_nobody(directory) == "closed"
    finally:
        os.close(directory)
    with engine.containers.attach(container.id) as session:
        session.write(b"good\n")
        until(lambda: output(engine, container.id) == "got good\n")


def test_damaged_frames_do_not_end_a_monitor(engine: Engine) -> None:
    """What is sent to a monitor is parsed with care, for it outlives everybody."""
    container = engine.containers.run(spec("sleep", "1000", tty=True, interactive=True))
    with engine.containers.attach(container.id) as session:
        for frame in (b"R", b"R\0", b"R" + b"\xff" * 4, b"Q", b"\0" * 30_000, b"Z" * 100, b"S", b"I"):
            session._channel.send(frame)
    with engine.containers.attach(container.id):
        state = engine._registry.state(container.id)
        assert state is not None
        assert state.has_monitor
