"""Which kernel parameters a container may set: those that belong to a namespace of its own; pure.

Source: docker's list (docker run reference, "Configure namespaced kernel parameters"); namespaces(7).
"""

from __future__ import annotations

import re

from engine.errors import InvalidArgument

_IPC = frozenset(("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced"))  # fmt: skip
_NAME = re.compile(r"[\w-]+([./][\w-]+)+", re.ASCII)


def check(sysctls: dict[str, str], *, has_own_network: bool, has_own_ipc: bool) -> None:
    """Check that each parameter belongs to a namespace that is the container's own.

    Raises:
        InvalidArgument: One is malformed, the host's, or of a namespace that is shared.
    """
    for name in sysctls:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid sysctl {name!r}: expected a name such as net.ipv4.ip_forward")
        dotted = name.replace("/", ".")
        if dotted.startswith("net."):
            if not has_own_network:
                raise InvalidArgument(
                    f"sysctl {name} is not allowed: the container has no network namespace of its own"
                )
        elif dotted in _IPC or dotted.startswith("fs.mqueue."):
            if not has_own_ipc:
                raise InvalidArgument(f"sysctl {name} is not allowed: the container has no IPC namespace of its own")
        else:
            raise InvalidArgument(f"sysctl {name} is not allowed: it belongs to the whole host")
