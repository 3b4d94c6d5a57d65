"""What tuicon-oci refuses, and that nothing is left of it: bad input, roots full of links, a create that is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.kernel.oci import COMMAND, Runtime


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25])
def test_what_a_killed_create_leaves_is_deleted_by_force(runtime: Runtime, delay: float) -> None:
    runtime.write()
    with runtime.bundle.joinpath("output").open("wb") as output:
        words = [COMMAND, "--root", str(runtime.root), "create", "one"]
        process = subprocess.Popen(words, cwd=runtime.bundle, stdout=output, stderr=output)
        time.sleep(delay)
        process.kill()
        process.wait()
    group = runtime.group("one") if runtime.root.joinpath("one/state.json").exists() else None
    runtime.call("delete", "--force", "one")
    assert not runtime.root.joinpath("one").exists()
    if group:
        assert not any(os.path.exists(path) for path in group.paths.values())


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("ociVersion", None, "ociVersion is missing"),
        ("ociVersion", "2.0.0", "ociVersion 2.0.0 is not supported"),
        ("root.path", "elsewhere", "elsewhere is not a directory"),
        ("root.path", 7, "root.path must be a text"),
        ("process.args", [], "process.args is missing"),
        ("process.cwd", "tmp", "process.cwd must be an absolute path"),
        ("process.env", ["A"], "process.env[0] must have the form NAME=VALUE"),
        ("process.user.uid", -1, "process.user.uid is -1"),
        ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 3}], "above its hard limit"),
        ("process.rlimits", [{"type": "RLIMIT_TEETH", "soft": 1, "hard": 1}], "process.rlimits[0].type"),
        ("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 5000}, "process.scheduler.deadline is missing"),
        ("linux.namespaces", [{"type": "pid"}], "a mount namespace is needed"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], "linux.namespaces[1]: mount is given twice"),
        ("linux.namespaces", [{"type": "mount"}, {"type": "net"}], "linux.namespaces[1].type is 'net'"),
        ("linux.sysctl", {"kernel.panic": "1"}, "kernel.panic is no setting of a namespace"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_MAYBE"}, "linux.seccomp.defaultAction"),
        ("linux.memoryPolicy", {"mode": "MPOL_ANY"}, "linux.memoryPolicy.mode"),
        ("linux.resources.pids", {"limit": "few"}, "linux.resources.pids.limit must be a number"),
        ("linux.resources.memory", {"limit": 1 << 70}, "linux.resources.memory.limit"),
        ("linux.resources.cpu", {"cpus": "4000-4001"}, "cpu"),
        ("linux.cgroupsPath", "/a/../../b", "not a cgroup path"),
        ("linux.intelRdt", {"closID": "x"}, "linux.intelRdt is not supported"),
        ("mounts", [{"destination": "/proc", "type": "proc"}, {"destination": "/x", "type": "nofs"}], "/x"),
        ("mounts", [{"destination": "/x", "source": "/nowhere/at/all", "options": ["bind"]}], "/x"),
        ("hooks.poststop", [{"path": "relative"}], "hooks.poststop[0].path must be an absolute path"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_sentence_and_leaves_nothing(
    runtime: Runtime, path: str, value: object, words: str
) -> None:
    *parents, last = path.split(".")
    place = runtime.config
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    said = runtime.run(code=1)
    assert words in said
    assert said.count("\n") == 1
    assert runtime.left() == []


def test_a_config_that_is_no_json_is_refused(runtime: Runtime) -> None:
    for text in ("", "{", "[]", '"text"', "[" * 100_000, '{"ociVersion": "1.0.0"}'):
        runtime.bundle.joinpath("config.json").write_text(text)
        said = runtime.call("run", "one", code=1)
        assert said.count("\n") == 1
    assert "no option --nothing of run" in runtime.call("run", "--nothing", "one", code=1)
    assert "container ID '../one'" in runtime.call("run", "../one", code=1)


def test_links_in_a_root_lead_nowhere_else(runtime: Runtime, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    runtime.rootfs.joinpath("escape").symlink_to(f"/../../../../../../..{outside}")
    runtime.rootfs.joinpath("loop").symlink_to("loop")
    inside = runtime.rootfs / str(outside).lstrip("/")
    inside.mkdir(parents=True)
    runtime.config["mounts"].append({"destination": "/escape/dir", "type": "tmpfs", "source": "tmpfs"})
    runtime.config["root"]["readonly"] = False
    runtime.run("sh", "-c", "echo > /escape/dir/file && echo > /escape/file")
    assert [entry.name for entry in sorted(inside.iterdir())] == ["dir", "file"]
    assert list(outside.iterdir()) == []
    runtime.config["mounts"].append({"destination": "/loop/x", "type": "tmpfs", "source": "tmpfs"})
    assert "/loop/x" in runtime.run("true", code=1)
    shutil.rmtree(runtime.rootfs / "proc")
    runtime.rootfs.joinpath("proc").symlink_to("tmp")
    del runtime.config["mounts"][-1]
    assert "/proc" in runtime.run("true", code=1)  # CVE-2019-19921


def test_every_mount_option_of_runc_is_known(runtime: Runtime) -> None:
    ours = json.loads(runtime.call("features"))
    theirs = json.loads(subprocess.run(["runc", "features"], check=True, capture_output=True, text=True).stdout)
    assert set(theirs["mountOptions"]) <= set(ours["mountOptions"])
    assert set(theirs["hooks"]) == set(ours["hooks"])
    assert set(theirs["linux"]["namespaces"]) <= set(ours["linux"]["namespaces"])
    assert set(theirs["linux"]["seccomp"]["actions"]) <= set(ours["linux"]["seccomp"]["actions"])
