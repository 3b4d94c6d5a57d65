"""What is in volumes: looked at, measured, archived, copied, kept as snapshots; checked with GNU tar, du, find and docker."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, CopyFailed, ImageError, InvalidArgument, NotFound
from engine.model.container import ContainerSpec, ExecSpec, Mount
from tests.kernel.conftest import Docker
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_crash import Site, operate, site, walk
from tests.kernel.test_images import entry, tar_of

__all__ = ["site"]
LIST = "find . -printf '%P %y %m %U %G %s %n %T@ %l\\n' | sort"


def fill(data: Path) -> None:
    """Make one of everything that a file system can have."""
    os.chown(data, 999, 998)
    os.chmod(data, 0o2750)
    data.joinpath("d/sub").mkdir(parents=True)
    data.joinpath("d/file").write_text("text\n")
    os.chown(data / "d/file", 12, 34)
    os.chmod(data / "d/file", 0o4751)
    os.setxattr(data / "d/file", "user.colour", b"blue\0green")
    os.link(data / "d/file", data / "second")
    data.joinpath("link").symlink_to("/etc/passwd")
    os.chown(data / "link", 5, 6, follow_symlinks=False)
    os.mkfifo(data / "pipe")
    os.mknod(data / "null", 0o20666, os.makedev(1, 3))
    with data.joinpath("sparse").open("wb") as file:
        file.truncate(64 << 20)
        os.pwrite(file.fileno(), b"data", 32 << 20)
    data.joinpath("n" * 200).write_text("long")
    Path(os.fsdecode(os.fsencode(data) + b"/latin-\xe9")).write_text("no UTF-8")
    for number, path in enumerate(sorted(data.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number), follow_symlinks=False)
    os.utime(data, ns=(0, 1_500_000_000_000_000_000))


def look(path: Path, without: str = "") -> list[str]:
    """Return what find sees, the numbers of names of directories aside."""
    done = subprocess.run(LIST, shell=True, cwd=path, check=True, capture_output=True)
    lines = done.stdout.decode(errors="surrogateescape").splitlines()
    return [line for line in lines if not without or without not in line]


def data_of(engine: Engine, name: str) -> Path:
    return Path(engine.volumes.get(name).mountpoint)


def filled(engine: Engine, name: str = "full") -> Path:
    engine.volumes.create(name)
    fill(data_of(engine, name))
    return data_of(engine, name)


def test_an_archive_has_everything_for_gnu_tar_and_brings_it_back(engine: Engine, root: Path) -> None:
    data = filled(engine)
    assert tuicon(engine, "volume", "export", "-o", str(root / "full.tar"), "full").returncode == 0
    assert root.joinpath("full.tar").stat().st_size < 1 << 20, "holes are no zeros"
    extracted = root / "extracted"
    extracted.mkdir()
    subprocess.run(["tar", "--xattrs", "-xpf", str(root / "full.tar"), "-C", str(extracted)], check=True)
    assert look(extracted) == look(data)
    assert os.getxattr(extracted / "second", "user.colour") == b"blue\0green"
    assert extracted.joinpath("sparse").stat().st_blocks * 512 < 1 << 20

    engine.volumes.create("again")
    data_of(engine, "again").joinpath("stays").write_text("until it is replaced")
    assert tuicon(engine, "volume", "import", "--replace", "again", str(root / "full.tar")).returncode == 0
    again = data_of(engine, "again")
    assert look(again) == look(data)
    assert os.getxattr(again / "d/file", "user.colour") == b"blue\0green"
    assert again.joinpath("sparse").stat().st_blocks * 512 < 1 << 20


def test_what_gnu_tar_has_packed_and_squeezed_is_added(engine: Engine, root: Path) -> None:
    root.joinpath("host").mkdir()
    fill(root / "host")
    packed = subprocess.run(["tar", "--xattrs", "-cSzf", "-", "-C", str(root / "host"), "."], check=True, capture_output=True)  # fmt: skip
    engine.volumes.create("target")
    data_of(engine, "target").joinpath("stays").write_text("here")
    data_of(engine, "target").joinpath("second").write_text("is replaced")
    with engine.volumes.open("target", "second") as before:
        engine.volumes.import_("target", io.BytesIO(packed.stdout))
        assert before.read() == b"is replaced", "who has it open keeps the old file"
    target = data_of(engine, "target")
    # GNU tar keeps whole seconds in this form
    shown = [line.split()[:5] for line in look(target, "stays")[1:]]
    assert shown == [line.split()[:5] for line in look(root / "host")[1:]]
    assert target.joinpath("stays").read_text() == "here"


@pytest.mark.parametrize(
    ("archive", "error", "text"),
    [
        (tar_of(entry("new"), entry("../out", content=b"x")), CopyFailed, "leads out"),
        (tar_of(entry("new"), entry("l", tarfile.SYMTYPE, link="/"), entry("l/etc/x")), CopyFailed, "cannot write l/etc"),
        (tar_of(entry("new", content=b"x" * 4000))[:2000], ImageError, "cut off"),
        (tar_of(entry("new", content=b"x" * 500))[:1024], ImageError, "cut off"),
        (b"", ImageError, "cut off"),
    ],
    ids=["dots", "through-a-link", "within-a-file", "between-files", "nothing"],
)  # fmt: skip
def test_an_archive_that_cannot_be_had_whole_changes_nothing(
    engine: Engine, archive: bytes, error: type[Exception], text: str
) -> None:
    data = filled(engine)
    before = look(data)
    for replaces in (False, True):
        with pytest.raises(error, match=text):
            engine.volumes.import_("full", io.BytesIO(archive), replaces=replaces)
    assert look(data) == before
    assert list(engine.root.joinpath("trash").iterdir()) == []


def test_files_that_are_in_use_are_not_replaced(engine: Engine) -> None:
    mount = (Mount("volume", "/data", "busy"),)
    container = engine.containers.run(
        ContainerSpec("tuicon/demo", name="culprit", command=("sleep", "1000"), mounts=mount, network="none")
    )
    data_of(engine, "busy").joinpath("file").write_text("old")
    engine.volumes.snapshot("busy", "one")
    new = tar_of(entry("file", content=b"new"))
    for attempt in (
        lambda: engine.volumes.import_("busy", io.BytesIO(new)),
        lambda: engine.volumes.restore("busy", "one"),
    ):
        with pytest.raises(Conflict, match="volume busy is used by the running container culprit"):
            attempt()
    done = tuicon(engine, "volume", "rm", "busy")
    assert (done.returncode, done.stderr) == (1, "tuicon: volume busy is used by container culprit\n")
    use = engine.volumes.uses("busy")[0]
    assert (use.container, use.target, use.read_only, use.is_running) == ("culprit", "/data", False, True)
    shown = json.loads(tuicon(engine, "volume", "inspect", "busy").stdout)[0]
    assert shown["UsedBy"] == [{"Container": "culprit", "Destination": "/data", "RW": True, "Running": True}]
    assert (shown["Snapshots"], shown["UsageData"]) == (["one"], {"Size": -1, "RefCount": 1})
    engine.containers.stop(container.id, timeout=0)
    engine.volumes.import_("busy", io.BytesIO(new))
    assert not engine.volumes.uses("busy")[0].is_running
    with engine.volumes.using("busy"), pytest.raises(Conflict, match="worked on by another command"):
        engine.volumes.restore("busy", "one")
    engine.containers.start(container.id)
    session = engine.containers.exec(container.id, _shell("cat /data/file; echo seen >/data/written"))
    assert session is not None
    with session:
        found = b""
        while part := session.read(60):
            found += part[1]
    assert found == b"new"
    with engine.volumes.open("busy", "/written") as file:
        assert file.read() == b"seen\n"


def _shell(script: str) -> ExecSpec:
    return ExecSpec(("sh", "-c", script))


def test_looking_stays_inside_and_waits_for_nobody(engine: Engine, root: Path) -> None:
    data = filled(engine)
    root.joinpath("secret").write_text("of the host")
    data.joinpath("up").symlink_to("../../../../../../../.." + str(root / "secret"))
    data.joinpath("etc").mkdir()
    data.joinpath("etc/passwd").write_text("of the volume")
    for path in ("/link", "../../link", "/d/../link"):
        with engine.volumes.open("full", path) as file:
            assert file.read() == b"of the volume"
    for path in ("/up", "/none", "/d/file/x"):
        with pytest.raises(NotFound):
            engine.volumes.open("full", path)
    for path in ("/pipe", "/null", "/d"):
        with pytest.raises(InvalidArgument, match="no regular file"):
            engine.volumes.open("full", path)
    names = [entry.path for entry in engine.volumes.files("full", "/d")]
    assert names == ["/d/sub", "/d/file"]
    kinds = {entry.path.strip("/"): entry.kind for entry in engine.volumes.files("full")}
    assert (kinds["pipe"], kinds["null"], kinds["link"], kinds["d"], kinds["second"]) == ("p", "c", "l", "d", "-")
    done = tuicon(engine, "volume", "files", "full", "/d")
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["drwxr-sr-x", "0:998", "-"],
        ["-rwsr-x--x", "12:34", "5B"],
    ]
    assert tuicon(engine, "volume", "cat", "full", "d/file").stdout == "text\n"


def test_files_are_copied_in_and_out_by_the_rules_of_cp(engine: Engine, root: Path) -> None:
    data = filled(engine)
    data.joinpath("out").symlink_to(root)
    root.joinpath("file").write_text("copied\n")
    assert tuicon(engine, "volume", "cp", str(root / "file"), "full:/d").returncode == 0
    assert data.joinpath("d/file").read_text() == "copied\n"
    assert tuicon(engine, "volume", "cp", str(root / "file"), f"full:/out{root}/x").returncode == 1
    assert not root.joinpath("x").exists()
    assert tuicon(engine, "volume", "cp", "full:/d", str(root / "host")).returncode == 0
    assert root.joinpath("host/file").read_text() == "copied\n"
    assert tuicon(engine, "volume", "cp", "full:/d", "full:/e").returncode == 1


def test_sizes_are_those_of_du(engine: Engine) -> None:
    data = filled(engine)
    data.joinpath("d/large").write_bytes(os.urandom(3_000_001))
    os.link(data / "d/large", data / "same")
    for number in range(200):
        data.joinpath("d", f"small{number}").write_text("x")
    du = subprocess.run(["du", "-sB1", str(data)], check=True, capture_output=True, text=True)
    measured = engine.volumes.measure("full")
    assert (measured.size, measured.is_whole) == (int(du.stdout.split()[0]), True)
    assert measured.files == sum(1 for _ in data.rglob("*")) + 1
    assert {line.kind: line.size for line in engine.system.disk_usage()}["Local Volumes"] == measured.size


VOLUMES = {
    "plain": (),
    "kept": ("--label", "keep=yes"),
    "both": ("--label", "keep=no", "--label", "team=a"),
    "used": (),
}
QUESTIONS = [
    ("dangling=true",), ("dangling=false",), ("label=keep",), ("label=keep=yes",), ("label=keep", "label=team=a"),
    ("name=t",), ("name=plain", "name=kept"), ("driver=local",), ("dangling=true", "name=p"),
]  # fmt: skip


def test_lists_and_prunes_choose_as_docker_does(engine: Engine, docker: Docker) -> None:
    def ours(*words: str) -> list[str]:
        done = tuicon(engine, *words)
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.split())

    def theirs(*words: str) -> list[str]:
        done = docker(*words)
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.decode().split())

    theirs("rm", "-f", "-v", *left) if (left := theirs("ps", "-a", "-q")) else None  # by other tests
    theirs("volume", "prune", "-f")
    for name, flags in VOLUMES.items():
        for ask in (ours, theirs):
            assert ask("volume", "create", *flags, name) == [name]
    for ask, image in ((ours, "tuicon/demo"), (theirs, "demo:1")):
        ask("create", "--name", "user", "--network", "none", "-v", "used:/data", image, "true")
        ask("volume", "create")
    for question in QUESTIONS:
        filters = [word for one in question for word in ("--filter", one)]
        found, wanted = ours("volume", "ls", "-q", *filters), theirs("volume", "ls", "-q", *filters)
        assert [name for name in found if len(name) < 64] == [name for name in wanted if len(name) < 64], question
        assert len(found) == len(wanted), question
    ours("volume", "prune", "-f")
    assert ours("volume", "ls", "-q") == sorted(VOLUMES), (
        "without --all the anonymous ones, as docker has it since 23.0"
    )
    for flags in (("--filter", "label=keep=yes"), ("--filter", "label!=team=a"), ()):
        ours("volume", "prune", "-f", "--all", *flags)
        theirs("volume", "prune", "-f", *flags)  # of a version that takes them all
        named = [name for name in theirs("volume", "ls", "-q") if len(name) < 64]
        assert ours("volume", "ls", "-q") == named, flags
    theirs("rm", "user")
    theirs("volume", "rm", "used")


def test_a_prune_takes_what_it_showed_and_nothing_that_is_used_by_then(engine: Engine) -> None:
    first, second = (engine.volumes.create() for _ in range(2))
    data_of(engine, first.name).joinpath("file").write_bytes(b"x" * 100_000)
    plan = engine.volumes.plan_prune()
    assert {volume.name for volume in plan.volumes} == {first.name, second.name}
    assert plan.size >= 100_000
    engine.containers.create(
        ContainerSpec("tuicon/demo", command=("true",), mounts=(Mount("volume", "/data", second.name),), network="none")
    )
    assert engine.volumes.prune(plan) == (first.name,)


def test_snapshots_and_clones_are_the_files_of_their_moment(engine: Engine, root: Path) -> None:
    """On a file system that can share nothing they are copies; tests/kernel/only_btrfs.py has the others."""
    data = filled(engine)
    before = look(data)
    engine.volumes.snapshot("full", "one")
    data.joinpath("second").unlink()
    data.joinpath("d/file").write_text("changed")
    copy = engine.volumes.clone("full", "later")
    assert copy.how in ("copy", "reflink", "snapshot")
    assert look(data_of(engine, "later")) == look(data)
    assert data_of(engine, "later").joinpath("sparse").stat().st_blocks * 512 < 1 << 20
    engine.volumes.clone("full", "earlier", from_snapshot="one")
    assert look(data_of(engine, "earlier")) == before
    assert os.getxattr(data_of(engine, "earlier") / "second", "user.colour") == b"blue\0green"
    for name, taken in (("later", "volume later"), ("full", "volume full")):
        with pytest.raises(Conflict, match=taken):
            engine.volumes.clone("full", name)
    with pytest.raises(Conflict, match="snapshot one already"):
        engine.volumes.snapshot("full", "one")
    engine.volumes.restore("full", "one")
    assert look(data_of(engine, "full")) == before
    assert [snapshot.name for snapshot in engine.volumes.snapshots("full")] == ["one"]
    assert tuicon(engine, "volume", "snapshot", "rm", "full", "one").stdout == "one\n"
    with pytest.raises(NotFound, match="no such snapshot: full@one"):
        engine.volumes.restore("full", "one")
    assert list(engine.root.joinpath("trash").iterdir()) == []


OLD, NEW = ["kept", "old"], ["kept", "new"]
CHANGES: dict[str, Callable[[Engine], object]] = {
    "import": lambda engine: engine.volumes.import_("vol", io.BytesIO(tar_of(entry("new"), entry("kept"))), replaces=True),
    "snapshot": lambda engine: engine.volumes.snapshot("vol", "fresh"),
    "restore": lambda engine: engine.volumes.restore("vol", "other"),
    "clone": lambda engine: engine.volumes.clone("vol", "clone"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_who_is_killed_at_any_step_leaves_the_old_files_or_the_new_ones(site: Site, name: str) -> None:
    def prepare(engine: Engine) -> None:
        engine.volumes.create("vol")
        for file in NEW:
            data_of(engine, "vol").joinpath(file).touch()
        engine.volumes.snapshot("vol", "other")
        data_of(engine, "vol").joinpath("new").rename(data_of(engine, "vol") / "old")

    def attempt(number: int) -> None:
        prepare(site.engine)
        operate(site, CHANGES[name], number)
        found = sorted(os.listdir(data_of(site.engine, "vol")))
        assert found in ((OLD,) if name in ("snapshot", "clone") else (OLD, NEW))
        if name == "clone" and len(site.engine.volumes.list()) == 2:
            assert sorted(os.listdir(data_of(site.engine, "clone"))) == OLD
        for snapshot in site.engine.volumes.snapshots("vol"):
            kept = engine_files(site.engine, snapshot.name)
            assert kept == (NEW if snapshot.name == "other" else OLD)

    walk(name, attempt, site)


def engine_files(engine: Engine, snapshot: str) -> list[str]:
    return sorted(os.listdir(engine.root / "volumes/vol/snapshots" / snapshot / "data"))
