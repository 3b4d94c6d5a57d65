"""What a volume driver does: it says what there is to mount, before anything is.

A driver decides, purely; the container's monitor executes that (engine.sandbox.volumes): it makes the mount in a mount
namespace of its own, that is shared by all containers with the volume, and the kernel unmounts it when the last of them
has ended. So no driver mounts or unmounts, and none of them touches a server when volumes are listed or removed.
"""

from __future__ import annotations

from typing import Any, Protocol

from engine.model.volume import Volume

TIMEOUT = 15.0
"""Seconds that a mount may take."""


class Driver(Protocol):
    """One way to keep a volume's files.

    Attributes:
        name: As --driver has it.
    """

    name: str

    def check(self, options: dict[str, str]) -> None:
        """Refuse options that can never work.

        Raises:
            InvalidArgument: An option is unknown, malformed or missing.
        """
        ...

    def directory(self, volume: Volume) -> str:
        """Return the directory of the host that has the files, "" for what has to be mounted."""
        ...

    def plan(self, volume: Volume) -> dict[str, Any]:
        """Return what is to be mounted.

        "type", "source" and "options" as for mount(8), and maybe "attempts" (lists of more options, the next one when
        the kernel or the server does not know those of the one before), "hosts" (options whose host name the kernel wants
        as an address), "server" and "timeout" (whom to name, and after how many seconds, when there is no answer).
        """
        ...
