"""Other OCI runtimes: which program a container asked for, and what it cannot have with one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.errors import InvalidArgument, NotSupported
from engine.model.container import ContainerSpec

_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KERNELS_OF_THEIR_OWN = ("runsc", "kata")


def program_of(spec: ContainerSpec) -> str:
    """Return the absolute path of the runtime that a container asked for; empty for the engine's own sandbox.

    Raises:
        InvalidArgument: There is no such program.
    """
    name = spec.runtime
    if not name:
        return ""
    found = _find(name)
    if found is None or ("/" in name and not name.startswith("/")):
        raise InvalidArgument(f"the runtime {name!r} is neither a program in PATH nor the absolute path of one")
    return os.path.realpath(found)


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), _SYSTEM]))


def check(spec: ContainerSpec) -> None:
    """Refuse what only the engine's own sandbox can do.

    Raises:
        InvalidArgument: There is no such runtime.
        NotSupported: Something else was asked for that needs our own.
    """
    if not program_of(spec):
        return
    asked = {
        "--init": spec.init,
        "a user namespace of its own": spec.userns not in ("", "host"),
        "the IPC namespace of another container": spec.ipc_mode.startswith("container:"),
        "a bind with mapped owners": any("idmap" in mount.options for mount in spec.mounts),
        "a health check": spec.health.is_wanted and has_kernel_of_its_own(spec),
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise NotSupported(f"{what} cannot be combined with the runtime {spec.runtime}")


def has_kernel_of_its_own(spec: ContainerSpec) -> bool:
    """Return whether a container's processes are not the host's, so that none can be added by entering namespaces."""
    if not spec.runtime:
        return False
    places = (spec.runtime, os.path.realpath(_find(spec.runtime) or ""))
    return any(Path(place).name.startswith(_KERNELS_OF_THEIR_OWN) for place in places)
