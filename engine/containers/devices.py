"""The devices that a container gets: single ones, directories, all of the host's, and those that CDI describes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import InvalidArgument
from engine.model.container import ContainerSpec, Device
from engine.model.value import Value
from engine.oci import cdi, devices
from engine.oci.cdi import Edits, SpecFile
from engine.sandbox.devices import node_of

Document = dict[str, Any]

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_GPU_KINDS = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu")
_NOT_OURS = frozenset(("pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"))


class Granted(Value, frozen=True):
    """What a container gets.

    Attributes:
        nodes: OCI documents of the nodes beside the standard ones.
        rules: Device cgroup rules, in their order.
        edits: What CDI adds: (file, edits).
    """

    nodes: tuple[Document, ...]
    rules: tuple[Document, ...]
    edits: tuple[tuple[str, Edits], ...]


def granted(spec: ContainerSpec) -> Granted:
    """Return what a specification asks for.

    Raises:
        InvalidArgument: A device does not exist, or a rule or a CDI file is malformed.
        NotSupported: A CDI file asks for what is not done here.
    """
    names = [device.source for device in spec.devices if not device.target]
    files = _cdi_files() if names or spec.gpus else ()
    edits = tuple(cdi.edits_for([*names, *_gpus(spec.gpus, files)], files))
    found = [pair for device in spec.devices if device.target for pair in _of_host(device)]
    found += [_of_edit(item, file) for file, edit in edits for item in edit.device_nodes]
    if spec.privileged:
        given = {node["path"] for node, _ in found}
        nodes = [*(node for node in _all_of_host() if node["path"] not in given), *(node for node, _ in found)]
        return Granted(tuple(nodes), ({"allow": True, "access": "rwm"},), edits)
    rules = [
        *devices.standard_rules(),
        *(devices.rule_of(node, permissions) for node, permissions in found),
        *(devices.parse_rule(rule) for rule in spec.device_rules),
    ]
    return Granted(tuple(node for node, _ in found), tuple(rules), edits)


def _of_host(device: Device) -> list[tuple[Document, str]]:
    """Return the node of a device, or those of all devices below a directory."""
    devices.check_permissions(device.permissions, device.source)
    source = os.path.realpath(device.source)
    if not Path(source).is_dir():
        return [(_node(device.target, source, device.source), device.permissions)]
    found = []
    for path in _nodes_below(source):
        target = device.target.rstrip("/") + path.removeprefix(source)
        found.append((_node(target, path, path), device.permissions))
    if not found:
        raise InvalidArgument(f"there is no device below {device.source}")
    return found


def _node(target: str, path: str, named: str) -> Document:
    try:
        return devices.node(target, node_of(path))
    except OSError as error:
        raise InvalidArgument(f"{named} cannot be given to a container: {error.strerror}") from error


def _nodes_below(directory: str) -> Iterator[str]:
    for path, names, files in os.walk(directory):
        names[:] = [name for name in names if name not in _NOT_OURS]
        for name in sorted(files):
            file = os.path.join(path, name)  # noqa: PTH118 - os.walk
            if name not in _NOT_OURS and not os.path.islink(file):  # noqa: PTH114 - as above
                kind = os.lstat(file).st_mode & 0o170000
                if kind in (0o020000, 0o060000):
                    yield file


def _all_of_host() -> list[Document]:
    standard = {f"/dev/{name}" for name, _, _ in devices.STANDARD}
    return [_node(path, path, path) for path in _nodes_below("/dev") if path not in standard]


def _of_edit(item: Document, file: str) -> tuple[Document, str]:
    """Return node and permissions of a CDI device node; what the file leaves out is as on the host."""
    path = str(item["path"])
    permissions = str(item.get("permissions") or "rwm")
    devices.check_permissions(permissions, f"{path} in {file}")
    host_path = str(item.get("hostPath") or path)
    if item.get("type") and item.get("major") is not None:
        given = {
            name: item[name]
            for name in ("type", "major", "minor", "fileMode", "uid", "gid")
            if item.get(name) is not None
        }
        return {"path": path, "fileMode": 0o666, "minor": 0, **given}, permissions
    try:
        node = devices.node(path, node_of(host_path))
    except OSError as error:
        raise InvalidArgument(f"the CDI specification {file} names the device {host_path}: {error.strerror}") from error
    return {
        **node,
        **{name: item[name] for name in ("fileMode", "uid", "gid") if item.get(name) is not None},
    }, permissions


def _cdi_files() -> tuple[SpecFile, ...]:
    found = []
    for priority, directory in enumerate(CDI_DIRECTORIES):
        paths = [path for path in sorted(Path(directory).glob("*")) if path.suffix in (".json", ".yaml", ".yml")]
        found += [SpecFile(str(path), priority, cdi.decode(path.read_bytes(), str(path))) for path in paths]
    return tuple(found)


def _gpus(text: str, files: tuple[SpecFile, ...]) -> list[str]:
    """Return the CDI names that docker's --gpus means: "all", a number, or "device=0,1".

    Raises:
        InvalidArgument: It is malformed, or no file describes a GPU.
    """
    if not text:
        return []
    known = {file.spec.kind for file in files}
    kind = next((kind for kind in _GPU_KINDS if kind in known), "")
    if not kind:
        raise InvalidArgument(f"no CDI specification in {' or '.join(CDI_DIRECTORIES)} describes a GPU")
    if text == "all":
        return [f"{kind}=all"]
    if text.isdigit():
        return [f"{kind}={number}" for number in range(int(text))]
    listed = text.replace('"', "").replace("'", "")
    key, _, value = listed.partition("=")
    if key == "count" and (value == "all" or value.isdigit()):
        return _gpus(value, files)
    if key != "device" or not value:
        raise InvalidArgument(f"invalid value for --gpus: {text!r}: all, a number, or device=0,1")
    return [f"{kind}={name}" for name in value.split(",") if name]
