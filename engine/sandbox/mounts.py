"""The mounts of an OCI runtime config, executed by file descriptor.

Targets are opened inside the root (engine.linux.inside) and mounted on through the fd; no path under the root
is ever joined as a string. Source: runtime-spec config.md ("Mounts"), config-linux.md.
"""

from __future__ import annotations

import errno
import os
import stat

from engine.linux import inside, syscalls
from engine.linux.syscalls import MOUNT_ATTR_RDONLY
from engine.sandbox.mount_options import MountOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_LINK = os.O_PATH | os.O_NOFOLLOW
_PSEUDO = ("proc", "sysfs")


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


def mount_overlay(target: str, lower: list[str], upper: str, work: str, userns_fd: int = -1) -> None:
    """Mount an overlay on `target`; layers are named by fd, so neither length nor characters matter.

    A directory that is renamed is copied and a file that changes is copied whole, so that the upper directory alone
    says what changed (overlayfs.rst, "redirect_dir" and "metacopy").

    Args:
        target: A directory.
        lower: Layer directories, top first.
        upper: Where changes go; empty for an overlay that cannot be written, which has at least two layers.
        work: An empty directory on the same file system.
        userns_fd: With a user namespace, the layers and the upper directory show owners as seen from it.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fds: list[int] = []
    try:
        fds += [_mapped(path, userns_fd) if userns_fd >= 0 else os.open(path, flags) for path in lower]
        options = f"redirect_dir=off,metacopy=off,lowerdir={':'.join(map(fd_path, fds))}"
        if userns_fd >= 0:  # upper and work must share one mount, so both come from a view of their parent
            _attach(fds, target)
            view = _mapped(os.path.dirname(upper), userns_fd)
            fds.append(view)
            _attach([view], target)
            fds += [os.open(os.path.basename(path), flags, dir_fd=view) for path in (upper, work)]
        elif upper:
            fds += [os.open(path, flags) for path in (upper, work)]
        options += f",upperdir={fd_path(fds[-2])},workdir={fd_path(fds[-1])}" if upper else ""
        syscalls.mount("overlay", target, "overlay", 0, options)
    except OSError as error:
        raise MountError(error, "the root file system") from error
    finally:
        for fd in fds:
            os.close(fd)


def _mapped(path: str, userns_fd: int) -> int:
    fd = syscalls.open_tree(syscalls.AT_FDCWD, path, syscalls.OPEN_TREE_CLONE)
    syscalls.mount_setattr(fd, userns_fd=userns_fd, propagation=syscalls.MS_PRIVATE)
    return fd


def _attach(fds: list[int], target: str) -> None:
    """Put detached mounts somewhere in this mount namespace, below the overlay that will cover them."""
    for fd in fds:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.move_mount(fd, place)
        finally:
            os.close(place)


def open_sources(mounts: list[Document], made: dict[int, int] | None = None) -> dict[int, int]:
    """Open the sources of binds as detached trees: mount's index → fd; for a child that may not reach the paths.

    Args:
        mounts: `mounts` of the config.
        made: Trees that have been made elsewhere.
    """
    found: dict[int, int] = {}
    for index, mount in enumerate(mounts):
        if index in (made or ()):
            continue
        options = MountOptions(mount.get("options") or (), str(mount.get("type") or ""))
        if options.is_bind and not options.is_remount:
            try:
                tree = found[index] = _open_source(str(mount.get("source")), options.is_recursive)
                if mount.get("uidMappings"):  # only who owns the file system may map its owners
                    map_owners(tree, mount, recursive=options.idmap == "ridmap")
            except OSError as error:
                raise MountError(error, str(mount["destination"])) from error
    return found


def match_sources(mounts: list[Document], trees: dict[str, int]) -> dict[int, int]:
    """Return trees by the index of the mount whose source they are, with the owners that it wants.

    Raises:
        MountError: The file system cannot map owners.
    """
    found = {index: trees[mount["source"]] for index, mount in enumerate(mounts) if mount.get("source") in trees}
    for index, tree in found.items():
        if mounts[index].get("uidMappings"):
            try:
                map_owners(tree, mounts[index], recursive=False)
            except OSError as error:
                text = "its file system cannot map owners for a user namespace"
                raise MountError(OSError(error.errno, text), str(mounts[index]["destination"])) from error
    return found


def _open_source(source: str, recursive: bool) -> int:
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    return syscalls.open_tree(syscalls.AT_FDCWD, source, flags)


def mount_all(
    root_fd: int, mounts: list[Document], cgroup_paths: dict[str, str] | None, sources: dict[int, int] | None = None,
    label: str = "",
) -> None:  # fmt: skip
    """Execute the mounts of a config in their order.

    Args:
        root_fd: The container's root.
        mounts: `mounts` of the config.
        cgroup_paths: On v1, each controller's group directory of this container; None on v2.
        sources: Trees of binds that are open already, by the mount's index.
        label: The SELinux context of the file systems that are made.
    """
    for index, mount in enumerate(mounts):
        try:
            _mount_one(root_fd, mount, cgroup_paths, (sources or {}).get(index, -1), label)
        except MountError:
            raise
        except OSError as error:
            raise MountError(error, str(mount["destination"])) from error


def _mount_one(root_fd: int, mount: Document, cgroup_paths: dict[str, str] | None, source_fd: int, label: str) -> None:
    kind, target = str(mount.get("type") or ""), str(mount["destination"]).rstrip("/") or "/"
    source = str(mount.get("source") or kind)
    options = MountOptions(mount.get("options") or (), kind)
    if options.is_remount:
        _remount(root_fd, target, options)
    elif options.is_bind:
        _bind(root_fd, source if mount.get("source") else target, target, options, source_fd, mount)
    elif kind in ("cgroup", "cgroup2"):
        _mount_cgroup(root_fd, target, options, None if kind == "cgroup2" else cgroup_paths)
    else:
        _mount_new(root_fd, target, kind, source, options, label)


def _mount_new(root_fd: int, target: str, kind: str, source: str, options: MountOptions, label: str) -> None:
    data = [*options.data, *([f'context="{label}"'] if label and kind in ("tmpfs", "devpts", "mqueue") else [])]
    is_system = kind in _PSEUDO or target.rstrip("/") == "/dev"  # CVE-2026-41579: an image whose /dev is a link
    fd = inside.make_target(root_fd, target, is_directory=True, is_system=is_system)
    try:
        if options.copies_up and kind == "tmpfs":
            _mount_copied(fd, options, data)
        else:
            syscalls.mount(source, fd_path(fd), kind, options.flags, ",".join(data))
    finally:
        os.close(fd)
    if options.set_below or options.clear_below or options.propagation:
        fd = inside.open_inside(root_fd, target, os.O_PATH)
        try:
            _adjust(fd, options.set_below, options.clear_below, recursive=True)
            for change in options.propagation:
                syscalls.mount("", fd_path(fd), "", change)
        finally:
            os.close(fd)


def _mount_copied(target_fd: int, options: MountOptions, data: list[str]) -> None:
    """Mount a tmpfs that starts with a copy of what it hides."""
    pairs = dict(item.partition("=")[::2] for item in data)
    tree = syscalls.fsmount("tmpfs", pairs, flags=options.set & ~MOUNT_ATTR_RDONLY)
    try:
        source = os.open(fd_path(target_fd), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = os.fstat(source)
            inside.copy_tree(source, tree)
            if "mode" not in pairs:
                os.chmod(fd_path(tree), stat.S_IMODE(found.st_mode))
                os.chown(fd_path(tree), found.st_uid, found.st_gid)
        finally:
            os.close(source)
        _adjust(tree, options.set & MOUNT_ATTR_RDONLY, 0, recursive=False)
        syscalls.move_mount(tree, target_fd)
    finally:
        os.close(tree)


def _remount(root_fd: int, target: str, options: MountOptions) -> None:
    fd = inside.open_inside(root_fd, target, os.O_PATH)
    try:
        if options.is_bind:
            _adjust(fd, options.set, options.clear, recursive=False)
        else:
            syscalls.mount("", fd_path(fd), "", options.flags | syscalls.MS_REMOUNT, ",".join(options.data))
    finally:
        os.close(fd)


def _adjust(fd: int, to_set: int, to_clear: int, *, recursive: bool) -> None:
    if to_set & syscalls.MOUNT_ATTR_ATIME_MASK:
        to_clear |= syscalls.MOUNT_ATTR_ATIME_MASK
    if to_set or to_clear:
        syscalls.mount_setattr(fd, attr_set=to_set, attr_clear=to_clear, recursive=recursive)


def _bind(root_fd: int, source: str, target: str, options: MountOptions, source_fd: int, mount: Document) -> None:
    tree = source_fd if source_fd >= 0 else _open_source(source, options.is_recursive)
    try:
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        if options.idmap or (mount.get("uidMappings") and source_fd < 0):
            map_owners(tree, mount, recursive=options.idmap == "ridmap")
        _adjust(tree, options.set, options.clear, recursive=False)
        _adjust(tree, options.set_below, options.clear_below, recursive=True)
        for change in options.propagation:
            syscalls.mount_setattr(
                tree, propagation=change & ~syscalls.MS_REC, recursive=bool(change & syscalls.MS_REC)
            )
        fd = inside.make_target(root_fd, target, is_directory=is_directory)
        try:
            syscalls.move_mount(tree, fd)
        finally:
            os.close(fd)
    finally:
        os.close(tree)


def map_owners(tree: int, mount: Document, *, recursive: bool) -> None:
    """Give a detached tree the owners that a mount's maps say, or else those of our own user namespace."""
    from engine.sandbox import identity

    uids, gids = mount.get("uidMappings") or [], mount.get("gidMappings") or []
    userns = identity.user_namespace(uids, gids) if uids else identity.own_user_namespace()
    try:
        syscalls.mount_setattr(tree, userns_fd=userns, recursive=recursive)
    finally:
        os.close(userns)


def _mount_cgroup(root_fd: int, target: str, options: MountOptions, cgroup_paths: dict[str, str] | None) -> None:
    fd = inside.make_target(root_fd, target, is_directory=True)
    try:
        if cgroup_paths is None:
            syscalls.mount("cgroup", fd_path(fd), "cgroup2", options.flags)
            return
        syscalls.mount("cgroup", fd_path(fd), "tmpfs", options.flags & ~syscalls.MS_RDONLY, "mode=755,size=64k")
    finally:
        os.close(fd)
    for names, path in _hierarchies(cgroup_paths):
        each = MountOptions((), "bind")
        each.set = options.set
        _bind(root_fd, path, f"{target}/{names}", each, -1, {})
        if "," in names:
            _link_controllers(root_fd, target, names)
    if options.flags & syscalls.MS_RDONLY:
        fd = inside.open_inside(root_fd, target, os.O_PATH)
        try:
            syscalls.mount_setattr(fd, attr_set=MOUNT_ATTR_RDONLY)
        finally:
            os.close(fd)


def _hierarchies(cgroup_paths: dict[str, str]) -> list[tuple[str, str]]:
    """Return (controllers joined by commas, directory) of each v1 hierarchy; several share one when co-mounted."""
    names: dict[str, list[str]] = {}
    for controller, path in cgroup_paths.items():
        names.setdefault(path, []).append(controller)
    return sorted((",".join(controllers), path) for path, controllers in names.items())


def _link_controllers(root_fd: int, target: str, names: str) -> None:
    fd = inside.open_inside(root_fd, target, os.O_PATH | os.O_DIRECTORY)
    try:
        for name in names.split(","):
            os.symlink(names, name, dir_fd=fd)
    finally:
        os.close(fd)


def _bind_fd(source_fd: int, target_fd: int) -> None:
    tree = syscalls.open_tree(source_fd, "", syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH)
    try:
        syscalls.move_mount(tree, target_fd)
    finally:
        os.close(tree)


def mask_paths(root_fd: int, paths: list[str]) -> None:
    """Hide paths: files behind the null device, directories behind one shared, empty, read-only directory."""
    null = empty = -1
    try:
        for path in paths:
            try:
                fd = inside.open_inside(root_fd, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    null = null if null >= 0 else _open_null(root_fd)
                    _bind_fd(null, fd)
                elif empty < 0:
                    syscalls.mount("tmpfs", fd_path(fd), "tmpfs", syscalls.MS_RDONLY, "size=0k,nr_inodes=1")
                    empty = inside.open_inside(root_fd, path, os.O_PATH)
                else:
                    _bind_fd(empty, fd)
            finally:
                os.close(fd)
    finally:
        for fd in (null, empty):
            if fd >= 0:
                os.close(fd)


def _open_null(root_fd: int) -> int:
    """Return an fd of the null device: the container's when it is that device, else the host's (CVE-2025-31133)."""
    for directory, path in ((root_fd, "/dev/null"), (-1, "/dev/null")):
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC) if directory < 0 else inside.open_inside(root_fd, path, _LINK)
        except OSError:
            continue
        found = os.fstat(fd)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3):
            return fd
        os.close(fd)
    raise MountError(OSError(errno.ENODEV, "there is no null device"), "/dev/null")


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
