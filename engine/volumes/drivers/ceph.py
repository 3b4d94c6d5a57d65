"""Volumes on Ceph clusters: directories of a CephFS. Source: mount.ceph(8), ceph-fuse(8)."""

from __future__ import annotations

import re
import shutil
from typing import Any

from engine.errors import InvalidArgument
from engine.model.volume import Volume
from engine.volumes.drivers.driver import TIMEOUT
from engine.volumes.drivers.local import split

_COMMON = ("monitors", "user", "secret", "secretfile", "o")
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_USER = "admin"


class CephFs:
    """monitors, user, secret or secretfile, fs and path; mounted by the kernel, or by ceph-fuse where that has no ceph."""

    name = "cephfs"

    def check(self, options: dict[str, str]) -> None:
        """Refuse unknown, missing and malformed options."""
        _check(self.name, options, (*_COMMON, "fs", "path"), ("monitors",), ("user", "fs"))
        if not options.get("path", "/").startswith("/"):
            raise InvalidArgument(f"invalid volume option path={options['path']!r}: it begins with /")

    def directory(self, volume: Volume) -> str:  # noqa: ARG002 - the protocol
        """Return none."""
        return ""

    def plan(self, volume: Volume) -> dict[str, Any]:
        """Return a mount of the kernel's, with what ceph-fuse needs to take its place."""
        options = volume.options
        user, path = options.get("user", _USER), options.get("path", "/")
        words = [f"name={user}", *([f"mds_namespace={options['fs']}"] if options.get("fs") else [])]
        fuse = ["-n", f"client.{user}", "-r", path, *(["--client_fs", options["fs"]] if options.get("fs") else [])]
        return {
            "type": "ceph", "source": f":{path}", "options": [*words, *split(options.get("o", ""))], **_common(options),
            "program": shutil.which("ceph-fuse") or "", "arguments": fuse,
        }  # fmt: skip


def _common(options: dict[str, str]) -> dict[str, Any]:
    return {
        "monitors": split(options["monitors"]), "secret": options.get("secret", ""),
        "secretfile": options.get("secretfile", ""), "server": options["monitors"], "timeout": TIMEOUT,
    }  # fmt: skip


def _check(
    driver: str, options: dict[str, str], known: tuple[str, ...], needed: tuple[str, ...], words: tuple[str, ...]
) -> None:
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InvalidArgument(
            f"invalid volume option {unknown[0]!r}: the driver {driver} knows {', '.join(known[:-1])} and {known[-1]}"
        )
    missing = next((name for name in needed if not options.get(name)), None)
    if missing:
        raise InvalidArgument(
            f"the volume option {missing} is missing: the driver {driver} needs {' and '.join(needed)}"
        )
    if options.get("secret") and options.get("secretfile"):
        raise InvalidArgument("the volume options secret and secretfile exclude each other")
    wrong = next((name for name in words if options.get(name) and not _WORD.fullmatch(options[name])), None)
    if wrong:
        raise InvalidArgument(f"invalid volume option {wrong}={options[wrong]!r} of the driver {driver}")
    if re.search(r"[\s/]", options["monitors"]):
        raise InvalidArgument(f"invalid volume option monitors={options['monitors']!r}: expected HOST[:PORT],…")
