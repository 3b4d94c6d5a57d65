"""Device nodes of a container, and the standard links in its /dev (runtime-spec config-linux.md, "Devices")."""

from __future__ import annotations

import errno
import os
import stat

from engine.linux import inside, syscalls
from engine.sandbox.mounts import MountError, fd_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"))  # fmt: skip
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_KIND_NAMES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


def make_devices(root_fd: int, devices: list[Document]) -> None:
    """Make the config's device nodes, the default ones that it leaves out, and the standard links.

    A node that exists is taken only when it is the same device: an image cannot put something else in its place.
    """
    named = {str(device["path"]) for device in devices}
    defaults = [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
        for name, major, minor in DEFAULT
        if f"/dev/{name}" not in named
    ]
    for device in (*devices, *defaults):
        try:
            _make_device(root_fd, device)
        except OSError as error:
            raise MountError(error, str(device["path"])) from error
    dev = inside.make_directories(root_fd, "/dev")
    try:
        for name, link in _LINKS:
            try:
                os.symlink(link, name, dir_fd=dev)
            except FileExistsError:
                continue
    finally:
        os.close(dev)


def _make_device(root_fd: int, device: Document) -> None:
    path = str(device["path"]).rstrip("/")
    kind = _KINDS[str(device["type"])]
    number = os.makedev(int(device.get("major") or 0), int(device.get("minor") or 0))
    mode = stat.S_IMODE(int(device.get("fileMode") or 0o666))
    parent, _, name = path.rpartition("/")
    parent_fd = inside.make_directories(root_fd, parent or "/")
    try:
        os.mknod(name, kind | mode, number, dir_fd=parent_fd)
        os.chown(name, int(device.get("uid") or 0), int(device.get("gid") or 0), dir_fd=parent_fd)
        os.chmod(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_IFMT(found.st_mode) != kind or (kind != stat.S_IFIFO and found.st_rdev != number):
            raise
    except PermissionError:
        _bind_device(root_fd, path, kind, number)
    finally:
        os.close(parent_fd)


def _bind_device(root_fd: int, path: str, kind: int, number: int) -> None:
    """Bind the host's node of that number, for a user namespace where none can be made."""
    tree = syscalls.open_tree(syscalls.AT_FDCWD, _host_path(kind, number, path), syscalls.OPEN_TREE_CLONE)
    try:
        found = os.fstat(tree)
        if stat.S_IFMT(found.st_mode) != kind or found.st_rdev != number:
            raise OSError(errno.EPERM, "the host's file of that name is another device")
        syscalls.mount_setattr(tree, attr_set=syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC)
        target = inside.make_target(root_fd, path, is_directory=False)
        try:
            syscalls.move_mount(tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)


def _host_path(kind: int, number: int, default: str) -> str:
    """Return where the host has the device, as sysfs names it."""
    place = "block" if kind == stat.S_IFBLK else "char"
    try:
        with open(f"/sys/dev/{place}/{os.major(number)}:{os.minor(number)}/uevent", encoding="utf-8") as file:
            fields = dict(line.rstrip("\n").partition("=")[::2] for line in file)
    except OSError:
        return default
    return f"/dev/{fields['DEVNAME']}" if "DEVNAME" in fields else default


def node_of(host_path: str) -> tuple[str, int, int, int, int, int]:
    """Return type ("c", "b", "p"), major, minor, mode, uid and gid of a device on the host.

    Raises:
        OSError: There is none, or it is no device.
    """
    found = os.stat(host_path)
    kind = _KIND_NAMES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        raise OSError(errno.ENODEV, "not a device node", host_path)
    return (kind, os.major(found.st_rdev), os.minor(found.st_rdev), stat.S_IMODE(found.st_mode), found.st_uid,
        found.st_gid)  # fmt: skip


def open_terminal_source(root_fd: int) -> int:
    """Return the master of a new terminal of the container's own devpts (CVE-2025-52565: by fd, never by path)."""
    fd = inside.open_inside(root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(5, 2):
        os.close(fd)
        raise MountError(OSError(errno.EINVAL, "it is not a terminal multiplexer"), fd_path(fd))
    return fd
