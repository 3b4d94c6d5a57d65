"""`create` and `run`: from a bundle to a container (runtime-spec runtime.md, "Lifecycle")."""

from __future__ import annotations

import os
import time
import zlib

from engine.linux import files, lsm, procfs, syscalls
from engine.linux.cgroup import group as cgroups
from engine.linux.light import json, signal, socket
from engine.sandbox import hooks, spawn
from engine.sandbox.runtime import ending, foreground, rights, sockets, validate
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.state import DEFAULT_ROOT, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.linux.cgroup.group import Group
    from engine.sandbox.runtime.arguments import Arguments
    from engine.sandbox.runtime.log import Log

    Document = dict[str, Any]


class Creation:
    """A container on its way to being created; what fails takes back what was made."""

    def __init__(self, arguments: Arguments, log: Log) -> None:
        self._arguments = arguments
        self._log = log
        self._bundle = os.path.realpath(arguments.text("bundle", "."))
        self._text = b""
        self._seat = 0
        self._settings: Document = {}
        self.config: Document = {}
        self.container = Container(arguments.text("root", DEFAULT_ROOT), arguments.container_id)
        self.spawned: spawn.Spawned | None = None
        self.master = -1

    def run(self, *, waits: bool) -> None:
        """Create the container.

        Args:
            waits: Whether its process waits for `start`; else `Spawned.release` lets it go.

        Raises:
            Fault: It cannot be created; nothing of it is left.
        """
        self._load()
        self.container.make()
        try:
            with self.container.lock() as lock:
                self._settings["parent_only"] = [lock.fileno()]
                self._make(waits)
        except BaseException as error:
            self._take_back()
            if isinstance(error, spawn.StartFailure):
                raise refusal(error.answer) from error
            raise

    def _load(self) -> None:
        path = os.path.join(self._bundle, self._arguments.text("config", "config.json"))
        self.config = validate.load_json(path)
        validate.check_config(self.config)
        self._check_terminal()
        rootfs = os.path.realpath(os.path.join(self._bundle, str(self.config["root"]["path"])))
        if not os.path.isdir(rootfs):
            raise Fault(f"root.path: {rootfs} is not a directory")
        process: Document = self.config.get("process") or {}
        for warning in rights.drop_ungrantable(process, has_user=validate.has_namespace(self.config, "user")):
            self._log.say("warning", warning)
        linux: Document = self.config.get("linux") or {}
        if linux.get("mountLabel") and not lsm.has_selinux():
            del linux["mountLabel"]
            self._log.say("warning", "linux.mountLabel is left out: SELinux is not active here")
        self._settings = {
            "id": self.container.container_id, "bundle": self._bundle, "rootfs": rootfs,
            "preserve_fds": preserved(self._arguments.number("preserve-fds", 0), process),
            "keeps_keyring": self._arguments.has("no-new-keyring"), "no_pivot": self._arguments.has("no-pivot"),
        }  # fmt: skip

    def _check_terminal(self) -> None:
        process: Document = self.config.get("process") or {}
        stays = self._arguments.command == "run" and not self._arguments.has("detach")
        has_socket = self._arguments.has("console-socket")
        if process.get("terminal") and not has_socket and not stays:
            raise Fault("process.terminal needs --console-socket when the runtime does not stay")
        if has_socket and not process.get("terminal"):
            raise Fault("--console-socket needs process.terminal")
        if self._arguments.command == "run" and not process:
            raise Fault("process is missing, so there is nothing to run")

    def _make(self, waits: bool) -> None:
        group = self._make_group()
        resources: Document = (self.config.get("linux") or {}).get("resources") or {}
        self._record(group)
        group.create()
        group.apply(resources)
        if waits:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            sockets.bind(listener, self.container.start_socket)
            listener.listen(1)
            self._settings["listener"] = listener.fileno()
        self.spawned = spawn.spawn(self.config, self._settings, group, None)
        self._leave_seat()
        self.spawned.connect([])
        self.master = self.spawned.wait_ready(self._created)
        for warning in self.spawned.warnings:
            self._log.say("warning", warning)
        self._record(group, self.spawned.pid)
        if self._arguments.has("console-socket"):
            foreground.hand_over(self.master, self._arguments.text("console-socket"))
        if self._arguments.has("pid-file"):
            files.write_atomic(self._arguments.text("pid-file"), str(self.spawned.pid).encode(), 0o644)
        if waits:
            self.spawned.release()

    def _make_group(self) -> Group:
        linux: Document = self.config.get("linux") or {}
        wanted = str(linux.get("cgroupsPath") or "")
        container_id = self.container.container_id
        if self._arguments.has("systemd-cgroup") or self._arguments.text("cgroup-manager") == "systemd":
            from engine.linux.cgroup import systemd

            self._seat = _sit()
            return systemd.scope_group(
                wanted or f":tuicon:{container_id}", self._seat, linux.get("resources") or {},
                f"tuicon container {container_id}",
            )  # fmt: skip
        root = os.path.realpath(os.path.dirname(self.container.directory))
        return cgroups.group_for(wanted or f"tuicon-{zlib.crc32(root.encode()):08x}-{container_id}")

    def _leave_seat(self) -> None:
        if self._seat:
            os.kill(self._seat, signal.SIGKILL)
            os.waitpid(self._seat, 0)
            self._seat = 0

    def _record(self, group: Group, pid: int = 0) -> None:
        if not pid:
            text = json.dumps(self.config).encode()
            files.write_atomic(f"{self.container.directory}/config.json", text)
        self.container.record = {
            "ociVersion": self.config["ociVersion"], "bundle": self._bundle, "rootfs": self._settings["rootfs"],
            "annotations": self.config.get("annotations") or {}, "created": files.rfc3339(time.time_ns()),
            "cgroup": {"version": group.version, "paths": group.paths, "unit": str(getattr(group, "unit", ""))},
            "pid": pid, "pid_start": procfs.start_time(pid) if pid else 0, "boot_id": files.boot_id(),
            "owner": os.getuid(),
        }  # fmt: skip
        self.container.save()

    def _created(self) -> Document:
        found = self.container.oci_state("created")  # runtime.md: what follows step 2 of the lifecycle, as hooks do
        return {**found, "pid": self.spawned.pid if self.spawned else 0}

    def _take_back(self) -> None:
        if self.spawned is not None:
            self.spawned.kill()
        self._leave_seat()
        if self.container.record:
            ending.destroy(self.container, self._log)
        else:
            self.container.discard()


def _sit() -> int:
    """Return the pid of a process that does nothing: systemd wants one in a scope from the beginning."""
    pid = os.fork()
    if pid == 0:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        while True:
            signal.pause()
    return pid


def preserved(count: int, process: Document) -> int:
    """Return how many file descriptors above stderr the command keeps: those asked for and those of LISTEN_FDS.

    Those of them that are our own are closed by the exec all the same.
    """
    listening = os.environ.get("LISTEN_FDS", "")
    if listening.isdigit():
        names = [f"{name}={os.environ[name]}" for name in ("LISTEN_FDS", "LISTEN_FDNAMES") if name in os.environ]
        process["env"] = [*(process.get("env") or ()), *names, "LISTEN_PID=1"]
        count += int(listening)
    return count


def refusal(answer: Document) -> Fault:
    """Return the fault for a failed start, in words that callers of runc look for."""
    message = str(answer["message"])
    if answer.get("kind") == "not-found":
        is_searched = "in the container's PATH" in message
        message += f": {'executable file not found in $PATH' if is_searched else 'no such file or directory'}"
    elif answer.get("kind") == "not-executable":
        what, _, why = message.rpartition(": ")
        message = f"{what}: {why.lower()}"
    return Fault(message)


def finish_start(container: Container, log: Log) -> None:
    """Run the poststart hooks; when one fails, the container ends (runtime-spec runtime.md, "Lifecycle", step 9).

    Raises:
        Fault: One failed.
    """
    try:
        hooks.run_hooks(container.config, "poststart", container.oci_state("running"))
    except hooks.HookFailed as error:
        ending.destroy(container, log)
        raise Fault(str(error)) from error


def run_create(arguments: Arguments, log: Log) -> int:
    """Create a container whose process waits for `start`."""
    Creation(arguments, log).run(waits=True)
    return 0


def run_run(arguments: Arguments, log: Log) -> int:
    """Create a container, start it and, unless detached, stay with it; return its exit code."""
    creation = Creation(arguments, log)
    creation.run(waits=False)
    container, spawned = creation.container, creation.spawned
    assert spawned is not None
    wakeup = foreground.listen()
    try:
        spawned.release()
    except spawn.StartFailure as failure:
        spawned.kill()
        ending.destroy(container, log)
        raise refusal(failure.answer) from failure
    finish_start(container, log)
    if arguments.has("detach"):
        return 0
    exit_code = foreground.stay(spawned.pid, -1 if arguments.has("console-socket") else creation.master, wakeup)
    if not arguments.has("keep"):
        with container.lock():
            ending.destroy(container, log)
    return exit_code
