"""The only way to a path under a container's or a layer's root: resolved by the kernel, inside, to an fd.

`openat2` with RESOLVE_IN_ROOT takes "/", ".." and absolute links as the container does, and refuses magic
links; what comes back is an fd, so nothing is resolved twice. No other module may open such paths.
"""

from __future__ import annotations

import errno
import os
import stat

from engine.linux import syscalls
from engine.linux.files import copy_attributes, write_all

_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_TRIES = 64
_MOST_LINKS = 40
_REFUSED = (errno.EOPNOTSUPP, errno.EPERM)


def open_root(path: str | os.PathLike[str]) -> int:
    """Open a directory as a root for the functions below."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_inside(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a path inside a root; return an fd (close-on-exec).

    Args:
        root_fd: The root directory.
        path: Any path; leading "/" and ".." stay inside.
        flags: As for os.open.
        mode: Permissions when O_CREAT creates the file.

    Raises:
        OSError: As os.open; a race with a rename shows as EAGAIN after many tries.
    """
    name = _relative(path)
    for _ in range(_TRIES):
        try:
            return syscalls.openat2(root_fd, name, flags, mode, _INSIDE)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                error.filename = path
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_beneath(root_fd: int, path: str, flags: int) -> int:
    """Open a path below a directory of which no part is a symbolic link; return an fd (close-on-exec).

    Raises:
        OSError: As os.open; ELOOP for a link, EXDEV for a path that leads out.
    """
    resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
    for _ in range(_TRIES):
        try:
            return syscalls.openat2(root_fd, os.fsencode(path) or b".", flags, 0, resolve)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                error.filename = path
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_item(directory_fd: int, name: str) -> int:
    """Open what a name in a directory stands for, a link itself, to look at it (O_PATH)."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)


def is_mount(directory_fd: int, name: str) -> bool:
    """Return whether something is mounted on a name in a directory; outside our mount namespace no call refuses that."""
    flags, resolve = os.O_PATH | os.O_NOFOLLOW, syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_MAGICLINKS
    try:
        os.close(syscalls.openat2(directory_fd, os.fsencode(name), flags, 0, resolve))
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOENT):
            raise
        return error.errno == errno.EXDEV
    return False


def reopen(item_fd: int, flags: int) -> int:
    """Open what an O_PATH fd stands for, to read or write it; nothing can have taken its place."""
    return os.open(f"/proc/self/fd/{item_fd}", flags | os.O_CLOEXEC)


def find(root_fd: int, path: str) -> tuple[int, str]:
    """Return an fd of the directory in which a path ends, and the name there: links, the last one too, are followed.

    The name may be missing; it is "." when the path ends in a directory's "/", "." or "..".

    Raises:
        OSError: As os.open; ELOOP after too many links.
    """
    for _ in range(_MOST_LINKS):
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY), "."
        parent_fd = open_inside(root_fd, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            link = os.readlink(name, dir_fd=parent_fd)
        except FileNotFoundError:
            return parent_fd, name
        except OSError as error:
            if error.errno != errno.EINVAL:
                os.close(parent_fd)
                raise
            return parent_fd, name
        os.close(parent_fd)
        path = link if link.startswith("/") else f"{parent}/{link}"
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def make_directories(root_fd: int, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> int:
    """Make a directory and its parents where they are missing; return an O_PATH fd of it."""
    try:
        return open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    parent, name = _split(path)
    parent_fd = make_directories(root_fd, parent, mode, uid, gid)
    try:
        try:
            os.mkdir(name, mode, dir_fd=parent_fd)
        except FileExistsError:
            # A dangling link, or somebody else was faster: the kernel decides which.
            return open_inside(root_fd, path, os.O_PATH | os.O_DIRECTORY)
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        if uid or gid:
            os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        return fd
    finally:
        os.close(parent_fd)


def make_target(root_fd: int, path: str, *, is_directory: bool, is_system: bool = False) -> int:
    """Return an O_PATH fd of a mount target, made when it is missing.

    Args:
        root_fd: The root directory.
        path: The target.
        is_directory: Whether a directory is wanted, else a file.
        is_system: Refuse links on the way: what the kernel mounts there must be where others look for it.
    """
    if is_directory:
        fd = make_directories(root_fd, path)
        if is_system:
            _refuse_links(root_fd, path, fd)
        return fd
    try:
        return open_inside(root_fd, path, os.O_PATH)
    except FileNotFoundError:
        pass
    parent, name = _split(path)
    parent_fd = make_directories(root_fd, parent)
    try:
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent_fd)
        os.close(fd)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    except FileExistsError:
        return open_inside(root_fd, path, os.O_PATH)
    finally:
        os.close(parent_fd)


def _refuse_links(root_fd: int, path: str, fd: int) -> None:
    try:
        resolve = _INSIDE | syscalls.RESOLVE_NO_SYMLINKS
        os.close(syscalls.openat2(root_fd, _relative(path), os.O_PATH | os.O_DIRECTORY, 0, resolve))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link in the image is in its place", path) from error
        raise


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy what is in one directory into another: files, directories, links and nodes with all that belongs to them.

    Whoever else changes the target meanwhile may make it fail, but has nothing changed that is outside.

    Args:
        source_fd: Opened for reading.
        target_fd: Empty.
    """
    with os.scandir(source_fd) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            found = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        except FileNotFoundError:  # an overlay lists whiteouts that have nothing to hide
            continue
        if stat.S_ISDIR(found.st_mode):
            _copy_directory(source_fd, target_fd, name)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source_fd, target_fd, name)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target_fd, follow_symlinks=False)
            os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)
        elif not stat.S_ISSOCK(found.st_mode):
            _copy_node(found, target_fd, name)


def _copy_node(found: os.stat_result, target_fd: int, name: str) -> None:
    os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target_fd)
    item = open_item(target_fd, name)
    try:
        path = f"/proc/self/fd/{item}"
        os.chown(path, found.st_uid, found.st_gid)
        os.chmod(path, stat.S_IMODE(found.st_mode))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(item)


def copy_up(root_fd: int, path: str, target_fd: int) -> None:
    """Fill an empty directory with what a root has at a path, and give it the same owner, mode and attributes.

    Args:
        root_fd: The root; when it has no directory at the path, nothing happens.
        path: The path.
        target_fd: The directory, opened for reading.

    Raises:
        OSError: Something cannot be copied.
    """
    if os.listdir(target_fd):
        return
    try:
        source = open_inside(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        copy_tree(source, target_fd)
        copy_attributes(source, target_fd, may_fail=_REFUSED)
    finally:
        os.close(source)


def _copy_directory(source_fd: int, target_fd: int, name: str) -> None:
    os.mkdir(name, 0o700, dir_fd=target_fd)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    source = os.open(name, flags, dir_fd=source_fd)
    try:
        target = os.open(name, flags, dir_fd=target_fd)
        try:
            copy_tree(source, target)
            copy_attributes(source, target, may_fail=_REFUSED)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_file(source_fd: int, target_fd: int, name: str) -> None:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    source = os.open(name, os.O_RDONLY | flags, dir_fd=source_fd)
    try:
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=target_fd)
        try:
            while part := os.read(source, 1 << 20):
                write_all(target, part)
            copy_attributes(source, target, may_fail=_REFUSED)
        finally:
            os.close(target)
    finally:
        os.close(source)


def read_text(root_fd: int, path: str, limit: int = 1 << 20) -> str:
    """Return the text of a regular file inside a root, at most `limit` bytes of it.

    Raises:
        FileNotFoundError: There is none, or it is not a regular file.
    """
    fd = open_inside(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
        parts = []
        while limit > 0 and (part := os.read(fd, limit)):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts).decode(errors="replace")
    finally:
        os.close(fd)


def _relative(path: str) -> bytes:
    """Return a path that names nothing of the host even if its resolution were not held inside."""
    return os.fsencode(path).lstrip(b"/") or b"."


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "not a name", path)
    return parent or "/", name
