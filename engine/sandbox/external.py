"""A container that another OCI runtime makes: the monitor prepares its bundle, leads the runtime, and adopts the process.

The root file system is mounted in a mount namespace of the monitor's own, so nothing appears in the host's. As a
subreaper the monitor becomes the parent of what the runtime leaves behind, and so learns its exit code. Source: the
command line that runc, crun and runsc share (runc-create(8)); runtime-spec config.md.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from engine.linux import files, inside, rtnetlink, syscalls
from engine.linux.light import json, signal, socket
from engine.sandbox import connect, process, protocol, trees
from engine.sandbox.spawn import StartFailure
from engine.sandbox.streams import bind_short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from engine.linux.cgroup.group import Group

    Document = dict[str, Any]

VERSION = "1.0.2"  # all runtimes know it, and the documents hold nothing newer that must be understood
_LARGEST_LOG = 1 << 20
_NOT_FOUND = ("executable file not found", "not found in $path", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "exec format error", "is a directory")


class External:
    """One container's runtime, from the bundle to its removal; has the steps of a start of our own (spawn.Spawned).

    Attributes:
        pid: The host's pid of the container's first process.
    """

    def __init__(self, program: str, config: Document, settings: Document, group: Group) -> None:
        self._program = program
        self._config = config
        self._settings = settings
        self._group = group
        running = os.path.dirname(str(settings["state"]))
        self._bundle, self._root = f"{running}/bundle", f"{running}/runtime"
        self._places = f"{running}/volumes"
        self._volumes: dict[str, str] = {}
        self._listener: socket.socket | None = None
        self._is_apart = False
        self.pid = 0

    def spawn(self, streams: tuple[int, int, int] | None, volumes: dict[str, int]) -> External:
        """Have the runtime create the container; its command does not run yet.

        Args:
            streams: Its stdin, stdout and stderr; None with a terminal.
            volumes: Detached mounts, by the source that stands for them in the config; they are used up.

        Raises:
            StartFailure: The runtime failed, with its last words.
            OSError: The root file system cannot be mounted.
        """
        self._mount_root()
        self._mount_volumes(volumes)
        self._write_bundle()
        options = ["--bundle", ".", "--pid-file", "pid"]
        if self._config["process"].get("terminal"):
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            bind_short(self._listener, f"{self._bundle}/console.sock")
            self._listener.listen(1)
            options += ["--console-socket", "console.sock"]
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        try:
            self._call("create", *options, self._name, streams=streams)
            self.pid = int(files.read_file(f"{self._bundle}/pid", 32))
        finally:
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 0)
            self._reap_others()
        return self

    def connect(self, endpoints: list[Document]) -> None:
        """Attach and configure the interfaces of its network namespace."""
        if not endpoints:
            return
        for endpoint in endpoints:
            connect.attach(endpoint, self.pid)

        def configure() -> None:
            syscalls.setns(pidfd, syscalls.CLONE_NEWNET)
            rtnetlink.loopback_up()
            for endpoint in endpoints:
                connect.configure(endpoint)

        pidfd = os.pidfd_open(self.pid)
        try:
            number = _in_child(configure)
        finally:
            os.close(pidfd)
        if number:
            raise StartFailure(f"cannot set the container's network up: {os.strerror(number)}", number=number)

    def wait_ready(self, _state: Callable[[], Document]) -> int:
        """Return the terminal's master that the runtime has sent, or -1."""
        if self._listener is None:
            return -1
        with self._listener as listener:
            listener.settimeout(10)
            channel, _ = listener.accept()
        self._listener = None
        with channel:
            _, fds = protocol.receive_message(channel)
        if not fds:
            raise StartFailure(f"the runtime {self._program} sent no terminal")
        os.set_inheritable(fds[0], False)
        size = self._settings.get("size")
        if size:
            fcntl.ioctl(fds[0], termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))
        return fds[0]

    def release(self) -> None:
        """Have the runtime start the command.

        Raises:
            StartFailure: It failed, with its last words.
        """
        self._call("start", self._name)

    def delete(self) -> None:
        """Have the runtime forget the container, and take its root away; it is fine when there is none."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        try:
            self._call("delete", "--force", self._name)
        except (StartFailure, OSError):
            pass  # it does not know the container; its processes and cgroup go without it
        for place in (str(self._settings["rootfs"]), *self._volumes.values()) if self._is_apart else ():
            try:
                syscalls.umount(place, syscalls.MNT_DETACH)
            except OSError:
                pass  # it was not mounted
        self.pid = 0
        for path in (self._bundle, self._root):
            files.remove_tree(path)

    @property
    def _name(self) -> str:
        return str(self._settings["id"])

    def _mount_root(self) -> None:
        if not self._is_apart:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
            self._is_apart = True
        if self._settings.get("overlay"):  # else it is a directory
            tree = trees.mapped_root(self._settings, [], [])
            place = os.open(str(self._settings["rootfs"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            syscalls.move_mount(tree, place)
            os.close(place)
            os.close(tree)

    def _mount_volumes(self, volumes: dict[str, int]) -> None:
        """Give each volume a path, in our mount namespace, for the runtime to bind."""
        os.makedirs(self._places, 0o700, exist_ok=True)
        places_fd = inside.open_root(self._places)
        for number, (source, tree) in enumerate(volumes.items()):
            is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            place = inside.make_target(places_fd, str(number), is_directory=is_directory)
            syscalls.move_mount(tree, place)
            os.close(place)
            os.close(tree)
            self._volumes[source] = f"{self._places}/{number}"
        os.close(places_fd)

    def _write_bundle(self) -> None:
        for path in (self._bundle, self._root):
            files.remove_tree(path)
            os.mkdir(path, 0o700)
        root_fd = inside.open_root(str(self._settings["rootfs"]))
        try:
            user = process.identity(root_fd, self._config["process"].get("user") or {})
        except process.CannotStart as error:
            raise StartFailure(str(error), error.kind, error.number) from error
        finally:
            os.close(root_fd)
        document = translated(self._config, user, self._group.inner_path, self._volumes)
        files.write_atomic(f"{self._bundle}/config.json", json.dumps(document).encode())

    def _call(self, *words: str, streams: tuple[int, int, int] | None = None) -> None:
        """Run the runtime to its end.

        Raises:
            StartFailure: It failed, or could not be run.
        """
        log = f"{self._bundle}/log"
        arguments = [self._program, "--root", self._root, "--log", log, "--log-format", "json", *words]
        pid = os.fork()
        if pid == 0:
            self._become(arguments, streams)
        _, status = os.waitpid(pid, 0)
        if status:
            raise self._failure(log, os.waitstatus_to_exitcode(status))

    def _become(self, arguments: list[str], streams: tuple[int, int, int] | None) -> None:
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            process.reset_signals()
            os.umask(0o022)
            os.chdir(self._bundle)
            if streams:
                process.take_streams(*streams)
            os.execve(self._program, arguments, {"PATH": process.DEFAULT_PATH})
        finally:
            os._exit(127)

    def _failure(self, log: str, exit_code: int) -> StartFailure:
        try:
            said = last_error(files.read_file(log, _LARGEST_LOG))
        except OSError:
            said = ""
        text = f"the runtime {self._program} failed: {said or f'it ended with code {exit_code} and wrote no reason'}"
        low = said.lower()
        if any(words in low for words in _NOT_FOUND):
            return StartFailure(text, "not-found", errno.ENOENT)
        if any(words in low for words in _NOT_EXECUTABLE):
            return StartFailure(text, "not-executable", errno.EACCES)
        return StartFailure(text)

    def _reap_others(self) -> None:
        """Reap what else the runtime left to us."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self.pid:
                return
            os.waitpid(found.si_pid, 0)


def translated(
    config: Document, user: tuple[int, int, list[int], str], cgroup: str, volumes: dict[str, str]
) -> Document:
    """Return a config without what only our own sandbox understands.

    Args:
        config: Ours.
        user: uid, gid, supplementary gids and home, looked up inside.
        cgroup: The group's path below the mounts of the hierarchies.
        volumes: Paths of volumes, by what stands for them in the config.
    """
    uid, gid, groups, home = user
    what: Document = config["process"]
    variables = process.environment(what, home)
    who = {"uid": uid, "gid": gid, **({"additionalGids": groups} if groups else {})}
    env = [f"{name}={value}" for name, value in variables.items()]
    mounts = [_with_path(item, volumes) for item in config["mounts"]]
    return {**config, "ociVersion": VERSION, "mounts": mounts, "process": {**what, "user": who, "env": env},
        "linux": {**config["linux"], "cgroupsPath": cgroup}}  # fmt: skip


def _with_path(mount: Document, volumes: dict[str, str]) -> Document:
    """Return a mount with a volume's path; of a file not read-only below it, where nothing is and crun 1.8 fails."""
    source = volumes.get(str(mount.get("source")), mount.get("source"))
    options: list[str] = mount.get("options") or []
    if "rro" in options and not os.path.isdir(str(source)):
        options = [option for option in options if option != "rro"]
    return {**mount, "source": source, "options": options}


def last_error(log: bytes) -> str:
    """Return the last error of a runtime's log, as one line; "" when it has none."""
    found = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            found = " ".join(str(entry.get("msg")).split())
    return found


def _in_child(action: Callable[[], None]) -> int:
    """Do something in a process of its own; return the errno that it ended with, or 0."""
    pid = os.fork()
    if pid == 0:
        number = errno.EIO
        try:
            action()
            number = 0
        except OSError as error:
            number = error.errno or errno.EIO
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
