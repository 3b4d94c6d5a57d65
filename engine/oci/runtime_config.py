"""The OCI runtime config of a container; pure: specification and image settings in, document out.

Defaults are docker's: its capabilities, masked and read-only paths, devices and mounts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.errors import InvalidArgument
from engine.linux.capabilities import DEFAULT, NAMES
from engine.model.container import ContainerSpec, Mount
from engine.model.image import ImageSettings

MASKED_PATHS = ("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap")  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_QUIET = ["nosuid", "noexec", "nodev"]


@dataclass(frozen=True, slots=True)
class Place:
    """What the config needs to know beyond the specification.

    Attributes:
        rootfs: Where the root file system will be mounted.
        hostname: The container's host name.
        files: (host path, target) of the files that are bound in: hosts, hostname, resolv.conf.
        binds: (host path, target, read only) of binds and volumes, in the order of their targets.
        resources: `linux.resources`.
        has_own_network: Whether there is a network namespace of its own.
    """

    rootfs: str
    hostname: str
    files: tuple[tuple[str, str], ...]
    binds: tuple[tuple[str, str, bool], ...]
    has_own_network: bool
    resources: dict[str, Any] = field(default_factory=dict)


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


def capabilities_of(spec: ContainerSpec) -> tuple[str, ...]:
    """Return the capabilities, with CAP_, in the kernel's order.

    Raises:
        InvalidArgument: An unknown name.
    """
    found = set(NAMES) if spec.privileged else set(DEFAULT)
    for added in spec.cap_add:
        found |= set(NAMES) if _short(added) == "ALL" else {_short(added)}
    for dropped in spec.cap_drop:
        found -= set(NAMES) if _short(dropped) == "ALL" else {_short(dropped)}
    if "ALL" in {_short(name) for name in spec.cap_drop}:
        found |= {_short(name) for name in spec.cap_add} - {"ALL"}
    return tuple(f"CAP_{name}" for name in NAMES if name in found)


def _short(name: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if short != "ALL" and short not in NAMES:
        raise InvalidArgument(f"unknown capability: {name}")
    return short


def process_of(spec: ContainerSpec, settings: ImageSettings, hostname: str) -> dict[str, Any]:
    """Return `process`."""
    capabilities = list(capabilities_of(spec))
    return {
        "terminal": spec.tty,
        "user": {"uid": 0, "gid": 0, "username": spec.user if spec.user is not None else settings.user},
        "args": list(command_of(spec, settings)),
        "env": list(environment_of(spec, settings, hostname)),
        "cwd": spec.workdir or settings.workdir or "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            "inheritable": [], "ambient": []},
        "noNewPrivileges": spec.no_new_privileges and not spec.privileged,
    }  # fmt: skip


def runtime_config(spec: ContainerSpec, settings: ImageSettings, place: Place) -> dict[str, Any]:
    """Return the whole config."""
    kinds = ["mount", "pid", "uts", "ipc", "cgroup"] + (["network"] if place.has_own_network else [])
    return {
        "ociVersion": "1.2.0",
        "process": process_of(spec, settings, place.hostname),
        "root": {"path": place.rootfs, "readonly": spec.read_only},
        "hostname": place.hostname,
        "domainname": spec.domainname,
        "mounts": _mounts(spec, place),
        "annotations": dict(spec.annotations),
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "devices": [{"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
                for name, major, minor in _DEVICES],
            "resources": place.resources,
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"} if place.has_own_network else {},
            "maskedPaths": [] if spec.privileged else list(MASKED_PATHS),
            "readonlyPaths": [] if spec.privileged else list(READONLY_PATHS),
        },
    }  # fmt: skip


def _mounts(spec: ContainerSpec, place: Place) -> list[dict[str, Any]]:
    access = [] if spec.privileged else ["ro"]
    found = [
        _mount("/proc", "proc", [*_QUIET]),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/sys", "sysfs", [*_QUIET, *access]),
        _mount("/sys/fs/cgroup", "cgroup", [*_QUIET, "relatime", *access]),
        _mount("/dev/mqueue", "mqueue", [*_QUIET]),
        _mount("/dev/shm", "tmpfs", [*_QUIET, "mode=1777", f"size={spec.shm_size}"]),
    ]
    found.extend(_bind(source, target, read_only=False) for source, target in place.files)
    found.extend(_tmpfs(mount) for mount in spec.mounts if mount.kind == "tmpfs")
    found.extend(_bind(source, target, read_only=read_only) for source, target, read_only in place.binds)
    return found


def _mount(target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    options = ["rbind", "rprivate", *(["ro"] if read_only else [])]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _tmpfs(mount: Mount) -> dict[str, Any]:
    given = [*mount.options]
    defaults = [option for option in (*_QUIET, "mode=1777") if option.partition("=")[0] not in
        {name.partition("=")[0] for name in given}]  # fmt: skip
    return _mount(mount.target, "tmpfs", [*defaults, *given, *(["ro"] if mount.read_only else [])])
