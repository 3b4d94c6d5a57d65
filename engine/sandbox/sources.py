"""What a volume's mount comes from, made by the child that mounts it: addresses, loop devices, FUSE programs.

Each goes by itself when the last mount of it does: a loop device frees itself, and a FUSE program ends with its connection.
"""

from __future__ import annotations

import errno
import os
import select
import time

from engine.linux import files, loop, syscalls
from engine.linux.light import signal, socket
from engine.sandbox.mounts import fd_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_LOOK = 0.02
_LARGEST_SECRET = 4096


def with_address(option: str, hosts: list[str]) -> str:
    """Return an option with the address of the host that it names, which the kernel does not look up."""
    name, _, host = option.partition("=")
    return f"{name}={_address(host)}" if name in hosts else option


def _address(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise OSError(errno.EHOSTUNREACH, f"the name {host} cannot be resolved ({error.strerror})") from error


def monitors_of(plan: Document) -> str:
    """Return the addresses of a cluster's monitors, as the kernel reads them."""
    found = []
    for monitor in plan["monitors"]:
        if monitor.startswith("[") or monitor.count(":") > 1:  # an address of IPv6
            found.append(monitor)
            continue
        host, colon, port = monitor.partition(":")
        address = _address(host)
        found.append(f"[{address}]{colon}{port}" if ":" in address else f"{address}{colon}{port}")
    return ",".join(found)


def secret_of(plan: Document) -> str:
    """Return the key of a cluster's user: what is given, or what a file has."""
    path = str(plan.get("secretfile") or "")
    if not path:
        return str(plan.get("secret") or "")
    return files.read_file(path, _LARGEST_SECRET).decode().strip()


def loop_device(kind: str, source: str, *, is_read_only: bool) -> int:
    """Return an fd of the loop device for a file that has a file system; -1 when none is needed."""
    without_device = f"nodev\t{kind}\n" in files.read_file("/proc/filesystems").decode()
    return -1 if without_device or not loop.is_needed(source) else loop.attach(source, is_read_only=is_read_only)


def serve(plan: Document, place: str) -> int:
    """Have a FUSE program mount something; return a detached mount of it, with whose last copy the program ends.

    Raises:
        OSError: The program failed, with its last words.
    """
    words = os.memfd_create("words", os.MFD_CLOEXEC)
    before = os.stat(place).st_dev
    told, tell = os.pipe2(os.O_CLOEXEC)
    watcher = os.fork()
    if watcher == 0:
        os.close(tell)
        _watch(_start(plan, place, words), told)
    os.close(told)
    while os.stat(place).st_dev == before:
        if os.waitpid(watcher, os.WNOHANG)[0]:
            raise OSError(errno.EIO, f"{os.path.basename(plan['program'])}: {_last_line(words)}")
        time.sleep(_LOOK)
    tree = syscalls.open_tree(syscalls.AT_FDCWD, place, syscalls.OPEN_TREE_CLONE)
    syscalls.umount(place, syscalls.MNT_DETACH)
    os.write(tell, b".")
    os.waitpid(watcher, 0)
    return tree


def _start(plan: Document, place: str, words: int) -> int:
    """Start ceph-fuse; its key comes by a descriptor, and everything else as arguments. Return its pid."""
    key = os.memfd_create("key", os.MFD_CLOEXEC)
    os.write(key, secret_of(plan).encode())
    os.set_inheritable(key, True)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    seconds = f"--client_mount_timeout={float(plan['timeout']):.0f}"
    arguments = ["ceph-fuse", "-f", "-c", os.devnull, "--keyring", os.devnull, "--keyfile", fd_path(key), "--log-file", os.devnull,
        "-m", monitors_of(plan), seconds, *plan["arguments"], place]  # fmt: skip
    return os.posix_spawn(
        str(plan["program"]), arguments, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, words, 1), (os.POSIX_SPAWN_DUP2, words, 2)],
        setsid=True, setsigmask=(), setsigdef=(signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    )  # fmt: skip


def _watch(program: int, told: int) -> None:
    """Until the mount is in use, kill the program when whoever waits for it dies; end when it does."""
    try:
        pidfd = os.pidfd_open(program)
        ready, _, _ = select.select([told, pidfd], [], [])
        if told in ready and not os.read(told, 1):
            os.kill(program, signal.SIGKILL)
    finally:
        os._exit(0)


def _last_line(words: int) -> str:
    os.lseek(words, 0, os.SEEK_SET)
    lines = os.read(words, 1 << 16).decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it ended and said nothing")
