"""Images of what containers changed: the same tree comes out again, by us and by others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import Conflict, EngineError, InvalidArgument
from engine.linux.files import FileLock
from engine.model.container import Mount
from engine.model.status import Status
from tests.attacks.world import executed
from tests.kernel.conftest import Docker
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_copy import archive_of, listing, run
from tests.kernel.test_diff import SCRIPT, lines
from tests.kernel.test_lifecycle import spec, until

SETTINGS = (
    'CMD ["cat", "/etc/passwd"]', "ENV A=1 B=$A", "EXPOSE 80 53/udp", "LABEL x=y", "USER 5:6", "WORKDIR rel",
    "VOLUME /data", "HEALTHCHECK --interval=5s CMD true", "ONBUILD RUN x", "ENTRYPOINT []",
)  # fmt: skip

COMPARED = ("Cmd", "Entrypoint", "ExposedPorts", "Labels", "User", "WorkingDir", "Volumes", "OnBuild", "Healthcheck")
OF_ENGINES = re.compile(
    r"\.$|\./(\.dockerenv|dev|proc|sys|etc/hosts|etc/hostname|etc/resolv\.conf|etc/mtab|rel|data|vol/unseen)($|/)"
)
"""What engines add to a root file system, and what the test's settings do."""


def test_a_container_of_the_image_has_the_same_files(engine: Engine) -> None:
    container = run(engine, SCRIPT, mounts=(Mount("volume", "/vol", "kept"),))
    before = listing(archive_of(engine, container, "/"))
    image = engine.containers.commit(container, "made:1")
    assert image.references == ("docker.io/library/made:1",)
    assert len(image.layers) == 2
    again = engine.containers.create(spec("true", image="made:1"))
    found = listing(archive_of(engine, again.id, "/"))
    assert [item for item in found if not OF_ENGINES.match(str(item[0]))] == [
        item for item in before if not OF_ENGINES.match(str(item[0]))
    ]
    assert lines(engine, again.id) == []


def test_equal_changes_give_equal_layers(engine: Engine) -> None:
    script = "mkdir /made; echo text >/made/file; touch -d @1000000000 /made/file /made; rm /bin/cat; touch -d @1000000000 /bin"
    first, second = (engine.containers.commit(run(engine, script)) for _ in range(2))
    assert first.diff_ids == second.diff_ids
    assert engine.containers.commit(run(engine)).layers == engine.images.get("tuicon/demo").layers


def test_others_unpack_the_same_files(engine: Engine, docker: Docker, root: Path) -> None:
    """docker loads it, and says of the config what it makes of the same changes itself."""
    container = run(engine, SCRIPT, env=("GIVEN=yes",), mounts=(Mount("volume", "/vol", "kept"),))
    expected = listing(archive_of(engine, container, "/"))
    made = engine.containers.commit(container, "made:1", author="me", message="why", changes=SETTINGS)
    engine.images.save(("made:1", "tuicon/demo"), root / "made.tar")
    assert docker("load", "-i", str(root / "made.tar")).returncode == 0
    docker("create", "--name", "theirs", "made:1")
    theirs = below_a_dot(listing(docker("export", "theirs").stdout))
    assert [item for item in theirs if not OF_ENGINES.match(str(item[0]))] == [
        item for item in expected if not OF_ENGINES.match(str(item[0]))
    ]
    docker("create", "--name", "same", "--env", "GIVEN=yes", "tuicon/demo", "sleep", "1000")
    changes = [word for change in SETTINGS for word in ("--change", change)]
    assert docker("commit", "--author", "me", "--message", "why", *changes, "same", "same:1").returncode == 0
    ours, same = (json.loads(docker("image", "inspect", name).stdout)[0] for name in ("made:1", "same:1"))
    for name in COMPARED:
        assert (ours["Config"].get(name) or None) == (same["Config"].get(name) or None), name
    assert {"GIVEN=yes", "A=1"} <= set(ours["Config"]["Env"])
    assert (ours["Author"], made.id) == ("me", ours["Id"])
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1").stdout.decode()
    assert history.splitlines()[0] == "sleep 1000|why"
    docker("rm", "-v", "theirs", "same")


def below_a_dot(items: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return a listing as if it began at "."; the links to files of it too."""
    found = []
    for name, kind, *middle, link, size, time in items:
        found.append((f"./{name}", kind, *middle, f"./{link}" if kind == tarfile.LNKTYPE else link, size, time))
    return sorted(found)


def test_the_layer_has_attributes_links_and_no_trace_of_overlayfs(engine: Engine, root: Path) -> None:
    container = run(engine, "cp /bin/busybox /bin/tool; ln /bin/tool /bin/other; mkdir /d; chown 70000:3000000 /d")
    tool = next(engine.root.glob(f"containers/{container}/upper/bin/tool"))
    os.setxattr(tool, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.setxattr(tool, "user.note", b"\xff\0kept")
    image = engine.containers.commit(container, "made:1")
    directory = engine.images.lower_directories(image)[0]
    assert os.getxattr(directory / "bin/other", "user.note") == b"\xff\0kept"
    assert os.getxattr(directory / "bin/tool", "security.capability") == os.getxattr(tool, "security.capability")
    assert (directory / "bin/tool").stat().st_ino == (directory / "bin/other").stat().st_ino
    assert ((directory / "d").stat().st_uid, (directory / "d").stat().st_gid) == (70000, 3000000)
    layer = next(entry for entry in engine.root.glob("layers/*/layer.json") if entry.parent.name == image.layers[1][7:])
    blob = engine.root / "blobs/sha256" / json.loads(layer.read_text())["blob"][7:]
    with tarfile.open(blob) as archive:
        assert [member.name for member in archive] == ["bin", "bin/other", "bin/tool", "d"]
    assert b"trusted.overlay" not in subprocess.run(["gzip", "-dc", blob], check=True, capture_output=True).stdout


@pytest.mark.parametrize("userns", ["", "auto"])
def test_owners_are_those_inside(engine: Engine, userns: str) -> None:
    container = run(engine, "mkdir /mine /theirs; chown 5:6 /theirs", userns=userns)
    image = engine.containers.commit(container)
    directory = engine.images.lower_directories(image)[0]
    assert [(directory / name).stat().st_uid for name in ("mine", "theirs")] == [0, 5]


def test_the_container_stands_still_meanwhile_and_goes_on_afterwards(engine: Engine) -> None:
    container = run(engine)
    images = engine.root / "locks" / "images"
    with FileLock(images):  # the commit waits for it, with the container held
        argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "commit", container, "made:1"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[2])
        until(lambda: engine.containers.get(container).status is Status.PAUSED)
        process.kill()
        process.wait()
        until(lambda: engine.containers.get(container).status is Status.RUNNING)
    engine.containers.commit(container, "made:2")
    assert engine.containers.get(container).status is Status.RUNNING
    engine.containers.pause(container)
    engine.containers.commit(container, "made:3")
    assert engine.containers.get(container).status is Status.PAUSED


def test_what_cannot_be_committed_leaves_no_image(engine: Engine) -> None:
    container = run(engine, "touch /.wh.secret")
    before = [image.id for image in engine.images.list()]
    with pytest.raises(Conflict, match=r"\.wh\.secret"):
        engine.containers.commit(container)
    for wrong in ({"changes": ("RUN x",)}, {"reference": "Bad Name"}, {"reference": f"x@sha256:{'0' * 64}"}):
        with pytest.raises(InvalidArgument):
            engine.containers.commit(container, **wrong)
    with pytest.raises(EngineError):
        engine.containers.commit("nobody")
    assert [image.id for image in engine.images.list()] == before
    assert engine.images.unreferenced() == ((), ())
    assert executed(engine, container, "ls", "-A", "/.wh.secret")[0] == 0


def test_the_command_line_commits_and_runs_it(engine: Engine) -> None:
    container = run(engine, "echo hello >/hello")
    done = tuicon(
        engine, "commit", "-a", "me", "-m", "why", "-c", 'CMD ["cat", "/hello"]', "--pause=false", container, "made:1"
    )
    assert done.stdout.strip() == engine.images.get("made:1").id
    assert tuicon(engine, "run", "--rm", "made:1").stdout == "hello\n"
    assert "why" in tuicon(engine, "history", "made:1").stdout
    failed = tuicon(engine, "commit", "-c", "RUN x", container)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
