"""The mounts of an OCI runtime config, described as values and executed by file descriptor.

Targets are opened inside the root (engine.linux.inside) and mounted on through the fd; no path under the root
is ever joined as a string. Source: runtime-spec config.md ("Mounts"), config-linux.md.
"""

from __future__ import annotations

import os
import stat

from engine.linux import inside, syscalls
from engine.linux.syscalls import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_FLAGS = {
    "ro": syscalls.MS_RDONLY, "nosuid": syscalls.MS_NOSUID, "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC, "noatime": syscalls.MS_NOATIME, "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME, "strictatime": syscalls.MS_STRICTATIME,
}  # fmt: skip
_PLAIN = {"rw", "suid", "dev", "exec", "atime", "diratime", "defaults", "bind", "rbind", "rro"}
_PROPAGATION = {
    "private": syscalls.MS_PRIVATE, "rprivate": syscalls.MS_PRIVATE | syscalls.MS_REC,
    "slave": syscalls.MS_SLAVE, "rslave": syscalls.MS_SLAVE | syscalls.MS_REC,
    "shared": syscalls.MS_SHARED, "rshared": syscalls.MS_SHARED | syscalls.MS_REC,
    "unbindable": syscalls.MS_UNBINDABLE, "runbindable": syscalls.MS_UNBINDABLE | syscalls.MS_REC,
}  # fmt: skip
_ATTRIBUTES = {
    "ro": MOUNT_ATTR_RDONLY, "nosuid": MOUNT_ATTR_NOSUID, "nodev": MOUNT_ATTR_NODEV, "noexec": MOUNT_ATTR_NOEXEC,
    "noatime": MOUNT_ATTR_NOATIME, "nodiratime": MOUNT_ATTR_NODIRATIME, "strictatime": MOUNT_ATTR_STRICTATIME,
}  # fmt: skip


class MountError(OSError):
    """A mount failed; str() is a sentence that names it."""

    def __init__(self, error: OSError, target: str) -> None:
        super().__init__(error.errno, f"cannot mount {target}: {error.strerror}")
        self.sentence = f"cannot mount {target}: {error.strerror}"

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence


def fd_path(fd: int) -> str:
    """Return a path that names the file behind an fd."""
    return f"/proc/self/fd/{fd}"


def mount_overlay(target: str, lower: list[str], upper: str, work: str) -> None:
    """Mount an overlay on `target`; layers are named by fd, so neither length nor characters matter.

    Args:
        target: A directory.
        lower: Layer directories, top first.
        upper: Where changes go.
        work: An empty directory on the same file system.
    """
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (*lower, upper, work)]
    try:
        *lowers, upper_path, work_path = [fd_path(fd) for fd in fds]
        options = f"lowerdir={':'.join(lowers)},upperdir={upper_path},workdir={work_path}"
        syscalls.mount("overlay", target, "overlay", 0, options)
    except OSError as error:
        raise MountError(error, "the root file system") from error
    finally:
        for fd in fds:
            os.close(fd)


def mount_all(root_fd: int, mounts: list[Document], cgroup_paths: dict[str, str] | None) -> None:
    """Execute the mounts of a config in their order.

    Args:
        root_fd: The container's root.
        mounts: `mounts` of the config.
        cgroup_paths: On v1, each controller's group directory of this container; None on v2.
    """
    for mount in mounts:
        target = str(mount["destination"])
        try:
            _mount_one(root_fd, mount, cgroup_paths)
        except MountError:
            raise
        except OSError as error:
            raise MountError(error, target) from error


def _mount_one(root_fd: int, mount: Document, cgroup_paths: dict[str, str] | None) -> None:
    options = [str(option) for option in mount.get("options") or ()]
    kind = str(mount.get("type") or "")
    target, source = str(mount["destination"]), str(mount.get("source") or kind)
    if kind == "bind" or "bind" in options or "rbind" in options:
        _bind(root_fd, source, target, options)
        return
    if kind == "cgroup":
        _mount_cgroup(root_fd, target, options, cgroup_paths)
        return
    flags, data = _split_options(options)
    fd = inside.make_target(root_fd, target, is_directory=True)
    try:
        syscalls.mount(source, fd_path(fd), kind, flags, data)
    finally:
        os.close(fd)
    _propagate(root_fd, target, options)


def _split_options(options: list[str]) -> tuple[int, str]:
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in _PLAIN and option not in _PROPAGATION:
            data.append(option)
    return flags, ",".join(data)


def _bind(root_fd: int, source: str, target: str, options: list[str]) -> None:
    recursive = syscalls.AT_RECURSIVE if "bind" not in options or "rbind" in options else 0
    tree = syscalls.open_tree(syscalls.AT_FDCWD, source, syscalls.OPEN_TREE_CLONE | recursive)
    try:
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        attributes = 0
        for option in options:
            attributes |= _ATTRIBUTES.get(option, 0)
        wanted = [_PROPAGATION[option] for option in options if option in _PROPAGATION]
        syscalls.mount_setattr(
            tree,
            attr_set=attributes,
            attr_clear=syscalls.MOUNT_ATTR_ATIME_MASK if attributes & syscalls.MOUNT_ATTR_ATIME_MASK else 0,
            propagation=(wanted[-1] if wanted else syscalls.MS_PRIVATE) & ~syscalls.MS_REC,
            recursive=bool(recursive),
        )
        fd = inside.make_target(root_fd, target, is_directory=is_directory)
        try:
            syscalls.move_mount(tree, fd)
        finally:
            os.close(fd)
    finally:
        os.close(tree)


def _propagate(root_fd: int, target: str, options: list[str]) -> None:
    wanted = [_PROPAGATION[option] for option in options if option in _PROPAGATION]
    if not wanted:
        return
    fd = inside.open_inside(root_fd, target, os.O_PATH)
    try:
        syscalls.mount("", fd_path(fd), "", wanted[-1])
    finally:
        os.close(fd)


def _mount_cgroup(root_fd: int, target: str, options: list[str], cgroup_paths: dict[str, str] | None) -> None:
    flags, _ = _split_options(options)
    fd = inside.make_target(root_fd, target, is_directory=True)
    try:
        if cgroup_paths is None:
            syscalls.mount("cgroup", fd_path(fd), "cgroup2", flags)
            return
        syscalls.mount("cgroup", fd_path(fd), "tmpfs", flags & ~syscalls.MS_RDONLY, "mode=755,size=64k")
    finally:
        os.close(fd)
    for controller, path in sorted(cgroup_paths.items()):
        _bind(
            root_fd,
            path,
            f"{target}/{controller}",
            ["bind", *(option for option in options if option in _ATTRIBUTES)],
        )
    if flags & syscalls.MS_RDONLY:
        _set_attributes(root_fd, target, MOUNT_ATTR_RDONLY)


def _set_attributes(root_fd: int, target: str, attributes: int) -> None:
    fd = inside.open_inside(root_fd, target, os.O_PATH)
    try:
        syscalls.mount_setattr(fd, attr_set=attributes)
    finally:
        os.close(fd)


def make_devices(root_fd: int, devices: list[Document]) -> None:
    """Make device nodes: the standard ones and the config's; standard links are added.

    Each node is checked after it was made: an image cannot put something else in its place, because /dev is a
    fresh tmpfs by then.
    """
    for device in devices:
        _make_device(root_fd, device)
    dev = inside.open_inside(root_fd, "/dev", os.O_PATH | os.O_DIRECTORY)
    try:
        for name, link in _LINKS:
            try:
                os.symlink(link, name, dir_fd=dev)
            except FileExistsError:
                continue
    finally:
        os.close(dev)


_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"))  # fmt: skip
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _make_device(root_fd: int, device: Document) -> None:
    path = str(device["path"])
    kind = _KINDS[str(device["type"])]
    number = os.makedev(int(device.get("major") or 0), int(device.get("minor") or 0))
    mode = int(device.get("fileMode") or 0o666)
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
    finally:
        os.close(parent_fd)


def mask_paths(root_fd: int, paths: list[str]) -> None:
    """Hide paths: files behind /dev/null, directories behind one shared, empty, read-only directory."""
    null = inside.open_inside(root_fd, "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    empty = -1
    try:
        found = os.fstat(null)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
            raise MountError(OSError(22, "it is not the null device"), "/dev/null")
        for path in paths:
            try:
                fd = inside.open_inside(root_fd, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    _bind_fd(null, fd)
                elif empty < 0:
                    syscalls.mount("tmpfs", fd_path(fd), "tmpfs", syscalls.MS_RDONLY, "size=0k,nr_inodes=1")
                    empty = inside.open_inside(root_fd, path, os.O_PATH)
                else:
                    _bind_fd(empty, fd)
            finally:
                os.close(fd)
    finally:
        os.close(null)
        if empty >= 0:
            os.close(empty)


def _bind_fd(source_fd: int, target_fd: int) -> None:
    tree = syscalls.open_tree(source_fd, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
    try:
        syscalls.move_mount(tree, target_fd)
    finally:
        os.close(tree)


def protect_paths(root_fd: int, paths: list[str]) -> None:
    """Make paths read-only with everything mounted below them."""
    for path in paths:
        try:
            fd = inside.open_inside(root_fd, path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            continue
        flags = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE
        try:
            tree = syscalls.open_tree(fd, "", flags)
            try:
                syscalls.mount_setattr(tree, attr_set=MOUNT_ATTR_RDONLY, recursive=True)
                syscalls.move_mount(tree, fd)
            finally:
                os.close(tree)
        except OSError as error:
            raise MountError(error, path) from error
        finally:
            os.close(fd)


def bind_terminal(root_fd: int, slave_fd: int) -> None:
    """Put the container's terminal on /dev/console."""
    fd = inside.make_target(root_fd, "/dev/console", is_directory=False)
    try:
        syscalls.mount(fd_path(slave_fd), fd_path(fd), "", syscalls.MS_BIND)
    finally:
        os.close(fd)
