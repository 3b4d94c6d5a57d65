"""The OCI runtime config of a container; pure: specification and image settings in, document out.

Defaults are docker's: its capabilities, masked and read-only paths, devices and mounts.
"""

from __future__ import annotations

import fnmatch
from typing import Any

from engine.errors import InvalidArgument, NotSupported
from engine.linux.capabilities import DEFAULT, NAMES
from engine.model.container import ContainerSpec, Mount, Ulimit
from engine.model.image import ImageSettings
from engine.model.value import Value, field
from engine.oci.cdi import Edits, hook_of, mount_of
from engine.oci.devices import standard_nodes

Document = dict[str, Any]

MASKED_PATHS = ("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap")  # fmt: skip
SHARED_MEMORY = "container:/dev/shm"
"""The source of a bind that stands for another container's /dev/shm; the monitor knows whose."""
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
_QUIET = ["nosuid", "noexec", "nodev"]
_UNLIMITED = (1 << 64) - 1
ALL = "ALL"


class Bind(Value, frozen=True):
    """A directory or file of the host inside the container.

    Attributes:
        options: More mount options, such as "rslave"; "writable" leaves what is mounted below as it is.
        is_mapped: Whether owners are those that the container's user namespace sees as such.
    """

    source: str
    target: str
    read_only: bool = False
    options: tuple[str, ...] = ()
    is_mapped: bool = False


class Place(Value, frozen=True):
    """What the config needs to know beyond the specification.

    Attributes:
        rootfs: Where the root file system will be mounted.
        hostname: The container's host name; empty in the UTS namespace of the host.
        binds: The files that are bound in (hosts, hostname, resolv.conf), binds and volumes.
        namespaces: Kind to path of the namespaces of its own; an empty path makes a new one.
        resources: `linux.resources` without devices.
        uid_mappings, gid_mappings: Of a user namespace of its own.
        capabilities: What this host has to give, without CAP_; "all" is no more than that.
        nodes: Device nodes beside the standard ones.
        device_rules: What may be done with devices.
        seccomp: `linux.seccomp`; empty for none.
        apparmor: The profile's name; empty for none.
        edits: What CDI devices add: (file, edits).
    """

    rootfs: str
    hostname: str
    binds: tuple[Bind, ...] = ()
    namespaces: dict[str, str] = field(default_factory=dict)
    resources: Document = field(default_factory=dict)
    uid_mappings: tuple[Document, ...] = ()
    gid_mappings: tuple[Document, ...] = ()
    capabilities: tuple[str, ...] = NAMES
    nodes: tuple[Document, ...] = ()
    device_rules: tuple[Document, ...] = ()
    seccomp: Document = field(default_factory=dict)
    apparmor: str = ""
    edits: tuple[tuple[str, Edits], ...] = ()

    def has_new(self, kind: str) -> bool:
        """Return whether a namespace of a kind is made for this container."""
        return self.namespaces.get(kind) == ""


def command_of(spec: ContainerSpec, settings: ImageSettings) -> tuple[str, ...]:
    """Return what runs: docker's rules for entrypoint and command.

    Raises:
        InvalidArgument: There is neither.
    """
    if spec.entrypoint:
        entrypoint = () if spec.entrypoint == ("",) else spec.entrypoint
        command = spec.command or ()
    else:
        entrypoint = settings.entrypoint
        command = settings.command if spec.command is None else spec.command
    found = (*entrypoint, *command)
    if not found:
        raise InvalidArgument("no command was given, and the image has none")
    return found


def environment_of(spec: ContainerSpec, settings: ImageSettings, hostname: str) -> tuple[str, ...]:
    """Return the environment: PATH and HOSTNAME, the image's, then the user's; later items win."""
    base = [DEFAULT_PATH, f"HOSTNAME={hostname}"] + (["TERM=xterm"] if spec.tty else [])
    merged: dict[str, str] = {}
    for item in (*base, *settings.env, *spec.env):
        name, separator, value = item.partition("=")
        if separator and name:
            merged[name] = value
    return tuple(f"{name}={value}" for name, value in merged.items())


def capabilities_of(spec: ContainerSpec, available: tuple[str, ...] = NAMES) -> tuple[str, ...]:
    """Return the capabilities, with CAP_, in the kernel's order.

    Args:
        spec: The specification.
        available: What ALL and the privileged have.

    Raises:
        InvalidArgument: An unknown name.
        NotSupported: One is asked for by name that this host does not have to give.
    """
    added, dropped = ({_short(name) for name in names} for names in (spec.cap_add, spec.cap_drop))
    found = set(available) if spec.privileged or ALL in added else set(DEFAULT)
    if ALL in dropped:
        found = set(available) if ALL in added else set()
    missing = added - {ALL} - set(available)
    if missing:
        raise NotSupported(f"the capability {min(missing)} cannot be added: this host's engine does not have it")
    found = (found | added) - (dropped - added)
    return tuple(f"CAP_{name}" for name in NAMES if name in found)


def _short(name: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if short != ALL and short not in NAMES:
        raise InvalidArgument(f"unknown capability: {name}")
    return short


def process_of(spec: ContainerSpec, settings: ImageSettings, place: Place) -> Document:
    """Return `process`; names of users and groups are left to be looked up inside ("username", "groupNames")."""
    capabilities = list(capabilities_of(spec, place.capabilities))
    numbers = [int(group) for group in spec.group_add if _is_number(group)]
    numbers += [gid for _, edits in place.edits for gid in edits.additional_gids]
    names = [group for group in spec.group_add if not _is_number(group)]
    process: Document = {
        "terminal": spec.tty,
        "user": {"uid": 0, "gid": 0, "username": spec.user if spec.user is not None else settings.user,
            **({"additionalGids": numbers} if numbers else {}), **({"groupNames": names} if names else {})},
        "args": list(command_of(spec, settings)),
        "env": [*environment_of(spec, settings, place.hostname), *(item for _, edits in place.edits for item in edits.env)],
        "cwd": spec.workdir or settings.workdir or "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": []},
        "rlimits": rlimits(spec.ulimits),
        "noNewPrivileges": spec.no_new_privileges and not spec.privileged,
        "apparmorProfile": place.apparmor,
        "selinuxLabel": spec.selinux_label,
    }  # fmt: skip
    if spec.oom_score_adj is not None:
        process["oomScoreAdj"] = spec.oom_score_adj
    return {name: value for name, value in process.items() if value not in ("", []) or name == "args"}


def rlimits(ulimits: tuple[Ulimit, ...]) -> list[Document]:
    """Return `process.rlimits`."""
    return [
        {"type": f"RLIMIT_{limit.name.upper()}", "soft": _unsigned(limit.soft), "hard": _unsigned(limit.hard)}
        for limit in ulimits
    ]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _unsigned(value: int) -> int:
    return value if value >= 0 else _UNLIMITED


def runtime_config(spec: ContainerSpec, settings: ImageSettings, place: Place) -> Document:
    """Return the whole config."""
    masked, protected = hidden_paths(spec)
    linux: Document = {
        "namespaces": [{"type": kind, **({"path": path} if path else {})} for kind, path in place.namespaces.items()],
        "uidMappings": list(place.uid_mappings),
        "gidMappings": list(place.gid_mappings),
        "devices": [*standard_nodes(), *place.nodes],
        "resources": {**place.resources, "devices": list(place.device_rules)},
        "sysctl": {**_sysctls(place), **{name.replace("/", "."): value for name, value in spec.sysctls.items()}},
        "seccomp": place.seccomp,
        "maskedPaths": masked,
        "readonlyPaths": protected,
    }
    hooks: dict[str, list[Document]] = {}
    for _, edits in place.edits:
        for hook in edits.hooks:
            hooks.setdefault(hook["hookName"], []).append(hook_of(hook))
    config: Document = {
        "ociVersion": "1.2.0",
        "process": process_of(spec, settings, place),
        "root": {"path": place.rootfs, "readonly": spec.read_only},
        "hostname": place.hostname if place.has_new("uts") else "",
        "domainname": spec.domainname if place.has_new("uts") else "",
        "mounts": _mounts(spec, place),
        "annotations": dict(spec.annotations),
        "hooks": hooks,
        "linux": {name: value for name, value in linux.items() if value or name.endswith("Paths")},
    }
    return {name: value for name, value in config.items() if value}


def hidden_paths(spec: ContainerSpec) -> tuple[list[str], list[str]]:
    """Return the paths that are masked and those that are read-only."""
    if spec.privileged or ALL in spec.unmask:
        return [*spec.mask], []
    masked = [path for path in MASKED_PATHS if not _is_listed(path, spec.unmask)]
    protected = [path for path in READONLY_PATHS if not _is_listed(path, spec.unmask)]
    return [*masked, *(path for path in spec.mask if path not in masked)], protected


def _is_listed(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _sysctls(place: Place) -> dict[str, str]:
    """Return docker's defaults: low ports and ICMP sockets need no capability inside."""
    if not place.has_new("network"):
        return {}
    ports = {"net.ipv4.ip_unprivileged_port_start": "0"}
    return ports if place.gid_mappings else {**ports, "net.ipv4.ping_group_range": "0 2147483647"}


def _mounts(spec: ContainerSpec, place: Place) -> list[Document]:
    """Return the mounts: the standard ones, without those that the user's replace, then the user's by depth."""
    wanted = [_tmpfs(mount) for mount in spec.mounts if mount.kind == "tmpfs"]
    wanted += [mount_of(mount) for _, edits in place.edits for mount in edits.mounts]
    wanted += [_bind(bind, place) for bind in place.binds]
    targets = {mount["destination"] for mount in wanted}
    standard = [mount for mount in _standard_mounts(spec, place) if not _is_replaced(mount["destination"], targets)]
    return [*standard, *sorted(wanted, key=lambda mount: mount["destination"].count("/"))]


def _is_replaced(target: str, targets: set[str]) -> bool:
    return target in targets or ("/dev" in targets and target.startswith("/dev/"))


def _standard_mounts(spec: ContainerSpec, place: Place) -> list[Document]:
    return [
        _mount("/proc", "proc", [*_QUIET]),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        *_system_mounts(spec, place),
        *_ipc_mounts(spec, place),
    ]


def _system_mounts(spec: ContainerSpec, place: Place) -> list[Document]:
    if "user" in place.namespaces and not place.has_new("network"):
        return [_mount("/sys", "bind", ["rbind", *_QUIET, "rro"], "/sys")]  # only a network's owner may mount sysfs
    access = [] if spec.privileged else ["ro"]
    return [
        _mount("/sys", "sysfs", [*_QUIET, *access]),
        _mount("/sys/fs/cgroup", "cgroup", [*_QUIET, "relatime", *access]),
    ]


def _ipc_mounts(spec: ContainerSpec, place: Place) -> list[Document]:
    # Only the owner of an IPC namespace may mount its queues.
    may_mount = "user" not in place.namespaces or place.has_new("ipc")
    queues = [_mount("/dev/mqueue", "mqueue", [*_QUIET])] if may_mount else []
    if spec.ipc_mode == "none":
        return queues
    if spec.ipc_mode == "host":
        return [*queues, _mount("/dev/shm", "bind", ["rbind", *_QUIET], "/dev/shm")]
    if spec.ipc_mode.startswith("container:"):
        return [*queues, _mount("/dev/shm", "bind", ["bind", *_QUIET], SHARED_MEMORY)]
    return [*queues, _mount("/dev/shm", "tmpfs", [*_QUIET, "mode=1777", f"size={spec.shm_size}"])]


def _mount(target: str, kind: str, options: list[str], source: str = "") -> Document:
    return {"destination": target, "type": kind, "source": source or kind, "options": options}


def _bind(bind: Bind, place: Place) -> Document:
    options = [] if "bind" in bind.options else ["rbind"]
    options += [] if set(bind.options) & set(_PROPAGATION) else ["rprivate"]
    options += [option for option in bind.options if option != "writable"]
    if bind.read_only:
        options += ["ro"] if {"bind", "writable"} & set(bind.options) else ["ro", "rro"]
    mount = _mount(bind.target, "bind", options, bind.source)
    if bind.is_mapped and place.uid_mappings:
        mount |= {"uidMappings": list(place.uid_mappings), "gidMappings": list(place.gid_mappings)}
    return mount


def bind_mounts(binds: tuple[Bind, ...]) -> list[Document]:
    """Return the mounts of binds alone, by depth."""
    return [_bind(bind, Place("", "")) for bind in sorted(binds, key=lambda bind: bind.target.count("/"))]


def _tmpfs(mount: Mount) -> Document:
    named = {option.partition("=")[0].removeprefix("no") for option in mount.options}
    defaults = [option for option in (*_QUIET, "mode=1777") if option.partition("=")[0].removeprefix("no") not in named]
    return _mount(mount.target, "tmpfs", [*defaults, *mount.options, *(["ro"] if mount.read_only else [])])
