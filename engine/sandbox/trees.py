"""Detached mounts that the parent of a container makes for it, since the child may not or cannot make them.

Each is made by a short-lived child in a mount namespace of its own, so that nothing is mounted in the host's.
"""

from __future__ import annotations

import errno
import os
import time

from engine.linux import capabilities, inside, procfs, syscalls
from engine.linux.light import signal, socket
from engine.sandbox import identity, protocol
from engine.sandbox.mounts import MountError, fd_path, mount_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Document = dict[str, Any]

SHARED_MEMORY = "container:/dev/shm"
_DIES_WITHIN = 2.0
_CLONE_EMPTY = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH


def needs_program(settings: Document) -> bool:
    """Return whether a root is an overlay that a program serves: the container cannot mount that by itself."""
    return bool((settings.get("overlay") or {}).get("program"))


def mapped_root(settings: Document, uids: list[Document], gids: list[Document]) -> int:
    """Return the root of a container with its owners as a user namespace sees them.

    Args:
        settings: "rootfs", and maybe "overlay", or "maps_owners" for a directory with the owners of no namespace.
        uids: The user namespace's map; empty for none.
        gids: The same for groups.

    Raises:
        MountError: The file system of the state root cannot map owners, or the root is not there.
    """
    overlay: Document = settings.get("overlay") or {}
    rootfs = str(settings["rootfs"])
    is_mapped = bool(overlay or settings.get("maps_owners")) and not needs_program(settings)
    is_shifted = is_mapped and any(item["containerID"] != item["hostID"] for item in (*uids, *gids))
    userns = identity.user_namespace(uids, gids) if is_shifted else -1
    try:
        if needs_program(settings):
            return made_by_child(lambda: _served_overlay(overlay, uids, gids))
        if overlay:
            return made_by_child(lambda: _overlay(rootfs, overlay, userns, uids, gids))
        tree = syscalls.open_tree(syscalls.AT_FDCWD, rootfs, syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
        if is_shifted:
            syscalls.mount_setattr(tree, userns_fd=userns, propagation=syscalls.MS_PRIVATE)
    except OSError as error:
        if is_shifted and error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            text = "the file system of the state root cannot map owners for a user namespace"
            raise MountError(OSError(error.errno, text), "the root file system") from error
        raise MountError(error, "the root file system") from error
    else:
        return tree
    finally:
        if userns >= 0:
            os.close(userns)


def _overlay(target: str, overlay: Document, userns: int, uids: list[Document], gids: list[Document]) -> int:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    if userns >= 0:
        _be_owner(int(uids[0]["hostID"]), int(gids[0]["hostID"]))
    mount_overlay(target, overlay["lower"], str(overlay["upper"]), str(overlay["work"]), userns)
    return syscalls.open_tree(syscalls.AT_FDCWD, target, syscalls.OPEN_TREE_CLONE)


def _served_overlay(overlay: Document, uids: list[Document], gids: list[Document]) -> int:
    """Return an overlay that fuse-overlayfs serves; the program ends when the last mount of it is gone.

    It is given the connection, already mounted, as /dev/fd/N (fuse_session_mount of libfuse 3), so it needs no mount
    namespace and no path, and nothing has to end it.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = {"fd": str(device), "rootmode": "40000", "user_id": "0", "group_id": "0", "allow_other": "", "default_permissions": ""}  # fmt: skip
    tree = syscalls.fsmount("fuse", options, "fuse-overlayfs")
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*overlay["lower"], overlay["upper"], overlay["work"])]
    for fd in (device, *fds):
        os.set_inheritable(fd, True)
    *lower, upper, work = [fd_path(fd) for fd in fds]
    asked = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    for name, mappings in (("uidmapping", uids), ("gidmapping", gids)):
        if mappings:
            asked += f",{name}=" + ":".join(
                f"{item['containerID']}:{item['hostID']}:{item['size']}" for item in mappings
            )
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.posix_spawn(
        str(overlay["program"]),
        ["fuse-overlayfs", "-f", "-o", asked, f"/dev/fd/{device}"],
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, stream) for stream in range(3)],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    )
    os.close(device)
    os.stat(fd_path(tree))  # waits for the program's first answer, or for its end
    return tree


def _be_owner(uid: int, gid: int) -> None:
    """Act as the mapped root with all capabilities: overlayfs changes its upper directory as whoever mounted it.

    Through mapped mounts our own root has no id, so nothing could be made there; the mapped root is 0 on the disk.
    """
    os.setresgid(-1, gid, -1)
    os.setresuid(-1, uid, -1)
    every = capabilities.mask_of(list(capabilities.available()))
    syscalls.capset(every, every, 0)


def memory_of(pid: int, start: int) -> int:
    """Return the /dev/shm of a running container as a detached mount.

    Raises:
        MountError: The container has ended, or has none.
    """

    def make() -> int:
        syscalls.setns(pidfd, syscalls.CLONE_NEWNS)
        root = inside.open_root("/")
        return syscalls.open_tree(inside.open_inside(root, "/dev/shm", os.O_PATH | os.O_DIRECTORY), "", _CLONE_EMPTY)

    try:
        pidfd = procfs.open_process(pid, start)
        try:
            return made_by_child(make)
        finally:
            os.close(pidfd)
    except OSError as error:
        raise MountError(error, "/dev/shm of the other container") from error


def made_by_child(make: Callable[[], int], seconds: float = 0.0) -> int:
    """Return the descriptor that a function makes in a child of ours.

    Args:
        make: It may leave the namespaces of this process.
        seconds: How long it may take; 0 is for ever.

    Raises:
        TimeoutError: It takes longer; the child is killed.
        OSError: It failed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            protocol.send_message(theirs, b"ok", [make()])
        except OSError as error:
            theirs.send(f"{error.errno or errno.EIO} {error.strerror or error}".encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        ours.settimeout(seconds or None)
        try:
            data, fds = protocol.receive_message(ours)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            _reap_soon(pid)
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    os.waitpid(pid, 0)
    if not fds:
        number, _, text = data.decode(errors="replace").partition(" ")
        raise OSError(int(number or errno.EIO), text or os.strerror(errno.EIO))
    return fds[0]


def _reap_soon(pid: int) -> None:
    """Reap a child that was killed, unless the server for which it waits keeps it from dying."""
    deadline = time.monotonic() + _DIES_WITHIN
    while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.01)
