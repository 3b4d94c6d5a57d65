from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.linux import syscalls
from engine.linux.cgroup import layout
from engine.linux.cgroup.group import Group, group_for
from engine.linux.cgroup.layout import UNIFIED, CgroupError

IS_V2 = layout.detect().version == 2
MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}
KMSG = {"type": "c", "major": 1, "minor": 11}


@pytest.fixture
def group() -> Iterator[Group]:
    """A group of its own with nothing in it; whatever a test puts there is killed and removed."""
    made = group_for(f"tuicon_test_{os.getpid()}")
    made.create()
    yield made
    made.kill()
    made.remove()
    assert not any(Path(path).exists() for path in made.paths.values())


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def value(group: Group, controller: str, name: str) -> str:
    return Path(group.paths[UNIFIED if IS_V2 else controller], name).read_text().strip()


def inside(group: Group, action: Callable[[], object]) -> int:
    """Start a process in the group that does something; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            group.move_self()
            action()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(254)
    return pid


def outcome(group: Group, action: Callable[[], object]) -> int:
    """Do something in the group; return the errno it ended with."""
    _, status = os.waitpid(inside(group, action), 0)
    return os.waitstatus_to_exitcode(status)


def sleeping(group: Group) -> int:
    pid = inside(group, lambda: time.sleep(1000))
    until(lambda: pid in group.pids())
    return pid


@pytest.mark.parametrize(
    ("resources", "controller", "on_v1", "on_v2"),
    [
        ({"cpu": {"shares": 2048}}, "cpu", ("cpu.shares", "2048"), ("cpu.weight", "174")),
        ({"cpu": {"quota": 30_000, "period": 50_000}}, "cpu", ("cpu.cfs_quota_us", "30000"), ("cpu.max", "30000 50000")),
        ({"cpu": {"quota": 30_000, "burst": 10_000}}, "cpu", ("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000")),
        ({"cpu": {"idle": 1}}, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        ({"memory": {"limit": 64 * MIB}}, "memory", ("memory.limit_in_bytes", str(64 * MIB)), ("memory.max", str(64 * MIB))),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory",
            ("memory.memsw.limit_in_bytes", str(96 * MIB)), ("memory.swap.max", str(32 * MIB))),
        ({"memory": {"reservation": 32 * MIB}}, "memory",
            ("memory.soft_limit_in_bytes", str(32 * MIB)), ("memory.low", str(32 * MIB))),
        ({"memory": {"swappiness": 30}}, "memory", ("memory.swappiness", "30"), None),
        ({"memory": {"disableOOMKiller": True}}, "memory", ("memory.oom_control", "oom_kill_disable 1"), None),
        ({"memory": {"kernelTCP": 8 * MIB}}, "memory", ("memory.kmem.tcp.limit_in_bytes", str(8 * MIB)), None),
        ({"memory": {"useHierarchy": True}}, "memory", ("memory.use_hierarchy", "1"), ("memory.max", "max")),
        ({"pids": {"limit": 77}}, "pids", ("pids.max", "77"), ("pids.max", "77")),
        ({"unified": {"memory.high": str(64 * MIB)}}, UNIFIED, None, ("memory.high", str(64 * MIB))),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, "hugetlb", None, ("hugetlb.2MB.max", str(4 * MIB))),
        ({"network": {"classID": 5}}, "net_cls", None, None),
        ({"rdma": {"none_0": {"hcaHandles": 3}}}, "rdma", None, None),
    ],
)  # fmt: skip
def test_a_limit_is_in_the_kernels_file_or_refused(
    group: Group,
    resources: dict[str, Any],
    controller: str,
    on_v1: tuple[str, str] | None,
    on_v2: tuple[str, str] | None,
) -> None:
    expected = on_v2 if IS_V2 else on_v1
    if expected is None and controller not in group.paths:
        with pytest.raises(CgroupError, match=r"linux\.resources\.|not available|cannot set"):
            group.apply(resources)
        return
    group.apply(resources)
    if expected is not None:
        assert value(group, controller, expected[0]).split("\n")[0] == expected[1]


def test_limits_that_depend_on_each_other_move_up_and_down(group: Group) -> None:
    memory = ("memory", "memory.max") if IS_V2 else ("memory", "memory.memsw.limit_in_bytes")
    for size in (64, 16, 128):
        group.apply({"memory": {"limit": size * MIB, "swap": size * MIB}})
        assert value(group, *memory) == str(size * MIB)
    for quota, burst in ((50_000, 40_000), (10_000, 5_000), (80_000, 60_000)):
        group.apply({"cpu": {"quota": quota, "burst": burst}})
        assert value(group, "cpu", "cpu.max.burst" if IS_V2 else "cpu.cfs_burst_us") == str(burst)
    group.apply({"cpu": {"shares": 512, "idle": 1}})
    group.apply({"cpu": {"shares": 1024, "idle": 0}})
    assert value(group, "cpu", "cpu.weight" if IS_V2 else "cpu.shares") == ("100" if IS_V2 else "1024")


def test_what_cannot_be_had_takes_all_back(group: Group) -> None:
    group.apply({"pids": {"limit": 30}, "cpu": {"cpus": "0"}, "memory": {"limit": 64 * MIB}})
    wrong = {"pids": {"limit": 40}, "memory": {"limit": 32 * MIB}, "cpu": {"mems": "1000"}}
    with pytest.raises(CgroupError, match=r"cpuset\.mems"):
        group.apply(wrong)
    assert value(group, "pids", "pids.max") == "30"
    assert value(group, "memory", "memory.max" if IS_V2 else "memory.limit_in_bytes") == str(64 * MIB)


def test_a_memory_limit_below_the_use_is_refused_when_that_is_asked_for(group: Group) -> None:
    def use() -> None:
        block = bytearray(os.urandom(MIB) * 32)
        time.sleep(1000)
        del block

    pid = inside(group, use)
    usage = "memory.current" if IS_V2 else "memory.usage_in_bytes"
    until(lambda: int(value(group, "memory", usage)) > 32 * MIB)
    with pytest.raises(CgroupError, match=r"memory\.limit is below what is in use"):
        group.apply({"memory": {"limit": 16 * MIB, "checkBeforeUpdate": True}})
    assert group.oom_kills() == 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_devices_are_opened_only_as_the_rules_say(group: Group) -> None:
    def open_for(mode: int, path: str = "/dev/kmsg") -> Callable[[], object]:
        return lambda: os.open(path, mode)

    assert outcome(group, open_for(os.O_RDWR)) == 0
    group.apply({"devices": [DENY_ALL]})
    assert outcome(group, open_for(os.O_RDONLY)) == errno.EPERM
    for always in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"):
        assert outcome(group, open_for(os.O_RDWR, always)) == 0
    group.apply({"devices": [DENY_ALL, {"allow": True, **KMSG, "access": "r"}]})
    assert outcome(group, open_for(os.O_RDONLY)) == 0
    assert outcome(group, open_for(os.O_WRONLY)) == errno.EPERM
    group.apply({"pids": {"limit": 100}})  # leaves the rules alone
    assert outcome(group, open_for(os.O_WRONLY)) == errno.EPERM
    group.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert outcome(group, open_for(os.O_RDWR)) == 0


def test_device_nodes_can_be_made_and_not_opened(group: Group, tmp_path: Path) -> None:
    def make_and_open() -> None:
        os.mknod(tmp_path / "node", 0o600 | 0o020000, os.makedev(1, 11))
        os.open(tmp_path / "node", os.O_RDONLY)

    group.apply({"devices": [DENY_ALL]})
    assert outcome(group, make_and_open) == errno.EPERM
    assert (tmp_path / "node").exists()


def test_device_rules_change_under_a_running_process(group: Group) -> None:
    reading, writing = os.pipe()

    def follow() -> None:
        while True:
            try:
                os.close(os.open("/dev/kmsg", os.O_RDONLY))
                os.write(writing, b"y")
            except PermissionError:
                os.write(writing, b"n")
            time.sleep(0.01)

    pid = inside(group, follow)
    assert os.read(reading, 1) == b"y"
    group.apply({"devices": [DENY_ALL]})
    until(lambda: os.read(reading, 1) == b"n")
    group.apply({"devices": [{"allow": True, "access": "rwm"}]})
    until(lambda: os.read(reading, 1) == b"y")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)


def test_frozen_processes_and_nested_groups_die_and_go(group: Group) -> None:
    nested = Group(group.version, {name: f"{path}/a/b" for name, path in group.paths.items()})
    if IS_V2:
        os.makedirs(nested.paths[UNIFIED])  # without controllers, as a container makes them that keeps processes above
    else:
        nested.create()
    pids = [sleeping(group), sleeping(nested)]
    assert sorted(group.all_pids()) == sorted(pids)
    nested.freeze()
    group.freeze()
    group.kill()
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    group.remove()
    group.remove()  # what is gone stays gone
    assert not any(Path(path).exists() for path in group.paths.values())


def test_processes_that_fork_meanwhile_are_killed_too(group: Group) -> None:
    def fork_for_ever() -> None:
        while True:
            if os.fork() == 0:
                time.sleep(0.01)

    group.apply({"pids": {"limit": 60}})
    pid = inside(group, fork_for_ever)
    until(lambda: len(group.pids()) > 20)
    group.kill()
    os.waitpid(pid, 0)
    group.remove()


def test_an_absolute_path_counts_from_the_mount(group: Group) -> None:
    absolute = group_for(f"/tuicon_test_{os.getpid()}/below")
    absolute.create()
    for controller, mount in layout.detect().mounts.items():
        assert absolute.paths[controller] == f"{mount}/tuicon_test_{os.getpid()}/below"
    absolute.remove()


def test_controllers_that_few_hosts_mount_work_where_they_are(tmp_path: Path) -> None:
    """Huge pages and network classes of v1, mounted together for this test alone."""
    names = ("hugetlb", "net_cls", "net_prio")
    free = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines() if line.split()[1:2] == ["0"]}
    wanted = [] if IS_V2 else [name for name in names if name in free]

    def check() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        if wanted:
            syscalls.mount("cgroup", str(tmp_path), "cgroup", 0, ",".join(wanted))
        layout._detected = None
        group = group_for("tuicon_test_rare")
        group.create()
        try:
            if "hugetlb" in wanted:
                group.apply({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
                assert value(group, "hugetlb", "hugetlb.2MB.limit_in_bytes") == str(4 * MIB)
            if "net_cls" in wanted:
                group.apply({"network": {"classID": 0x100001}})
                assert value(group, "net_cls", "net_cls.classid") == str(0x100001)
            if "net_prio" in wanted:
                group.apply({"network": {"priorities": [{"name": "lo", "priority": 3}]}})
                assert "lo 3" in value(group, "net_prio", "net_prio.ifpriomap")
        finally:
            group.remove()

    pid = os.fork()
    if pid == 0:
        try:
            check()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.v2
def test_a_group_that_the_engine_itself_lives_in_can_have_groups_below_it(group: Group) -> None:
    """The engine as a delegated service, or in a container: its own processes make way."""
    name = group.paths[UNIFIED].removeprefix(layout.detect().mounts[UNIFIED])

    def make() -> None:
        below = group_for(f"{name}/below")
        below.create()
        below.apply({"pids": {"limit": 9}, "memory": {"limit": 64 * MIB}})

    assert outcome(group, make) == 0
    assert value(Group(2, {UNIFIED: f"{group.paths[UNIFIED]}/below"}), "", "pids.max") == "9"


@pytest.mark.v2
def test_processes_of_others_in_the_way_are_named(group: Group) -> None:
    sleeping(group)
    with pytest.raises(CgroupError, match="processes in this group"):
        group_for(f"{group.paths[UNIFIED].removeprefix(layout.detect().mounts[UNIFIED])}/below").create()


def test_systemd_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from engine.linux.cgroup.systemd import scope_group

    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    with pytest.raises(CgroupError, match="needs systemd"):
        scope_group("system.slice:tuicon:x", os.getpid(), {})
