"""A command in a running container: a small monitor of its own that joins the namespaces and owns the streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

from engine.linux import capabilities, files, inside, procfs, syscalls
from engine.linux.cgroup import group as cgroups
from engine.sandbox import process, protocol
from engine.sandbox.process import CannotStart
from engine.sandbox.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_OTHERS = (syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWCGROUP)  # fmt: skip


class Exec:
    """One command, from the request to its exit code."""

    def __init__(self, request: Document, reply: socket.socket, session: socket.socket | None) -> None:
        self._request = request
        self._process: Document = request["process"]
        self._reply = reply
        self._session = session
        self._streams = Streams({"stdin": request.get("stdin"), "hangs_up": True, "log": {"driver": "none"}}, session)
        self._pid = 0

    def run(self) -> None:
        """Start the command, reply, move its streams, report its end."""
        try:
            self._start()
        except CannotStart as error:
            self._reap()
            self._answer({"ok": False, "kind": error.kind, "errno": error.number, "message": str(error)})
            return
        except OSError as error:
            self._reap()
            text = f"cannot run a command in the container: {error.strerror or error}"
            self._answer({"ok": False, "kind": "failed", "errno": error.errno or 0, "message": text})
            return
        self._journal("exec_start")
        self._answer({"ok": True, "pid": self._pid})
        status = self._streams.supervise(self._pid)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        exit_code = 128 + number if number else os.WEXITSTATUS(status)
        self._streams.end(exit_code, False)
        self._journal("exec_die", exitCode=str(exit_code))

    def _start(self) -> None:
        cgroup: Document = self._request["cgroup"]
        group = cgroups.Group.from_paths(int(cgroup["version"]), cgroup["paths"])
        pidfd = procfs.open_process(int(self._request["pid"]), int(self._request["pid_start"]))
        shared = _shared_namespaces(int(self._request["pid"]))
        streams = None if self._request.get("tty") else self._streams.make_pipes()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        last_capability = capabilities.last()
        if not shared & syscalls.CLONE_NEWPID:
            syscalls.setns(pidfd, syscalls.CLONE_NEWPID)
        cgroup_fd = group.open_fd() if group.version == 2 else -1
        pid = syscalls.clone3(0, cgroup_fd=cgroup_fd)
        if pid == 0:
            ours.close()
            self._child(group, pidfd, _OTHERS & ~shared, streams, theirs, last_capability)
        self._pid = pid
        theirs.close()
        if streams:
            protocol.close_all(list(streams))
        self._follow(ours)
        ours.close()

    def _follow(self, channel: socket.socket) -> None:
        """Read what the child says until its execve closes the socket."""
        while True:
            data, fds = protocol.receive_message(channel)
            if not data:
                return
            if fds:
                self._streams.use_terminal(fds[0])
                continue
            answer = json.loads(data)
            raise CannotStart(answer["kind"], answer["message"], answer["errno"])

    def _child(self, group: cgroups.Group, pidfd: int, namespaces: int, streams: tuple[int, int, int] | None,
               channel: socket.socket, last_capability: int) -> None:  # fmt: skip
        answer = {"kind": "failed", "message": "", "errno": 0}
        try:
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            self._enter(group, pidfd, namespaces, streams, channel, last_capability)
        except CannotStart as error:
            answer = {"kind": error.kind, "message": str(error), "errno": error.number}
        except BaseException as error:  # noqa: BLE001 - the last resort of a process that must not return
            answer = {"kind": "failed", "message": f"cannot enter the container: {error}", "errno": 0}
        try:
            channel.send(json.dumps(answer).encode())
        finally:
            os._exit(125)

    def _enter(self, group: cgroups.Group, pidfd: int, namespaces: int, streams: tuple[int, int, int] | None,
               channel: socket.socket, last_capability: int) -> None:  # fmt: skip
        what = self._process
        group.join_self()
        os.setsid()
        process.set_oom_score(int(what.get("oomScoreAdj") or 0))
        process.set_rlimits(what.get("rlimits") or [])
        syscalls.setns(pidfd, namespaces)
        syscalls.new_session_keyring()
        root_fd = inside.open_root("/")
        slave = -1
        if self._request.get("tty"):
            master, slave = process.open_terminal(root_fd, self._request.get("size"))
            protocol.send_message(channel, b"{}", [master])
            os.close(master)
        uid, gid, groups, home = process.identity(root_fd, what.get("user") or {})
        if slave >= 0:
            os.fchown(slave, uid, -1)
        process.enter_workdir(str(what.get("cwd") or "/"), uid, gid)
        variables = process.environment(what, home)
        if slave >= 0:
            process.take_terminal(slave)
        elif streams:
            process.take_streams(*streams)
        process.reset_signals()
        os.umask(0o022)
        process.drop_rights(what, uid, gid, groups, last_capability)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
        syscalls.close_range_on_exec(3)
        process.execute(what["args"], variables)

    def _answer(self, answer: Document) -> None:
        try:
            self._reply.send(json.dumps(answer).encode())
        except OSError:
            pass  # the engine is gone
        self._reply.close()

    def _reap(self) -> None:
        if self._pid:
            os.waitpid(self._pid, 0)

    def _journal(self, action: str, **attributes: str) -> None:
        entry = {
            "time": files.rfc3339(time.time_ns()), "type": "container", "action": action,
            "id": self._request["id"], "name": self._request["name"],
            "attributes": {"execID": str(self._request["exec_id"]), **attributes},
        }  # fmt: skip
        files.append_line(str(self._request["journal"]), json.dumps(entry).encode())


def _shared_namespaces(pid: int) -> int:
    """Return the flags of the namespaces that a process shares with this one; they need no joining."""
    kinds = {"mnt": syscalls.CLONE_NEWNS, "net": syscalls.CLONE_NEWNET, "uts": syscalls.CLONE_NEWUTS,
        "ipc": syscalls.CLONE_NEWIPC, "cgroup": syscalls.CLONE_NEWCGROUP, "pid": syscalls.CLONE_NEWPID}  # fmt: skip
    shared = 0
    for kind, flag in kinds.items():
        if os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}"):
            shared |= flag
    return shared


def main(request: Document, fds: list[int]) -> None:
    """Run request["process"] in the container; fds are the reply socket and, unless detached, the session."""
    reply = socket.socket(fileno=fds[0])
    session = socket.socket(fileno=fds[1]) if len(fds) > 1 else None
    Exec(request, reply, session).run()
