"""A command in a running container: a small monitor of its own that joins the namespaces and owns the streams."""

from __future__ import annotations

import os
import time

from engine.linux import capabilities, files
from engine.linux.cgroup import group as cgroups
from engine.linux.light import json, socket
from engine.sandbox import protocol, security
from engine.sandbox.enter import Entry
from engine.sandbox.process import CannotStart
from engine.sandbox.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Document = dict[str, Any]


class Exec:
    """One command, from the request to its exit code."""

    def __init__(self, request: Document, reply: socket.socket, session: socket.socket | None) -> None:
        self._request = request
        self._reply = reply
        self._asked: Document = request["asked"]
        self._exec_id = os.urandom(16).hex()
        settings = {"stdin": self._asked.get("interactive"), "hangs_up": True, "log": {"driver": "none"}}
        self._streams = Streams(settings, session)
        self._pid = 0

    def run(self) -> None:
        """Start the command, reply, move its streams, report its end."""
        user = self._asked.get("user") or self._request.get("user") or "root"
        by: dict[str, str] = self._request.get("by") or {}
        self._journal("exec_create", command=" ".join(self._asked["command"]), user=str(user), **by)
        try:
            self._start()
        except CannotStart as error:
            self._answer({"ok": False, "kind": error.kind, "errno": error.number, "message": str(error)})
            return
        except OSError as error:
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
        config: Document = json.loads(files.read_file(f"{self._request['bundle']}/config.json"))
        what = process_of(config["process"], self._asked)
        entry = Entry(what, security.Security(what, {}, str(self._request.get("seccomp") or "")))
        streams = None if what["terminal"] else self._streams.make_pipes()
        try:
            entry.start(int(self._request["pid"]), int(self._request["pid_start"]), group, streams,
                self._request.get("size"))  # fmt: skip
        finally:
            if streams:
                protocol.close_all(list(streams))
        self._pid = entry.pid
        if entry.master >= 0:
            self._streams.use_terminal(entry.master)

    def _answer(self, answer: Document) -> None:
        try:
            self._reply.send(json.dumps(answer).encode())
        except OSError:
            pass  # the engine is gone
        self._reply.close()

    def _journal(self, action: str, **attributes: str) -> None:
        entry = {
            "time": files.rfc3339(time.time_ns()), "type": "container", "action": action,
            "id": self._request["id"], "name": self._request["name"],
            "attributes": {"execID": self._exec_id, **attributes},
        }  # fmt: skip
        files.append_line(str(self._request["journal"]), json.dumps(entry).encode())


def process_of(process: Document, asked: Document) -> Document:
    """Return `process` of one more command: the container's, with what is asked for.

    Args:
        process: `process` of the container's config.
        asked: The fields of engine.model.container.ExecSpec; those that are missing take the container's.
    """
    env = [*process["env"], *(asked.get("env") or [])]
    has_tty = bool(asked.get("tty"))
    if has_tty and not any(item.startswith("TERM=") for item in env):
        env.append("TERM=xterm")
    found = {**process, "terminal": has_tty, "args": list(asked["command"]), "env": env}
    if asked.get("user") is not None:
        found["user"] = {**process["user"], "username": asked["user"]}
    if asked.get("workdir"):
        found["cwd"] = asked["workdir"]
    if asked.get("privileged"):
        every = [f"CAP_{name}" for name in capabilities.available()]
        sets = dict.fromkeys(("bounding", "effective", "permitted"), every)
        found |= {"capabilities": {**process["capabilities"], **sets}, "noNewPrivileges": False}
        if process.get("apparmorProfile"):
            found["apparmorProfile"] = "unconfined"
    return found


def serve(session: socket.socket, text: bytes, container: Document) -> NoReturn:
    """Be the process that runs a command for a monitor, which has just forked it and keeps what is its own.

    Args:
        session: The session; the answer comes on it too.
        text: A JSON document: "asked" and "size".
        container: What the monitor knows: id, name, pid, pid_start, cgroup, seccomp, bundle, journal.
    """
    try:
        os.setsid()
        os.closerange(3, session.fileno())
        os.closerange(session.fileno() + 1, 1 << 20)  # the container's streams, log and sessions
        session.setblocking(True)
        Exec({**container, **json.loads(text)}, session.dup(), session).run()
    finally:
        os._exit(0)


def main(request: Document, fds: list[int]) -> None:
    """Run request["asked"] in the container; fds are the reply socket and, unless detached, the session."""
    reply = socket.socket(fileno=fds[0])
    session = socket.socket(fileno=fds[1]) if len(fds) > 1 else None
    Exec(request, reply, session).run()
