"""A world of its own for each kernel test: a state root that must leave nothing behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from engine.api import Engine
from engine.images import demo
from engine.linux import nftables, procfs
from engine.linux.cgroup import group as cgroups
from tests.bench import private_dockerd
from tests.kernel.oci import Runtime, eventually

Docker: TypeAlias = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def root() -> Iterator[Path]:
    """A state root on the disk, short enough for any path."""
    path = Path(tempfile.mkdtemp(prefix="tuicon-test-", dir=os.environ.get("TUICON_TEST_ROOT")))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def engine(root: Path) -> Iterator[Engine]:
    """An engine with the demo image; when the test ends, nothing of it may be left."""
    with Engine(root / "state", storage_driver=os.environ.get("TUICON_STORAGE_DRIVER", "")) as opened:
        opened.images.build_demo()
        yield opened
        opened.system.reset()
    found = leftovers(root / "state")
    deadline = time.monotonic() + 60
    while found and time.monotonic() < deadline:  # the kernel takes a network namespace down in its own time
        time.sleep(0.05)
        found = leftovers(root / "state")
    assert found == []


def leftovers(state: Path) -> list[str]:
    """Return what a state root left on this machine."""
    mark = hashlib.sha256(str(state).encode()).hexdigest()[:6]
    found = [f"file {path}" for path in ([state] if state.exists() else [])]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
    found += [
        f"interface {name}"
        for name in os.listdir("/sys/class/net")
        if name.startswith((f"tui{mark}", f"t{mark[:2]}", f"x{mark}", f"wg{mark}"))
    ]
    if f"tuicon_{mark}" in nftables.run("list tables"):
        found.append(f"nft table tuicon_{mark}")
    groups = dict.fromkeys((*map(Path, cgroups.group_for(f"tuicon_{mark}").paths.values()),
        *Path("/sys/fs/cgroup").glob(f"*/tuicon_{mark}")))  # fmt: skip
    found += [f"cgroup {path}" for path in groups if path.exists()]
    return found + [f"process {pid} {command}" for pid, command in _processes_of(str(state))]


def _processes_of(state: str) -> Iterator[tuple[int, str]]:
    """Yield processes that name a state root, and forks of a launcher that hold files of it open."""
    for pid in procfs.process_ids():
        try:
            command = procfs.command_line(pid)
            files = _open_files(pid) if "engine.sandbox.launcher" in command else []
        except OSError:
            continue
        if pid != os.getpid() and any(state in text for text in (command, *files)):
            yield pid, command


def _open_files(pid: int) -> list[str]:
    directory = f"/proc/{pid}/fd"
    return [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """The client of a dockerd of our own that has the demo image's root file system as demo:1; one for all tests."""
    assert shutil.which("dockerd"), "dockerd is missing (tests/setup test)"
    options = ("--storage-driver", "vfs", "--iptables=false", "--bridge=none")
    path = Path(tempfile.mkdtemp(prefix="tuicon-docker-", dir=os.environ.get("TUICON_TEST_ROOT")))
    with private_dockerd(path, options=options) as client:

        def call(*words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run([*client, *words], capture_output=True, check=False, **more)

        assert call("import", "-", "demo:1", input=demo.root_archive().getvalue()).returncode == 0
        yield call
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def runtime(root: Path) -> Iterator[Runtime]:
    made = Runtime(root)
    yield made
    for name in os.listdir(made.root) if made.root.exists() else []:
        made.call("delete", "--force", name)
    eventually(lambda: not made.left())
