"""Volumes in memory: shared by the containers that run with it, and empty again when none does."""

from __future__ import annotations

import re
from typing import Any

from engine.errors import InvalidArgument
from engine.model.volume import Volume
from engine.volumes.drivers.driver import TIMEOUT

_SHAPES = {
    "size": r"\d+[kKmMgG%]?", "mode": "[0-7]{1,4}", "uid": r"\d{1,10}", "gid": r"\d{1,10}", "nr_inodes": r"\d+[kKmMgG]?",
}  # fmt: skip


class Tmpfs:
    """A tmpfs with size, mode, uid, gid and nr_inodes. Source: tmpfs(5)."""

    name = "tmpfs"

    def check(self, options: dict[str, str]) -> None:
        """Refuse unknown and malformed options."""
        for name, value in options.items():
            if name not in _SHAPES:
                raise InvalidArgument(
                    f"invalid volume option {name!r}: the driver tmpfs knows size, mode, uid, gid, nr_inodes"
                )
            if not re.fullmatch(_SHAPES[name], value):
                raise InvalidArgument(f"invalid volume option {name}={value!r} of the driver tmpfs")

    def directory(self, volume: Volume) -> str:  # noqa: ARG002 - the protocol
        """Return none."""
        return ""

    def plan(self, volume: Volume) -> dict[str, Any]:
        """Return a tmpfs, that is a directory like others when its mode is not given."""
        given = {"mode": "755", **volume.options}
        options = [f"{name}={value}" for name, value in given.items()]
        return {"type": "tmpfs", "source": "tmpfs", "options": options, "timeout": TIMEOUT}
