"""Storage drivers: the same tests pass on each of them; a state root has the one that its file system can have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import InvalidArgument, StoreError

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
test_images.py::test_a_docker_archive_is_loaded_and_runs
test_lifecycle.py::test_restart_runs_it_anew_with_its_changes
test_lifecycle.py::test_a_container_with_auto_remove_goes_by_itself
test_lifecycle.py::test_a_container_whose_monitor_was_killed_can_be_stopped_and_started
test_isolation.py::test_writes_stay_in_the_container
test_features.py::test_a_user_namespace_shifts_ids_and_files_keep_their_owners
test_system_check.py::test_each_damage_is_found_and_mended_beside_a_container_that_lives
test_crash.py::test_an_engine_killed_at_any_step_leaves_the_truth_and_nothing_else[create]
test_crash.py::test_an_engine_killed_at_any_step_leaves_the_truth_and_nothing_else[remove]
test_crash.py::test_a_child_killed_at_any_step_leaves_the_truth_and_nothing_else[monitor-auto-remove]
test_crash.py::test_a_child_killed_at_any_step_leaves_the_truth_and_nothing_else[init-start]
each_driver.py
""".split()
ALSO = {"btrfs": ("only_btrfs.py",)}
ON_BTRFS = 'truncate -s 1G "$1.image" && mkfs.btrfs -q "$1.image" && mkdir "$1" && mount -o loop "$1.image" "$1" && shift && exec "$@"'


def inside(place: Path, mount: str, argv: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a mount namespace of its own, in which a script has mounted something on a place."""
    words = ["unshare", "-m", "sh", "-ec", mount, "sh", str(place), *argv]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("driver", ["overlay", "btrfs", "fuse-overlayfs", "vfs"])
def test_the_same_tests_pass_on_each_driver(root: Path, driver: str) -> None:
    """overlay is the driver of all other runs, so only what is not in them is left for it."""
    mount = ON_BTRFS if driver == "btrfs" else 'mkdir "$1" && shift && exec "$@"'
    names = SUITE[-1:] if driver == "overlay" else [*SUITE, *ALSO.get(driver, ())]
    files = [f"tests/kernel/{name}" for name in names]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    place = root / "fs"
    done = inside(place, mount, pytest_, TUICON_STORAGE_DRIVER=driver, TUICON_TEST_ROOT=str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def tuicon(root: Path, *words: str, driver: str = "") -> list[str]:
    return [sys.executable, "-m", "tuicon", "--root", str(root), "--storage-driver", driver, *words]


def test_a_state_root_keeps_the_driver_it_was_made_with(root: Path) -> None:
    state = root / "state"
    with Engine(state, storage_driver="vfs") as engine:
        engine.images.build_demo()
        assert engine.system.info().storage_driver == "vfs"
    with Engine(state) as engine:
        engine.images.collect()
        assert engine.system.info().storage_driver == "vfs"
    with (
        Engine(state, storage_driver="overlay2") as engine,
        pytest.raises(StoreError, match="has the storage driver vfs, not overlay"),
    ):
        engine.images.collect()
    done = subprocess.run(tuicon(state, "run", "tuicon/demo", "true", driver="overlay"), cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[0]) == (125, f"tuicon: the state root {state} has the storage driver vfs, not overlay")  # fmt: skip
    with Engine(state) as engine:
        engine.system.reset()


def test_a_driver_that_cannot_work_is_refused_in_one_sentence(root: Path) -> None:
    with Engine(root / "state", storage_driver="zfs") as engine, pytest.raises(InvalidArgument, match=r"unknown storage driver 'zfs': there are overlay, btrfs, fuse-overlayfs and vfs"):  # fmt: skip
        engine.images.build_demo()
    place = root / "fs"
    mount = 'mkdir "$1" && mount -t tmpfs none "$1" && shift && exec "$@"'
    done = inside(place, mount, tuicon(place / "state", "demo", "image", driver="btrfs"))
    said = f"tuicon: the storage driver btrfs cannot be used for {place}/state: subvolumes cannot be made there:"
    assert (done.returncode, done.stderr.startswith(said)) == (1, True), done.stderr


def test_the_driver_is_what_the_file_system_can_do(root: Path) -> None:
    """overlayfs refuses to write to an overlay, where engines in containers have their state."""
    with Engine(root / "state") as engine:
        engine.images.build_demo()
        assert engine.system.info().storage_driver == "overlay"
        engine.system.reset()
    for name in ("lower", "upper", "work", "fs"):
        root.joinpath(name).mkdir()
    mount = 'd="${1%/fs}" && mount -t overlay -o "lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work" o "$1" && shift && exec "$@"'
    script = '"$0" "$@" run --rm --network none tuicon/demo echo ran && "$0" "$@" info && "$0" "$@" system reset -f'
    done = inside(root / "fs", mount, ["sh", "-c", script, *tuicon(root / "fs/state")])
    assert done.returncode == 0, done.stderr
    assert "ran\n" in done.stdout
    assert "Storage Driver: fuse-overlayfs\n" in done.stdout
