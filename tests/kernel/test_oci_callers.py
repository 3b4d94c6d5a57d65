"""podman and dockerd with tuicon-oci as their runtime."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.bench import private_dockerd, rootfs_archive
from tests.kernel.oci import COMMAND, eventually


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
