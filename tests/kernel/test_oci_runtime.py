"""The OCI runtime command, on bundles made from busybox; what is expected is the runtime-spec's and runc's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.linux.cgroup import layout

PROGRAM = str(Path(sys.executable).with_name("tuicon-oci"))
NAME = f"oci-{os.getpid()}"


class Site:
    """A bundle and a state root, and the command on them."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.bundle = root / "bundle"
        programs = self.bundle / "rootfs" / "bin"
        programs.mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", programs / "busybox")
        for name in ("sh", "id", "cat", "sleep", "echo", "hostname", "true"):
            programs.joinpath(name).symlink_to("busybox")
        self.call("spec", "--bundle", str(self.bundle))

    def call(self, *words: str, code: int = 0) -> str:
        """Run the command and return what it prints; the exit code must be the one that is expected."""
        log = self.state.parent / "said"
        with log.open("w+b") as file:
            done = subprocess.run(
                [PROGRAM, "--root", str(self.state), *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=False,
            )
        text = log.read_text()
        assert done.returncode == code, text
        return text

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change config.json."""
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"].update(terminal=False)
        change(config)
        path.write_text(json.dumps(config))

    def command(self, *arguments: str) -> None:
        """Say what the container runs."""
        self.configure(lambda config: config["process"].update(args=list(arguments)))

    def status(self) -> str:
        """Return the container's status."""
        return str(json.loads(self.call("state", NAME))["status"])


def left() -> list[str]:
    mounts = layout.detect().mounts.values()
    return [str(path) for mount in mounts for path in Path(mount).glob(f"**/*{NAME}*")]


@pytest.fixture
def site(root: Path) -> Iterator[Site]:
    made = Site(root)
    yield made
    made.call("delete", "--force", NAME)
    assert not made.state.exists() or list(made.state.iterdir()) == []
    assert left() == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def test_run_gives_the_commands_output_and_code_and_leaves_nothing(site: Site) -> None:
    site.command("sh", "-c", "id -u; hostname; echo $$; exit 3")
    site.configure(lambda config: config.update(hostname="box"))
    assert site.call("run", "--bundle", str(site.bundle), NAME, code=3).split() == ["0", "box", "1"]
    assert site.call("list", "--quiet") == ""


def test_a_life_from_create_to_delete(site: Site) -> None:
    site.command("sleep", "1000")
    site.call("create", "--bundle", str(site.bundle), "--pid-file", str(site.state.parent / "pid"), NAME)
    state = json.loads(site.call("state", NAME))
    assert (state["id"], state["status"], state["bundle"]) == (NAME, "created", str(site.bundle))
    assert site.state.parent.joinpath("pid").read_text() == str(state["pid"])
    assert "exists" in site.call("create", "--bundle", str(site.bundle), NAME, code=1)
    site.call("start", NAME)
    assert site.status() == "running"
    assert Path(f"/proc/{state['pid']}/comm").read_text() == "sleep\n"
    assert site.call("exec", NAME, "echo", "in") == "in\n"
    site.call("exec", NAME, "sh", "-c", "exit 9", code=9)
    assert json.loads(site.call("ps", "--format", "json", NAME)) == [state["pid"]]
    site.call("pause", NAME)
    assert site.status() == "paused"
    site.call("resume", NAME)
    site.call("update", "--pids-limit", "33", NAME)
    assert json.loads(site.call("events", "--stats", NAME))["data"]["pids"]["limit"] == 33
    assert "running" in site.call("delete", NAME, code=1)
    site.call("kill", NAME, "KILL")
    until(lambda: site.status() == "stopped")
    site.call("delete", NAME)
    assert NAME in site.call("state", NAME, code=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.pop("root"), "root"),
        (lambda config: config["process"].update(cwd="relative"), "cwd"),
        (lambda config: config["process"].update(args=["/no/such/program"]), "/no/such/program"),
        (lambda config: config["linux"].update(resources={"pids": {"limit": "many"}}), "pids.limit"),
        (lambda config: config["linux"].update(resources={"cpu": {"cpus": "4095"}}), "cpuset.cpus"),
        (lambda config: config["linux"]["namespaces"].append({"type": "moon"}), "namespaces"),
        (lambda config: config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such"}), "/x"),
    ],
)  # fmt: skip
def test_a_wrong_config_gives_one_sentence_that_names_the_place(site: Site, change: Any, named: str) -> None:
    site.command("true")
    site.configure(change)
    said = site.call("run", "--bundle", str(site.bundle), NAME, code=1)
    assert named in said
    assert len(said.splitlines()) == 1


def test_a_file_that_is_no_json_and_a_missing_bundle_are_named(site: Site) -> None:
    site.bundle.joinpath("config.json").write_text("{")
    assert "config.json" in site.call("run", "--bundle", str(site.bundle), NAME, code=1)
    assert "/no/such" in site.call("run", "--bundle", "/no/such", NAME, code=1)
    assert site.call("create", "--bundle", str(site.bundle), "../up", code=1).count("\n") == 1


def test_a_root_full_of_links_reaches_nothing_outside(site: Site, root: Path) -> None:
    outside = root / "outside"
    outside.mkdir()
    for name in ("dev", "proc", "sys"):
        site.bundle.joinpath("rootfs", name).symlink_to(outside)
    site.command("true")
    said = site.call("run", "--bundle", str(site.bundle), NAME, code=1)
    assert len(said.splitlines()) == 1
    assert list(outside.iterdir()) == []
