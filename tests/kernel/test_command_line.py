from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Engine

ROOT = Path(__file__).resolve().parents[2]


def tuicon(engine: Engine, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), *words]
    source = {"input": stdin.decode()} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT, **source)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "--rm", "tuicon/demo", "true"), 0),
        (("run", "--rm", "tuicon/demo", "sh", "-c", "exit 9"), 9),
        (("run", "--rm", "tuicon/demo", "no-such-command"), 127),
        (("run", "--rm", "tuicon/demo", "/etc/passwd"), 126),
        (("run", "--rm", "--pull", "never", "no/such/image"), 125),
        (("run", "--rm", "--no-such-flag", "tuicon/demo"), 125),
        (("run", "--rm", "-m", "1k", "tuicon/demo"), 125),
        (("run", "-t", "-i", "tuicon/demo"), 125),
        (("start", "nobody"), 1),
        (("stop", "nobody"), 1),
        (("inspect", "nobody"), 1),
        (("rmi", "nobody"), 1),
        (("no-such-verb",), 2),
    ],
)
def test_exit_codes_are_dockers_and_errors_one_sentence(engine: Engine, words: tuple[str, ...], code: int) -> None:
    done = tuicon(engine, *words)
    assert done.returncode == code
    if code not in (0, 9):
        assert done.stderr.startswith("tuicon: ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 2
    assert engine.containers.list() == ()


def test_run_passes_input_and_output_apart(engine: Engine) -> None:
    done = tuicon(engine, "run", "--rm", "-i", "tuicon/demo", "sh", "-c", "cat; echo problem >&2", stdin=b"hello\n")
    assert (done.stdout, done.stderr) == ("hello\n", "problem\n")


def test_a_detached_container_is_listed_inspected_and_removed(engine: Engine) -> None:
    container_id = tuicon(
        engine, "run", "-d", "--name", "box", "-e", "A=b", "-m", "64m", "tuicon/demo", "sleep", "1000"
    ).stdout.strip()
    assert len(container_id) == 64
    assert "Up " in tuicon(engine, "ps").stdout
    assert tuicon(engine, "ps", "-q").stdout.strip() == container_id[:12]
    assert tuicon(engine, "ps", "-s").stdout.splitlines()[1].endswith("iB)")  # 0B (virtual 1.9MiB)
    listed = json.loads(tuicon(engine, "ps", "--json").stdout)
    assert [item["name"] for item in listed] == ["box"]
    found = json.loads(tuicon(engine, "inspect", "box").stdout)[0]
    assert found["HostConfig"]["Memory"] == 64 << 20
    assert (
        tuicon(engine, "inspect", "-f", "{{.State.Status}} {{.HostConfig.Memory}}", "box").stdout
        == f"running {64 << 20}\n"
    )
    assert tuicon(engine, "exec", "box", "sh", "-c", "echo $A; exit 3").returncode == 3
    assert tuicon(engine, "update", "-m", "32m", "box").returncode == 0
    assert json.loads(tuicon(engine, "inspect", "box").stdout)[0]["HostConfig"]["Memory"] == 32 << 20
    assert "sleep 1000" in tuicon(engine, "top", "box").stdout
    assert "32.0MiB" in tuicon(engine, "stats", "--no-stream").stdout
    assert tuicon(engine, "rm", "box").returncode == 1
    assert tuicon(engine, "rm", "-f", "box").stdout == "box\n"


def test_logs_have_times_and_tails(engine: Engine) -> None:
    tuicon(engine, "run", "--name", "talker", "tuicon/demo", "sh", "-c", "echo one; echo two >&2; echo three")
    done = tuicon(engine, "logs", "talker")
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
    tuicon(engine, "run", "--name", "counter", "tuicon/demo", "seq", "9")
    assert tuicon(engine, "logs", "--tail", "2", "counter").stdout == "8\n9\n"
    assert tuicon(engine, "logs", "-t", "--tail", "1", "counter").stdout.endswith("Z 9\n")


def test_images_come_from_a_tar_and_go(engine: Engine) -> None:
    from engine.images.demo import root_archive

    argv = [
        sys.executable,
        "-m",
        "tuicon",
        "--root",
        str(engine.root),
        "import",
        "-c",
        'CMD ["echo","hi"]',
        "-",
        "mine:1",
    ]
    done = subprocess.run(argv, input=root_archive().getvalue(), check=True, capture_output=True, cwd=ROOT)
    assert done.stdout.startswith(b"sha256:")
    assert tuicon(engine, "run", "--rm", "mine:1").stdout == "hi\n"
    assert "mine" in tuicon(engine, "images").stdout
    assert tuicon(engine, "rmi", "mine:1").returncode == 0


def test_a_terminal_gets_a_terminal_and_detach_keys_leave_it_running(engine: Engine) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        argv = [
            sys.executable,
            "-m",
            "tuicon",
            "--root",
            str(engine.root),
            "run",
            "-it",
            "--name",
            "shell",
            "tuicon/demo",
            "sh",
        ]
        os.execv(sys.executable, argv)
    seen = b""

    def read_until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(fd, 4096)

    read_until(b"# ")
    os.write(fd, b"tty; echo done-$((1+1))\n")
    read_until(b"done-2")
    assert b"/dev/pts/0" in seen
    os.write(fd, b"\x10\x11")
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert status == 0
    assert engine.containers.get("shell").is_running


def test_signals_are_passed_on_and_ctrl_c_ends(engine: Engine) -> None:
    argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), "run", "--rm", "--name", "sig", "tuicon/demo"]
    script = "trap 'echo got; exit 4' INT; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen([*argv, "sh", "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"got\n"
    assert process.wait(60) == 4
    process.stdout.close()
    until(lambda: engine.containers.list() == ())


def test_reset_asks_and_leaves_nothing(engine: Engine) -> None:
    tuicon(engine, "demo", "up")
    assert len(engine.containers.list(all=False)) == 3
    assert tuicon(engine, "system", "reset").returncode == 1
    assert tuicon(engine, "system", "reset", "-f").returncode == 0
    assert not engine.root.exists()
    engine.images.build_demo()


def test_completion_scripts_are_valid_shell(engine: Engine) -> None:
    script = tuicon(engine, "completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "update" in script
    assert "_tuicon_containers()" in script
    tuicon(engine, "create", "--name", "found-by-name", "tuicon/demo")
    assert tuicon(engine, "__complete", "containers").stdout == "found-by-name\n"
    assert tuicon(engine, "__complete", "images").stdout == "tuicon/demo:latest\n"
