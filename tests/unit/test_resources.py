from __future__ import annotations

import struct
from typing import Any

import pytest

from engine.linux.cgroup import device_program, device_rules, group, systemd
from engine.linux.cgroup.block_io import io_weight
from engine.linux.cgroup.cpu import weight_of_shares
from engine.linux.cgroup.layout import CgroupError, parse_mounts
from engine.linux.cgroup.plan import plan
from engine.linux.dbus import pack

# (resources, v1's writes, v2's writes): the kernel's cgroup-v1 and cgroup-v2 documents, and the table of crun's manual.
# None: that version has no such limit and must refuse it.
DEVICE = {"major": 8, "minor": 16}
TABLE: list[tuple[dict[str, Any], list[tuple[str, str]] | None, list[tuple[str, str]] | None]] = [
    ({"cpu": {"shares": 1024}}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
    ({"cpu": {"quota": 5, "period": 9}}, [("cpu.cfs_period_us", "9"), ("cpu.cfs_quota_us", "5")], [("cpu.max", "5 9")]),
    ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max 100000")]),
    ({"cpu": {"burst": 7}}, [("cpu.cfs_burst_us", "7")], [("cpu.max.burst", "7")]),
    ({"cpu": {"idle": 1}}, [("cpu.idle", "1")], [("cpu.idle", "1")]),
    ({"cpu": {"realtimePeriod": 9}}, [("cpu.rt_period_us", "9")], None),
    ({"cpu": {"realtimeRuntime": 5}}, [("cpu.rt_runtime_us", "5")], None),
    ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    ({"memory": {"limit": 100}}, [("memory.limit_in_bytes", "100")], [("memory.max", "100")]),
    ({"memory": {"limit": -1}}, [("memory.limit_in_bytes", "-1")], [("memory.max", "max")]),
    ({"memory": {"limit": 100, "swap": 150}},
        [("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "150")],
        [("memory.max", "100"), ("memory.swap.max", "50")]),
    ({"memory": {"swap": -1}}, [("memory.memsw.limit_in_bytes", "-1")], [("memory.swap.max", "max")]),
    ({"memory": {"reservation": 9}}, [("memory.soft_limit_in_bytes", "9")], [("memory.low", "9")]),
    ({"memory": {"kernel": 9}}, [], []),
    ({"memory": {"kernelTCP": 9}}, [("memory.kmem.tcp.limit_in_bytes", "9")], None),
    ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")], None),
    ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")], None),
    ({"memory": {"disableOOMKiller": False}}, [("memory.oom_control", "0")], []),
    ({"memory": {"useHierarchy": True}}, [("memory.use_hierarchy", "1")], []),
    ({"memory": {"useHierarchy": False}}, [("memory.use_hierarchy", "0")], None),
    ({"pids": {"limit": 5}}, [("pids.max", "5")], [("pids.max", "5")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
    ({"blockIO": {"weight": 10}}, [("blkio.bfq.weight", "10")], [("io.weight", "default 1")]),
    ({"blockIO": {"weight": 1000}}, [("blkio.bfq.weight", "1000")], [("io.weight", "default 10000")]),
    ({"blockIO": {"leafWeight": 10}}, [("blkio.bfq.leaf_weight", "10")], None),
    ({"blockIO": {"weightDevice": [{**DEVICE, "weight": 10}]}}, [("blkio.bfq.weight_device", "8:16 10")],
        [("io.weight", "8:16 1")]),
    ({"blockIO": {"weightDevice": [{**DEVICE, "leafWeight": 10}]}}, [("blkio.bfq.leaf_weight_device", "8:16 10")], None),
    *(({"blockIO": {f"throttle{way}{kind.upper() if kind == 'iops' else 'Bps'}Device": [{**DEVICE, "rate": 7}]}},
        [(f"blkio.throttle.{way.lower()}_{kind}_device", "8:16 7")],
        [("io.max", f"8:16 {way[0].lower()}{kind}=7")]) for way in ("Read", "Write") for kind in ("bps", "iops")),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}, [("hugetlb.2MB.limit_in_bytes", "4")],
        [("hugetlb.2MB.max", "4")]),
    ({"network": {"classID": 5}}, [("net_cls.classid", "5")], None),
    ({"network": {"priorities": [{"name": "lo", "priority": 3}]}}, [("net_prio.ifpriomap", "lo 3")], None),
    ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}}},
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=9")], [("rdma.max", "mlx5_1 hca_handle=3 hca_object=9")]),
    ({"unified": {"memory.high": "9", "io.max": "8:0 rbps=1\n8:16 wbps=2"}}, None,
        [("memory.high", "9"), ("io.max", "8:0 rbps=1"), ("io.max", "8:16 wbps=2")]),
]  # fmt: skip


def no_old_names(_controller: str, name: str) -> bool:
    """A kernel without CFQ, without a BFQ disk, and that does not count reserved huge pages."""
    return name not in ("blkio.weight", "blkio.leaf_weight", "blkio.weight_device", "blkio.leaf_weight_device",
        "io.bfq.weight") and ".rsvd." not in name  # fmt: skip


@pytest.mark.parametrize(("resources", "on_v1", "on_v2"), TABLE, ids=lambda value: str(value)[:60])
def test_every_field_becomes_what_the_kernel_reads_or_is_refused(
    resources: dict[str, Any], on_v1: list[tuple[str, str]] | None, on_v2: list[tuple[str, str]] | None
) -> None:
    for version, expected in ((1, on_v1), (2, on_v2)):
        if expected is None:
            with pytest.raises(CgroupError, match=r"linux\.resources\."):
                plan(version, resources, no_old_names)
        else:
            assert [(name, value) for _, name, value in plan(version, resources, no_old_names)] == expected


def test_bfq_takes_weights_as_they_are() -> None:
    weights = {"blockIO": {"weight": 300, "weightDevice": [{**DEVICE, "weight": 10}]}}
    assert plan(2, weights) == [("io", "io.bfq.weight", "default 300"), ("io", "io.bfq.weight", "8:16 10")]


def test_reserved_huge_pages_are_limited_too_where_they_are_counted() -> None:
    assert len(plan(2, {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]})) == 2


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000)])
def test_shares_become_weights_as_cruns_manual_says(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (1000, 10000)])
def test_io_weights_span_the_whole_range(weight: int, converted: int) -> None:
    assert io_weight(weight) == converted


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu": []},
        {"cpu": {"shares": "1024"}},
        {"cpu": {"cpus": 0}},
        {"memory": {"limit": 100, "swap": 50}},
        {"pids": {"limit": True}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "rate": 1}]}},
        {"blockIO": {"weightDevice": {"major": 8}}},
        {"hugepageLimits": [{"pageSize": "../x", "limit": 1}]},
        {"rdma": {"mlx5_1": 3}},
        {"unified": {"../cgroup.procs": "1"}},
    ],
)
def test_malformed_resources_are_refused_with_the_fields_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(CgroupError, match=r"linux\.resources\."):
        plan(2, wrong)


def rules(*entries: dict[str, Any]) -> list[device_rules.Rule]:
    return device_rules.rules_of({"devices": list(entries)})


DENY_ALL = {"allow": False, "access": "rwm"}


def decide(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Run a device program as the kernel's document of its instruction set says (bpf/standardization)."""
    code = [struct.unpack_from("=BBhI", program, offset) for offset in range(0, len(program), 8)]
    words = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    at = 0
    while True:
        opcode, pair, jump, value = code[at]
        target, source = pair & 15, pair >> 4
        at += 1
        if opcode == 0x61:
            registers[target] = words[jump]
        elif opcode == 0x54:
            registers[target] &= value
        elif opcode == 0x74:
            registers[target] >>= value
        elif opcode == 0xB7:
            registers[target] = value
        elif opcode == 0xBC:
            registers[target] = registers[source]
        elif opcode in (0x15, 0x55):
            at += jump if (registers[target] == value) == (opcode == 0x15) else 0
        else:
            assert opcode == 0x95
            return registers[0]


BLOCK, CHAR = 1, 2  # BPF_DEVCG_DEV_*
MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*


@pytest.mark.parametrize(
    ("given", "request_", "is_allowed"),
    [
        ([DENY_ALL], (CHAR, READ | WRITE, 1, 3), True),  # /dev/null is always allowed
        ([DENY_ALL], (CHAR, READ, 136, 77), True),  # so are terminals
        ([DENY_ALL], (CHAR, READ, 10, 200), False),  # but not tun
        ([DENY_ALL], (BLOCK, READ, 1, 3), False),
        ([DENY_ALL], (BLOCK, MKNOD, 8, 0), True),  # a node is made, not opened
        ([], (CHAR, READ, 1, 3), True),
        ([{"allow": True, "type": "c", "major": 10, "minor": 200, "access": "r"}], (CHAR, READ, 10, 200), True),
        ([{"allow": True, "type": "c", "major": 10, "minor": 200, "access": "r"}], (CHAR, READ | WRITE, 10, 200), False),
        ([{"allow": True, "type": "c", "major": 10, "minor": 200, "access": "r"},
          {"allow": True, "type": "c", "major": 10, "access": "w"}], (CHAR, READ | WRITE, 10, 200), True),
        ([{"allow": True, "type": "b", "major": 8}, {"allow": False, "type": "b", "major": 8, "minor": 1, "access": "w"}],
            (BLOCK, READ | WRITE, 8, 1), False),
        ([{"allow": True, "type": "b", "major": 8}, {"allow": False, "type": "b", "major": 8, "minor": 1, "access": "w"}],
            (BLOCK, READ, 8, 1), True),
        ([{"allow": True}], (BLOCK, READ | WRITE, 8, 1), True),
        ([{"allow": True}, {"allow": False, "type": "b", "major": 8}], (BLOCK, READ, 8, 1), False),
        ([{"allow": True}, DENY_ALL], (CHAR, READ, 10, 200), False),
    ],
)  # fmt: skip
def test_of_the_device_rules_the_last_that_fits_wins(
    given: list[dict[str, Any]], request_: tuple[int, int, int, int], is_allowed: bool
) -> None:
    found = rules(*(given or [DENY_ALL]))
    assert decide(device_program.assemble(found), *request_) == int(is_allowed)


def test_device_rules_are_written_as_v1_reads_them() -> None:
    writes = device_rules.plan_v1(rules(DENY_ALL, {"allow": True, "major": 10, "minor": 200, "access": "r"}))
    assert writes[:3] == [
        ("devices", "devices.deny", "a"),
        ("devices", "devices.allow", "b 10:200 r"),
        ("devices", "devices.allow", "c 10:200 r"),
    ]
    assert device_rules.plan_v1(rules({"allow": True})) == [("devices", "devices.allow", "a")]
    assert rules() == []


def test_v1_refuses_a_device_rule_that_it_would_not_obey() -> None:
    allowed, denied = {"allow": True, "type": "b", "major": 8}, {"allow": False, "type": "b", "major": 8, "minor": 1}
    with pytest.raises(CgroupError, match="exception"):
        device_rules.plan_v1(rules(DENY_ALL, allowed, denied))


@pytest.mark.parametrize("name", ["", "/", "../x", "/a/../../b"])
def test_a_cgroup_path_stays_in_its_place(name: str) -> None:
    with pytest.raises(CgroupError, match="not a cgroup path"):
        group.group_for(name)


def test_controllers_that_share_a_mount_share_a_path() -> None:
    line = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    named = "31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    assert parse_mounts(line + named)[0] == dict.fromkeys(("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct")


def test_systemd_is_told_what_it_has_a_property_for() -> None:
    resources = {
        "cpu": {"shares": 1024, "quota": 50_000, "period": 200_000, "cpus": "0,2-3"},
        "memory": {"limit": 100, "swap": -1},
        "pids": {"limit": 7},
        "unified": {"memory.high": "90"},
    }
    assert dict(systemd.properties_of(2, resources)) == {
        "CPUWeight": ("t", 100), "CPUQuotaPerSecUSec": ("t", 250_000), "CPUQuotaPeriodUSec": ("t", 200_000),
        "AllowedCPUs": ("ay", [0b1101]), "MemoryMax": ("t", 100), "MemorySwapMax": ("t", (1 << 64) - 1),
        "TasksMax": ("t", 7), "MemoryHigh": ("t", 90),
    }  # fmt: skip


def test_systemd_scopes_are_named_as_the_specification_says() -> None:
    assert systemd.names_of("my.slice:pre:name") == ("my.slice", "pre-name.scope")
    assert systemd.names_of(":pre:name") == ("system.slice", "pre-name.scope")
    for wrong in ("/a/b", "a:b", "a.slice:b:", "a:b:c", "a.slice:../b:c"):
        with pytest.raises(CgroupError, match=r"linux\.cgroupsPath"):
            systemd.names_of(wrong)


def test_values_are_packed_as_d_bus_aligns_them() -> None:
    """By hand from the specification's "Marshaling (Wire Format)"."""
    assert pack("ys", (1, "ab")) == b"\x01\0\0\0\x02\0\0\0ab\0"
    assert pack("a(sv)", ([("n", ("t", 5))],)) == (
        b"\x18\0\0\0" + bytes(4) + b"\x01\0\0\0n\0" + b"\x01t\0" + bytes(7) + b"\x05" + bytes(7)
    )
    assert pack("au", ([],)) == bytes(4)
