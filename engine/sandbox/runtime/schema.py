"""The shape of config.json, field by field (runtime-spec config.md, config-linux.md, version 1.2).

A text names a type, a tuple lists the values that are allowed, a list holds its items' shape, a dict the fields of an
object; "!" marks a required field and "*" stands for any name. Fields that are not here are ignored, as the
specification wants it of extensions.
"""

from __future__ import annotations

from engine.linux import seccomp
from engine.sandbox import schedule
from engine.sandbox.mount_options import PROPAGATION
from engine.sandbox.runtime.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Shape = str | tuple[str, ...] | list[Any] | dict[str, Any]

_RANGES = {
    "u8": (0, 0xFF), "u16": (0, 0xFFFF), "u32": (0, 0xFFFFFFFF), "u64": (0, (1 << 64) - 1),
    "int": (-(1 << 31), (1 << 31) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "id": (0, (1 << 32) - 2),
    "mode": (0, 0o7777), "oom": (-1000, 1000), "limit": (-(1 << 63), (1 << 64) - 1),
}  # fmt: skip
_CAPABILITIES = {name: ["text"] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")}
RLIMITS = tuple(f"RLIMIT_{name}" for name in ("AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE",
    "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"))  # fmt: skip
PROCESS: dict[str, Any] = {
    "terminal": "flag",
    "consoleSize": {"height!": "u16", "width!": "u16"},
    "cwd!": "path",
    "env": ["variable"],
    "args": ["text"],
    "user": {"uid": "id", "gid": "id", "umask": "mode", "additionalGids": ["id"], "username": "text"},
    "capabilities": _CAPABILITIES,
    "rlimits": [{"type!": RLIMITS, "soft!": "u64", "hard!": "u64"}],
    "noNewPrivileges": "flag",
    "apparmorProfile": "text",
    "selinuxLabel": "text",
    "oomScoreAdj": "oom",
    "scheduler": {
        "policy!": tuple(schedule.POLICIES),
        "nice": "int", "priority": "int", "runtime": "u64", "deadline": "u64", "period": "u64",
        "flags": [tuple(schedule.POLICY_FLAGS)],
    },
    "ioPriority": {"class!": tuple(schedule.IO_CLASSES), "priority": "int"},
    "execCPUAffinity": {"initial": "list", "final": "list"},
}  # fmt: skip
_HOOKS = [{"path!": "path", "args": ["text"], "env": ["variable"], "timeout": "positive"}]
_MAPPINGS = [{"containerID!": "id", "hostID!": "id", "size!": "u32"}]
_NUMBERED = {"major!": "i64", "minor!": "i64"}
_RATES = [{**_NUMBERED, "rate!": "u64"}]
RESOURCES: dict[str, Any] = {
    "unified": {"*": "text"},
    "devices": [{"allow!": "flag", "type": ("a", "b", "c", ""), "major": "i64", "minor": "i64", "access": "access"}],
    "memory": {
        "limit": "limit", "reservation": "limit", "swap": "limit", "kernel": "limit", "kernelTCP": "limit",
        "swappiness": "u64", "disableOOMKiller": "flag", "useHierarchy": "flag", "checkBeforeUpdate": "flag",
    },
    "cpu": {
        "shares": "u64", "quota": "i64", "burst": "u64", "period": "u64", "realtimeRuntime": "i64",
        "realtimePeriod": "u64", "cpus": "text", "mems": "text", "idle": "i64",
    },
    "blockIO": {
        "weight": "u16", "leafWeight": "u16",
        "weightDevice": [{**_NUMBERED, "weight": "u16", "leafWeight": "u16"}],
        "throttleReadBpsDevice": _RATES, "throttleWriteBpsDevice": _RATES, "throttleReadIOPSDevice": _RATES,
        "throttleWriteIOPSDevice": _RATES,
    },
    "hugepageLimits": [{"pageSize!": "text", "limit!": "u64"}],
    "network": {"classID": "u32", "priorities": [{"name!": "text", "priority!": "u32"}]},
    "pids": {"limit": "i64"},
    "rdma": {"*": {"hcaHandles": "u32", "hcaObjects": "u32"}},
}  # fmt: skip
_SECCOMP = {
    "defaultAction!": seccomp.ACTIONS, "defaultErrnoRet": "u32", "architectures": [seccomp.ARCHITECTURES],
    "flags": [seccomp.FLAGS], "listenerPath": "text", "listenerMetadata": "text",
    "syscalls": [{
        "names!": ["text"], "action!": seccomp.ACTIONS, "errnoRet": "u32",
        "args": [{"index!": "u32", "value": "u64", "valueTwo": "u64", "op!": seccomp.OPERATORS}],
    }],
}  # fmt: skip
_LINUX = {
    "namespaces": [{"type!": ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"), "path": "text"}],
    "uidMappings": _MAPPINGS, "gidMappings": _MAPPINGS,
    "timeOffsets": {"*": {"secs": "i64", "nanosecs": "u32"}},
    "devices": [{
        "type!": ("c", "b", "u", "p"), "path!": "path", "major": "i64", "minor": "i64", "fileMode": "u32", "uid": "id",
        "gid": "id",
    }],
    "netDevices": {"*": {"name": "text"}},
    "cgroupsPath": "text", "rootfsPropagation": ("", *PROPAGATION), "resources": RESOURCES, "seccomp": _SECCOMP,
    "sysctl": {"*": "text"}, "maskedPaths": ["path"], "readonlyPaths": ["path"], "mountLabel": "text",
    "personality": {"domain!": tuple(schedule.DOMAINS), "flags": [()]},
    "memoryPolicy": {"mode!": tuple(schedule.MEMORY_MODES), "nodes": "list", "flags": [tuple(schedule.MEMORY_FLAGS)]},
    "intelRdt": "any",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "ociVersion!": "version",
    "root!": {"path!": "text", "readonly": "flag"},
    "process": PROCESS,
    "hostname": "text", "domainname": "text",
    "mounts": [{
        "destination!": "text", "type": "text", "source": "text", "options": ["text"], "uidMappings": _MAPPINGS,
        "gidMappings": _MAPPINGS,
    }],
    "hooks": dict.fromkeys(("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"), _HOOKS),
    "annotations": {"*": "text"},
    "linux": _LINUX,
}  # fmt: skip
_MOST_NUMBERS = 8192
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}


def check(value: object, shape: Shape, where: str) -> None:
    """Check a value and all in it; null counts as absent, as in the reference's own parser.

    Raises:
        Fault: A field is missing, or has a wrong type or an unknown value; the sentence names it.
    """
    if isinstance(shape, dict):
        _expect(value, dict, where)
        assert isinstance(value, dict)
        _check_object(value, shape, where)
    elif isinstance(shape, list):
        _expect(value, list, where)
        assert isinstance(value, list)
        for index, item in enumerate(value):
            check(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, tuple):
        if value not in shape:
            raise Fault(
                f"{where} is {value!r}, which is none of {', '.join(name for name in shape if name) or 'those that are defined'}"
            )
    else:
        _check_scalar(value, shape, where)


def _check_object(value: dict[str, object], shape: dict[str, Shape], where: str) -> None:
    prefix = f"{where}." if where else ""
    if "*" in shape:
        for name, item in value.items():
            if item is not None:
                check(item, shape["*"], f"{prefix}{name}")
        return
    for name, inner in shape.items():
        field = name.rstrip("!")
        item = value.get(field)
        if item is not None:
            check(item, inner, f"{prefix}{field}")
        elif name.endswith("!"):
            raise Fault(f"{prefix}{field} is missing")


def _expect(value: object, kind: type, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Fault(f"{where or 'the document'} must be {_KINDS[kind]}")


def _check_scalar(value: object, kind: str, where: str) -> None:
    if kind in _RANGES:
        _expect(value, int, where)
        lowest, highest = _RANGES[kind]
        if not isinstance(value, int) or not lowest <= value <= highest:
            raise Fault(f"{where} is {value}, out of the range {lowest} to {highest}")
    elif kind == "flag":
        _expect(value, bool, where)
    elif kind == "positive":
        _expect(value, int, where)
        if not isinstance(value, int) or value <= 0:
            raise Fault(f"{where} must be greater than zero")
    elif kind != "any":
        _expect(value, str, where)
        _check_text(str(value), kind, where)


def _check_text(value: str, kind: str, where: str) -> None:
    if "\0" in value:
        raise Fault(f"{where} contains a NUL character")
    if kind == "path" and not value.startswith("/"):
        raise Fault(f"{where} must be an absolute path, not {value!r}")
    if kind == "variable" and value.find("=") < 1:
        raise Fault(f"{where} must have the form NAME=VALUE, not {value!r}")
    if kind == "access" and set(value) - set("rwm"):
        raise Fault(f"{where} is {value!r}, which has other letters than r, w and m")
    if kind == "list" and not _is_list(value):
        raise Fault(f"{where} must be a list of numbers such as 0-3,5, not {value!r}")
    if kind == "version":
        number = value.partition("-")[0].partition("+")[0].split(".")
        if len(number) != 3 or not all(part.isdigit() for part in number):
            raise Fault(f"{where} must be a version such as 1.2.0, not {value!r}")
        if number[0] != "1":
            raise Fault(f"{where} {value} is not supported: this runtime knows the versions 1.x")


def _is_list(text: str) -> bool:
    try:
        return all(0 <= number < _MOST_NUMBERS for number in schedule.numbers_of(text))
    except ValueError:
        return False
