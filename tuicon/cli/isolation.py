"""The flags of run and create that say what a container shares, which devices it has, and what it may do."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.model.container import ContainerSpec, Device, Ulimit
from engine.model.value import replace
from tuicon.cli.failure import Usage
from tuicon.cli.words import add_flag, add_list, pairs


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add docker's flags."""
    group = parser.add_argument_group("isolation")
    add_list(group, "--cap-add", metavar="NAME", help="add a capability, or ALL")
    add_list(group, "--cap-drop", metavar="NAME", help="drop a capability, or ALL")
    add_flag(group, "--privileged", help="all capabilities and devices, nothing masked or filtered")
    add_flag(group, "--read-only", help="read-only root file system")
    add_list(group, "--security-opt", metavar="OPTION",
        help="seccomp=FILE|unconfined|builtin, apparmor=NAME|unconfined, no-new-privileges[=false], label=LABEL, "
        "mask=PATH[:PATH], unmask=PATH[:PATH]|ALL, systempaths=unconfined")  # fmt: skip
    group.add_argument("--userns", default="", metavar="MODE", help="host, auto[:size=N] or keep-id")
    group.add_argument("--pid", default="", metavar="MODE", help="private, host or container:NAME")
    group.add_argument("--ipc", default="", metavar="MODE", help="private, shareable, none, host or container:NAME")
    group.add_argument("--uts", default="", metavar="MODE", help="private or host")
    group.add_argument("--cgroupns", default="", metavar="MODE", help="private or host")
    group.add_argument("--cgroup-parent", default="", metavar="GROUP", help="group that holds the container's")
    add_list(
        group, "--device", metavar="HOST[:TARGET[:rwm]]", help="give it a device, a directory of them, or a CDI device"
    )
    add_list(group, "--device-cgroup-rule", metavar="RULE", help="allow devices, such as 'c 42:* rwm'")
    group.add_argument("--gpus", default="", metavar="GPUS", help="all, a number, or device=0,1")
    add_list(group, "--group-add", metavar="GROUP", help="add a supplementary group")
    add_list(group, "--ulimit", metavar="NAME=SOFT[:HARD]", help="limit each process, such as nofile=1024:2048")
    add_list(group, "--sysctl", metavar="NAME=VALUE", help="set a kernel parameter of its namespaces")
    group.add_argument(
        "--oom-score-adj", type=int, metavar="N", help="-1000 to 1000: likelier to be killed without memory"
    )


def with_isolation(spec: ContainerSpec, arguments: argparse.Namespace) -> ContainerSpec:
    """Return the specification with what the flags ask for.

    Raises:
        Usage: A flag's value is malformed.
    """
    asked = replace(
        spec, cap_add=tuple(arguments.cap_add), cap_drop=tuple(arguments.cap_drop), privileged=arguments.privileged,
        read_only=arguments.read_only, userns=arguments.userns, pid_mode=arguments.pid, ipc_mode=arguments.ipc,
        uts_mode=arguments.uts, cgroupns_mode=arguments.cgroupns, cgroup_parent=arguments.cgroup_parent,
        devices=tuple(parse_device(text) for text in arguments.device), device_rules=tuple(arguments.device_cgroup_rule),
        gpus=arguments.gpus, group_add=tuple(arguments.group_add),
        ulimits=tuple(parse_ulimit(text) for text in arguments.ulimit), sysctls=_sysctls(arguments.sysctl),
        oom_score_adj=arguments.oom_score_adj,
    )  # fmt: skip
    for option in arguments.security_opt:
        asked = _with_security_option(asked, option)
    return asked


def _with_security_option(spec: ContainerSpec, option: str) -> ContainerSpec:
    """Return the specification with one --security-opt; docker takes NAME:VALUE as well."""
    separator = "=" if "=" in option else ":"
    name, _, value = option.partition(separator)
    if name == "no-new-privileges" and value in ("", "true", "false"):
        return replace(spec, no_new_privileges=value != "false")
    if name == "systempaths" and value == "unconfined":
        return replace(spec, unmask=("ALL",))
    if name in ("mask", "unmask") and value:
        paths = tuple(value.split(":"))
        return replace(spec, mask=spec.mask + paths) if name == "mask" else replace(spec, unmask=spec.unmask + paths)
    if name == "seccomp" and value:
        return replace(spec, seccomp=value if value == "unconfined" else _profile(value))
    if name == "apparmor" and value:
        return replace(spec, apparmor=value)
    if name == "label" and value:
        return spec if value == "disable" else replace(spec, selinux_label=value)
    raise Usage(
        f"unsupported security option {option!r}: seccomp, apparmor, no-new-privileges, label, mask, unmask, systempaths"
    )


def _profile(path: str) -> str:
    """Return the text of a seccomp profile; "" is the default one."""
    if path == "builtin":
        return ""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"cannot read the seccomp profile {path}: {getattr(error, 'strerror', error)}") from error


def parse_device(text: str) -> Device:
    """Parse --device: "HOST[:TARGET][:rwm]", or the name of a CDI device.

    Raises:
        Usage: It is malformed.
    """
    if not text.startswith("/") and "=" in text and "/" in text:
        return Device(text)
    parts = text.split(":")
    source, target, permissions = parts[0], parts[0], "rwm"
    if len(parts) == 2 and parts[1] and not set(parts[1]) - set("rwm"):
        permissions = parts[1]
    elif len(parts) == 2:
        target = parts[1]
    elif len(parts) == 3:
        target, permissions = parts[1] or source, parts[2]
    if len(parts) > 3 or not source.startswith("/") or not target.startswith("/"):
        raise Usage(f"invalid device {text!r}: expected HOST[:TARGET[:rwm]] with absolute paths, or VENDOR/CLASS=NAME")
    return Device(source, target, permissions)


def parse_ulimit(text: str) -> Ulimit:
    """Parse --ulimit: "NAME=SOFT[:HARD]".

    Raises:
        Usage: It is malformed.
    """
    name, _, value = text.partition("=")
    soft, colon, hard = value.partition(":")
    try:
        return Ulimit(name, int(soft), int(hard if colon else soft))
    except ValueError:
        raise Usage(f"invalid ulimit {text!r}: expected NAME=SOFT[:HARD] with numbers, -1 for none") from None


def _sysctls(items: list[str]) -> dict[str, str]:
    wrong = next((item for item in items if "=" not in item), None)
    if wrong is not None:
        raise Usage(f"invalid sysctl {wrong!r}: expected NAME=VALUE")
    return pairs(items)
