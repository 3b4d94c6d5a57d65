from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import StartFailed
from engine.linux import inside
from engine.model.container import ContainerSpec

IMAGE = "tuicon/demo"


def ran(engine: Engine, *command: str, **more: object) -> str:
    spec = replace(ContainerSpec(IMAGE, command=command, network="none"), **more)  # type: ignore[arg-type]
    container = engine.containers.run(spec)
    engine.containers.wait(container.id, timeout=60)
    return "".join(entry.text for entry in engine.containers.logs(container.id))


@pytest.mark.parametrize("kind", ["mnt", "pid", "uts", "ipc", "net", "cgroup"])
def test_each_namespace_is_its_own(engine: Engine, kind: str) -> None:
    theirs = ran(engine, "readlink", f"/proc/self/ns/{kind}").strip()
    assert theirs.startswith(f"{kind}:[")
    assert theirs != os.readlink(f"/proc/self/ns/{kind}")


def test_network_host_shares_the_hosts(engine: Engine) -> None:
    assert ran(engine, "readlink", "/proc/self/ns/net", network="host").strip() == os.readlink("/proc/self/ns/net")


def test_the_command_is_process_one_and_sees_only_its_own(engine: Engine) -> None:
    text = ran(engine, "sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l")
    assert text.split()[0] == "1"
    assert int(text.split()[1]) <= 4


def test_the_hostname_is_the_containers(engine: Engine) -> None:
    assert ran(engine, "sh", "-c", "hostname; cat /etc/hostname", hostname="box").split() == ["box", "box"]
    assert socket.gethostname() != "box"


def test_capabilities_are_dockers_default_and_none_new(engine: Engine) -> None:
    fields = dict(line.split(":", 1) for line in ran(engine, "cat", "/proc/self/status").splitlines() if ":" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0xA80425FB  # docker's, from its own containers
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


def test_a_user_has_no_capabilities_and_its_groups(engine: Engine) -> None:
    text = ran(engine, "sh", "-c", "id -u; id -g; id -G; grep CapEff /proc/self/status; echo $HOME", user="daemon")
    assert text.split() == ["1", "1", "1", "CapEff:", "0000000000000000", "/"]


def test_the_primary_group_is_among_the_supplementary_ones(engine: Engine) -> None:
    assert ran(engine, "grep", "Groups", "/proc/self/status", user="7:5").split() == ["Groups:", "5"]


@pytest.mark.parametrize("user", ["nosuchuser", "4294967295", "99999999999", "0:nosuchgroup"])
def test_unknown_users_are_refused(engine: Engine, user: str) -> None:
    with pytest.raises(StartFailed):
        ran(engine, "id", user=user)


def test_writes_stay_in_the_container(engine: Engine) -> None:
    image = engine.images.get(IMAGE)
    lower = engine.images.lower_directories(image)[0]
    before = sorted(path.name for path in lower.joinpath("etc").iterdir())
    assert ran(engine, "sh", "-c", "echo mine >/etc/passwd; rm /etc/group; ls /etc | sort; cat /etc/passwd").endswith(
        "mine\n"
    )
    assert "root:x:0:0" in ran(engine, "cat", "/etc/passwd", "/etc/group")
    assert sorted(path.name for path in lower.joinpath("etc").iterdir()) == before


def test_dangerous_paths_are_masked_or_read_only(engine: Engine) -> None:
    script = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/domainname || echo refused; touch /sys/x || echo refused"
    text = ran(engine, "sh", "-c", script + " 2>/dev/null")
    assert text.split()[:2] == ["0", "0"]
    assert text.count("refused") == 2


def test_the_host_is_not_seen_in_mounts_or_files(engine: Engine, root: Path) -> None:
    root.joinpath("secret").write_text("secret")
    assert ran(engine, "sh", "-c", f"ls {root} 2>/dev/null || echo none") == "none\n"


def test_devices_are_the_standard_ones(engine: Engine) -> None:
    names = set(ran(engine, "ls", "/dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "fd", "stdin", "ptmx"} <= names
    assert not names & {"sda", "vda", "mem", "kmem", "kvm", "fuse"}


def test_no_file_descriptor_of_the_host_comes_in(engine: Engine) -> None:
    assert (
        ran(
            engine,
            "sh",
            "-c",
            "ls /proc/self/fd | wc -l; readlink /proc/self/fd/* | grep -v pipe | grep -v /dev/null | grep -v '^/proc'",
        ).split()[0]
        == "4"
    )


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "/proc/self/fd/8/../../..", "/proc/1/root/../.."])
def test_a_working_directory_does_not_lead_out(engine: Engine, cwd: str) -> None:
    """CVE-2024-21626: a leaked descriptor as the working directory."""
    try:
        text = ran(engine, "sh", "-c", "pwd; ls ..", workdir=cwd)
    except StartFailed:
        return
    assert "root" not in text.split("\n")[0].replace("/proc/1/root", "")
    assert Path("/etc/hostname").read_text() not in text


def test_a_mount_target_that_is_a_link_stays_inside(engine: Engine, root: Path) -> None:
    """CVE-2021-30465 and its kin: the image puts a link where a mount goes."""
    import io
    import tarfile

    outside = root / "outside"
    outside.mkdir()
    archive = engine.images.lower_directories(engine.images.get(IMAGE))[0]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(archive, ".")
        twin = tarfile.TarInfo(str(outside).lstrip("/"))
        twin.type, twin.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(twin)
        for name, target in (("data", str(outside)), ("climb", "../../../../../.." + str(outside))):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    content.seek(0)
    engine.images.import_rootfs(content, "evil:1")
    from engine.model.container import Mount

    for target in ("/data/x", "/climb/y"):
        spec = ContainerSpec(
            "evil:1", command=("sh", "-c", f"touch {target}/made"), network="none", mounts=(Mount("tmpfs", target),)
        )
        container = engine.containers.run(spec)
        assert engine.containers.wait(container.id, timeout=60) == 0
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("../../../etc/passwd", "inside"),
        ("/etc/passwd", "inside"),
        ("link", "inside"),
        ("climb", "inside"),
        ("loop", None),
        ("magic", None),
    ],
)
def test_a_path_never_leaves_the_root(tmp_path: Path, path: str, expected: str | None) -> None:
    tmp_path.joinpath("etc").mkdir()
    tmp_path.joinpath("etc/passwd").write_text("inside")
    tmp_path.joinpath("link").symlink_to("/etc/passwd")
    tmp_path.joinpath("climb").symlink_to("../../../../etc/passwd")
    tmp_path.joinpath("loop").symlink_to("loop")
    tmp_path.joinpath("magic").symlink_to("/proc/self/root/etc/passwd")
    root = inside.open_root(tmp_path)
    try:
        if expected is None:
            with pytest.raises(OSError, match=r".+"):
                inside.read_text(root, path)
        else:
            assert inside.read_text(root, path) == expected
    finally:
        os.close(root)


def test_a_host_that_hides_a_fifo_in_passwd_does_not_hang_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "passwd")
    root = inside.open_root(tmp_path)
    with pytest.raises(FileNotFoundError):
        inside.read_text(root, "passwd")
    os.close(root)
