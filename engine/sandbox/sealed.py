"""A view of the interpreter that nobody can write to, for processes that enter containers (CVE-2019-5736)."""

from __future__ import annotations

from engine.linux import syscalls


def read_only_view(path: str) -> int:
    """Return an fd of a file on a detached read-only mount; -1 where the kernel refuses.

    A container that gets hold of /proc/PID/exe of a process on its way in then finds a read-only mount, and cannot
    overwrite the host's interpreter.
    """
    try:
        fd = syscalls.open_tree(syscalls.AT_FDCWD, path, syscalls.OPEN_TREE_CLONE)
        syscalls.mount_setattr(fd, attr_set=syscalls.MOUNT_ATTR_RDONLY)
    except OSError:
        return -1
    return fd
