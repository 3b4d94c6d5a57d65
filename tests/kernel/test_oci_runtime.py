"""tuicon-oci as its callers know it: the OCI life cycle and every command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.kernel.oci import COMMAND, Runtime, eventually
from tests.kernel.test_systemd import Stand, bus, stand

__all__ = ["bus", "stand"]  # fixtures


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
    assert states["createRuntime"]["status"] == "created"
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
