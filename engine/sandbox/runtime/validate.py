"""Checks of a config that look at more than one field (runtime-spec config.md, config-linux.md)."""

from __future__ import annotations

import os

from engine.linux import files
from engine.linux.light import json
from engine.sandbox.runtime import schema
from engine.sandbox.runtime.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_LARGEST_CONFIG = 16 << 20
_SHORTEST_RUNTIME = 1024
_IPC_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msg_next_id", "kernel.sem_next_id",
    "kernel.shm_next_id")  # fmt: skip


def load_json(path: str) -> Document:
    """Return the JSON object in a file.

    Raises:
        Fault: It is missing, or no JSON object.
    """
    try:
        found = json.loads(files.read_file(path, _LARGEST_CONFIG))
    except OSError as error:
        raise Fault(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error
    except (ValueError, RecursionError) as error:
        raise Fault(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise Fault(f"{path} must hold a JSON object")
    return found


def has_namespace(config: Document, kind: str) -> bool:
    """Return whether a config makes or joins a namespace of a kind."""
    return any(item["type"] == kind for item in (config.get("linux") or {}).get("namespaces") or ())


def check_config(config: Document) -> None:
    """Check a config.

    Raises:
        Fault: Something in it cannot be; the sentence names the field.
    """
    schema.check(config, schema.CONFIG, "")
    linux: Document = config.get("linux") or {}
    namespaces = _namespaces(linux)
    _check_mounts(config)
    _check_identity(linux, namespaces)
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" not in namespaces:
            raise Fault(f"{field} needs a UTS namespace of its own in linux.namespaces")
    for name in linux.get("sysctl") or {}:
        _check_sysctl(str(name), namespaces)
    named = (linux.get("sysctl") or {}).get("kernel.domainname")
    if config.get("domainname") and named not in (None, config["domainname"]):
        raise Fault("linux.sysctl: kernel.domainname contradicts domainname")
    if linux.get("netDevices") and "network" not in namespaces:
        raise Fault("linux.netDevices needs a network namespace of its own in linux.namespaces")
    if linux.get("intelRdt"):
        raise Fault("linux.intelRdt is not supported")
    if config.get("process"):
        check_process(config["process"], "process")


def check_process(process: Document, where: str) -> None:
    """Check what no single field shows.

    Raises:
        Fault: A limit is given twice or is above its own ceiling, or there is no command.
    """
    schema.check(process, schema.PROCESS, where)
    if not process.get("args"):
        raise Fault(f"{where}.args is missing: there is no command to run")
    seen: set[str] = set()
    for index, item in enumerate(process.get("rlimits") or ()):
        if item["type"] in seen:
            raise Fault(f"{where}.rlimits[{index}]: {item['type']} is given twice")
        if item["soft"] > item["hard"]:
            raise Fault(f"{where}.rlimits[{index}]: the soft limit of {item['type']} is above its hard limit")
        seen.add(item["type"])
    _check_deadline(process.get("scheduler") or {}, where)


def _check_deadline(scheduler: Document, where: str) -> None:
    """Check the order that sched_setattr(2) wants: runtime <= deadline <= period."""
    if scheduler.get("policy") != "SCHED_DEADLINE":
        return
    runtime, deadline = scheduler.get("runtime") or 0, scheduler.get("deadline") or 0
    period = scheduler.get("period") or deadline
    for name, value in (("runtime", runtime), ("deadline", deadline)):
        if not value:
            raise Fault(f"{where}.scheduler.{name} is missing, which SCHED_DEADLINE needs")
    if not _SHORTEST_RUNTIME <= runtime <= deadline <= period < 1 << 63:
        raise Fault(f"{where}.scheduler: {_SHORTEST_RUNTIME} <= runtime <= deadline <= period does not hold")


def _namespaces(linux: Document) -> set[str]:
    found: set[str] = set()
    for index, item in enumerate(linux.get("namespaces") or ()):
        kind, path, where = str(item["type"]), str(item.get("path") or ""), f"linux.namespaces[{index}]"
        if kind in found:
            raise Fault(f"{where}: {kind} is given twice")
        if path and not path.startswith("/"):
            raise Fault(f"{where}.path must be an absolute path, not {path!r}")
        found.add(kind)
    if "mount" not in found:
        raise Fault("linux.namespaces: a mount namespace is needed")
    return found


def _check_mounts(config: Document) -> None:
    for index, mount in enumerate(config.get("mounts") or ()):
        where = f"mounts[{index}]"
        if not mount["destination"]:
            raise Fault(f"{where}.destination is empty")
        if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):
            raise Fault(f"{where}: uidMappings and gidMappings belong together")


def _check_identity(linux: Document, namespaces: set[str]) -> None:
    has_user = any(item["type"] == "user" for item in linux.get("namespaces") or ())
    for field in ("uidMappings", "gidMappings"):
        if linux.get(field) and not has_user:
            raise Fault(f"linux.{field} needs a user namespace in linux.namespaces")
    is_new = any(item["type"] == "user" and not item.get("path") for item in linux.get("namespaces") or ())
    if is_new and not (linux.get("uidMappings") and linux.get("gidMappings")):
        raise Fault("linux.uidMappings and linux.gidMappings are needed for a new user namespace")
    if linux.get("timeOffsets"):
        if "time" not in namespaces:
            raise Fault("linux.timeOffsets needs a time namespace in linux.namespaces")
        unknown = set(linux["timeOffsets"]) - {"monotonic", "boottime"}
        if unknown:
            raise Fault(f"linux.timeOffsets.{min(unknown)}: only monotonic and boottime can be shifted")


def _check_sysctl(name: str, namespaces: set[str]) -> None:
    """Refuse a setting that would change the host: it must belong to a namespace of the container."""
    dotted = name.replace("/", ".") if "/" in name and "." not in name.partition("/")[0] else name
    if not dotted.replace(".", "").replace("_", "").replace("-", "").replace("/", "").isalnum() or ".." in dotted:
        raise Fault(f"linux.sysctl: {name!r} is no setting's name")
    if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
        needed = "ipc"
    elif dotted.startswith("net."):
        needed = "network"
    elif dotted == "kernel.domainname":
        needed = "uts"
    elif dotted.startswith("user."):
        needed = "user"
    else:
        raise Fault(f"linux.sysctl: {name} is no setting of a namespace, so it would change the host")
    if needed not in namespaces:
        raise Fault(f"linux.sysctl: {name} needs a {needed} namespace of its own")
