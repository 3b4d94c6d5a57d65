"""A command in a running container: a small monitor of its own that joins the namespaces and owns the streams."""

from __future__ import annotations

import json
import os
import socket
import time

from engine.linux import files
from engine.linux.cgroup import group as cgroups
from engine.sandbox import protocol, security
from engine.sandbox.enter import Entry
from engine.sandbox.process import CannotStart
from engine.sandbox.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


class Exec:
    """One command, from the request to its exit code."""

    def __init__(self, request: Document, reply: socket.socket, session: socket.socket | None) -> None:
        self._request = request
        self._reply = reply
        self._streams = Streams({"stdin": request.get("stdin"), "hangs_up": True, "log": {"driver": "none"}}, session)
        self._pid = 0

    def run(self) -> None:
        """Start the command, reply, move its streams, report its end."""
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
        what: Document = {**self._request["process"], "terminal": bool(self._request.get("tty"))}
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
            "attributes": {"execID": str(self._request["exec_id"]), **attributes},
        }  # fmt: skip
        files.append_line(str(self._request["journal"]), json.dumps(entry).encode())


def main(request: Document, fds: list[int]) -> None:
    """Run request["process"] in the container; fds are the reply socket and, unless detached, the session."""
    reply = socket.socket(fileno=fds[0])
    session = socket.socket(fileno=fds[1]) if len(fds) > 1 else None
    Exec(request, reply, session).run()
