"""`spec` and `features`: a config to begin with, and what this runtime can do (runtime-spec features.md)."""

from __future__ import annotations

import json
import os

from engine.linux import capabilities, lsm, seccomp
from engine.sandbox.mount_options import OPTIONS
from engine.sandbox.namespaces import FLAGS
from engine.sandbox.runtime.command import SPEC_VERSION, VERSION
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.show import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]

_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_RIGHTS = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def run_spec(arguments: Arguments, _log: Log) -> int:
    """Write a config.json to begin with into the bundle."""
    path = os.path.join(arguments.text("bundle", "."), "config.json")
    config = _rootless(example()) if arguments.has("rootless") else example()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Fault(f"{path} exists already") from None
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(config, file, indent="\t")
        file.write("\n")
    return 0


def example() -> Document:
    """Return a config with a shell, all usual namespaces and few rights."""
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True, "user": {"uid": 0, "gid": 0}, "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"], "cwd": "/",
            "capabilities": {name: list(_RIGHTS) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "tuicon",
        "mounts": [{"destination": target, "type": kind, "source": source, "options": options.split()} for
            target, kind, source, options in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
        },
    }  # fmt: skip


def _rootless(config: Document) -> Document:
    linux: Document = config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "network"] + [{"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getgid(), "size": 1}]
    linux.pop("resources")
    for mount in config["mounts"]:
        mount["options"] = [option for option in mount["options"] if option != "gid=5"]
        if mount["destination"] == "/sys":
            mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
    return config


def run_features(_arguments: Arguments, _log: Log) -> int:
    """Write what this runtime knows, whether or not this host has it."""
    write(json.dumps(features(), indent=2) + "\n")
    return 0


def features() -> Document:
    """Return the features structure of runtime-spec 1.2."""
    return {
        "ociVersionMin": "1.0.0", "ociVersionMax": SPEC_VERSION, "hooks": list(_HOOKS),
        "mountOptions": list(OPTIONS),
        "linux": {
            "namespaces": sorted(FLAGS), "capabilities": [f"CAP_{name}" for name in capabilities.NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": seccomp.is_available(), "actions": list(seccomp.ACTIONS), "operators": list(seccomp.OPERATORS),
                "archs": list(seccomp.ARCHITECTURES), "knownFlags": list(seccomp.FLAGS),
                "supportedFlags": list(seccomp.FLAGS),
            },
            "apparmor": {"enabled": lsm.has_apparmor()}, "selinux": {"enabled": lsm.has_selinux()},
            "intelRdt": {"enabled": False}, "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"org.tuicon.oci.version": VERSION},
        "potentiallyUnsafeConfigAnnotations": [],
    }  # fmt: skip
