"""Sizes of volumes, held by quota groups of btrfs or project quotas of ext4; elsewhere they are refused."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.api import Engine
from tests.kernel.test_command_line import tuicon
from tests.kernel.test_drivers import inside

BTRFS = 'mkfs.btrfs -q "$1.image" && mkdir "$1" && mount -o loop "$1.image" "$1" && btrfs quota enable "$1"'


def holds(root: Path, make: str, driver: str) -> None:
    place = root / "fs"
    mount = f'truncate -s 512M "$1.image" && {make} && shift && exec "$@"'
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernel/only_quotas.py"]
    done = inside(place, mount, suite, TUICON_STORAGE_DRIVER=driver, TUICON_TEST_ROOT=str(place))
    assert done.returncode == 0, done.stdout + done.stderr


def test_btrfs_holds_volumes_to_their_size(root: Path) -> None:
    holds(root, BTRFS, "btrfs")


def test_a_size_is_refused_where_it_cannot_be_held(engine: Engine, root: Path) -> None:
    place = root / "none"
    mount = 'mkdir "$1" && mount -t tmpfs none "$1" && shift && exec "$@"'
    words = [sys.executable, "-m", "tuicon", "--root", str(place / "state"), "volume"]
    script = '"$@" create -o size=1G big; "$@" ls -q; "$@" create plain && "$@" update --size 1G plain'
    done = inside(place, mount, ["sh", "-c", script, "sh", *words])
    assert done.stdout.splitlines() == ["plain"]
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "volume big cannot have a size",
        "volume plain cannot have a size",
    ]
    for size in ("0", "x", "-1", "99999999p"):
        assert tuicon(engine, "volume", "create", "-o", f"size={size}", "bad").returncode == 1
    assert engine.volumes.list() == ()
