"""The only way to a path under a container's or a layer's root: resolved by the kernel, inside, to an fd.

`openat2` with RESOLVE_IN_ROOT takes "/", ".." and absolute links as the container does, and refuses magic
links; what comes back is an fd, so nothing is resolved twice. No other module may open such paths.
"""

from __future__ import annotations

import errno
import os
import stat

from engine.linux import syscalls

_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_TRIES = 64


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
    name = os.fsencode(path) or b"/"
    for _ in range(_TRIES):
        try:
            return syscalls.openat2(root_fd, name, flags, mode, _INSIDE)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                error.filename = path
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


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


def make_target(root_fd: int, path: str, *, is_directory: bool) -> int:
    """Return an O_PATH fd of a mount target, made when it is missing."""
    if is_directory:
        return make_directories(root_fd, path)
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


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "not a name", path)
    return parent or "/", name
