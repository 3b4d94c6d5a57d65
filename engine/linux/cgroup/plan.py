"""OCI `linux.resources` as writes to cgroup files; pure: values in, (controller, file, value) out.

Sources: runtime-spec config-linux.md ("Control groups"); the kernel's cgroup-v1 and cgroup-v2 documents; the
conversion of v1 values on v2 is that of crun's manual. What a version lacks is refused, never passed over.
"""

from __future__ import annotations

import errno

from engine.linux.cgroup.block_io import plan_block_io
from engine.linux.cgroup.cpu import plan_cpu
from engine.linux.cgroup.fields import entries, integer, limit_text, not_on
from engine.linux.cgroup.layout import CgroupError
from engine.linux.cgroup.memory import plan_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import HasFile, Section, Write


def _has_all(_controller: str, _file: str) -> bool:
    return True


def plan(version: int, resources: Section, has: HasFile = _has_all) -> list[Write]:
    """Return the writes that put resources in force; a missing or None value is left as it is.

    Args:
        version: 1 or 2.
        resources: All but `devices`, which are no plain writes (see device_rules).
        has: Whether the group has a file of a controller; it chooses between names that kernels differ in.

    Raises:
        CgroupError: A value is wrong, or this version has no such limit.
    """
    makers = (("cpu", plan_cpu), ("memory", plan_memory), ("pids", _pids), ("blockIO", plan_block_io),
        ("network", _network), ("rdma", _rdma), ("unified", _unified))  # fmt: skip
    writes: list[Write] = []
    for name, make in makers:
        section = resources.get(name)
        if section is not None and not isinstance(section, dict):
            raise CgroupError(errno.EINVAL, f"linux.resources.{name} is not an object")
        if isinstance(section, dict):
            writes.extend(make(version, section, has))
        if name == "blockIO":
            writes.extend(_hugepages(version, resources, has))
    return writes


def _pids(_version: int, pids: Section, _has: HasFile) -> list[Write]:
    limit = integer(pids, "limit", "pids")
    return [] if limit is None else [("pids", "pids.max", limit_text(limit, "max"))]


def _hugepages(version: int, resources: Section, has: HasFile) -> list[Write]:
    """Limit pages in use, and reserved pages where the kernel counts them (from 5.7 on), as runc does."""
    writes: list[Write] = []
    for entry in entries(resources, "hugepageLimits", ""):
        size, limit = entry.get("pageSize"), integer(entry, "limit", "hugepageLimits")
        if not isinstance(size, str) or size[-2:] not in ("KB", "MB", "GB") or not size[:-2].isdigit() or limit is None:
            raise CgroupError(errno.EINVAL, f"linux.resources.hugepageLimits: not a page size and limit: {entry}")
        end = "limit_in_bytes" if version == 1 else "max"
        writes.append(("hugetlb", f"hugetlb.{size}.{end}", str(limit)))
        if has("hugetlb", f"hugetlb.{size}.rsvd.{end}"):
            writes.append(("hugetlb", f"hugetlb.{size}.rsvd.{end}", str(limit)))
    return writes


def _network(version: int, network: Section, _has: HasFile) -> list[Write]:
    writes: list[Write] = []
    class_id = integer(network, "classID", "network")
    if class_id is not None:
        writes.append(("net_cls", "net_cls.classid", str(class_id)))
    for entry in entries(network, "priorities", "network."):
        priority = integer(entry, "priority", "network.priorities") or 0
        writes.append(("net_prio", "net_prio.ifpriomap", f"{entry.get('name')} {priority}"))
    if version == 2 and (class_id or len(writes) > (class_id is not None)):
        raise not_on(2, "network")
    return writes if version == 1 else []


def _rdma(_version: int, rdma: Section, _has: HasFile) -> list[Write]:
    writes: list[Write] = []
    for device, limits in rdma.items():
        if not isinstance(limits, dict):
            raise CgroupError(errno.EINVAL, f"linux.resources.rdma.{device} is not an object")
        handles, objects = (integer(limits, name, f"rdma.{device}") for name in ("hcaHandles", "hcaObjects"))
        parts = [
            f"{key}={value}" for key, value in (("hca_handle", handles), ("hca_object", objects)) if value is not None
        ]
        if parts:
            writes.append(("rdma", "rdma.max", " ".join((device, *parts))))
    return writes


def _unified(version: int, unified: Section, _has: HasFile) -> list[Write]:
    """Return v2's files as they are named; several lines are as many writes."""
    if version == 1 and unified:
        raise not_on(1, "unified")
    writes: list[Write] = []
    for name, value in unified.items():
        if "/" in name or "." not in name or not isinstance(value, str):
            raise CgroupError(errno.EINVAL, f"linux.resources.unified: {name!r} is not the name of a file and its text")
        writes.extend((name.partition(".")[0], name, line) for line in value.splitlines() if line)
    return writes
