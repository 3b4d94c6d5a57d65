"""docker's words for mounts: -v, --mount, --tmpfs and --volumes-from, as records; pure.

Source: docker's reference of `run` and of bind mounts, volumes and tmpfs mounts; podman-run(1) for what `--mount
type=image` takes. What docker refuses is refused here.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Callable

from engine.errors import InvalidArgument
from engine.model.container import Mount

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("ro", "rw"), ("z", "Z"), _PROPAGATION, ("nocopy",), ("consistent", "cached", "delegated"), ("idmap",)
)  # fmt: skip
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_ALIASES = {
    "src": "source", "dst": "target", "destination": "target", "ro": "readonly", "subpath": "image-subpath",
}  # fmt: skip
_BARE = ("readonly", "volume-nocopy", "bind-nonrecursive", "idmap", "tmpfs-exec")
_KEYS = (
    "type", "source", "target", "readonly", "consistency", "bind-propagation", "bind-nonrecursive", "bind-recursive",
    "idmap", "volume-nocopy", "volume-subpath", "volume-driver", "volume-opt", "volume-label", "tmpfs-size", "tmpfs-mode",
    "tmpfs-uid", "tmpfs-gid", "tmpfs-exec", "image-subpath",
)  # fmt: skip
_SIZE = re.compile(r"\d+(\.\d+)?\s?([kmgtpKMGTP]([iI]?[bB])?|[bB])?")
_OCTAL = re.compile(r"[0-7]{1,11}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_TMPFS_FLAGS = {
    "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "remount",
    "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
    "nostrictatime", "tmpcopyup", *_PROPAGATION,
}  # fmt: skip
_TMPFS_VALUES = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}


def parse_volume(text: str) -> Mount:
    """Parse "[SOURCE:]TARGET[:OPTIONS]" of -v.

    Raises:
        InvalidArgument: It is malformed.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"invalid volume {text!r}: expected [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) == 1:
        return Mount("volume", _target(parts[0], "volume", text))
    options = _modes(parts[2], text) if len(parts) == 3 else ()
    target = _target(parts[1], "volume", text)
    read_only = "ro" in options
    if parts[0].startswith("/"):
        if "nocopy" in options:
            raise InvalidArgument(f"invalid volume {text!r}: nocopy is for volumes, not for directories of the host")
        kept = tuple(sorted(option for option in options if option in (*_PROPAGATION, "idmap")))
        return Mount("bind", target, posixpath.normpath(parts[0]), read_only, kept)
    if set(options) & set(_PROPAGATION):
        raise InvalidArgument(f"invalid volume {text!r}: only a bind of a directory has a propagation")
    return Mount("volume", target, _name(parts[0], "volume", text), read_only, no_copy="nocopy" in options)


def _modes(text: str, whole: str) -> tuple[str, ...]:
    """Split options of -v, of which there may be one of each kind."""
    options = tuple(text.split(","))
    for option in options:
        if not any(option in group for group in _GROUPS):
            raise InvalidArgument(f"invalid volume {whole!r}: unknown option {option!r}")
    for group in _GROUPS:
        found = [option for option in options if option in group]
        if len(found) > 1:
            raise InvalidArgument(f"invalid volume {whole!r}: {found[0]!r} and {found[1]!r} exclude each other")
    return options


def parse_mount(text: str) -> Mount:
    """Parse "type=…,source=…,target=…[,readonly]" of --mount, a line of comma-separated values.

    Raises:
        InvalidArgument: It is malformed.
    """
    fields, repeated = _fields(text)
    kind = fields.pop("type", "volume").lower()
    if kind not in _KINDS:
        raise InvalidArgument(f"invalid mount {text!r}: unknown type {kind!r}")
    target = _target(fields.pop("target", ""), "mount", text)
    source = fields.pop("source", "")
    read_only = _flag(fields.pop("readonly", "false"), "readonly", text)
    fields.pop("consistency", None)  # a hint to docker on macOS
    others = [
        key for key in (*fields, *repeated) if not key.startswith(f"{kind}-") and (key, kind) != ("idmap", "bind")
    ]
    if others:
        raise InvalidArgument(f"invalid mount {text!r}: {others[0]} does not go with the type {kind}")
    return _KINDS[kind](Mount(kind, target, source, read_only), fields, repeated, text)


def _fields(text: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the fields of --mount, and what is given several times: options and labels of a volume."""
    try:
        items = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidArgument(f"invalid mount {text!r}: {error}") from error
    fields: dict[str, str] = {}
    repeated: dict[str, dict[str, str]] = {}
    for item in items or [""]:
        key, has_value, value = item.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if key not in _KEYS:
            raise InvalidArgument(f"invalid mount {text!r}: unknown field {key!r}")
        if not has_value and key not in _BARE:
            raise InvalidArgument(f"invalid mount {text!r}: {key} needs a value")
        if key in ("volume-opt", "volume-label"):
            name, _, of_name = value.partition("=")
            repeated.setdefault(key, {})[name] = of_name
        else:
            fields[key] = value if has_value else "true"
    return fields, repeated


Fields = dict[str, str]


def _bind(mount: Mount, fields: Fields, _repeated: dict[str, Fields], text: str) -> Mount:
    if not mount.source.startswith("/"):
        raise InvalidArgument(f"invalid mount {text!r}: a bind needs an absolute source")
    propagation = fields.get("bind-propagation", "")
    if propagation not in ("", *_PROPAGATION):
        raise InvalidArgument(f"invalid mount {text!r}: unknown propagation {propagation!r}")
    recursion = fields.get("bind-recursive", "enabled")
    if recursion not in ("enabled", "disabled", "writable", "readonly"):
        raise InvalidArgument(f"invalid mount {text!r}: bind-recursive is enabled, disabled, writable or readonly")
    if recursion in ("writable", "readonly") and not mount.read_only:
        raise InvalidArgument(f"invalid mount {text!r}: bind-recursive={recursion} goes with readonly alone")
    if recursion == "readonly" and propagation != "rprivate":
        raise InvalidArgument(f"invalid mount {text!r}: bind-recursive=readonly needs bind-propagation=rprivate")
    is_flat = recursion == "disabled" or _flag(fields.get("bind-nonrecursive", "false"), "bind-nonrecursive", text)
    options = [word for word, is_wanted in (
        (propagation, bool(propagation)), ("bind", is_flat), ("writable", recursion == "writable"),
        ("idmap", _flag(fields.get("idmap", "false"), "idmap", text)),
    ) if is_wanted]  # fmt: skip
    return Mount("bind", mount.target, posixpath.normpath(mount.source), mount.read_only, tuple(options))


def _volume(mount: Mount, fields: Fields, repeated: dict[str, Fields], text: str) -> Mount:
    return Mount(
        "volume", mount.target, _name(mount.source, "mount", text) if mount.source else "", mount.read_only,
        subpath=_subpath(fields.get("volume-subpath", ""), text),
        no_copy=_flag(fields.get("volume-nocopy", "false"), "volume-nocopy", text),
        driver=fields.get("volume-driver", ""), driver_options=repeated.get("volume-opt", {}),
        labels=repeated.get("volume-label", {}),
    )  # fmt: skip


def _tmpfs(mount: Mount, fields: Fields, _repeated: dict[str, Fields], text: str) -> Mount:
    if mount.source:
        raise InvalidArgument(f"invalid mount {text!r}: a tmpfs has no source")
    for key, shape in (("size", _SIZE), ("mode", _OCTAL), ("uid", _NUMBER), ("gid", _NUMBER)):
        value = fields.get(f"tmpfs-{key}")
        if value is not None and not shape.fullmatch(value):
            raise InvalidArgument(f"invalid mount {text!r}: {value!r} is no tmpfs-{key}")
    options = [f"{key}={fields[f'tmpfs-{key}']}" for key in ("size", "mode", "uid", "gid") if f"tmpfs-{key}" in fields]
    options = [_kernel_size(option) for option in options]
    options += ["exec"] if _flag(fields.get("tmpfs-exec", "false"), "tmpfs-exec", text) else []
    return Mount("tmpfs", mount.target, "", mount.read_only, tuple(options))


def _image(mount: Mount, fields: Fields, _repeated: dict[str, Fields], text: str) -> Mount:
    if not mount.source:
        raise InvalidArgument(f"invalid mount {text!r}: an image mount needs the image as its source")
    return Mount("image", mount.target, mount.source, True, subpath=_subpath(fields.get("image-subpath", ""), text))


_KINDS: dict[str, Callable[[Mount, Fields, dict[str, Fields], str], Mount]] = {
    "bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image,
}  # fmt: skip


def parse_tmpfs(text: str) -> Mount:
    """Parse "TARGET[:OPTIONS]" of --tmpfs.

    Raises:
        InvalidArgument: It is malformed.
    """
    target, _, rest = text.partition(":")
    options = tuple(option for option in rest.split(",") if option)
    for option in options:
        name, has_value, _ = option.partition("=")
        if name not in (_TMPFS_VALUES if has_value else _TMPFS_FLAGS):
            raise InvalidArgument(f"invalid tmpfs {text!r}: unknown option {option!r}")
    return Mount("tmpfs", _target(target, "tmpfs", text), options=options)


def parse_volumes_from(text: str) -> tuple[str, bool | None]:
    """Parse "CONTAINER[:ro|rw|z|Z]" of --volumes-from; return the container and whether all is read-only, None as there.

    Raises:
        InvalidArgument: It is malformed.
    """
    container, colon, modes = text.partition(":")
    if not container or (colon and not modes):
        raise InvalidArgument(f"invalid --volumes-from {text!r}: expected CONTAINER[:ro|rw]")
    options = modes.split(",") if modes else []
    unknown = [option for option in options if option not in ("ro", "rw", "z", "Z")]
    if unknown or {"ro", "rw"} <= set(options):
        raise InvalidArgument(f"invalid --volumes-from {text!r}: its mode is ro or rw")
    return container, {"ro": True, "rw": False}.get(next((word for word in options if word in ("ro", "rw")), ""))


def _flag(value: str, key: str, text: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidArgument(f"invalid mount {text!r}: {key} is true or false, not {value!r}")


def _kernel_size(option: str) -> str:
    """Return a size as the kernel reads it: it knows k, m and g, but neither B nor fractions."""
    name, _, value = option.partition("=")
    if name != "size":
        return option
    found = re.fullmatch(r"([\d.]+)\s?([a-z]?)[a-z]*", value.lower())
    number, unit = found.groups() if found else (value, "")
    if "." not in number and unit != "b":
        return f"{name}={number}{unit}"
    return f"{name}={int(float(number) * 1024 ** ('bkmgtp'.index(unit) if unit else 0))}"


def _subpath(path: str, text: str) -> str:
    """Check a path that has to stay inside; the kernel sees to it when it is opened, too."""
    if not path:
        return ""
    found = posixpath.normpath(path)
    if found.startswith(("/", "../")) or found == "..":
        raise InvalidArgument(f"invalid mount {text!r}: the subpath {path!r} is not a relative path inside")
    return "" if found == "." else found


def _name(name: str, what: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"invalid {what} {text!r}: {name!r} is neither an absolute path nor a volume's name")
    return name


def _target(target: str, what: str, text: str) -> str:
    found = posixpath.normpath(target) if target else ""
    if not target.startswith("/") or found in ("/", "//"):
        raise InvalidArgument(f"invalid {what} {text!r}: the target must be an absolute path other than /")
    return found
