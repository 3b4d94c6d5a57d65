"""The container's first process, from clone3 to execve: runs in the child, talks to the monitor over one socket.

To the monitor:   {"step": "ready"} (with the pty's master, when there is a terminal), or {"step": "failed", …}
From the monitor: one byte when the network is attached, one when the record is written and the command may run
"""

from __future__ import annotations

import json
import os
import signal
import socket

from engine.linux import inside, rtnetlink, syscalls
from engine.sandbox import mounts, process, protocol
from engine.sandbox.process import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

_NAMESPACES = {
    "mount": syscalls.CLONE_NEWNS, "pid": syscalls.CLONE_NEWPID, "network": syscalls.CLONE_NEWNET,
    "uts": syscalls.CLONE_NEWUTS, "ipc": syscalls.CLONE_NEWIPC, "cgroup": syscalls.CLONE_NEWCGROUP,
}  # fmt: skip


def namespace_flags(config: Document) -> tuple[int, list[tuple[int, str]]]:
    """Return the flags of the new namespaces, and (flag, path) of those to join."""
    flags, joins = 0, []
    for namespace in config["linux"]["namespaces"]:
        flag = _NAMESPACES[namespace["type"]]
        if namespace.get("path"):
            joins.append((flag, namespace["path"]))
        else:
            flags |= flag
    return flags, joins


def run(config: Document, settings: Document, group: Group, streams: tuple[int, int, int] | None,
        channel: socket.socket, last_capability: int) -> None:  # fmt: skip
    """Build the container around this process and execute its command; never returns.

    Args:
        config: The OCI runtime config.
        settings: monitor.json.
        group: The container's cgroup; on v1 this process joins it itself.
        streams: stdin, stdout and stderr, or None with a terminal.
        channel: The socket to the monitor.
        last_capability: The highest capability number of this kernel.
    """
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        _run(config, settings, group, streams, channel, last_capability)
    except CannotStart as error:
        _fail(channel, error.kind, str(error), error.number)
    except OSError as error:
        text = (
            str(error) if isinstance(error, mounts.MountError) else f"{error.strerror} ({error.filename or 'set-up'})"
        )
        _fail(channel, "failed", text, error.errno or 0)
    except BaseException as error:  # noqa: BLE001 - the last resort of a process that must not return
        _fail(channel, "failed", f"{type(error).__name__}: {error}", 0)
    os._exit(125)


def _fail(channel: socket.socket, kind: str, message: str, number: int) -> None:
    answer = {"step": "failed", "kind": kind, "message": message, "errno": number}
    try:
        channel.send(json.dumps(answer).encode())
    except OSError:
        return


def _run(config: Document, settings: Document, group: Group, streams: tuple[int, int, int] | None,
         channel: socket.socket, last_capability: int) -> None:  # fmt: skip
    what: Document = config["process"]
    flags, joins = namespace_flags(config)
    for flag, path in joins:
        _join(flag, path)
    group.join_self()
    if flags & syscalls.CLONE_NEWCGROUP:
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    os.setsid()
    syscalls.new_session_keyring()
    process.set_oom_score(int(what.get("oomScoreAdj") or 0))
    process.set_rlimits(what.get("rlimits") or [])
    root_fd = _build_root(config, settings, group)
    master = slave = -1
    if what.get("terminal"):
        master, slave = process.open_terminal(root_fd, settings.get("size"))
        mounts.bind_terminal(root_fd, slave)
    _protect(config, root_fd)
    _enter_network(config, settings, channel)
    _name_host(config)
    _set_sysctls(config)
    _pivot(config, root_fd)
    uid, gid, groups, home = process.identity(root_fd, what.get("user") or {})
    if slave >= 0:
        os.fchown(slave, uid, -1)
    process.enter_workdir(str(what.get("cwd") or "/"), uid, gid)
    variables = process.environment(what, home)
    channel_fds = [master] if master >= 0 else []
    protocol.send_message(channel, b'{"step": "ready"}', channel_fds)
    if not channel.recv(1):
        os._exit(125)  # the monitor is gone
    if slave >= 0:
        process.take_terminal(slave)
    elif streams:
        process.take_streams(*streams)
    process.reset_signals()
    os.umask(int(what.get("user", {}).get("umask", 0o022)))
    process.drop_rights(what, uid, gid, groups, last_capability)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    syscalls.close_range_on_exec(3)
    process.execute(what["args"], variables)


def _join(flag: int, path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, flag)
    finally:
        os.close(fd)


def _build_root(config: Document, settings: Document, group: Group) -> int:
    """Mount the root file system and everything the config wants on it; return an fd of the root."""
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    rootfs = str(settings["rootfs"])
    overlay: Document | None = settings.get("overlay")
    if overlay:
        mounts.mount_overlay(rootfs, overlay["lower"], str(overlay["upper"]), str(overlay["work"]))
    else:
        syscalls.mount(rootfs, rootfs, "", syscalls.MS_BIND | syscalls.MS_REC)
    root_fd = inside.open_root(rootfs)
    linux: Document = config["linux"]
    cgroup_paths = None if group.version == 2 else group.paths
    mounts.mount_all(root_fd, config.get("mounts") or [], cgroup_paths)
    mounts.make_devices(root_fd, linux.get("devices") or [])
    return root_fd


def _protect(config: Document, root_fd: int) -> None:
    linux: Document = config["linux"]
    mounts.protect_paths(root_fd, linux.get("readonlyPaths") or [])
    mounts.mask_paths(root_fd, linux.get("maskedPaths") or [])


def _enter_network(config: Document, settings: Document, channel: socket.socket) -> None:
    """Bring up the interfaces of a network namespace of our own, once the monitor has attached them."""
    flags, _ = namespace_flags(config)
    if not flags & syscalls.CLONE_NEWNET:
        return
    rtnetlink.loopback_up()
    network: Document = settings.get("network") or {}
    endpoints: list[Document] = network.get("endpoints") or []
    if not endpoints:
        return
    if not channel.recv(1):
        os._exit(125)
    for endpoint in endpoints:
        rtnetlink.configure(
            str(endpoint["interface"]),
            str(endpoint["address"]),
            int(endpoint["prefix_length"]),
            str(endpoint["gateway"]),
        )


def _name_host(config: Document) -> None:
    flags, _ = namespace_flags(config)
    if not flags & syscalls.CLONE_NEWUTS:
        return
    if config.get("hostname"):
        socket.sethostname(str(config["hostname"]))
    if config.get("domainname"):
        syscalls.set_domainname(str(config["domainname"]))


def _set_sysctls(config: Document) -> None:
    linux: Document = config["linux"]
    for name, value in (linux.get("sysctl") or {}).items():
        path = "/proc/sys/" + str(name).replace(".", "/")
        fd = -1
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, str(value).encode())
        except OSError as error:
            raise CannotStart(
                "failed", f"cannot set sysctl {name}={value}: {error.strerror}", error.errno or 0
            ) from error
        finally:
            if fd >= 0:
                os.close(fd)


def _pivot(config: Document, root_fd: int) -> None:
    root: Document = config["root"]
    if root.get("readonly"):
        syscalls.mount_setattr(root_fd, attr_set=syscalls.MOUNT_ATTR_RDONLY)
    os.fchdir(root_fd)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")
