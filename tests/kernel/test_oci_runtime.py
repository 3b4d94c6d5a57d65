"""tuicon-oci as its callers know it: the OCI life cycle, every command, podman and dockerd on top, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.linux import procfs
from engine.linux.cgroup.group import Group
from tests.bench import private_dockerd, rootfs_archive
from tests.kernel.test_systemd import Stand, bus, stand

__all__ = ["bus", "stand"]  # fixtures
COMMAND = str(Path(sys.executable).with_name("tuicon-oci"))
PATIENCE = 90.0
Document = dict[str, Any]


class Runtime:
    """The command on a state root and a bundle of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.rootfs = self.bundle / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            self.rootfs.joinpath(name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", self.rootfs / "bin/busybox")
        for name in ("sh", "cat", "sleep", "id", "true", "uname", "grep", "tty", "pwd"):
            self.rootfs.joinpath("bin", name).symlink_to("busybox")
        self.call("spec", "--bundle", str(self.bundle))
        self.config: Document = json.loads(self.bundle.joinpath("config.json").read_text())
        self.config["process"].update(terminal=False, args=["sleep", "1000"])

    def call(self, *words: str, code: int = 0, **more: Any) -> str:
        """Run the command and return stdout, or with another exit code than 0 stderr."""
        arguments = [COMMAND, "--root", str(self.root), *words]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=self.bundle, **more)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return str(done.stderr if code else done.stdout)

    def write(self) -> None:
        self.bundle.joinpath("config.json").write_text(json.dumps(self.config))

    def start(self, name: str) -> int:
        """Create and start a container; return its pid."""
        self.write()
        # What outlives the command must not hold a pipe of ours: with files, nobody waits for the end of one.
        with self.bundle.joinpath("output").open("wb") as output:
            arguments = [COMMAND, "--root", str(self.root), "run", "--detach", name]
            subprocess.run(arguments, check=True, cwd=self.bundle, stdout=output, stderr=output, stdin=-3)
        return int(self.state(name)["pid"])

    def run(self, *command: str, code: int = 0) -> str:
        """Run a container in the foreground."""
        if command:
            self.config["process"]["args"] = list(command)
        self.write()
        return self.call("run", f"run{os.getpid()}", code=code)

    def state(self, name: str) -> Document:
        found: Document = json.loads(self.call("state", name))
        return found

    def group(self, name: str) -> Group:
        record = json.loads(self.root.joinpath(name, "state.json").read_text())
        return Group.from_paths(record["cgroup"]["version"], record["cgroup"]["paths"])

    def left(self) -> list[str]:
        """Return what is left of containers."""
        found = [f"state {name}" for name in (os.listdir(self.root) if self.root.exists() else [])]
        found += [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.bundle.parent) in line
        ]
        for pid in procfs.process_ids():
            try:
                if str(self.root) in procfs.command_line(pid):
                    found.append(f"process {pid}")
            except OSError:
                continue
        return found


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def runtime(root: Path) -> Iterator[Runtime]:
    made = Runtime(root)
    yield made
    for name in os.listdir(made.root) if made.root.exists() else []:
        made.call("delete", "--force", name)
    eventually(lambda: not made.left())


def test_a_container_is_created_started_killed_and_deleted(runtime: Runtime) -> None:
    runtime.write()
    with runtime.bundle.joinpath("output").open("wb") as output:
        words = [COMMAND, "--root", str(runtime.root), "create", "--pid-file", "pid", "one"]
        subprocess.run(words, check=True, cwd=runtime.bundle, stdout=output, stderr=output)
    state = runtime.state("one")
    assert state["status"] == "created"
    assert state["id"] == "one"
    assert state["bundle"] == str(runtime.bundle)
    assert int(runtime.bundle.joinpath("pid").read_text()) == state["pid"]
    assert "exists" in runtime.call("create", "one", code=1)
    assert "created, not stopped" in runtime.call("delete", "one", code=1)
    runtime.bundle.joinpath("config.json").write_text("changed later: means nothing")
    runtime.call("start", "one")
    assert runtime.state("one")["status"] == "running"
    assert "it is running" in runtime.call("start", "one", code=1)
    assert json.loads(runtime.call("ps", "--format", "json", "one")) == [state["pid"]]
    assert [item["id"] for item in json.loads(runtime.call("list", "--format", "json"))] == ["one"]
    assert json.loads(runtime.call("events", "--stats", "one"))["data"]["pids"]["current"] == 1
    group = runtime.group("one")
    runtime.call("kill", "one", "KILL")
    eventually(lambda: runtime.state("one")["status"] == "stopped")
    assert runtime.state("one")["pid"] == 0
    assert "not running" in runtime.call("kill", "one", "KILL", code=1)
    runtime.call("delete", "one")
    assert "does not exist" in runtime.call("state", "one", code=1)
    runtime.call("delete", "--force", "one")
    assert not any(os.path.exists(path) for path in group.paths.values())


def test_the_exit_code_is_the_commands_and_a_missing_command_is_named(runtime: Runtime, tmp_path: Path) -> None:
    assert runtime.run("sh", "-c", "echo said; exit 7", code=7) == ""
    log = tmp_path / "log"
    runtime.config["process"]["args"] = ["nowhere"]
    runtime.write()
    said = runtime.call("--log", str(log), "--log-format", "json", "run", "two", code=1)
    assert "executable file not found in $PATH" in said  # what podman and dockerd look for, to exit with 127
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert "nowhere" in entry["msg"]
    assert "permission denied" in runtime.run("/etc", code=1)  # the same for 126


def test_commands_run_in_a_container_as_they_were_asked_for(runtime: Runtime) -> None:
    runtime.start("one")
    shown = runtime.call(
        "exec", "--env", "A=b", "--cwd", "/tmp", "--user", "7:8", "--additional-gids", "9", "one",
        "sh", "-c", "id; echo $A; pwd; exit 3", code=3,
    )  # fmt: skip
    assert shown == ""
    assert runtime.call("exec", "--user", "7:8", "-g", "9", "one", "id").strip() == "uid=7 gid=8 groups=9"
    process = {"args": ["sh", "-c", "echo $WORD"], "cwd": "/", "env": ["PATH=/bin", "WORD=from-file"], "user": {}}
    runtime.bundle.joinpath("process.json").write_text(json.dumps(process))
    assert runtime.call("exec", "--process", "process.json", "one") == "from-file\n"
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = [COMMAND, "--root", str(runtime.root), "exec", "--detach", "--pid-file", "second", "one", "sleep", "1000"]
    subprocess.run(words, check=True, cwd=runtime.bundle, **null)  # type: ignore[call-overload]
    second = int(runtime.bundle.joinpath("second").read_text())
    assert second in runtime.group("one").all_pids()
    assert os.readlink(f"/proc/{second}/ns/pid") == os.readlink(f"/proc/{runtime.state('one')['pid']}/ns/pid")
    assert "no such file or directory" in runtime.call("exec", "one", "/nowhere", code=1)


def test_a_paused_container_takes_no_commands_and_an_updated_one_new_limits(runtime: Runtime) -> None:
    runtime.start("one")
    runtime.call("pause", "one")
    assert runtime.state("one")["status"] == "paused"
    assert "it is paused" in runtime.call("exec", "one", "true", code=1)
    assert "it is paused" in runtime.call("pause", "one", code=1)
    runtime.call("resume", "one")
    assert runtime.state("one")["status"] == "running"
    paths = runtime.group("one").paths
    limit = Path(paths.get("pids") or paths["unified"], "pids.max")
    runtime.call("update", "--pids-limit", "33", "one")
    assert limit.read_text() == "33\n"
    runtime.call("update", "--resources", "-", "one", input='{"pids": {"limit": 44}}')
    assert limit.read_text() == "44\n"
    assert "resources.pids.limit must be a number" in runtime.call(
        "update", "-r", "-", "one", code=1, input='{"pids": {"limit": "many"}}'
    )
    assert limit.read_text() == "44\n"


def test_hooks_of_all_kinds_run_in_their_order_and_are_told_the_state(runtime: Runtime) -> None:
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    told = runtime.bundle / "told"
    runtime.rootfs.joinpath("told").touch()
    runtime.config["root"]["readonly"] = False
    runtime.config["mounts"].append({"destination": "/told", "source": str(told), "options": ["bind"]})
    told.touch()
    runtime.config["hooks"] = {
        kind: [{
            "path": "/bin/sh", "args": ["sh", "-c", f'echo "{kind} $(cat)" >> {"/told" if kind == "startContainer" else told}'],
            "env": ["PATH=/bin:/usr/bin"],
        }]
        for kind in kinds
    }  # fmt: skip
    runtime.run("true")
    lines = [line.partition(" ")[::2] for line in told.read_text().splitlines()]
    assert [kind for kind, _ in lines] == list(kinds)
    states = {kind: json.loads(text) for kind, text in lines}
    assert states["createRuntime"]["status"] == "creating"
    assert states["startContainer"]["status"] == "created"
    assert states["poststop"]["status"] == "stopped"
    assert all(state["bundle"] == str(runtime.bundle) for state in states.values())
    failing = {"path": "/bin/sh", "args": ["sh", "-c", "exit 1"], "env": []}
    told.write_text("")
    runtime.config["hooks"] = {"poststart": [failing], "poststop": [failing, *runtime.config["hooks"]["poststop"]]}
    assert "poststart hook 0" in runtime.run("sleep", "1000", code=1)
    assert told.read_text().startswith("poststop ")  # all of them run, whatever the first did
    runtime.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 1"]}]}
    assert "createRuntime hook 0 (/bin/sh) ended with exit code 1: why" in runtime.run("true", code=1)


def test_a_terminal_is_handed_over_and_has_its_size(runtime: Runtime) -> None:
    runtime.config["process"].update(terminal=True, args=["sh", "-c", "tty; read line; echo got $line"])
    runtime.config["process"]["consoleSize"] = {"height": 11, "width": 22}
    runtime.write()
    assert "--console-socket" in runtime.call("create", "one", code=1)
    path = runtime.bundle / ("long" * 30)  # longer than a socket's address
    path.mkdir()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(path, os.O_PATH)
    listener.bind(f"/proc/self/fd/{fd}/tty")
    listener.listen(1)
    runtime.call("run", "--detach", "--console-socket", f"{path}/tty", "one")
    connection, _ = listener.accept()
    _, (master,), _, _ = socket.recv_fds(connection, 100, 1)
    assert os.get_terminal_size(master) == (22, 11)
    os.write(master, b"word\n")
    said = b""
    while b"got word" not in said:
        said += os.read(master, 1000)
    assert b"/dev/pts/0" in said
    for opened in (master, fd):
        os.close(opened)
    connection.close()
    listener.close()


def test_the_process_is_what_the_config_says(runtime: Runtime) -> None:
    process = runtime.config["process"]
    process["user"] = {"uid": 5, "gid": 6, "additionalGids": [77], "umask": 0o27}
    process["capabilities"]["ambient"] = process["capabilities"]["inheritable"] = ["CAP_KILL", "CAP_UNHEARD_OF"]
    process["env"].append("HOME=/tmp")
    process["cwd"] = "/made/on/the/way"
    process["oomScoreAdj"] = 321
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    runtime.config["linux"]["personality"] = {"domain": "LINUX32"}
    script = "id; uname -m; pwd; cat /proc/self/oom_score_adj; grep -E '^(CapAmb|Umask|NoNewPrivs)' /proc/self/status"
    words = runtime.run("sh", "-c", script).split()
    assert words[:3] == ["uid=5", "gid=6", "groups=77"]
    assert words[3] in ("i686", "armv8l")
    assert words[4:6] == ["/made/on/the/way", "321"]
    fields = dict(zip(words[6::2], words[7::2], strict=True))
    assert int(fields["Umask:"], 8) == 0o27
    assert int(fields["CapAmb:"], 16) == 1 << 5
    assert fields["NoNewPrivs:"] == "1"


def test_what_waits_in_a_container_is_a_read_only_interpreter_that_cannot_be_traced(runtime: Runtime) -> None:
    runtime.write()
    with runtime.bundle.joinpath("output").open("wb") as output:
        words = [COMMAND, "--root", str(runtime.root), "create", "one"]
        subprocess.run(words, check=True, cwd=runtime.bundle, stdout=output, stderr=output)
    pid = runtime.state("one")["pid"]
    assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY  # CVE-2019-5736
    open_files = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    assert not [path for path in open_files if path.startswith("/") and path not in ("/", "/dev/null") and
        path != str(runtime.bundle / "output")]  # fmt: skip  # CVE-2024-21626


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


def test_the_systemd_driver_puts_a_container_into_a_scope(runtime: Runtime, stand: Stand) -> None:
    runtime.config["linux"]["cgroupsPath"] = f"{stand.slice}:tuicon:scoped"
    runtime.config["linux"]["resources"]["pids"] = {"limit": 17}
    runtime.write()
    with runtime.bundle.joinpath("output").open("wb") as output:
        words = [COMMAND, "--root", str(runtime.root), "--systemd-cgroup", "run", "--detach", "one"]
        subprocess.run(words, check=True, cwd=runtime.bundle, stdout=output, stderr=output)
    assert stand.group("tuicon-scoped.scope").pids() == [runtime.state("one")["pid"]]
    assert stand.scopes["tuicon-scoped.scope"]["TasksMax"] == ("t", 17)
    runtime.call("delete", "--force", "one")
    assert stand.scopes == {}


def test_podman_runs_containers_with_it(root: Path) -> None:
    assert shutil.which("podman"), "podman is missing (tests/setup test)"
    podman = ["podman", "--root", str(root / "p"), "--runroot", str(root / "r"), "--storage-driver", "vfs",
        "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", COMMAND]  # fmt: skip

    def call(*words: str, code: int = 0, **more: Any) -> str:
        done = subprocess.run([*podman, *words], capture_output=True, text=not more, check=False, **more)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return str(done.stdout).strip()

    limits = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
    try:
        call("import", "-", "box:1", input=rootfs_archive())
        call("run", "--rm", *limits, "box:1", "nowhere", code=127)
        call(
            "run",
            "--detach",
            "--name",
            "one",
            *limits,
            "box:1",
            "/bin/sh",
            "-c",
            "echo said; while :; do sleep 1; done",
        )
        call("exec", "one", "/bin/sh", "-c", "exit 9", code=9)
        call("pause", "one")
        call("unpause", "one")
        eventually(lambda: call("logs", "one") == "said")
        call("stop", "--time", "0", "one")
        call("rm", "one")
    finally:
        call("rm", "--all", "--force")
        call("rmi", "--all", "--force")


def test_dockerd_runs_containers_with_it(root: Path) -> None:
    assert shutil.which("dockerd"), "dockerd is missing (tests/setup test)"

    def call(*words: str, code: int = 0, **more: Any) -> str:
        done = subprocess.run([*client, *words], capture_output=True, text=not more, check=False, **more)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return str(done.stdout).strip()

    run = ("run", "--runtime", "tuicon", "--network", "none")
    options = ("--add-runtime", f"tuicon={COMMAND}", "--storage-driver", "vfs", "--iptables=false", "--bridge=none")
    with private_dockerd(root, options=options) as client:
        call("import", "-", "box:1", input=rootfs_archive())
        assert call(*run, "--rm", "--tty", "box:1", "/bin/busybox", "tty") == "/dev/pts/0"
        call(*run, "--rm", "box:1", "nowhere", code=127)
        loop = "trap 'exit 3' TERM; echo said; while :; do sleep 0.1; done"
        call(*run, "--detach", "--name", "one", "box:1", "/bin/sh", "-c", loop)
        call("exec", "one", "/bin/sh", "-c", "exit 9", code=9)
        assert call("exec", "--tty", "one", "/bin/busybox", "tty") == "/dev/pts/0"
        call("update", "--pids-limit", "60", "one")
        call("pause", "one")
        call("unpause", "one")
        eventually(lambda: call("logs", "one") == "said")
        call("stop", "one")
        assert call("inspect", "--format", "{{.State.ExitCode}}", "one") == "3"
        call("rm", "one")


def test_an_interrupted_foreground_run_passes_the_signal_on(runtime: Runtime) -> None:
    runtime.config["process"]["args"] = [
        "sh",
        "-c",
        "trap 'echo caught; exit 4' TERM; echo ready; while :; do sleep 0.1; done",
    ]
    runtime.write()
    words = [COMMAND, "--root", str(runtime.root), "run", "one"]
    process = subprocess.Popen(words, cwd=runtime.bundle, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "caught\n"
    assert process.wait() == 4
