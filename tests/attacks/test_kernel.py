"""Attacks on the host's kernel from inside: its switches, its cgroups, its dangerous system calls."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from engine.api import Engine
from tests.attacks.world import attacker, entry, executed, finish, hostile_image, spec

# Opening for writing is enough to show that a switch can be turned; nothing is written.
_SWITCHES = """
for path in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /proc/sys/vm/panic_on_oom \\
    /proc/sys/fs/binfmt_misc/register /proc/sys/kernel/poweroff_cmd /proc/sysrq-trigger /proc/irq/default_smp_affinity \\
    /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run /sys/power/state /sys/kernel/profiling; do
    (: >$path) 2>/dev/null && echo OPENED $path
done
head -c 1 /proc/kcore 2>/dev/null
echo tried
"""
_CGROUPS = """
find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs -o -name tasks -o -name 'memory.*' -o -name '*.max' |
while read path; do
    (: >>$path) 2>/dev/null && echo OPENED $path
done
mkdir /sys/fs/cgroup/mine 2>/dev/null && echo MADE
for each in /sys/fs/cgroup/*/; do mkdir $each/mine 2>/dev/null && echo MADE $each; done
echo tried
"""
# CVE-2022-0492: in a user namespace of one's own, mount the v1 hierarchy and name a program that the host will run.
_RELEASE_AGENT = """
CLONE = 0x10000000 | 0x20000 | 0x2000000
print("unshare", libc.unshare(CLONE), flush=True)
os.makedirs("/tmp/cg", exist_ok=True)
for controller in (b"rdma", b"memory", b"pids", b"cpu", b"devices", b"none,name=x"):
    if libc.mount(b"cgroup", b"/tmp/cg", b"cgroup", 0, controller) == 0:
        print("MOUNTED", controller.decode())
        try:
            os.close(os.open("/tmp/cg/release_agent", os.O_WRONLY))
            print("OPENED release_agent")
        except OSError:
            pass
        libc.umount2(b"/tmp/cg", 2)
print("tried")
"""
_CALLS = """
def attempt(name, call, *arguments):
    ctypes.set_errno(0)
    print(name, "REFUSED" if libc.syscall(call, *arguments) < 0 and ctypes.get_errno() in (1, 38) else "ALLOWED", flush=True)
x86 = os.uname().machine == "x86_64"
attempt("unshare", 272 if x86 else 97, 0x10000000)
attempt("mount", 165 if x86 else 40, b"x", b"/tmp", b"tmpfs", 0, 0)
attempt("keyctl", 250 if x86 else 219, 0, -3, 0)
attempt("add_key", 248 if x86 else 217, b"user", b"a", b"b", 1, -2)
attempt("bpf", 321 if x86 else 280, 0, 0, 0)
attempt("clone3", 435, 0, 0)
attempt("userfaultfd", 323 if x86 else 282, 1)
attempt("perf_event_open", 298 if x86 else 241, 0, 0, -1, -1, 0)
attempt("open_by_handle_at", 304 if x86 else 265, -100, 0, 0)
attempt("setns", 308 if x86 else 268, 0, 0)
"""


def test_the_kernels_switches_cannot_be_turned(engine: Engine) -> None:
    """core_pattern, uevent_helper, sysrq-trigger and their kin run programs on the host or stop it."""
    assert finish(engine, spec("sh", "-c", _SWITCHES))[1] == "tried\n"
    container = engine.containers.run(spec("sleep", "1000"))
    assert executed(engine, container.id, "sh", "-c", _SWITCHES)[1] == "tried\n"


def test_cgroups_are_read_only_and_ones_own(engine: Engine) -> None:
    """CVE-2023-25809 and CVE-2022-0492: limits and release_agent are out of reach."""
    container = engine.containers.run(spec("sleep", "1000"))
    for _ in range(2):
        assert executed(engine, container.id, "sh", "-c", _CGROUPS)[1] == "tried\n"
    places = {line.split(":", 2)[2] for line in finish(engine, spec("cat", "/proc/self/cgroup"))[1].splitlines()}
    hosts = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    assert container.id not in "".join(places)
    assert "/" in places
    assert not (places - hosts - {"/"}), places


def test_a_user_namespace_opens_no_way_to_the_release_agent(engine: Engine) -> None:
    text = finish(engine, attacker(_RELEASE_AGENT))[1]
    assert text.splitlines()[-1] == "tried"
    assert "OPENED" not in text


@pytest.mark.parametrize("way", ["run", "exec"])
def test_dangerous_system_calls_are_refused(engine: Engine, way: str) -> None:
    """Docker's default profile, for a container's command and for what enters it later."""
    wanted = attacker(_CALLS)
    if way == "run":
        text = finish(engine, wanted)[1]
    else:
        assert wanted.command is not None
        container = engine.containers.run(spec("sleep", "1000", mounts=wanted.mounts))
        text = executed(engine, container.id, *wanted.command)[1]
    assert [line for line in text.splitlines() if "ALLOWED" in line] == []
    assert text.count("REFUSED") == 10


@pytest.fixture
def device(root: Path) -> tuple[int, int]:
    """A character device that opens on this host and that no container has by default."""
    node = root / "node"
    for number in ((10, 229), (10, 200), (10, 237), (10, 183), (1, 11)):  # fuse, tun, loop-control, hwrng, kmsg
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(*number))
        try:
            os.close(os.open(node, os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            continue
        else:
            return number
        finally:
            node.unlink()
    pytest.fail("this host has none of the devices that the attack needs")


def test_a_device_that_an_image_brings_cannot_be_opened(engine: Engine, device: tuple[int, int]) -> None:
    """A node in a layer, and one that is made inside: CAP_MKNOD is among docker's default capabilities."""
    image = hostile_image(engine, entry("brought", b"3", devmajor=device[0], devminor=device[1], mode=0o666))
    script = (
        f"mknod /made c {device[0]} {device[1]}; "
        "for f in /brought /made; do (: <$f) 2>/dev/null && echo OPENED $f; done; ls /brought /made"
    )
    assert finish(engine, spec("sh", "-c", script, image=image))[1].split() == ["/brought", "/made"]


def test_no_new_privileges_and_no_inheritable_capabilities(engine: Engine) -> None:
    """CVE-2022-24769 and CVE-2022-29162: for the command, for exec, and for other users."""
    script = "grep -E 'CapInh|CapAmb|NoNewPrivs' /proc/self/status"
    container = engine.containers.run(spec("sleep", "1000"))
    texts = [
        finish(engine, spec("sh", "-c", script))[1],
        finish(engine, spec("sh", "-c", script, user="daemon", cap_add=("NET_ADMIN",)))[1],
        executed(engine, container.id, "sh", "-c", script)[1],
        executed(engine, container.id, "sh", "-c", script, user="daemon")[1],
    ]
    for text in texts:
        found = dict(line.split(":", 1) for line in text.split("\n") if line)
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize(("network", "reached"), [("none", False), ("bridge", False), ("host", True)])
def test_abstract_sockets_of_the_host_are_reached_only_in_its_own_network(
    engine: Engine, network: str, reached: bool
) -> None:
    """CVE-2020-15257: abstract sockets belong to the network namespace; with network "host" it is the host's."""
    name = f"tuicon-attack-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0{name}")
        listener.listen(1)
        code = f"import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('REACHED')\nexcept OSError: print('nothing')"
        text = finish(engine, attacker(code, network=network))[1]
    assert text == ("REACHED\n" if reached else "nothing\n")
