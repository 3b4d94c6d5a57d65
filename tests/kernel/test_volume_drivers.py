"""Volumes, their drivers, and docker's words for mounts: what containers find at their mount points."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine, parse_mount
from engine.errors import Conflict, EngineError, InvalidArgument, NotFound, StartFailed
from engine.images import demo
from engine.model.container import Container, Mount
from tests.attacks.world import entry as entry_of
from tests.attacks.world import executed as executed_with_code
from tests.attacks.world import tar_of
from tests.conftest import IS_PURE_V2
from tests.kernel.conftest import Docker
from tests.kernel.test_copy import archive_of, listing
from tests.kernel.test_images import docker_archive
from tests.kernel.test_lifecycle import finish, spec, until
from tests.unit.test_mount_words import FLAGS

DIRECTORY, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE


def text_in(engine: Engine, script: str, *mounts: Mount, **more: object) -> str:
    """Return what a shell in a new container says; it must end well."""
    code, text = finish(engine, spec("sh", "-c", script, mounts=mounts, **more))
    assert code == 0, text
    return text


def sleeper(engine: Engine, *mounts: Mount, **more: object) -> Container:
    return engine.containers.run(spec("sleep", "1000", mounts=mounts, **more))


def executed(engine: Engine, container: str, *command: str) -> str:
    """Return what a command in a container says; it must end well."""
    code, text = executed_with_code(engine, container, *command)
    assert code == 0, text
    return text


def loops_of(path: Path) -> list[str]:
    """Return the loop devices of a file; its path is seen from the mount that it was opened on."""
    found = Path("/sys/block").glob("loop*/loop/backing_file")
    return [str(item) for item in found if item.exists() and f"{path.parent.name}/{path.name}" in item.read_text()]


@pytest.fixture
def disk(root: Path) -> Iterator[Path]:
    """A file with an ext4; its loop devices must go when the engine's fixture, which comes later, has gone."""
    if not Path("/dev/loop-control").exists():
        subprocess.run(["modprobe", "loop"], check=True)
    path = root / "disk"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", path], check=True)
    yield path
    until(lambda: not loops_of(path))


def test_docker_accepts_and_refuses_the_same_words(docker: Docker, root: Path) -> None:
    """Asks a real client and daemon; what needs a newer daemon is not in the tables."""
    assert docker("import", "-", "words:1", input=tar_of(entry_of("dir", DIRECTORY))).returncode == 0
    asked = [(flag, text) for flag, (table, _) in FLAGS.items() for text in table]
    with ThreadPoolExecutor(8) as pool:
        said = pool.map(lambda words: docker("create", *words, "words:1", "true", cwd=root), asked)
        for (flag, text), done in zip(asked, said, strict=True):
            assert (done.returncode == 0) == FLAGS[flag][0][text], (flag, text, done.stderr)


LAYERS = (
    [entry_of("srv/data", DIRECTORY), entry_of("srv/data/deleted-with-its-parent"), entry_of("opt/data", DIRECTORY, mode=0o770, uid=5),
        entry_of("opt/data/kept"), entry_of("opt/data/deleted"), entry_of("var/real", DIRECTORY), entry_of("var/real/behind-a-link"),
        entry_of("etc2", DIRECTORY), entry_of("etc2/hidden")],
    [entry_of(".wh.srv"), entry_of("opt/data", DIRECTORY, mode=0o770, uid=5), entry_of("opt/data/.wh.deleted"), entry_of("opt/data/set-uid", mode=0o4755, uid=7), entry_of("var/link", LINK, link="real"),
        entry_of("etc2", DIRECTORY, mode=0o711), entry_of("etc2/.wh..wh..opq"), entry_of("etc2/shown")],
    [entry_of("srv/data", DIRECTORY, mode=0o700)],
)  # fmt: skip
LOOK = "cd /m && stat -c '%n %a %u' . $(ls -A)"


def test_an_empty_volume_starts_with_what_the_image_shows_there(engine: Engine, docker: Docker) -> None:
    layers = [demo.root_archive().getvalue(), *(tar_of(*entries) for entries in LAYERS)]
    image = docker_archive(*layers, tag="layered:1")
    engine.images.load(io.BytesIO(image))
    assert docker("load", input=image).returncode == 0
    cases = {
        "/srv/data": "",
        "/opt/data": "kept set-uid",
        "/var/link": "behind-a-link",
        "/etc2": "shown",
        "/nothing": "",
    }
    for number, (target, shown) in enumerate(cases.items()):
        volume = f"up{number}"
        finish(engine, spec("true", image="layered:1", mounts=(Mount("volume", target, volume),)))
        ours = text_in(engine, LOOK, Mount("volume", "/m", volume))
        run = ("run", "--rm", "--network", "none", "-v")
        assert docker(*run, f"{volume}:{target}", "layered:1", "true").returncode == 0
        assert ours == docker(*run, f"{volume}:/m", "layered:1", "sh", "-c", LOOK).stdout.decode(), target
        assert [line.split()[0] for line in ours.splitlines()[1:]] == shown.split()
    text_in(engine, "true", Mount("volume", "/opt/data", "none", no_copy=True), image="layered:1")
    assert text_in(engine, "ls /m", Mount("volume", "/m", "none")) == ""
    text_in(engine, "rm -r /m/*; touch /m/mine", Mount("volume", "/m", "up1"))
    assert text_in(engine, "ls /opt/data", Mount("volume", "/opt/data", "up1"), image="layered:1") == "mine\n"
    engine.volumes.create("memory", driver="tmpfs")
    assert text_in(engine, "ls /opt/data; stat -c '%a %u' /opt/data", Mount("volume", "/opt/data", "memory"),
        image="layered:1") == "kept\nset-uid\n770 5\n"  # fmt: skip


def test_another_containers_mounts_are_had_too(engine: Engine, root: Path) -> None:
    bound = root / "bound"
    bound.mkdir()
    mounts = (Mount("volume", "/named", "kept"), Mount("volume", "/own"), Mount("bind", "/bound", str(bound)),
        Mount("volume", "/read", "kept", read_only=True))  # fmt: skip
    donor = sleeper(engine, *mounts, name="donor", auto_remove=True)
    script = "touch /named/a /own/b /bound/c; touch /read/d 2>/dev/null; ls /named /own /bound /read"
    assert text_in(engine, script, volumes_from=("donor",)).split() == [
        "/bound:", "c", "/named:", "a", "/own:", "b", "/read:", "a",
    ]  # fmt: skip
    assert text_in(engine, "touch /named/x 2>/dev/null || ls /own", volumes_from=("donor:ro",)) == "b\n"
    mine = Mount("tmpfs", "/own")
    assert text_in(engine, "ls /own", mine, volumes_from=("donor",)) == ""
    heir = engine.containers.create(spec("ls", "/own", volumes_from=("donor",)))
    with pytest.raises(Conflict):
        engine.volumes.remove("kept")
    engine.containers.stop(donor.id, timeout=0)
    until(lambda: donor.id not in [container.id for container in engine.containers.list()])
    engine.containers.start(heir.id)
    assert engine.containers.wait(heir.id, timeout=60) == 0
    assert text_in(engine, "ls /own", volumes_from=(heir.id,)) == "b\n"
    for container in engine.containers.list():
        engine.containers.remove(container.id, force=True, volumes=True)
    assert [volume.name for volume in engine.volumes.list()] == ["kept"]
    with pytest.raises(NotFound):
        engine.containers.create(spec("true", volumes_from=("nobody",)))


def test_a_subpath_stays_inside_its_volume(engine: Engine, root: Path) -> None:
    """CVE-2017-1002101 and CVE-2021-25741: a link in a volume, or one that comes while it is opened, leads nowhere else."""
    secret = root / "secret"
    secret.mkdir()
    secret.joinpath("file").write_text("the host's")
    text_in(engine, f"mkdir -p /v/a/b && echo inside >/v/a/b/file && ln -s {secret} /v/out && ln -s ../../../../../../../../../{secret} /v/up && ln -s /a /v/in",
        Mount("volume", "/v", "linked"))  # fmt: skip
    for driver in ("local", "tmpfs"):
        volume = "linked" if driver == "local" else "memory"
        engine.volumes.create(volume, driver=driver)
        holder = sleeper(engine, Mount("volume", "/v", volume))
        if driver == "tmpfs":
            executed(
                engine,
                holder.id,
                "sh",
                "-c",
                f"mkdir -p /v/a/b; echo inside >/v/a/b/file; ln -s {secret} /v/out; ln -s /../..{secret} /v/up; ln -s /a /v/in",
            )
        for path, target in (("a/b", "/m/file"), ("in/b", "/m/file"), ("a/b/file", "/m")):
            assert text_in(engine, f"cat {target}", Mount("volume", "/m", volume, subpath=path)) == "inside\n"
        for path in ("out", "up", "missing", "out/file"):
            with pytest.raises(StartFailed, match=f"{path} of the volume {volume}"):
                engine.containers.run(spec("true", mounts=(Mount("volume", "/m", volume, subpath=path),)))
        executed(
            engine,
            holder.id,
            "sh",
            "-c",
            f"(while :; do ln -sfn {secret} /v/race; ln -sfn /a/b /v/race; done) >/dev/null 2>&1 &",
        )
        for _ in range(5):
            try:
                found = finish(engine, spec("cat", "/m/file", mounts=(Mount("volume", "/m", volume, subpath="race"),)))[
                    1
                ]
            except StartFailed:
                found = ""
            assert "host" not in found


def test_a_file_system_of_a_driver_is_one_for_all_and_goes_with_the_last(disk: Path, engine: Engine) -> None:
    engine.volumes.create("memory", driver="tmpfs", options={"size": "1m", "mode": "750", "uid": "7"})
    engine.volumes.create("docker", options={"type": "tmpfs", "device": "tmpfs", "o": "size=2m,uid=8"})
    engine.volumes.create("disk", options={"type": "ext4", "device": str(disk), "o": "noatime"})
    names = ("memory", "docker", "disk")
    mounts = tuple(Mount("volume", f"/{name}", name) for name in names)
    before = Path("/proc/self/mountinfo").read_text()
    first = sleeper(engine, *mounts)
    script = "df -k /memory /docker | awk '{print $2}' | tail -2; stat -c '%a %u' /memory /docker; grep -c 'disk ext4 .*noatime' /proc/mounts"
    assert executed(engine, first.id, "sh", "-c", script).split() == ["1024", "2048", "750", "7", "1777", "8", "1"]
    assert len(loops_of(disk)) == 1
    executed(engine, first.id, "sh", "-c", "for name in memory docker disk; do echo first >/$name/file; done")
    second = sleeper(engine, *(replace(mount, read_only=True) for mount in mounts))
    for name in names:
        assert executed(engine, second.id, "cat", f"/{name}/file") == "first\n"
        assert "Read-only" in executed(engine, second.id, "sh", "-c", f"touch /{name}/x 2>&1 || true")
    assert len(loops_of(disk)) == 1
    assert Path("/proc/self/mountinfo").read_text() == before
    state = engine._registry.state(first.id)
    assert state is not None
    os.kill(state.monitor_pid, signal.SIGKILL)  # the second one's still has it
    os.kill(state.pid, signal.SIGKILL)
    assert text_in(engine, "cat /disk/file /memory/file", *mounts) == "first\nfirst\n"
    engine.containers.stop(second.id, timeout=0)
    until(lambda: not loops_of(disk))
    assert text_in(engine, "cat /disk/file; ls /memory", *mounts) == "first\n"
    with pytest.raises(Conflict):
        engine.volumes.remove("disk")
    assert engine.volumes.inspect("disk")["Options"] == {"type": "ext4", "device": str(disk), "o": "noatime"}


def test_whoever_is_killed_leaves_no_loop_device(disk: Path, engine: Engine) -> None:
    engine.volumes.create("disk", options={"type": "ext4", "device": str(disk)})
    for victims in (("monitor_pid", "pid"), ("pid", "monitor_pid")):
        container = sleeper(engine, Mount("volume", "/d", "disk"), auto_remove=False)
        state = engine._registry.state(container.id)
        assert state is not None
        assert loops_of(disk)
        for victim in victims:
            os.kill(getattr(state, victim), signal.SIGKILL)
        until(lambda: not loops_of(disk))


def test_files_of_a_driver_are_copied_whether_the_container_runs_or_not(disk: Path, engine: Engine, root: Path) -> None:
    engine.volumes.create("disk", options={"type": "ext4", "device": str(disk)})
    root.joinpath("file").write_text("copied")
    container = engine.containers.create(
        spec("sleep", "1000", mounts=(Mount("volume", "/d", "disk"), Mount("volume", "/d/sub", "plain")))
    )
    engine.containers.copy_in(container.id, str(root / "file"), "/d/stopped")
    until(lambda: not loops_of(disk))
    engine.containers.start(container.id)
    engine.containers.copy_in(container.id, str(root / "file"), "/d/running")
    assert executed(engine, container.id, "cat", "/d/stopped", "/d/running") == "copiedcopied"
    engine.containers.stop(container.id, timeout=0)
    assert {name for name, *_ in listing(archive_of(engine, container.id, "/d"))} >= {"d/stopped", "d/running", "d/sub"}
    assert not [change for change in engine.containers.diff(container.id) if change.path.startswith("/d/")]


def test_images_and_binds_are_mounted_as_the_words_say(engine: Engine, root: Path) -> None:
    image = parse_mount("type=image,src=tuicon/demo,dst=/m,image-subpath=etc")
    assert "group\n" in text_in(engine, "touch /m/x 2>/dev/null || ls /m", image)
    container = engine.containers.create(spec("true", mounts=(replace(image, subpath=""),)))
    assert engine.containers.inspect(container.id)["Mounts"][0]["Type"] == "image"
    with pytest.raises(StartFailed, match="nothing of the image"):
        engine.containers.run(spec("true", mounts=(replace(image, subpath="nothing"),)))
    with pytest.raises(NotFound):
        engine.containers.create(spec("true", mounts=(parse_mount("type=image,src=no-such,dst=/m"),)))
    probe = f"tuicon-{root.name}"
    try:
        for words, expected in {"": "touched pts", ",bind-nonrecursive": "touched", ",ro": "pts", ",ro,bind-recursive=writable": "touched pts",
                ",ro,bind-recursive=disabled": ""}.items():  # fmt: skip
            script = f"touch /d/shm/{probe} 2>/dev/null && echo touched; [ -e /d/pts/ptmx ] && echo pts; rm -f /d/shm/{probe} 2>/dev/null; true"
            found = text_in(engine, script, parse_mount(f"type=bind,src=/dev,dst=/d{words}"))
            assert found.split() == expected.split(), words
    finally:
        Path("/dev/shm", probe).unlink(missing_ok=True)
    data = root / "data"
    data.mkdir()
    engine.volumes.create("bound", options={"type": "none", "device": str(data), "o": "bind,ro"})
    assert "Read-only" in text_in(engine, "touch /m/x 2>&1 || true", Mount("volume", "/m", "bound"))


@pytest.mark.parametrize("more", [{"runtime": "crun" if IS_PURE_V2 else "runc"}, {"userns": "auto"}])
def test_other_runtimes_and_user_namespaces_have_volumes_too(disk: Path, engine: Engine, more: dict[str, str]) -> None:
    engine.volumes.create("disk", options={"type": "ext4", "device": str(disk)})
    text_in(engine, "mkdir /v/sub; echo x >/v/sub/file; chown 0:5 /v/sub/file", Mount("volume", "/v", "plain"))
    mounts = (Mount("volume", "/d", "disk"), Mount("volume", "/p", "plain", subpath="sub"), Mount("volume", "/f", "plain", True, subpath="sub/file"),
        parse_mount("type=image,src=tuicon/demo,dst=/m,image-subpath=etc"))  # fmt: skip
    script = "touch /d/made /p/made && cat /f && ls /m && stat -c %u:%g /d/made /p/file && ! touch /f 2>/dev/null"
    found = text_in(engine, script, *mounts, **more)
    assert found.split()[0] == "x"
    assert found.split()[-2:] == ["0:0", "0:5"]
    until(lambda: not loops_of(disk))
    assert text_in(engine, "stat -c %u /d/made", mounts[0]) == "0\n"


def test_wrong_volumes_are_named_and_leave_nothing(engine: Engine, root: Path) -> None:
    for name, options, said in (
        ("gone", {"type": "ext4", "device": str(root / "gone")}, "gone.*No such file"),
        ("kind", {"type": "nosuchfs", "device": "x"}, "volume kind: .*no file system .*nosuchfs"),
        ("word", {"type": "tmpfs", "device": "tmpfs", "o": "bogus=1"}, "volume word: .*Invalid argument"),
        ("bound", {"type": "none", "device": str(root / "nothing"), "o": "bind"}, "nothing"),
    ):
        engine.volumes.create(name, options=options)
        with pytest.raises(EngineError, match=said) as caught:
            engine.containers.run(spec("true", mounts=(Mount("volume", "/d", name),)))
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InvalidArgument, match="foo"):
        engine.containers.create(spec("true", mounts=(Mount("volume", "/d", "new", driver_options={"foo": "x"}),)))
    assert "new" not in [volume.name for volume in engine.volumes.list()]
    with pytest.raises(InvalidArgument, match="plugin"):
        engine.volumes.create("new", driver="plugin")
    engine.volumes.create("memory", driver="tmpfs")
    with pytest.raises(Conflict, match="tmpfs"):
        engine.volumes.create("memory", driver="local")
    assert engine.volumes.create("memory").driver == "tmpfs"
    made = engine.containers.create(
        spec(
            "true",
            mounts=(
                parse_mount("type=volume,src=made,dst=/d,volume-driver=tmpfs,volume-opt=size=1m,volume-label=a=b"),
            ),
        )
    )
    volume = engine.volumes.get("made")
    assert (volume.driver, volume.options, volume.labels) == ("tmpfs", {"size": "1m"}, {"a": "b"})
    engine.containers.remove(made.id)
