"""Volumes on this host: a directory of the engine's own, or whatever docker's `local` driver mounts with type, o and device."""

from __future__ import annotations

from typing import Any

from engine.errors import InvalidArgument
from engine.model.volume import Volume
from engine.volumes.drivers.driver import TIMEOUT

_OPTIONS = ("type", "o", "device")
_BINDS = ("bind", "rbind")
_WITH_ADDRESSES = ("nfs", "nfs4", "cifs", "smb3")


class Local:
    """docker's options: type, o and device go to mount(2); without them the volume is a directory."""

    name = "local"

    def check(self, options: dict[str, str]) -> None:
        """Refuse what docker refuses, and a bind of what is no absolute path."""
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise InvalidArgument(f"invalid volume option {unknown[0]!r}: the driver local knows type, o and device")
        missing = next((name for name in ("type", "device") if options and not options.get(name)), None)
        if missing:
            raise InvalidArgument(f"the volume option {missing} is missing: the driver local needs type and device")
        if _is_bind(options) and not options["device"].startswith("/"):
            raise InvalidArgument(f"invalid volume option device={options['device']!r}: a bind needs an absolute path")

    def directory(self, volume: Volume) -> str:
        """Return its own directory, or the one that it binds."""
        if _is_bind(volume.options):
            return volume.options["device"]
        return "" if volume.options else volume.mountpoint

    def plan(self, volume: Volume) -> dict[str, Any]:
        """Return what type, o and device say."""
        kind = volume.options["type"]
        words = [word for word in split(volume.options.get("o", "")) if word != "loop"]  # a file gets a device anyway
        plan: dict[str, Any] = {"type": kind, "source": volume.options["device"], "options": words}
        if kind in _WITH_ADDRESSES:
            server = next((word.partition("=")[2] for word in words if word.startswith("addr=")), "")
            plan |= {"hosts": ["addr"], "server": server or volume.options["device"]}
        return {**plan, "timeout": TIMEOUT}


def _is_bind(options: dict[str, str]) -> bool:
    return any(word in _BINDS for word in split(options.get("o", "")))


def bind_options(volume: Volume) -> tuple[str, ...]:
    """Return the mount options of a volume that binds a directory; () of others."""
    if not _is_bind(volume.options):
        return ()
    words = split(volume.options["o"])
    return tuple(word for word in words if word != "rbind")


def split(options: str) -> list[str]:
    """Split mount options at their commas."""
    return [word for word in options.split(",") if word]
