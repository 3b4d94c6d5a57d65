"""The container's first process, from its birth to execve: runs in the child, talks to its parent over one socket.

To the parent:   {"step": "hooks"} when there are hooks and the root is built, {"step": "ready"} (with the pty's
                 master, when there is a terminal), or {"step": "failed", …}
From the parent: one byte each: m when the ids are mapped (new user namespace), n when the network is attached,
                 h when the hooks have run, g when the command may run
"""

from __future__ import annotations

import os

from engine.linux import inside, rtnetlink, syscalls
from engine.linux.light import json, signal, socket
from engine.sandbox import connect, devices, hooks, identity, mounts, process, protocol, reaper, schedule, trees
from engine.sandbox.mount_options import PROPAGATION
from engine.sandbox.namespaces import Namespaces, join
from engine.sandbox.process import CannotStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.linux.cgroup.group import Group
    from engine.sandbox.security import Security

    Document = dict[str, Any]


class Prepared:
    """What the parent prepares and the child uses; file descriptors are inherited, so both have to close them.

    Attributes:
        joined: Flag and fd of each namespace to join.
        root_tree: The root file system as a detached mount, or -1; the child of a user namespace may not reach paths.
        sources: Detached mounts of binds, by the mount's index.
        is_in_group: Whether the child was born in its cgroup on v1 too.
    """

    def __init__(self, config: Document, settings: Document, namespaces: Namespaces, security: Security) -> None:
        self.config = config
        self.settings = settings
        self.namespaces = namespaces
        self.security = security
        self.joined = namespaces.open_joined()
        self.root_tree = -1
        self.sources: dict[int, int] = {}
        self.is_in_group = False

    def open_root(self) -> None:
        """Open the root with the parent's rights."""
        self.root_tree = trees.mapped_root(self.settings, self.namespaces.uid_mappings, self.namespaces.gid_mappings)

    def open_sources(self) -> None:
        """Open the sources of binds with the parent's rights."""
        self.sources |= mounts.open_sources(self.config.get("mounts") or [], self.sources)

    def take_volumes(self, volumes: dict[str, int]) -> None:
        """Take over the trees of volumes, by what stands for them in the config, with the owners that it wants."""
        self.sources |= mounts.match_sources(self.config.get("mounts") or [], volumes)

    def open_memory(self, pid: int, start: int) -> None:
        """Open the /dev/shm of a container whose IPC namespace is joined."""
        for index, mount in enumerate(self.config.get("mounts") or []):
            if mount.get("source") == trees.SHARED_MEMORY:
                self.sources[index] = trees.memory_of(pid, start)

    def close(self) -> None:
        """Close what the parent holds."""
        protocol.close_all([fd for _, fd in self.joined])
        protocol.close_all(list(self.sources.values()))
        if self.root_tree >= 0:
            os.close(self.root_tree)


class _Child:
    """The steps of the first process, in their order."""

    def __init__(self, prepared: Prepared, group: Group, channel: socket.socket) -> None:
        self._prepared = prepared
        self._config = prepared.config
        self._settings = prepared.settings
        self._namespaces = prepared.namespaces
        self._linux: Document = prepared.config.get("linux") or {}
        self._process: Document = prepared.config.get("process") or {}
        self._group = group
        self._channel = channel
        self._master = self._slave = -1

    def run(self, streams: tuple[int, int, int] | None, last_capability: int) -> None:
        """Become the command."""
        self._enter()
        root_fd = self._build_root()
        self._enter_network()
        self._name_host()
        self._set_sysctls()
        self._run_hooks()
        uid, gid, groups, home = process.identity(root_fd, self._process.get("user") or {})
        workdir = str(self._process.get("cwd") or "/")
        process.make_workdir(root_fd, workdir, uid, gid)  # before the root may become read-only
        self._protect(root_fd)
        self._pivot(root_fd)
        if self._slave >= 0:
            os.fchown(self._slave, uid, -1)
        process.enter_workdir(workdir)
        variables = process.environment(self._process, home)
        if self._process and self._settings.get("listener") is not None:
            process.check_command(self._process.get("args") or [], variables)
        protocol.send_message(self._channel, b'{"step": "ready"}', [self._master] if self._master >= 0 else [])
        self._wait()
        if self._slave >= 0:
            process.take_terminal(self._slave)
        elif streams:
            process.take_streams(*streams)
        self._wait_start()  # with the caller's streams already let go: it may wait for their end
        process.own_streams(uid, gid)
        schedule.set_container(self._linux)
        if hooks.of_kind(self._config, "startContainer"):
            hooks.run_hooks(self._config, "startContainer", self._state("created"))
        ids = (uid, gid, groups)
        preserve_fds = int(self._settings.get("preserve_fds") or 0)
        security = self._prepared.security
        arguments: list[str] = self._process.get("args") or []
        reaper_fd = reaper.open_program() if self._settings.get("init") else -1
        process.finish(self._process, security, ids, last_capability, self._state("running"), preserve_fds)
        if reaper_fd >= 0:
            reaper.stay_behind(reaper_fd, arguments, variables, has_terminal=self._slave >= 0)
        process.execute(arguments, variables)

    def fail(self, kind: str, message: str, number: int) -> None:
        """Say why this process cannot become the command."""
        answer = {"step": "failed", "kind": kind, "message": message, "errno": number}
        try:
            self._channel.send(json.dumps(answer).encode())
        except OSError:
            return

    def _wait(self) -> None:
        if not self._channel.recv(1):
            os._exit(125)  # the parent is gone

    def _wait_start(self) -> None:
        """With a listener, as the OCI command has it, wait until somebody says start; he is told of failures."""
        fd = self._settings.get("listener")
        if fd is None:
            return
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
        listener = socket.socket(fileno=int(fd))
        self._channel.close()
        self._channel, _ = listener.accept()
        listener.close()
        if not self._process:
            raise CannotStart("failed", "config.json: process is missing, so there is nothing to start")

    def _state(self, status: str) -> Document:
        return {
            "ociVersion": self._config.get("ociVersion"), "id": str(self._settings.get("id") or ""), "status": status,
            "pid": os.getpid(), "bundle": str(self._settings.get("bundle") or ""),
            "annotations": self._config.get("annotations") or {},
        }  # fmt: skip

    def _enter(self) -> None:
        """Be in the cgroup and in all namespaces, as root of them."""
        if self._namespaces.has_new("user"):
            self._wait()
        if not self._prepared.is_in_group:
            self._group.join_self()
        self._prepared.security.open()
        if self._namespaces.has_user:
            identity.become_root()
        join(self._prepared.joined, -1)
        if self._namespaces.has_new("cgroup") and not self._prepared.is_in_group:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        os.setsid()
        if not self._settings.get("keeps_keyring"):
            process.new_keyring()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        os.umask(0o022)  # mount targets that are made now are for all users of the container

    def _build_root(self) -> int:
        """Mount the root file system and everything the config wants on it; return an fd of the root."""
        propagation = PROPAGATION.get(str(self._linux.get("rootfsPropagation") or ""), syscalls.MS_SLAVE)
        sources = self._prepared.sources
        if propagation & syscalls.MS_SHARED and not sources:  # opened while they are still the host's peers
            sources = mounts.open_sources(self._config.get("mounts") or [])
            propagation = syscalls.MS_SLAVE
        if propagation & syscalls.MS_UNBINDABLE:  # until all is bound that has to be
            propagation = syscalls.MS_SLAVE
        syscalls.mount("", "/", "", syscalls.MS_REC | (propagation & ~syscalls.MS_SHARED or syscalls.MS_SLAVE))
        root_fd = self._open_root()
        cgroup_paths = None if self._group.version == 2 else self._group.paths
        wanted: list[Document] = self._config.get("mounts") or []
        mounts.mount_all(root_fd, wanted, cgroup_paths, sources, str(self._linux.get("mountLabel") or ""))
        if not any(mount["destination"].rstrip("/") == "/dev" and _is_bind(mount) for mount in wanted):
            devices.make_devices(root_fd, self._linux.get("devices") or [])
        if self._process.get("terminal"):
            size = self._process.get("consoleSize") or {}
            default = [int(size["height"]), int(size["width"])] if size else None
            self._master, self._slave = process.open_terminal(root_fd, self._settings.get("size") or default)
            mounts.bind_terminal(root_fd, self._slave)
        return root_fd

    def _open_root(self) -> int:
        rootfs = str(self._settings["rootfs"])
        overlay: Document | None = self._settings.get("overlay")
        if self._prepared.root_tree >= 0:
            place = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # hides nothing: our own root stays below
            syscalls.move_mount(self._prepared.root_tree, place)
            os.close(place)
            return self._prepared.root_tree
        if overlay:
            mounts.mount_overlay(rootfs, overlay["lower"], str(overlay["upper"]), str(overlay["work"]))
        else:
            syscalls.mount(rootfs, rootfs, "", syscalls.MS_BIND | syscalls.MS_REC)
        return inside.open_root(rootfs)

    def _enter_network(self) -> None:
        """Bring up the interfaces of a network namespace of our own, once the parent has attached them."""
        if not self._namespaces.has_new("network"):
            return
        rtnetlink.loopback_up()
        network: Document = self._settings.get("network") or {}
        endpoints: list[Document] = network.get("endpoints") or []
        if not endpoints:
            return
        self._wait()
        for endpoint in endpoints:
            connect.configure(endpoint)

    def _name_host(self) -> None:
        if not self._namespaces.has_new("uts"):
            return
        if self._config.get("hostname"):
            socket.sethostname(str(self._config["hostname"]))
        if self._config.get("domainname"):
            syscalls.set_domainname(str(self._config["domainname"]))

    def _set_sysctls(self) -> None:
        """Write through the host's /proc, which no image can have replaced (CVE-2019-19921)."""
        for name, value in (self._linux.get("sysctl") or {}).items():
            path = "/proc/sys/" + str(name).replace(".", "/")
            fd = -1
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, str(value).encode())
            except OSError as error:
                text = f"cannot set sysctl {name}={value}: {error.strerror}"
                raise CannotStart("failed", text, error.errno or 0) from error
            finally:
                if fd >= 0:
                    os.close(fd)

    def _run_hooks(self) -> None:
        if any(hooks.of_kind(self._config, kind) for kind in ("prestart", "createRuntime", "createContainer")):
            protocol.send_message(self._channel, b'{"step": "hooks"}')
            self._wait()
            hooks.run_hooks(self._config, "createContainer", self._state("created"))

    def _protect(self, root_fd: int) -> None:
        mounts.protect_paths(root_fd, self._linux.get("readonlyPaths") or [])
        mounts.mask_paths(root_fd, self._linux.get("maskedPaths") or [])
        if self._config["root"].get("readonly"):
            syscalls.mount_setattr(root_fd, attr_set=syscalls.MOUNT_ATTR_RDONLY)

    def _pivot(self, root_fd: int) -> None:
        if self._settings.get("no_pivot"):
            os.fchdir(root_fd)
            syscalls.mount(".", "/", "", syscalls.MS_MOVE)
            os.chroot(".")
        elif self._namespaces.has_new("mount"):
            os.fchdir(root_fd)
            syscalls.pivot_root(".", ".")
            # The old root lies on top now; as a slave it goes without the host hearing of it.
            syscalls.mount("", ".", "", syscalls.MS_SLAVE | syscalls.MS_REC)
            syscalls.umount(".", syscalls.MNT_DETACH)
        else:
            os.fchdir(root_fd)
            os.chroot(".")
        os.chdir("/")
        if self._linux.get("rootfsPropagation"):
            syscalls.mount("", "/", "", PROPAGATION[str(self._linux["rootfsPropagation"])])


def _is_bind(mount: Document) -> bool:
    return mount.get("type") == "bind" or bool({"bind", "rbind"} & set(mount.get("options") or ()))


def run(prepared: Prepared, group: Group, streams: tuple[int, int, int] | None, channel: socket.socket,
        last_capability: int) -> None:  # fmt: skip
    """Build the container around this process and execute its command; never returns.

    Args:
        prepared: The config and what the parent opened.
        group: The container's cgroup; on v1 this process joins it itself.
        streams: stdin, stdout and stderr, or None with a terminal and for those of the caller.
        channel: The socket to the parent.
        last_capability: The highest capability number of this kernel.
    """
    child = _Child(prepared, group, channel)
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        protocol.close_all(prepared.settings.get("parent_only") or [])
        child.run(streams, last_capability)
    except CannotStart as error:
        child.fail(error.kind, str(error), error.number)
    except (hooks.HookFailed, schedule.Refused) as error:
        child.fail("failed", str(error), 0)
    except OSError as error:
        text = (
            str(error) if isinstance(error, mounts.MountError) else f"{error.strerror} ({error.filename or 'set-up'})"
        )
        child.fail("failed", text, error.errno or 0)
    except BaseException as error:  # noqa: BLE001 - the last resort of a process that must not return
        child.fail("failed", f"{type(error).__name__}: {error}", 0)
    os._exit(125)
