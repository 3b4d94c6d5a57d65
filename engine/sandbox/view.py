"""What the engine may not do itself, for it has threads: look into a container's mounts, and hold a container still.

Each request is served by a short-lived child of the launcher. A view is one file descriptor: nothing is mounted in the
host's namespace, and what was mounted for it goes with its last descriptor. A hold ends with the engine's end of the socket.
"""

from __future__ import annotations

import errno
import os

from engine.linux import inside, procfs, syscalls
from engine.linux.cgroup.group import Group
from engine.linux.light import json, signal, socket
from engine.sandbox import protocol, trees
from engine.sandbox.mounts import MountError, match_sources, mount_all, mount_overlay
from engine.sandbox.volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_CLONE = syscalls.OPEN_TREE_CLONE | syscalls.AT_EMPTY_PATH


def view(request: Document, fds: list[int]) -> None:
    """Answer with the descriptor of a root directory; fds: the reply socket.

    Args:
        request: "pid" and "pid_start" of a running container, and "alone" for its root file system without what is
            mounted on it; or "root" of another one, in the storage driver's words, with "mounts" as in an OCI config,
            "volumes" for those of them that stand for volumes, and "read_only" for the root file system; or "lower", the layers of an image. The latter two are mounted
            on "place".
        fds: The reply socket.
    """
    reply = socket.socket(fileno=fds[0])
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        found = _enter(request) if request.get("pid") else _mount(request)
        protocol.send_message(reply, b'{"ok": true}', [found])
    except (OSError, ValueError) as error:
        _refuse(reply, error)


def hold(request: Document, fds: list[int]) -> None:
    """Freeze a container until the engine closes its end of the reply socket, or dies."""
    reply = socket.socket(fileno=fds[0])
    group = Group.from_paths(int(request["version"]), request["paths"])
    try:
        group.freeze()
        reply.send(b'{"ok": true}')
        reply.recv(1)
    except OSError as error:
        _refuse(reply, error)
    finally:
        group.thaw()


def _enter(request: Document) -> int:
    """Return the root of a running container: that of its mount namespace, whatever its processes chroot to."""
    pidfd = procfs.open_process(int(request["pid"]), int(request["pid_start"]))
    syscalls.setns(pidfd, syscalls.CLONE_NEWNS)
    root_fd = inside.open_root("/")
    return syscalls.open_tree(root_fd, "", _CLONE) if request.get("alone") else root_fd


def _mount(request: Document) -> int:
    """Mount what does not run, and return it detached."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    place = str(request["place"])
    if request.get("root"):
        tree = trees.mapped_root({"rootfs": place, **request["root"]}, [], [])
        place_fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        syscalls.move_mount(tree, place_fd)
    else:  # the kernel wants two layers when none is to be written, of which one may be empty
        syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_RDONLY)
        mount_overlay(place, [*request["lower"], place], "", "")
    root_fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts = request.get("mounts") or []
    mount_all(root_fd, mounts, None, match_sources(mounts, Volumes(request.get("volumes") or []).open()))
    if request.get("read_only"):
        syscalls.mount_setattr(root_fd, attr_set=syscalls.MOUNT_ATTR_RDONLY)
    syscalls.mount_setattr(root_fd, propagation=syscalls.MS_PRIVATE, recursive=True)
    return syscalls.open_tree(root_fd, "", _CLONE | syscalls.AT_RECURSIVE)


def _refuse(reply: socket.socket, error: Exception) -> None:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    text = str(error) if isinstance(error, MountError) or not isinstance(error, OSError) else os.strerror(number or 5)
    if isinstance(error, ProcessLookupError):
        text = "the container has ended"
    reply.send(json.dumps({"ok": False, "kind": "failed", "message": text, "errno": number or 0}).encode())
