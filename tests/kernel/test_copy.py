"""Copying between containers and the host: docker's rules beside docker itself, in every state of a container."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import CopyFailed, EngineError
from engine.linux.files import FileLock
from engine.model.container import ExecSpec, Mount
from engine.model.status import Status
from tests.kernel.conftest import Docker
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_images import entry, tar_of
from tests.kernel.test_lifecycle import spec, until

PREPARE = """
mkdir -p /w/dir/sub /w/h /w/h2/f; chmod 700 /w/dir /w/dir/sub; echo file >/w/h/d; echo old >/w/file
ln -s dir /w/linkdir; ln -s file /w/linkfile; ln -s gone /w/dangling; ln -s /w/dir/../dir /w/absolute
mkfifo /w/pipe; mknod /w/node c 1 3; ln -s node /w/linknode
"""
INTO = [
    ("src/f", "/w/new"), ("src/f", "/w/file"), ("src/f", "/w/dir"), ("src/f", "/w/dir/"), ("src/f", "/w/linkdir"),
    ("src/f", "/w/linkfile"), ("src/f", "/w/dangling"), ("src/f", "/w/missing/"), ("src/f", "/none/x"),
    ("src/f", "/w/file/"), ("src/f", "w/relative"), ("src/f", "/w/absolute/up/../there"), ("src/l", "/w/link"),
    ("src", "/w/fresh"), ("src", "/w/fresh2/"), ("src", "/w/dir"), ("src/.", "/w/fresh3"), ("src/.", "/w/dir"),
    ("src/", "/w/linkdir"), ("src", "/w/file"), ("src/.", "/w/file"), ("src/.", "/w/h"), ("src/.", "/w/h2"),
    ("src/f", "/w/pipe"), ("src/f", "/w/node"), ("src/f", "/w/linknode"), ("src", "/w/node"), ("src/d", "/w/dir/sub"), ("nowhere", "/w/x"), ("src/f/", "/w/x"), ("src/toolink", "/w/tl"), ("src/toolink/", "/w/td"),
]  # fmt: skip
OUT = [
    ("/w/src/f", "f1"), ("/w/src/f", "have"), ("/w/src/f", "havedir"), ("/w/src/f", "nodir/x"), ("/w/src/f", "missing/"),
    ("/w/src", "tree"), ("/w/src", "havedir"), ("/w/src/.", "havedir2"), ("/w/src/.", "tree2"), ("/w/src", "have"),
    ("/w/linkdir", "link"), ("/w/linkdir/", "linkto"), ("/w/linkdir/.", "linkto2"), ("/w/file/", "x"), ("/none", "x"),
    ("/w/src/l", "l"), ("w/file", "relative"), ("/w/file", "node"), ("/w/file", "linknode"),
]  # fmt: skip


@pytest.fixture
def source(root: Path) -> Path:
    """A directory of the host with all kinds of files."""
    path = root / "host" / "src"
    path.joinpath("d").mkdir(parents=True)
    path.joinpath("f").write_text("a file\n")
    path.joinpath("d/x").write_text("x" * 100_000)
    path.joinpath("d", "long" * 60).write_text("long")
    Path(os.fsdecode(os.fsencode(path) + b"/latin-\xe9")).write_text("not UTF-8")
    path.joinpath("l").symlink_to("f")
    path.joinpath("toolink").symlink_to("d")
    os.mkfifo(path / "pipe")
    os.chown(path / "f", 1234, 1235)
    os.chmod(path / "f", 0o750)
    os.utime(path / "f", (1_000_000_000, 1_000_000_000))
    return path


def listing(data: bytes) -> list[tuple[object, ...]]:
    """Return what an archive has, without the times that differ between two runs."""
    with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as archive:
        return sorted(
            (member.name, member.type, oct(member.mode & 0o7777), member.uid, member.gid, member.linkname, member.size,
                member.mtime if member.mtime < 1_500_000_000 else 0)
            for member in archive
        )  # fmt: skip


def tree_of(path: Path) -> list[tuple[str, int, int, str, str]]:
    """Return the names, modes, owners and contents below a directory of the host."""
    found = []
    for item in sorted(path.rglob("*")):
        status = item.lstat()
        text = item.read_text() if item.is_file() else ""
        link = os.readlink(item) if item.is_symlink() else ""
        found.append((str(item.relative_to(path)), status.st_mode, status.st_uid, link, text))
    return found


def works(action: Callable[[], object]) -> bool:
    try:
        action()
    except EngineError:
        return False
    return True


def run(engine: Engine, script: str = "", **more: object) -> str:
    """Return the id of a running container in which a script has been run."""
    container = engine.containers.run(spec("sleep", "1000", **more))
    if script:
        session = engine.containers.exec(container.id, ExecSpec(("sh", "-c", script)))
        assert session is not None
        with session:
            while session.read(60):
                pass
        assert session.exit_code == 0
    return container.id


def archive_of(engine: Engine, ref: str, path: str) -> bytes:
    buffer = io.BytesIO()
    engine.containers.copy_out(ref, path, buffer)
    return buffer.getvalue()


def text_of(engine: Engine, ref: str, path: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(archive_of(engine, ref, path))) as archive:
        member = archive.next()
        assert member is not None
        content = archive.extractfile(member)
        assert content is not None
        return content.read().decode()


def test_every_rule_of_paths_is_dockers(
    engine: Engine, docker: Docker, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same copies by docker and by us, one after the other; both must agree on success, files, modes and owners."""
    monkeypatch.chdir(source.parent)
    ours = run(engine, PREPARE)
    assert docker("run", "-d", "--network", "none", "--name", "copied", "demo:1", "sleep", "1000").returncode == 0
    assert docker("exec", "copied", "sh", "-c", PREPARE).returncode == 0
    for host, inside in INTO:
        theirs = docker("cp", host, f"copied:{inside}")
        copied = works(lambda: engine.containers.copy_in(ours, host, inside))  # noqa: B023
        assert (theirs.returncode == 0) == copied, (host, inside, theirs.stderr)
    assert listing(archive_of(engine, ours, "/w")) == listing(docker("cp", "copied:/w", "-").stdout)
    engine.containers.copy_in(ours, "src", "/w")
    docker("cp", "src", "copied:/w")
    for name in ("docker-out", "our-out"):
        Path(name, "havedir").mkdir(parents=True)
        Path(name, "havedir2").mkdir()
        Path(name, "have").write_text("old")
        os.mknod(Path(name, "node"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        Path(name, "linknode").symlink_to("node")
    for inside, host in OUT:
        theirs = docker("cp", f"copied:{inside}", host, cwd="docker-out")
        with monkeypatch.context() as context:
            context.chdir("our-out")
            copied = works(lambda: engine.containers.copy_out(ours, inside, host))  # noqa: B023
        assert (theirs.returncode == 0) == copied, (inside, host, theirs.stderr)
    assert tree_of(Path("our-out")) == tree_of(Path("docker-out"))
    for path in ("/w/src", "/w/src/.", "/w/src/f", "/w/linkdir", "/w/linkdir/"):
        assert listing(archive_of(engine, ours, path)) == listing(docker("cp", f"copied:{path}", "-").stdout), path
    docker("rm", "-f", "copied")


@pytest.mark.parametrize("state", ["running", "paused", "stopped", "created"])
def test_it_works_whatever_the_container_does(engine: Engine, root: Path, source: Path, state: str) -> None:
    bound = root / "bound"
    bound.mkdir()
    mounts = (Mount("volume", "/vol", "kept"), Mount("bind", "/bound", str(bound)))
    wanted = spec("sleep", "1000", mounts=mounts)
    container = engine.containers.create(wanted) if state == "created" else engine.containers.run(wanted)
    if state == "paused":
        engine.containers.pause(container.id)
    if state == "stopped":
        engine.containers.stop(container.id, timeout=0)
    for target in ("/tmp/src", "/vol/src", "/bound/src"):
        engine.containers.copy_in(container.id, str(source), target)
    expected = listing(archive_of(engine, container.id, "/tmp/src"))
    assert len(expected) == 9
    for target in ("/vol/src", "/bound/src"):
        assert listing(archive_of(engine, container.id, target)) == expected
    assert bound.joinpath("src/f").stat().st_uid == 1234
    assert engine.containers.get(container.id).status is Status("exited" if state == "stopped" else state)
    if state == "paused":
        engine.containers.unpause(container.id)
    engine.containers.start(container.id)
    assert text_of(engine, container.id, "/tmp/src/f") == text_of(engine, container.id, "/vol/src/f") == "a file\n"


def test_owners_are_those_that_a_user_namespace_sees(engine: Engine, source: Path) -> None:
    container = run(engine, userns="auto", mounts=(Mount("volume", "/vol", "kept"),))
    for target in ("/tmp/src", "/vol/src"):
        engine.containers.copy_in(container, str(source), target)
    running = [listing(archive_of(engine, container, path)) for path in ("/tmp/src", "/vol/src")]
    engine.containers.stop(container, timeout=0)
    stopped = [listing(archive_of(engine, container, path)) for path in ("/tmp/src", "/vol/src")]
    assert running == stopped
    assert {(item[0], item[3]) for item in running[0]} >= {("src", 0), ("src/f", 1234)}
    engine.containers.copy_in(container, str(source), "/tmp/later")
    engine.containers.start(container)
    session = engine.containers.exec(
        container, ExecSpec(("stat", "-c", "%u:%g", "/tmp/src/f", "/tmp/later/f", "/vol/src/f"))
    )
    assert session is not None
    text = b""
    with session:
        while found := session.read(60):
            text += found[1]
    assert text.split() == [b"1234:1235"] * 3


def test_read_only_and_mounted_places_refuse(engine: Engine, root: Path, source: Path) -> None:
    bound = root / "bound"
    bound.mkdir()
    mounts = (Mount("volume", "/vol", "kept"), Mount("bind", "/bound", str(bound), read_only=True))
    container = run(engine, read_only=True, mounts=mounts)
    hosts = text_of(engine, container, "/etc/hosts")
    for _ in ("running", "stopped"):
        for path in ("/tmp", "/bound"):
            with pytest.raises(CopyFailed, match="Read-only"):
                engine.containers.copy_in(container, str(source / "f"), path)
        with pytest.raises(CopyFailed, match="mounted there"):
            engine.containers.copy_in(container, str(source / "f"), "/etc/hosts")
        assert text_of(engine, container, "/etc/hosts") == hosts
        engine.containers.copy_in(container, str(source / "f"), "/vol")
        engine.containers.stop(container, timeout=0)
    assert os.listdir(bound) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(engine: Engine, source: Path) -> None:
    small = Mount("tmpfs", "/small", options=("size=256k",))
    container = run(engine, "echo old >/small/f", mounts=(small,))
    source.joinpath("f").write_bytes(bytes(range(256)) * 4096)
    with pytest.raises(CopyFailed, match=r"cannot write f: No space left"):
        engine.containers.copy_in(container, str(source / "f"), "/small")
    assert [item[0] for item in listing(archive_of(engine, container, "/small/."))] == [".", "./f"]
    assert text_of(engine, container, "/small/f") == "old\n"


def test_holes_and_attributes_survive_both_ways(engine: Engine, root: Path) -> None:
    big = root / "big"
    with big.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
    os.setxattr(big, "user.note", b"kept")
    container = run(engine)
    for target in ("/tmp/big", "/tmp/back"):
        engine.containers.copy_in(container, str(big), target)
    engine.containers.copy_out(container, "/tmp/big", str(root / "out"))
    for path in (root / "out", next(engine.root.glob("containers/*/upper/tmp/back"))):
        assert path.stat().st_size == (1 << 30) + 3
        assert path.stat().st_blocks < 4096
        assert os.getxattr(path, "user.note") == b"kept"


def test_nobody_starts_or_removes_a_container_that_is_copied_into(engine: Engine) -> None:
    """Two overlays on one upper directory would be undefined."""
    container = engine.containers.create(spec("sleep", "1000"))
    reading, writing = os.pipe()
    data = tar_of(entry("late", content=b"late"))
    errors: list[Exception] = []

    def copy() -> None:
        with open(reading, "rb") as stream:
            engine.containers.copy_in(container.id, stream, "/tmp")

    def start() -> None:
        try:
            with Engine(engine.root) as other:
                other.containers.start(container.id)
        except EngineError as error:
            errors.append(error)

    threads = [threading.Thread(target=target) for target in (copy, start)]
    with open(writing, "wb", buffering=0) as pipe:
        pipe.write(data[:512])
        threads[0].start()
        until(lambda: is_locked(engine, container.id))
        threads[1].start()
        for _ in range(20):
            assert engine.containers.get(container.id).status is Status.CREATED
            time.sleep(0.01)
        pipe.write(data[512:])
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert text_of(engine, container.id, "/tmp/late") == "late"


def is_locked(engine: Engine, container_id: str) -> bool:
    try:
        with FileLock(engine.root / "locks" / f"container-{container_id}", blocking=False):
            return False
    except BlockingIOError:
        return True


@pytest.mark.parametrize("runs", [True, False])
def test_a_kill_in_the_middle_leaves_nothing(engine: Engine, root: Path, runs: bool) -> None:
    container = engine.containers.create(spec("sleep", "1000"))
    if runs:
        engine.containers.start(container.id)
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "cp", "-", f"{container.id}:/tmp"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
    assert process.stdin is not None
    data = tar_of(entry("whole", content=b"whole"), entry("half", content=bytes(4 << 20)))
    process.stdin.write(data[: 2 << 20])
    process.stdin.flush()
    upper = next(engine.root.glob(f"containers/{container.id}/upper"))
    until(lambda: upper.joinpath("tmp/whole").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not is_locked(engine, container.id))
    assert os.listdir(upper / "tmp") == ["whole"]
    engine.containers.start(container.id)
    assert text_of(engine, container.id, "/tmp/whole") == "whole"


def test_names_that_are_no_text_are_copied_and_told(engine: Engine, box: str) -> None:
    name = os.fsdecode(b"/tmp/latin-\xe9")
    engine.containers.copy_in(box, "/etc/hostname", name)
    assert [item[0] for item in listing(archive_of(engine, box, name))] == [name.removeprefix("/tmp/")]
    told = [event for event in engine.events.list() if event.action in ("extract-to-dir", "archive-path")]
    assert [event.attributes["path"] for event in told] == ["/tmp/latin-\ufffd"] * 2
    assert [change.path for change in engine.containers.diff(box)][-1] == name


@pytest.fixture
def box(engine: Engine) -> str:
    return run(engine, "mkdir /data; echo text >/data/file")


def test_the_command_line_reads_and_writes_archives(engine: Engine, root: Path, box: str) -> None:
    name = engine.containers.get(box).name
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "cp"]
    cwd = Path(__file__).resolve().parents[2]
    out = subprocess.run([*argv, f"{name}:/data", "-"], capture_output=True, check=True, cwd=cwd).stdout
    names = subprocess.run(["tar", "-t"], input=out, capture_output=True, check=True).stdout.split()
    assert names == [b"data/", b"data/file"]
    subprocess.run([*argv, "-", f"{name}:/tmp"], input=out, check=True, cwd=cwd)
    assert tuicon(engine, "cp", f"{name}:/tmp/data/file", str(root / "file")).returncode == 0
    assert root.joinpath("file").read_text() == "text\n"
    for words, sentence in (
        ((f"{name}:/nothing", "/tmp"), "there is no /nothing in the container"),
        (("/x", "/y"), "must be in a container"),
    ):
        done = tuicon(engine, "cp", *words)
        assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_an_archive_that_is_none_is_refused(engine: Engine, box: str) -> None:
    for data in (b"no archive" * 100, tar_of(entry("x", content=bytes(4000)))[:2000]):
        with pytest.raises(EngineError):
            engine.containers.copy_in(box, io.BytesIO(data), "/data")
    with pytest.raises(CopyFailed, match="no directory"):
        engine.containers.copy_in(box, io.BytesIO(tar_of()), "/data/file")
    assert [item[0] for item in listing(archive_of(engine, box, "/data/."))] == [".", "./file"]
