"""Attacks on the way to a user: numbers that are names, numbers that overflow, and files that are no files."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from tests.attacks.world import entry, executed, finish, hostile_image, spec

_PASSWD = b"""root:x:0:0:root:/root:/bin/sh
1000:x:0:0:a number as a name:/:/bin/sh
1:x:0:0:another:/:/bin/sh
over:x:4294967296:4294967296::/:/bin/sh
minus:x:-1:-1::/:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
"""
_GROUP = b"root:x:0:\n1000:x:0:1000\n5:x:0:1000,1\nover:x:4294967296:daemon\n"
_NOBODIES = ("4294967296", "4294967295", "-1", "+0", "0x0", "1e3", "9" * 30, "\u0660", "over", "minus", " 0", "0 ",
    "0:4294967296", "0:-1", "1000x", "root\n")  # fmt: skip
_IDS = ("sh", "-c", "id -u; id -g; grep Groups: /proc/self/status")


@pytest.fixture
def image(engine: Engine) -> str:
    """An image whose accounts lie."""
    return hostile_image(engine, entry("etc/passwd", content=_PASSWD), entry("etc/group", content=_GROUP))


@pytest.mark.parametrize("user", ["1000", "1", "1000:5", "1000:1000"])
def test_a_number_is_a_number_and_never_a_name(engine: Engine, image: str, user: str) -> None:
    """CVE-2026-46680 and CVE-2026-30892: `-u 1000` is uid 1000, whatever the image calls root."""
    uid, _, group = user.partition(":")
    expected = [uid, group or {"1": "1"}.get(uid, "0")]
    container = engine.containers.run(spec("sleep", "1000", image=image))
    for text in (
        finish(engine, spec(*_IDS, image=image, user=user))[1],
        executed(engine, container.id, *_IDS, user=user)[1],
    ):
        assert text.split()[:2] == expected
        assert set(text.split()[3:]) <= {expected[1]}


def test_what_is_no_user_is_refused_and_never_root(engine: Engine, image: str) -> None:
    """CVE-2024-40635: overflow to root."""
    container = engine.containers.run(spec("sleep", "1000", image=image))
    for user in _NOBODIES:
        with pytest.raises(StartFailed):
            finish(engine, spec("id", image=image, user=user))
        with pytest.raises(StartFailed):
            executed(engine, container.id, "id", user=user)


def _trap(kind: str, name: str, secret: Path) -> tuple[tarfile.TarInfo, bytes]:
    return {
        "fifo": entry(name, b"6"),
        "device": entry(name, b"3", devmajor=1, devminor=5),
        "directory": entry(name, b"5", mode=0o755),
        "huge": entry(name, content=bytes(40 << 20)),
        "lines": entry(name, content=b"a:x:1:\n" * (1 << 18)),
        "link to the host": entry(name, b"2", link=str(secret)),
        "link to proc": entry(name, b"2", link=f"/proc/1/root/../..{secret}"),
    }[kind]


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "huge", "lines", "link to the host", "link to proc"])
def test_account_files_that_are_traps_are_read_bounded(engine: Engine, root: Path, kind: str) -> None:
    """CVE-2024-9676, CVE-2026-47262 and CVE-2026-61801: huge files, pipes and links in the image."""
    secret = root / "secret"
    secret.write_text("leaked:x:0:0:leaked:/:/bin/sh\n")
    traps = [_trap(kind, f"etc/{name}", secret) for name in ("passwd", "group")]
    image = hostile_image(engine, *traps)
    for user in ("leaked", "0:leaked"):
        with pytest.raises(StartFailed):
            finish(engine, spec("id", image=image, user=user))
    container = engine.containers.run(spec("sleep", "1000", image=image, user="0"))
    assert engine.containers.top(container.id)[0].command == "sleep 1000"
    assert executed(engine, container.id, "true", user="7:7")[0] == 0


@pytest.mark.parametrize("user", ["0", "daemon", "7:5"])
def test_groups_are_set_and_never_inherited(engine: Engine, user: str) -> None:
    """CVE-2022-36109 and CVE-2023-25173: no group of the caller, and none that the primary one hides."""
    own = os.getgroups()
    os.setgroups([4242, *own])
    try:
        text = finish(engine, spec(*_IDS, user=user))[1]
        container = engine.containers.run(spec("sleep", "1000"))
        entered = executed(engine, container.id, *_IDS, user=user)[1]
    finally:
        os.setgroups(own)
    for found in (text, entered):
        assert found.split()[3:] == [found.split()[1]]
