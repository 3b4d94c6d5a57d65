"""`pause`, `resume` and `update`: a running container changed."""

from __future__ import annotations

from engine.linux import files
from engine.linux.light import json
from engine.sandbox.runtime import schema, validate
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]

_STDIN = "/proc/self/fd/0"
# option: section and field of linux.resources
_FLAGS = {
    "memory": ("memory", "limit"), "memory-reservation": ("memory", "reservation"), "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"), "kernel-memory-tcp": ("memory", "kernelTCP"),
    "cpu-period": ("cpu", "period"), "cpu-quota": ("cpu", "quota"), "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"), "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"), "cpu-idle": ("cpu", "idle"), "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"), "pids-limit": ("pids", "limit"), "blkio-weight": ("blockIO", "weight"),
}  # fmt: skip
_TEXTS = ("cpuset-cpus", "cpuset-mems")
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}


def run_pause(arguments: Arguments, _log: Log) -> int:
    """Stop all processes of a container."""
    container = Container.named_by(arguments)
    with container.lock():
        _expect(container, "pause", ("running", "created"))
        container.group.freeze()
    return 0


def run_resume(arguments: Arguments, _log: Log) -> int:
    """Let the processes of a paused container go on."""
    container = Container.named_by(arguments)
    with container.lock():
        _expect(container, "resume", ("paused",))
        container.group.thaw()
    return 0


def run_update(arguments: Arguments, _log: Log) -> int:
    """Change the limits of a container."""
    container = Container.named_by(arguments)
    resources = _resources(arguments)
    schema.check(resources, schema.RESOURCES, "resources")
    with container.lock():
        _expect(container, "update", ("created", "running", "paused"))
        container.group.apply(resources)
        config = container.config
        _merge(config.setdefault("linux", {}).setdefault("resources", {}), resources)
        files.write_atomic(f"{container.directory}/config.json", json.dumps(config).encode())
    return 0


def _expect(container: Container, action: str, allowed: tuple[str, ...]) -> None:
    container.load()
    status = container.status()
    if status not in allowed:
        raise Fault(f"cannot {action} container {container.container_id}: it is {status}")


def _resources(arguments: Arguments) -> Document:
    if arguments.has("resources"):
        path = arguments.text("resources")
        return validate.load_json(_STDIN if path == "-" else path)
    found: Document = {}
    for option, (section, field) in _FLAGS.items():
        text = arguments.text(option)
        if text:
            found.setdefault(section, {})[field] = text if option in _TEXTS else _number(option, text)
    if not found:
        raise Fault("update: nothing to change was named")
    return found


def _number(option: str, text: str) -> int:
    lower = text.lower().removesuffix("b") if text[-1:].lower() == "b" else text.lower()
    shift = _UNITS.get(lower[-1:], 0)
    try:
        return int(lower[:-1] if shift else lower) << shift
    except ValueError:
        raise Fault(f"--{option} wants a number: {text!r}") from None


def _merge(base: Document, changes: Document) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            _merge(base[name], value)
        else:
            base[name] = value
