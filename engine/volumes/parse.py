"""docker's words for mounts: -v, --mount and --tmpfs, as records; pure."""

from __future__ import annotations

import posixpath
import re

from engine.errors import InvalidArgument
from engine.model.container import Mount

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PROPAGATION = {"private", "rprivate", "slave", "rslave", "shared", "rshared"}
_BIND_OPTIONS = {*_PROPAGATION, "idmap"}
_VOLUME_OPTIONS = {"ro", "rw", "z", "Z", "nocopy", *_BIND_OPTIONS}


def parse_volume(text: str) -> Mount:
    """Parse "[SOURCE:]TARGET[:OPTIONS]" of -v.

    Raises:
        InvalidArgument: It is malformed.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"invalid volume {text!r}: expected [SOURCE:]TARGET[:ro]")
    if len(parts) == 1:
        return Mount("volume", _target(parts[0], text))
    source, target = parts[0], parts[1]
    options = set(parts[2].split(",")) if len(parts) == 3 else set()
    unknown = options - _VOLUME_OPTIONS
    if unknown:
        raise InvalidArgument(f"invalid volume {text!r}: unknown option {min(unknown)!r}")
    if source.startswith("/"):
        return Mount("bind", _target(target, text), source, "ro" in options, tuple(sorted(options & _BIND_OPTIONS)))
    if options & _PROPAGATION:
        raise InvalidArgument(f"invalid volume {text!r}: only a bind of a directory has a propagation")
    if not _NAME.fullmatch(source):
        raise InvalidArgument(f"invalid volume {text!r}: {source!r} is neither an absolute path nor a volume's name")
    return Mount("volume", _target(target, text), source, "ro" in options)


def parse_mount(text: str) -> Mount:
    """Parse "type=…,source=…,target=…[,readonly]" of --mount.

    Raises:
        InvalidArgument: It is malformed.
    """
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        fields[key.strip().lower()] = value
    kind = fields.pop("type", "volume")
    source = fields.pop("source", fields.pop("src", ""))
    target = fields.pop("target", fields.pop("destination", fields.pop("dst", "")))
    flag = next((fields.pop(name) for name in ("readonly", "ro") if name in fields), "false")
    read_only = flag in ("", "true", "1")
    options = tuple(
        f"{name.removeprefix('tmpfs-')}={fields.pop(name)}" for name in ("tmpfs-size", "tmpfs-mode") if name in fields
    )
    if kind == "bind":
        options += tuple(name for name in ("idmap",) if fields.pop(name, "false") in ("", "true", "1"))
        propagation = fields.pop("bind-propagation", "")
        if propagation not in ("", *_PROPAGATION):
            raise InvalidArgument(f"invalid mount {text!r}: unknown propagation {propagation!r}")
        options += (propagation,) if propagation else ()
    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f"invalid mount {text!r}: unknown type {kind!r}")
    if fields:
        raise InvalidArgument(f"invalid mount {text!r}: unknown field {min(fields)!r}")
    if kind == "bind" and not source.startswith("/"):
        raise InvalidArgument(f"invalid mount {text!r}: a bind needs an absolute source")
    if kind == "tmpfs" and source:
        raise InvalidArgument(f"invalid mount {text!r}: a tmpfs has no source")
    return Mount(kind, _target(target, text), source, read_only, options)


def parse_tmpfs(text: str) -> Mount:
    """Parse "TARGET[:OPTIONS]" of --tmpfs.

    Raises:
        InvalidArgument: It is malformed.
    """
    target, _, options = text.partition(":")
    return Mount("tmpfs", _target(target, text), options=tuple(option for option in options.split(",") if option))


def _target(target: str, text: str) -> str:
    if not target.startswith("/") or posixpath.normpath(target) == "/":
        raise InvalidArgument(f"invalid mount {text!r}: the target must be an absolute path other than /")
    return posixpath.normpath(target)
