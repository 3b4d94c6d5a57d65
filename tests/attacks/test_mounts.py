"""Attacks on mount targets: links in images, links that change while a container starts, fakes of /dev and /proc."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from engine.linux import inside
from engine.model.container import Mount
from engine.sandbox import mounts as executor
from tests.attacks.world import attacker, entry, executed, finish, hostile_image, spec
from tests.kernel.test_lifecycle import output, until

# RENAME_EXCHANGE is 2; AT_FDCWD is -100.
_EXCHANGE = """
os.makedirs("/vol/dir", exist_ok=True)
os.symlink(sys.argv[1], "/vol/link")
print("racing", flush=True)
while not os.path.exists("/vol/stop"):
    libc.renameat2(-100, b"/vol/dir", -100, b"/vol/link", 2)
"""


@pytest.fixture
def outside(root: Path) -> Path:
    """A directory of the host that a hostile link points to."""
    path = root / "outside"
    path.mkdir()
    return path


def mounts_of_host() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_a_target_that_is_exchanged_for_a_link_while_starting_leads_nowhere(
    engine: Engine, root: Path, outside: Path
) -> None:
    """CVE-2021-30465: one container exchanges directory and link in a volume that another one mounts below."""
    source = root / "source"
    source.mkdir()
    racer = engine.containers.run(attacker(_EXCHANGE, str(outside), mounts=(Mount("volume", "/vol", "shared"),)))
    until(lambda: "racing" in output(engine, racer.id))
    before = mounts_of_host()
    victim = spec("sh", "-c", "touch /vol/dir/sub/made", mounts=(
        Mount("volume", "/vol", "shared"), Mount("bind", "/vol/dir/sub", str(source)), Mount("tmpfs", "/vol/dir"),
    ))  # fmt: skip
    outcomes = set()
    for _ in range(15):
        try:
            outcomes.add(finish(engine, victim)[0])
        except StartFailed:
            outcomes.add(-1)
        assert list(outside.iterdir()) == []
        assert mounts_of_host() == before
    assert outcomes, "nothing was tried"
    engine.containers.remove(racer.id, force=True)


@pytest.mark.parametrize("place", ["dev", "proc", "sys"])
@pytest.mark.parametrize("target", ["outside", "tmp", "etc"])
def test_a_system_directory_that_is_a_link_is_refused(engine: Engine, outside: Path, place: str, target: str) -> None:
    """CVE-2026-41579 and CVE-2019-19921: the kernel's file systems must lie where others look for them."""
    link = str(outside) if target == "outside" else f"/{target}"
    image = hostile_image(engine, entry(place, b"2", link=link), entry(str(outside).lstrip("/"), b"5", mode=0o755))
    with pytest.raises(StartFailed, match=f"/{place}.*link"):
        engine.containers.run(spec("true", image=image))
    assert list(outside.iterdir()) == []


def test_files_in_the_place_of_proc_are_refused(engine: Engine) -> None:
    with pytest.raises(StartFailed, match="/proc"):
        engine.containers.run(spec("true", image=hostile_image(engine, entry("proc", content=b"no directory"))))


def test_a_made_up_proc_is_covered_by_the_kernels(engine: Engine) -> None:
    """CVE-2019-16884: labels and sysctls go to the real /proc, whatever the image has there."""
    image = hostile_image(
        engine,
        entry("proc/self/attr/exec", content=b"fake"),
        entry("proc/sys/net/ipv4/ip_unprivileged_port_start", content=b"fake"),
    )
    text = finish(engine, spec("sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/self/comm",
        image=image))[1]  # fmt: skip
    assert text.split() == ["0", "cat"]


@pytest.mark.parametrize("link", ["outside", "/proc/sys/kernel", "../../../../../../../../tmp"])
def test_the_engines_own_files_follow_no_link_out(engine: Engine, outside: Path, link: str) -> None:
    """hosts, hostname and resolv.conf are mounted in /etc, which the image may have made a link."""
    where = str(outside) if link == "outside" else link
    image = hostile_image(engine, entry("etc", b"2", link=where), entry(str(outside).lstrip("/"), b"5", mode=0o755))
    name, pattern = os.uname().nodename, Path("/proc/sys/kernel/core_pattern").read_text()
    before = set(os.listdir("/tmp"))
    with contextlib.suppress(StartFailed):
        finish(engine, spec("true", image=image))
    assert list(outside.iterdir()) == []
    assert not {"hosts", "resolv.conf", "hostname"} & (set(os.listdir("/tmp")) - before)
    assert (os.uname().nodename, Path("/proc/sys/kernel/core_pattern").read_text()) == (name, pattern)


@pytest.mark.parametrize("fake", ["link", "file", "other device"])
def test_only_the_null_device_masks_paths(tmp_path: Path, fake: str) -> None:
    """CVE-2025-31133: /dev/null was replaced, so that masking would open what it should hide."""
    tmp_path.joinpath("dev").mkdir()
    null = tmp_path / "dev/null"
    if fake == "link":
        null.symlink_to("/proc/sys/kernel/core_pattern")
    elif fake == "file":
        null.write_text("fake")
    else:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    root = inside.open_root(tmp_path)
    fd = executor._open_null(root)
    try:
        assert os.fstat(fd).st_rdev == os.makedev(1, 3)
    finally:
        os.close(fd)
        os.close(root)


def test_masked_paths_stay_masked_when_a_volume_brings_the_devices(engine: Engine, root: Path) -> None:
    """The same attack from outside: /dev is a directory of the attacker's."""
    fake = root / "dev"
    fake.mkdir()
    fake.joinpath("null").symlink_to("/proc/sys/kernel/core_pattern")
    text = finish(engine, spec("sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; (: >/proc/sys/kernel/core_pattern) || echo refused",
        mounts=(Mount("bind", "/dev", str(fake)),)))[1]  # fmt: skip
    assert text.split()[0] == "0"
    assert "refused" in text


@pytest.mark.parametrize("name", ["null", "zero", "tty"])
def test_an_image_cannot_bring_another_device_under_a_known_name(engine: Engine, name: str) -> None:
    """What an image has in /dev is covered: the nodes are made new."""
    image = hostile_image(engine, entry(f"dev/{name}", b"4", devmajor=1, devminor=1, mode=0o666))
    text = finish(engine, spec("stat", "-c", "%t:%T", f"/dev/{name}", image=image))[1]
    assert text.strip() == {"null": "1:3", "zero": "1:5", "tty": "5:0"}[name]


def test_a_bind_source_shows_the_host_only_what_was_asked_for(engine: Engine, root: Path, outside: Path) -> None:
    """Writing through a link inside a shared directory ends in the container's own root."""
    shared = root / "shared"
    shared.mkdir()
    container = engine.containers.run(spec("sleep", "1000", mounts=(Mount("bind", "/shared", str(shared)),)))
    script = f"ln -s {outside} /shared/way; mkdir -p {outside}; touch /shared/way/made; ls /shared/way"
    assert executed(engine, container.id, "sh", "-c", script)[1].split() == ["made"]
    assert list(outside.iterdir()) == []


def test_nothing_can_be_mounted_or_unmounted_inside(engine: Engine) -> None:
    script = "mount -t tmpfs x /tmp 2>&1; umount /proc/keys 2>&1; umount /proc/sys 2>&1; mount -o remount,rw /sys 2>&1; cat /proc/keys"
    text = finish(engine, spec("sh", "-c", script))[1]
    assert len(text.splitlines()) == 4
    assert text.lower().count("permission denied") + text.lower().count("not permitted") == 4
