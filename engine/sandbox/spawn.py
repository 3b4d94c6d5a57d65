"""The parent's half of a start: the first process is born in its namespaces and cgroup, and led to its command.

Used by the monitor and by the OCI runtime command alike; the child's half is engine.sandbox.init.
"""

from __future__ import annotations

import errno
import os
import resource
import struct

from engine.linux import capabilities, procfs, rtnetlink, syscalls
from engine.linux.light import json, signal, socket
from engine.sandbox import connect, hooks, identity, init, protocol, security, trees
from engine.sandbox.namespaces import Namespaces, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

_INFINITE = (1 << 64) - 1
_DIED = {"step": "failed", "message": "the container's first process died while it was set up"}
_JOINED_BEFORE = ~(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)


class StartFailure(Exception):
    """The container did not start; carries the answer for who asked."""

    def __init__(self, message: str, kind: str = "failed", number: int = 0) -> None:
        super().__init__(message)
        self.answer = {"ok": False, "kind": kind, "errno": number, "message": message}


class Spawned:
    """A first process on its way to the command.

    Attributes:
        pid: The host's pid.
        warnings: Sentences about what this host does not allow.
    """

    def __init__(self, config: Document, pid: int, channel: socket.socket) -> None:
        self._config = config
        self.pid = pid
        self.channel = channel
        self.warnings: list[str] = []

    def connect(self, endpoints: list[Document]) -> None:
        """Attach the interfaces of a network namespace of its own."""
        for endpoint in endpoints:
            connect.attach(endpoint, self.pid)
        for name, wanted in ((self._config.get("linux") or {}).get("netDevices") or {}).items():
            rtnetlink.move_link(name, self.pid, str((wanted or {}).get("name") or name))
        if endpoints:
            self.tell(b"n")

    def tell(self, word: bytes) -> None:
        """Send one byte; it is fine when the child failed meanwhile, since its reason is read next."""
        try:
            self.channel.send(word)
        except (BrokenPipeError, ConnectionResetError):
            return

    def wait_ready(self, state: Callable[[], Document]) -> int:
        """Lead the child until it waits for its command; return the terminal's master, or -1.

        Args:
            state: Returns the OCI state that hooks are told.

        Raises:
            StartFailure: It failed on the way.
        """
        while True:
            data, fds = self._receive()
            answer = _failure_or_step(data)
            if answer["step"] == "hooks":
                try:
                    hooks.run_hooks(self._config, "prestart", state())
                    hooks.run_hooks(self._config, "createRuntime", state())
                except hooks.HookFailed as error:
                    raise StartFailure(str(error)) from error
                self.tell(b"h")
                continue
            process: Document = self._config.get("process") or {}
            self.warnings += limit_process(self.pid, process)
            return fds[0] if fds else -1

    def release(self) -> None:
        """Let the command run, and wait until it does: the end of the socket says that execve succeeded.

        Raises:
            StartFailure: The command cannot be executed.
        """
        self.tell(b"g")
        data, _ = self._receive()
        if data:
            _failure_or_step(data)
        self.channel.close()

    def _receive(self) -> tuple[bytes, list[int]]:
        """Receive what the child says; for one that was killed with our word unread, say so."""
        try:
            return protocol.receive_message(self.channel)
        except ConnectionResetError:
            return json.dumps(_DIED).encode(), []

    def kill(self) -> None:
        """End the child; it never became the command."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


def _failure_or_step(data: bytes) -> Document:
    answer: Document = json.loads(data) if data else _DIED
    if answer["step"] == "failed":
        raise StartFailure(answer["message"], answer.get("kind", "failed"), answer.get("errno", 0))
    return answer


def limit_process(pid: int, process: Document) -> list[str]:
    """Set resource limits and the OOM score of a process; return a sentence when the host forbids some of them.

    Without CAP_SYS_RESOURCE a hard limit cannot be raised, nor the score lowered: what can be had is taken.
    """
    clamped = [str(item["type"]) for item in process.get("rlimits") or () if not _set_rlimit(pid, item)]
    score = process.get("oomScoreAdj")
    if score is not None and not _set_oom_score(pid, int(score)):
        clamped.append("oomScoreAdj")
    return [f"this host does not allow all that was asked for, so these were clamped: {', '.join(clamped)}"] * bool(
        clamped
    )


def _set_rlimit(pid: int, item: Document) -> bool:
    kind = getattr(resource, str(item["type"]))
    soft, hard = (_limit(int(item[name])) for name in ("soft", "hard"))
    try:
        resource.prlimit(pid, kind, (soft, hard))
    except (PermissionError, ValueError):
        allowed = resource.prlimit(pid, kind)[1]
        hard = _smaller(hard, allowed)
        resource.prlimit(pid, kind, (_smaller(soft, hard), hard))
        return False
    return True


def _limit(value: int) -> int:
    return resource.RLIM_INFINITY if value >= _INFINITE or value < 0 else value


def _smaller(first: int, second: int) -> int:
    finite = [value for value in (first, second) if value != resource.RLIM_INFINITY]
    return min(finite) if finite else resource.RLIM_INFINITY


def _set_oom_score(pid: int, score: int) -> bool:
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    except PermissionError:
        return False
    finally:
        os.close(fd)
    return True


def spawn(
    config: Document, settings: Document, group: Group, streams: tuple[int, int, int] | None,
    volumes: dict[str, int] | None = None,
) -> Spawned:  # fmt: skip
    """Bear the container's first process and start building around it.

    Args:
        config: The OCI runtime config.
        settings: "rootfs", and maybe "overlay", "size", "network", "seccomp" (a compiled filter's path), "listener",
            "parent_only" (file descriptors that the child closes), "donors" (pid and start time of processes whose
            namespaces are joined), "memory_of" (one of them).
        group: The container's cgroup, made and limited.
        streams: The child's stdin, stdout and stderr; None with a terminal.
        volumes: Detached mounts, by the source that stands for them in the config; they are used up.

    Raises:
        OSError: A namespace or path cannot be opened, or the kernel refuses to make one.
    """
    namespaces = Namespaces(config)
    prepared = init.Prepared(config, settings, namespaces, security.Security(config.get("process") or {}, config,
        str(settings.get("seccomp") or "")))  # fmt: skip
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    last_capability = capabilities.last()

    def child() -> None:
        ours.close()
        init.run(prepared, group, streams, theirs, last_capability)

    try:
        prepared.take_volumes(volumes or {})
        if settings.get("memory_of"):
            prepared.open_memory(*settings["memory_of"])
        if namespaces.has_user or trees.needs_program(settings):
            prepared.open_root()
        if namespaces.has_user:
            prepared.open_sources()
        _check_donors(settings.get("donors") or [])
        pid = _step(prepared, group, child) if namespaces.needs_step else _bear(prepared, group, child)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        prepared.close()
    spawned = Spawned(config, pid, ours)
    if namespaces.has_new("user"):
        try:
            identity.write_maps(pid, namespaces.uid_mappings, namespaces.gid_mappings)
        except OSError:
            spawned.kill()
            raise
        spawned.tell(b"m")
    return spawned


def _check_donors(donors: list[list[int]]) -> None:
    """Check, now that their namespaces are open, that the paths were still those of the containers that were meant."""
    if not all(procfs.is_same_process(pid, start) for pid, start in donors):
        raise OSError(errno.ESRCH, "the container whose namespaces are shared has ended")


def _bear(prepared: init.Prepared, group: Group, child: Callable[[], None]) -> int:
    cgroup_fd = group.open_fd() if group.version == 2 else -1
    try:
        # The cgroup namespace is made by the child once it is in its group.
        pid = syscalls.clone3(prepared.namespaces.new & ~syscalls.CLONE_NEWCGROUP, cgroup_fd=cgroup_fd)
        if pid == 0:
            if cgroup_fd >= 0:
                os.close(cgroup_fd)  # a directory of the host must not be open in the container (CVE-2024-21626)
            child()
        return pid
    finally:
        if cgroup_fd >= 0:
            os.close(cgroup_fd)


def _step(prepared: init.Prepared, group: Group, child: Callable[[], None]) -> int:
    """Bear the child from a process that has entered what must be entered first; it is a child of ours all the same."""
    answer, theirs = os.pipe2(os.O_CLOEXEC)
    step = os.fork()
    if step == 0:
        pid, text = 0, b""
        try:
            pid = _bear_beyond(prepared, group, child)
        except OSError as error:
            text = f"cannot make or join the namespaces: {error.strerror}".encode()
        finally:
            os.write(theirs, struct.pack("=i", pid) + text)
            os._exit(0)
    os.close(theirs)
    try:
        said = os.read(answer, 4096)
    finally:
        os.close(answer)
        os.waitpid(step, 0)
    pid = struct.unpack_from("=i", said)[0] if len(said) >= 4 else 0
    if pid <= 0:
        raise OSError(1, said[4:].decode(errors="replace") or "cannot make the namespaces")
    return int(pid)


def _bear_beyond(prepared: init.Prepared, group: Group, child: Callable[[], None]) -> int:
    namespaces = prepared.namespaces
    group.move_self()
    join(prepared.joined, syscalls.CLONE_NEWUSER)
    prepared.joined = [item for item in prepared.joined if item[0] != syscalls.CLONE_NEWUSER]
    # From a user namespace that is about to be made, those of others could not be entered.
    later = _JOINED_BEFORE if namespaces.has_new("user") else syscalls.CLONE_NEWPID | syscalls.CLONE_NEWTIME
    join(prepared.joined, later)
    prepared.joined = [item for item in prepared.joined if not item[0] & later]
    flags = namespaces.new
    if namespaces.has_new("time"):
        syscalls.unshare(syscalls.CLONE_NEWTIME)
        namespaces.write_offsets()
        flags &= ~syscalls.CLONE_NEWTIME
    prepared.is_in_group = True
    pid = syscalls.clone3(flags | syscalls.CLONE_PARENT)
    if pid == 0:
        child()
    return pid
