"""Both halves of running one more command in a running container: namespaces are joined by pidfd, never by path."""

from __future__ import annotations

import os

from engine.linux import capabilities, inside, procfs, syscalls
from engine.linux.cgroup import group as cgroups
from engine.linux.light import json, signal, socket
from engine.sandbox import identity, namespaces, process, protocol, schedule, spawn
from engine.sandbox.process import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.security import Security

    Document = dict[str, Any]


class Entry:
    """One command on its way into a container.

    Attributes:
        pid: The command's pid on the host once it is started.
        master: Its terminal's master; -1 without a terminal.
        warnings: Sentences about what this host does not allow.
    """

    def __init__(self, process_config: Document, security: Security, *, preserve_fds: int = 0) -> None:
        self._process = process_config
        self._security = security
        self._preserve_fds = preserve_fds
        self.pid = 0
        self.master = -1
        self.warnings: list[str] = []

    def start(
        self, pid: int, pid_start: int, group: cgroups.Group, streams: tuple[int, int, int] | None,
        size: list[int] | None = None,
    ) -> None:  # fmt: skip
        """Start the command in the container of a process; returns when execve has succeeded.

        Args:
            pid: The container's first process.
            pid_start: When it started, in clock ticks.
            group: Its cgroup.
            streams: stdin, stdout and stderr; None with a terminal and for the caller's.
            size: Rows and columns of the terminal.

        Raises:
            CannotStart: The command is missing or cannot be executed.
            OSError: The container cannot be entered.
        """
        pidfd = procfs.open_process(pid, pid_start)
        differing = namespaces.differing(pid)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        last_capability = capabilities.last()
        self._set_affinity("initial")
        own = _remember(differing)
        try:
            if differing & syscalls.CLONE_NEWPID:
                syscalls.setns(pidfd, syscalls.CLONE_NEWPID)
            cgroup_fd = group.open_fd() if group.version == 2 else -1
            self.pid = syscalls.clone3(0, cgroup_fd=cgroup_fd)
            if self.pid == 0:
                ours.close()
                if cgroup_fd >= 0:
                    os.close(cgroup_fd)
                _Child(self._process, self._security, theirs, self._preserve_fds).run(
                    group, pidfd, differing & ~syscalls.CLONE_NEWPID, streams, size, last_capability
                )
            if cgroup_fd >= 0:
                os.close(cgroup_fd)
        finally:
            _return(own)
            theirs.close()
            os.close(pidfd)
        with ours:
            self._follow(ours)

    def _set_affinity(self, name: str) -> None:
        affinity: Document = self._process.get("execCPUAffinity") or {}
        if affinity.get(name):
            os.sched_setaffinity(0, schedule.numbers_of(str(affinity[name])))

    def _follow(self, channel: socket.socket) -> None:
        """Read what the child says until its execve closes the socket."""
        while True:
            data, fds = protocol.receive_message(channel)
            if not data:
                return
            answer = json.loads(data)
            if answer.get("step") == "ready":
                self.master = fds[0] if fds else -1
                self.warnings += spawn.limit_process(self.pid, self._process)
                affinity: Document = self._process.get("execCPUAffinity") or {}
                if affinity.get("final"):
                    os.sched_setaffinity(self.pid, schedule.numbers_of(str(affinity["final"])))
                channel.send(b"g")
                continue
            os.waitpid(self.pid, 0)
            self.pid = 0
            raise CannotStart(answer["kind"], answer["message"], answer["errno"])


def _remember(differing: int) -> int:
    """Return an fd of the pid namespace that our children are in, when it is about to be another one; else -1."""
    if not differing & syscalls.CLONE_NEWPID:
        return -1
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def _return(own: int) -> None:
    if own >= 0:
        try:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
        finally:
            os.close(own)


class _Child:
    """The half that becomes the command."""

    def __init__(self, process_config: Document, security: Security, channel: socket.socket, preserve_fds: int) -> None:
        self._process = process_config
        self._security = security
        self._channel = channel
        self._preserve_fds = preserve_fds

    def run(
        self, group: cgroups.Group, pidfd: int, flags: int, streams: tuple[int, int, int] | None,
        size: list[int] | None, last_capability: int,
    ) -> None:  # fmt: skip
        """Enter and execute; never returns."""
        answer: Document = {"kind": "failed", "message": "", "errno": 0}
        try:
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            self._security.open()
            group.join_self()
            self._join(pidfd, flags)
            self._become(streams, size, last_capability)
        except CannotStart as error:
            answer = {"kind": error.kind, "message": str(error), "errno": error.number}
        except schedule.Refused as error:
            answer["message"] = str(error)
        except BaseException as error:  # noqa: BLE001 - the last resort of a process that must not return
            answer = {"kind": "failed", "message": f"cannot enter the container: {error}", "errno": 0}
        try:
            self._channel.send(json.dumps(answer).encode())
        finally:
            os._exit(125)

    def _join(self, pidfd: int, flags: int) -> None:
        os.setsid()
        if flags:
            syscalls.setns(pidfd, flags)
        if flags & syscalls.CLONE_NEWUSER:
            identity.become_root()
        process.new_keyring()

    def _become(self, streams: tuple[int, int, int] | None, size: list[int] | None, last_capability: int) -> None:
        what = self._process
        root_fd = inside.open_root("/")
        master = slave = -1
        if what.get("terminal"):
            master, slave = process.open_terminal(root_fd, size)
        uid, gid, groups, home = process.identity(root_fd, what.get("user") or {})
        if slave >= 0:
            os.fchown(slave, uid, -1)
        workdir = str(what.get("cwd") or "/")
        process.make_workdir(root_fd, workdir, uid, gid)
        process.enter_workdir(workdir)
        variables = process.environment(what, home)
        protocol.send_message(self._channel, b'{"step": "ready"}', [master] if master >= 0 else [])
        if not self._channel.recv(1):
            os._exit(125)  # the parent is gone
        if slave >= 0:
            process.take_terminal(slave)
        elif streams:
            process.take_streams(*streams)
        process.own_streams(uid, gid)
        process.finish(what, self._security, (uid, gid, groups), last_capability, {}, self._preserve_fds)
        process.execute(what.get("args") or [], variables)
