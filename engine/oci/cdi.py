"""Container Device Interface: files that say what a vendor's device needs inside a container; pure.

Source: the CDI specification (SPEC.md of cncf-tags/container-device-interface), versions 0.3.0 to 1.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine.errors import InvalidArgument, NotSupported
from engine.model.value import Value

Document = dict[str, Any]

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NOT_DONE = ("intelRdt", "netDevices")


class Edits(msgspec.Struct, frozen=True, rename="camel"):
    """`containerEdits`: what is added to the container."""

    env: list[str] = []
    device_nodes: list[Document] = []
    mounts: list[Document] = []
    hooks: list[Document] = []
    additional_gids: list[int] = []
    intel_rdt: Document | None = None
    net_devices: list[Document] = []


class CdiDevice(msgspec.Struct, frozen=True, rename="camel"):
    """One device of a kind."""

    name: str
    container_edits: Edits = msgspec.field(default_factory=Edits)


class CdiSpec(msgspec.Struct, frozen=True, rename="camel"):
    """One file."""

    cdi_version: str
    kind: str
    devices: list[CdiDevice]
    container_edits: Edits = msgspec.field(default_factory=Edits)


class SpecFile(Value, frozen=True):
    """A file that was read; `priority` is higher for directories that come later."""

    path: str
    priority: int
    spec: CdiSpec


def decode(data: bytes, path: str) -> CdiSpec:
    """Decode a specification, YAML when the path ends so and JSON otherwise.

    Raises:
        InvalidArgument: It is malformed; the sentence names the file.
    """
    try:
        if path.endswith((".yaml", ".yml")):
            spec = msgspec.yaml.decode(data, type=CdiSpec)
        else:
            spec = msgspec.json.decode(data, type=CdiSpec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the CDI specification {path} is damaged: {error}") from error
    if spec.cdi_version not in VERSIONS:
        raise InvalidArgument(f"the CDI specification {path} has the unknown version {spec.cdi_version!r}")
    if spec.kind.count("/") != 1 or not all(spec.kind.split("/")):
        raise InvalidArgument(
            f"the CDI specification {path} has the malformed kind {spec.kind!r}: expected vendor/class"
        )
    if not spec.devices:
        raise InvalidArgument(f"the CDI specification {path} has no devices")
    return spec


def find(name: str, files: Iterable[SpecFile]) -> tuple[SpecFile, CdiDevice]:
    """Return the file and the device of a name "vendor/class=name"; a later directory wins.

    Raises:
        InvalidArgument: There is none, or two files of one directory describe it.
    """
    kind, _, short = name.partition("=")
    found = [(file, device) for file in files if file.spec.kind == kind for device in file.spec.devices
        if device.name == short]  # fmt: skip
    if not found:
        raise InvalidArgument(f"no CDI specification describes the device {name}")
    highest = max(file.priority for file, _ in found)
    best = [pair for pair in found if pair[0].priority == highest]
    if len(best) > 1:
        raise InvalidArgument(
            f"the CDI device {name} is described by two files: {best[0][0].path} and {best[1][0].path}"
        )
    return best[0]


def edits_for(names: Iterable[str], files: Iterable[SpecFile]) -> list[tuple[str, Edits]]:
    """Return (file, edits) for devices: those of each device, and once those of each file.

    Raises:
        InvalidArgument: A device is unknown.
        NotSupported: An edit is of a kind that is not done here.
    """
    known = list(files)
    chosen: list[tuple[str, Edits]] = []
    whole: dict[str, Edits] = {}
    for name in dict.fromkeys(names):
        file, device = find(name, known)
        chosen.append((file.path, device.container_edits))
        whole[file.path] = file.spec.container_edits
    found = [*chosen, *whole.items()]
    for path, edits in found:
        _check(path, edits)
    return found


def _check(path: str, edits: Edits) -> None:
    for name, value in zip(_NOT_DONE, (edits.intel_rdt, edits.net_devices), strict=True):
        if value:
            raise NotSupported(f"the CDI specification {path} asks for {name}, which is not supported")
    needed = [(edits.device_nodes, "deviceNodes", ("path",)), (edits.mounts, "mounts", ("hostPath", "containerPath")),
        (edits.hooks, "hooks", ("hookName", "path"))]  # fmt: skip
    for items, field, names in needed:
        missing = next((name for item in items for name in names if not isinstance(item.get(name), str)), None)
        if missing:
            raise InvalidArgument(f"the CDI specification {path} has an entry of {field} without {missing}")
    unknown = next((hook["hookName"] for hook in edits.hooks if hook["hookName"] not in _HOOKS), None)
    if unknown:
        raise InvalidArgument(f"the CDI specification {path} has the unknown hook {unknown!r}")
    if not all("=" in item for item in edits.env):
        raise InvalidArgument(f"the CDI specification {path} has an entry of env without =")


def mount_of(mount: Document) -> Document:
    """Return a mount of an edit as an OCI mount."""
    options = [str(option) for option in mount.get("options") or ("rbind", "nosuid", "nodev")]
    kind = str(mount.get("type") or "bind")
    if kind == "bind" and not {"bind", "rbind"} & set(options):
        options.insert(0, "rbind")
    return {"destination": mount["containerPath"], "type": kind, "source": mount["hostPath"], "options": options}


def hook_of(hook: Document) -> Document:
    """Return a hook of an edit as an OCI hook."""
    return {name: hook[name] for name in ("path", "args", "env", "timeout") if hook.get(name) is not None}
