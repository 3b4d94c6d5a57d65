"""A world of its own for each kernel test: a state root that must leave nothing behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Engine
from engine.linux import nftables, procfs
from engine.linux.cgroup import group as cgroups


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kernel" in str(item.path):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture
def root() -> Iterator[Path]:
    """A state root on the disk, short enough for any path."""
    path = Path(tempfile.mkdtemp(prefix="tuicon-test-", dir=os.environ.get("TUICON_TEST_ROOT")))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def engine(root: Path) -> Iterator[Engine]:
    """An engine with the demo image; when the test ends, nothing of it may be left."""
    with Engine(root / "state") as opened:
        opened.images.build_demo()
        yield opened
        opened.system.reset()
    assert leftovers(root / "state") == []


def leftovers(state: Path) -> list[str]:
    """Return what a state root left on this machine."""
    mark = hashlib.sha256(str(state).encode()).hexdigest()[:6]
    found = [f"file {path}" for path in ([state] if state.exists() else [])]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
    found += [
        f"interface {name}" for name in os.listdir("/sys/class/net") if name.startswith((f"tui{mark}", f"t{mark[:2]}"))
    ]
    if f"tuicon_{mark}" in nftables.run("list tables"):
        found.append(f"nft table tuicon_{mark}")
    groups = dict.fromkeys(cgroups.group_for(f"tuicon_{mark}").paths.values())
    found += [f"cgroup {path}" for path in groups if Path(path).exists()]
    for pid in procfs.process_ids():
        try:
            command = procfs.command_line(pid)
        except OSError:
            continue
        if str(state) in command and pid != os.getpid():
            found.append(f"process {pid} {command}")
    return found
