"""What run can be asked, felt inside the container: many flags share a start, because each start costs time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.containers import confinement
from engine.containers import devices as device_room
from engine.errors import Conflict, EngineError, InvalidArgument, NotFound, NotSupported
from engine.linux import capabilities, lsm
from engine.linux.cgroup.group import group_for
from engine.model.container import Container, ContainerSpec, Device, ExecSpec, Mount, RestartPolicy, Ulimit
from engine.model.health import HealthCheck
from engine.model.limits import Limits
from tuicon.cli.containers import _cidfile as cidfile_of
from tuicon.cli.failure import Usage

IMAGE = "tuicon/demo"
DEFAULT_CAPABILITIES = 0xA80425FB  # docker's


def spec_with(*command: str, **more: Any) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, command=command, network="none"), **more)


def ran(engine: Engine, script: str, **more: Any) -> str:
    container = engine.containers.run(spec_with("sh", "-c", script, **more))
    engine.containers.wait(container.id, timeout=120)
    return "".join(entry.text for entry in engine.containers.logs(container.id))


@contextmanager
def running(engine: Engine, **more: Any) -> Iterator[Container]:
    container = engine.containers.run(spec_with("sleep", "10000", **more))
    try:
        yield container
    finally:
        engine.containers.remove(container.id, force=True, volumes=True)


def execute(engine: Engine, container: Container, script: str, **more: Any) -> str:
    session = engine.containers.exec(container.id, ExecSpec(("sh", "-c", script), **more))
    assert session is not None
    with session:
        chunks = []
        while chunk := session.read():
            chunks.append(chunk[1])
    return b"".join(chunks).decode()


def namespace(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


PROBE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, number, *arguments in CALLS:
    pid = os.fork()
    if not pid:
        ctypes.set_errno(0)
        libc.syscall(*(ctypes.c_long(argument) for argument in (number, *arguments)))
        print(name, ctypes.get_errno(), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
# With numbers of x86_64; the arguments let the kernel refuse each call for another reason than the filter does.
CALLS = [
    ("keyctl", 250, 0, -3), ("add_key", 248, 0), ("io_uring_setup", 425, 0, 0),
    ("personality", 135, 0x1234), ("AF_VSOCK", 41, 40, 99), ("AF_ALG", 41, 38, 99), ("AF_INET", 41, 2, 99),
    ("clone3", 435, 0, 0), ("openat2", 437, -1, 0, 0, 0),
]  # fmt: skip
EPERM, ENOSYS = 1, 38
# Of a docker container on the same kernel, with the default profile of moby.
REFUSED = {"keyctl": EPERM, "add_key": EPERM, "io_uring_setup": EPERM, "personality": EPERM,
    "AF_VSOCK": EPERM, "AF_ALG": EPERM, "clone3": ENOSYS}  # fmt: skip


def interpreter_mounts() -> tuple[Mount, ...]:
    places = dict.fromkeys(("/usr", "/lib", "/lib64", str(Path(sys.base_prefix).resolve())))
    found = [place for place in places if Path(place).exists() and (place == "/usr" or not place.startswith("/usr/"))]
    return tuple(Mount("bind", place, place, read_only=True) for place in found)


def probed(engine: Engine, **more: Any) -> dict[str, int]:
    program = str(Path(sys.executable).resolve())
    container = engine.containers.run(
        spec_with(program, "-I", "-S", "-c", f"CALLS = {CALLS}\n{PROBE}", mounts=interpreter_mounts(), **more)
    )
    assert engine.containers.wait(container.id, timeout=300) == 0
    lines = (entry.text.split() for entry in engine.containers.logs(container.id))
    return {name: int(number) for name, number in lines}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_system_calls_are_filtered_as_docker_does(engine: Engine, root: Path) -> None:
    found = probed(engine)
    assert {name: number for name, number in found.items() if name in REFUSED} == REFUSED
    assert set(found.values()) - {EPERM, ENOSYS} == {found["AF_INET"], found["openat2"]}
    kept = sorted(root.joinpath("state", "seccomp").iterdir())
    assert len(kept) == 1
    open_to_all = probed(engine, seccomp="unconfined")
    assert [name for name in REFUSED if open_to_all[name] == REFUSED[name]] == []
    own = {"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]}  # fmt: skip
    assert probed(engine, seccomp=json.dumps(own), no_new_privileges=False) == {**open_to_all, "personality": 77}


def test_the_filter_is_on_unless_privileged_and_an_exec_has_it_too(engine: Engine) -> None:
    with running(engine) as container:
        assert status_of(container.pid)["Seccomp"] == "2"
        assert execute(engine, container, "grep Seccomp: /proc/self/status").split() == ["Seccomp:", "2"]
    with running(engine, privileged=True) as container:
        assert status_of(container.pid)["Seccomp"] == "0"
        assert execute(engine, container, "grep Seccomp: /proc/self/status").split() == ["Seccomp:", "0"]


def test_apparmor_confines_where_it_is_active(engine: Engine) -> None:
    label = "cat /proc/self/attr/current 2>/dev/null || echo none"
    if not lsm.has_apparmor():
        assert ran(engine, label) == "none\n"
        with pytest.raises(NotSupported):
            engine.containers.create(spec_with("true", apparmor="mine"))
        return
    assert confinement.warnings() == ()
    tried = "umount /dev/shm && mount -t tmpfs none /dev/shm || echo refused; echo x >/proc/sys/kernel/shmmax || echo refused"
    more: dict[str, Any] = {"cap_add": ("SYS_ADMIN",), "seccomp": "unconfined"}
    with running(engine, **more) as container:
        for text in (execute(engine, container, label), Path(f"/proc/{container.pid}/attr/current").read_text()):
            assert text.strip("\0\n") == "tuicon-default (enforce)"
        assert "refused" in execute(engine, container, f"({tried}) 2>/dev/null")
        assert engine.containers.inspect(container.id)["AppArmorProfile"] == "tuicon-default"
    assert "refused" not in ran(engine, tried.split(";", maxsplit=1)[0], apparmor="unconfined", **more)
    assert ran(engine, label, apparmor="unconfined").strip() == "unconfined"
    with pytest.raises(InvalidArgument, match="no AppArmor profile"):
        engine.containers.create(spec_with("true", apparmor="no-such-profile"))


def test_a_container_has_what_the_flags_of_a_process_say(engine: Engine) -> None:
    more: dict[str, Any] = {
        "ulimits": (Ulimit("nofile", 100, 200), Ulimit("core", 0, 0)), "oom_score_adj": 500,
        "group_add": ("daemon", "4242"), "cap_add": ("SYS_NICE",), "cap_drop": ("CHOWN", "KILL"), "uts_mode": "private",
        "sysctls": {"net.ipv4.ip_forward": "1", "kernel/msgmax": "4321"}, "shm_size": 1 << 20, "read_only": True,
        "mounts": (Mount("tmpfs", "/scratch", options=("size=64k", "exec")),), "mask": ("/etc/passwd",),
        "unmask": ("/proc/sys",), "domainname": "example.org", "no_new_privileges": False,
        "apparmor": "unconfined", "annotations": {"org.example.k": "v"},
    }  # fmt: skip
    with running(engine, **more) as container:
        status = status_of(container.pid)
        expected = DEFAULT_CAPABILITIES | 1 << 23
        assert int(status["CapEff"], 16) == expected & ~(1 << 0) & ~(1 << 5)
        assert "4242" in status["Groups"].split()
        assert len(status["Groups"].split()) == 3
        assert Path(f"/proc/{container.pid}/oom_score_adj").read_text() == "500\n"
        text = execute(
            engine, container,
            "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
            " /proc/sys/kernel/domainname; id -G; cat /etc/passwd | wc -c; touch /x 2>/dev/null || echo ro;"
            " touch /dev/shm/x /scratch/x && echo rw; echo 5 >/proc/sys/net/ipv4/ip_unprivileged_port_start && echo open;"
            " df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; grep scratch /proc/mounts; grep NoNewPrivs /proc/self/status",
        )  # fmt: skip
        lines = text.splitlines()
        assert lines[:6] == ["100", "200", "0", "1", "4321", "example.org"]
        assert set(lines[6].split()) == set(status["Groups"].split())
        assert lines[7:12] == ["0", "ro", "rw", "open", "1024"]
        assert "noexec" not in lines[12]
        assert lines[13].split() == ["NoNewPrivs:", "0"]
        found = engine.containers.inspect(container.id)["HostConfig"]
        assert found["Ulimits"][0] == {"Name": "nofile", "Soft": 100, "Hard": 200}
        assert found["GroupAdd"] == ["daemon", "4242"]
        assert found["Sysctls"]["net.ipv4.ip_forward"] == "1"
        assert "/etc/passwd" in found["MaskedPaths"]
        assert found["Annotations"] == {"org.example.k": "v"}


def test_exec_has_the_containers_rights_unless_it_is_privileged(engine: Engine) -> None:
    with running(engine, cap_drop=("ALL",), user="1:1", group_add=("77",)) as container:
        script = "id -u; grep -E 'CapBnd|NoNewPrivs' /proc/self/status; grep Groups /proc/self/status"
        inherited = execute(engine, container, script).split()
        assert inherited == ["1", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1", "Groups:", "1", "77"]
        every = sum(1 << number for number, name in enumerate(capabilities.NAMES) if name in capabilities.available())
        free = execute(engine, container, script, privileged=True, user="0").split()
        assert (free[0], int(free[2], 16), free[4]) == ("0", every, "0")


def test_a_privileged_container_has_the_hosts_devices_and_nothing_hidden(engine: Engine) -> None:
    script = (
        "ls /dev; grep CapEff /proc/self/status; test -w /proc/sys/kernel/domainname && echo proc;"
        " grep ' /sys ' /proc/mounts | grep -c '[ ,]rw,'; cat /proc/keys >/dev/null && ls -d /sys/firmware"
    )
    words = ran(engine, script, privileged=True).split()
    hosts = {path.name for path in Path("/dev").iterdir() if path.is_char_device() and not path.is_symlink()} - {
        "console"
    }
    assert hosts <= set(words)
    every = sum(1 << number for number, name in enumerate(capabilities.NAMES) if name in capabilities.available())
    assert int(words[words.index("CapEff:") + 1], 16) == every
    assert words[-3:] == ["proc", "1", "/sys/firmware"]


def test_devices_are_given_singly_by_directory_and_by_cdi(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tmp_path / "nodes"
    nodes.joinpath("below").mkdir(parents=True)
    os.mknod(nodes / "below" / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    specs = tmp_path / "cdi"
    specs.mkdir()
    specs.joinpath("vendor.json").write_text(json.dumps({
        "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu",
        "devices": [{"name": "0", "containerEdits": {"env": ["GPU=zero"],
            "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "fileMode": 0o640}]}}],
        "containerEdits": {"mounts": [{"hostPath": str(specs), "containerPath": "/vendor", "options": ["ro"]}]},
    }))  # fmt: skip
    monkeypatch.setattr(device_room, "CDI_DIRECTORIES", (str(specs),))
    more: dict[str, Any] = {
        "devices": (Device("/dev/zero", "/dev/mine", "rw"), Device(str(nodes), "/dev/all")), "gpus": "1",
        "device_rules": ("c 10:229 rwm",),
    }  # fmt: skip
    script = "head -c 3 /dev/mine | wc -c; head -c 2 /dev/all/below/zero | wc -c; stat -c '%a %t:%T' /dev/gpu0; echo $GPU; ls /vendor"
    assert ran(engine, script, **more).split() == ["3", "2", "640", "1:3", "zero", "vendor.json"]
    for wrong in ({"devices": (Device("/dev/none", "/dev/x"),)}, {"devices": (Device("/etc/passwd", "/dev/x"),)},
            {"devices": (Device("nvidia.com/gpu=7"),)}, {"gpus": "many"}, {"devices": (Device("/dev/null", "/dev/x", "x"),)},
            {"device_rules": ("everything",)}):  # fmt: skip
        with pytest.raises(InvalidArgument):
            engine.containers.create(spec_with("true", **wrong))


def test_a_user_namespace_shifts_ids_and_files_keep_their_owners(engine: Engine, tmp_path: Path, root: Path) -> None:
    shared = root / "shared"
    shared.mkdir()
    shared.joinpath("mine").touch()
    shared.chmod(0o755)
    more: dict[str, Any] = {
        "userns": "auto", "network": "bridge",
        "mounts": (Mount("bind", "/mapped", str(shared), options=("idmap",)), Mount("bind", "/plain", str(shared)),
            Mount("volume", "/volume")),
    }  # fmt: skip
    with running(engine, **more) as first, running(engine, userns="auto:size=2048") as second:
        maps = [Path(f"/proc/{one.pid}/uid_map").read_text().split() for one in (first, second)]
        starts = [int(fields[1]) for fields in maps]
        assert [fields[2] for fields in maps] == ["65536", "2048"]
        assert starts[0] + 65536 <= starts[1] or starts[1] + 2048 <= starts[0]
        assert starts[0] > 65536
        assert status_of(first.pid)["Uid"].split()[0] == str(starts[0])
        script = (
            "id -u; stat -c %u /bin /etc/hosts /mapped/mine /plain/mine; touch /new /mapped/new /volume/new /etc/hosts;"
            " chown 7:7 /new; touch /plain/no 2>/dev/null || echo refused; cat /etc/resolv.conf >/dev/null && echo read;"
            " mount -t tmpfs none /mnt 2>/dev/null || echo confined; hostname"
        )
        words = execute(engine, first, script).split()
        assert words == ["0", "0", "0", "0", "65534", "refused", "read", "confined", first.short_id]
        assert shared.joinpath("new").stat().st_uid == 0
        (new,) = root.joinpath("state", "containers", first.id).glob("*/new")  # as the storage driver has it
        assert (new.stat().st_uid, new.stat().st_gid) == (7, 7)
        engine.containers.stop(first.id, timeout=0)
        engine.containers.start(first.id)
        assert execute(engine, engine.containers.get(first.id), "stat -c %u /new; touch /more").split() == ["7"]
    assert list(root.joinpath("state", "run", "userns").iterdir()) == []


def test_a_user_namespace_may_keep_ids_and_use_the_network_and_ipc_of_the_host(engine: Engine) -> None:
    text = ran(engine, "cat /proc/self/uid_map; touch /x; ls /sys/class/net; readlink /proc/self/ns/ipc",
        userns="keep-id", network="host", ipc_mode="host")  # fmt: skip
    assert text.split()[:3] == ["0", "0", "4294967295"]
    assert set(os.listdir("/sys/class/net")) & set(text.split())
    assert text.split()[-1] == os.readlink("/proc/self/ns/ipc")


def test_namespaces_of_the_host_can_be_shared(engine: Engine) -> None:
    with running(
        engine, pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="host", network="host"
    ) as container:
        for kind in ("pid", "ipc", "uts", "cgroup", "net"):
            assert namespace(container.pid, kind) == namespace(os.getpid(), kind)
        assert namespace(container.pid, "mnt") != namespace(os.getpid(), "mnt")
        assert execute(engine, container, f"test -d /proc/{os.getpid()} && hostname").strip() == os.uname().nodename


def test_namespaces_of_another_container_can_be_shared(engine: Engine) -> None:
    more: dict[str, Any] = {"name": "donor", "ipc_mode": "shareable", "network": "bridge", "hostname": "shared"}
    with running(engine, **more) as donor:
        execute(engine, donor, "echo hello >/dev/shm/note")
        joins: dict[str, Any] = dict.fromkeys(("pid_mode", "ipc_mode", "network"), "container:donor")
        with running(engine, **joins) as guest:
            for kind in ("pid", "ipc", "net"):
                assert namespace(guest.pid, kind) == namespace(donor.pid, kind)
            assert namespace(guest.pid, "uts") != namespace(donor.pid, "uts")
            text = execute(
                engine, guest, "cat /dev/shm/note; hostname; grep -c shared /etc/hosts; tr '\\0' ' ' </proc/1/cmdline"
            )
            assert text.split() == ["hello", "shared", "1", "sleep", "10000"]
            assert engine.containers.inspect(guest.id)["HostConfig"]["PidMode"] == f"container:{donor.id}"
            engine.containers.stop(donor.id, timeout=0)  # with process 1, the kernel ends its whole namespace
            assert engine.containers.wait(guest.id, timeout=120) == 137
            with pytest.raises(Conflict, match="not running"):
                engine.containers.start(guest.id)
    with running(engine, name="private") as donor:
        with pytest.raises(Conflict, match="does not share"):
            engine.containers.run(spec_with("true", name="guest", ipc_mode="container:private"))
        assert ran(engine, "ls -d /dev/shm 2>/dev/null || echo none", ipc_mode="none") == "none\n"
    with pytest.raises(NotFound):
        engine.containers.create(spec_with("true", network="container:nobody"))


def test_a_container_may_lie_in_a_group_of_the_users(engine: Engine, root: Path) -> None:
    parent = f"{root.name}/blue"
    try:
        with running(engine, cgroup_parent=f"/{parent}", limits=Limits(pids=99)) as container:
            assert f"/{parent}/{container.id}\n" in Path(f"/proc/{container.pid}/cgroup").read_text()
            assert execute(engine, container, "grep -c . /proc/self/cgroup") != "0\n"
    finally:
        group_for(f"/{root.name}").remove()


def test_what_cannot_work_is_refused_before_anything_is_made(engine: Engine, root: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"cap_add": ("FLYING",)}, {"pid_mode": "mine"}, {"userns": "auto:size=1"}, {"userns": "auto", "privileged": True},
        {"sysctls": {"kernel.core_pattern": "|/bin/sh"}}, {"sysctls": {"net.ipv4.ip_forward": "1"}, "network": "host"},
        {"auto_remove": True, "restart": RestartPolicy("always")}, {"cgroup_parent": "/a/../b"}, {"shm_size": 0},
        {"oom_score_adj": 2000}, {"selinux_label": "system_u:system_r:x_t:s0"}, {"uts_mode": "host", "hostname": "x"},
        {"limits": Limits(memory_swappiness=101)}, {"runtime": "no-such-runtime"}, {"runtime": "runc", "init": True},
        {"health": HealthCheck(("SHELL", "true"))},
        *({"seccomp": profile} for profile in ("{", "[]", "{}", '{"defaultAction":"SCMP_ACT_DANCE"}')),
    ]  # fmt: skip
    for asked in wrong:
        with pytest.raises(EngineError) as caught:
            engine.containers.create(spec_with("true", **asked))
        assert caught.value.exit_code == 125
        assert "\n" not in str(caught.value)
    assert engine.containers.list() == ()
    assert list(root.joinpath("state", "trash").iterdir()) == []


def test_the_command_line_takes_files_and_leaves_no_id_behind(engine: Engine, tmp_path: Path) -> None:
    def tuicon(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tuicon", "--root", str(engine.root), *words]
        checkout = Path(__file__).resolve().parents[2]
        return subprocess.run(argv, check=False, capture_output=True, text=True, cwd=checkout, stdin=subprocess.DEVNULL)

    file, cidfile = tmp_path / "file", tmp_path / "cid"
    file.write_text("COLOUR=red\n")
    flags = ("--env-file", str(file), "--label-file", str(file), "--cidfile", str(cidfile), "--network", "none")
    failed = tuicon("run", *flags, "--pid", "container:nobody", IMAGE)
    assert (failed.returncode, cidfile.exists()) == (125, False)
    assert failed.stderr == "tuicon: no such container: nobody\n"
    done = tuicon("run", *flags, "--ulimit", "nofile=64", "--security-opt", "seccomp=unconfined", "--kernel-memory", "1g", IMAGE,
        "sh", "-c", "echo $COLOUR; ulimit -n; grep Seccomp: /proc/self/status")  # fmt: skip
    assert done.stdout.split() == ["red", "64", "Seccomp:", "0"]
    assert "--kernel-memory has no effect" in done.stderr
    assert engine.containers.get(cidfile.read_text()).spec.labels == {"COLOUR": "red"}
    with pytest.raises(Usage, match="exists already"), cidfile_of(str(cidfile)):
        pytest.fail("an id file was written over")


def test_devices_are_refused_unless_they_were_given(engine: Engine) -> None:
    script = "mknod /tmp/fuse c 10 229; head -c 1 /tmp/fuse 2>&1 | grep -o 'not permitted' || echo reached"
    assert ran(engine, script) == "not permitted\n"
    assert ran(engine, script, device_rules=("c 10:229 rwm",)) == "reached\n"
    assert ran(engine, script, privileged=True) == "reached\n"
    write = "head -c 1 /dev/mine 2>&1 | grep -o 'not permitted' || echo reached; echo x 2>/dev/null >/dev/mine || echo refused"
    assert ran(engine, write, devices=(Device("/dev/fuse", "/dev/mine", "r"),)).split() == ["reached", "refused"]
