"""Makes an image out of what a container changed."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Any

from engine.containers.diff import Found
from engine.errors import Conflict
from engine.images import tar
from engine.images.tar import Entry
from engine.images.tree import Item, Tree, nothing
from engine.images.unpack import WHITEOUT
from engine.linux import inside
from engine.model.container import ContainerSpec
from engine.model.health import HealthCheck


def layer(changes: Iterator[Found], tree: Tree) -> Iterator[Item]:
    """Yield the entries of a layer (image-spec layer.md): what was added or changed, and whiteouts.

    Raises:
        Conflict: A file has a name that would mean a deletion.
    """
    for found in changes:
        path = found.change.path.lstrip("/")
        directory, name = posixpath.split(path)
        if found.change.kind == "D":
            yield Entry(posixpath.join(directory, WHITEOUT + name), tar.FILE, 0, 0, 0, 0, 0, "", (0, 0)), nothing
            continue
        if name.startswith(WHITEOUT):
            raise Conflict(f"/{path[:200]} cannot be in a layer: a name that begins with {WHITEOUT} means a deletion")
        try:
            item_fd = inside.open_item(found.directory_fd, name)
        except FileNotFoundError:
            continue  # it was removed meanwhile
        try:
            yield from tree.one(item_fd, path)
        finally:
            os.close(item_fd)


def settings_of(config: dict[str, Any], spec: ContainerSpec) -> dict[str, Any]:
    """Return "config" of the image's config with what the container was created with in place of its own."""
    found = dict(config)
    if spec.entrypoint:
        found["Entrypoint"] = [] if spec.entrypoint == ("",) else list(spec.entrypoint)
        found["Cmd"] = list(spec.command or ())
    elif spec.command is not None:
        found["Cmd"] = list(spec.command)
    variables = dict(item.partition("=")[::2] for item in (*(config.get("Env") or ()), *spec.env) if "=" in item)
    found["Env"] = [f"{name}={value}" for name, value in variables.items()]
    replaced = {"User": spec.user, "WorkingDir": spec.workdir, "StopSignal": spec.stop_signal}
    found |= {name: value for name, value in replaced.items() if value is not None}
    found["Labels"] = {**(config.get("Labels") or {}), **spec.labels}
    if spec.health.test:
        found["Healthcheck"] = _health(spec.health)
    anonymous: dict[str, Any] = {
        mount.target: {} for mount in spec.mounts if mount.kind == "volume" and not mount.source
    }
    found["Volumes"] = {**(config.get("Volumes") or {}), **anonymous}
    return found


def _health(check: HealthCheck) -> dict[str, Any]:
    """Return a health check as docker's config has it; times are nanoseconds."""
    times = {
        "Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }  # fmt: skip
    found = {
        "Test": list(check.test),
        "Retries": check.retries,
        **{key: int(value * 1e9) for key, value in times.items()},
    }
    return {key: value for key, value in found.items() if value}
