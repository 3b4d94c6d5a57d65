"""A bundle and a state root of their own for tests of tuicon-oci."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.linux import procfs
from engine.linux.cgroup.group import Group

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
