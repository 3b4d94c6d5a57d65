"""Volumes on NFS servers. Source: nfs(5)."""

from __future__ import annotations

from typing import Any

from engine.errors import InvalidArgument
from engine.model.volume import Volume
from engine.volumes.drivers.driver import TIMEOUT
from engine.volumes.drivers.local import split

_OPTIONS = ("server", "share", "version", "o")
_VERSIONS = ("4.2", "4.1", "4.0", "4", "3")
_SOFT = ["soft", "timeo=100", "retrans=2"]
"""Whoever reads or writes gets an error instead of hanging for ever: half a minute after asking, or twice that for opening."""


class Nfs:
    """server, share and maybe version; `o` has more options of the kernel's."""

    name = "nfs"

    def check(self, options: dict[str, str]) -> None:
        """Refuse unknown and missing options, and versions that no kernel has."""
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise InvalidArgument(
                f"invalid volume option {unknown[0]!r}: the driver nfs knows server, share, version and o"
            )
        missing = next((name for name in ("server", "share") if not options.get(name)), None)
        if missing:
            raise InvalidArgument(f"the volume option {missing} is missing: the driver nfs needs server and share")
        if not options["share"].startswith("/"):
            raise InvalidArgument(f"invalid volume option share={options['share']!r}: it is the path of an export")
        if options.get("version", "4") not in _VERSIONS:
            raise InvalidArgument(f"invalid volume option version={options['version']!r}: 3, 4, 4.0, 4.1 or 4.2")

    def directory(self, volume: Volume) -> str:  # noqa: ARG002 - the protocol
        """Return none."""
        return ""

    def plan(self, volume: Volume) -> dict[str, Any]:
        """Return a soft mount, with the newest version that both sides know when none is given."""
        options = volume.options
        server, more = options["server"], split(options.get("o", ""))
        soft = [] if "hard" in more else [*_SOFT]
        host = f"[{server}]" if ":" in server else server
        wanted = [options["version"]] if options.get("version") else ["4.2", "4.1", "4.0", "3"]
        return {
            "type": "nfs", "source": f"{host}:{options['share']}", "options": [*soft, f"addr={server}", *more],
            "attempts": [[f"vers={version}", *(["nolock"] if version == "3" else [])] for version in wanted],
            "hosts": ["addr"], "server": server, "timeout": TIMEOUT,
        }  # fmt: skip
