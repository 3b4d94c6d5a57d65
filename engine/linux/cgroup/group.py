"""One cgroup: made, limited, joined, frozen, killed, removed - the same words on v1 and v2."""

from __future__ import annotations

import errno
import os
import time

from engine.linux.cgroup import layout
from engine.linux.cgroup.apply import Change
from engine.linux.cgroup.layout import UNIFIED, CgroupError
from engine.linux.cgroup.values import read, write
from engine.linux.light import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.linux.cgroup.fields import Section

_PATIENCE = 10.0
_FREEZE_TO_KILL = 0.2
_OUT_OF_REACH = (1 << 63) - 1
_LEAF = "init"
_THREADED = ("cpu", "cpuset", "perf_event", "pids")


class Group:
    """A container's cgroup.

    Attributes:
        version: 1 or 2.
        paths: The group's directory of each v1 controller, or {"unified": …} on v2.
    """

    def __init__(self, version: int, paths: dict[str, str]) -> None:
        self.version = version
        self.paths = paths

    @classmethod
    def from_paths(cls, version: int, paths: object) -> Group:
        """Return the group that a state record names."""
        if not isinstance(paths, dict):
            raise CgroupError(errno.EINVAL, "the record has no cgroup paths")
        return cls(version, {str(name): str(path) for name, path in paths.items()})

    @property
    def inner_path(self) -> str:
        """The group's path from the root of its hierarchy, as runtimes are told (runtime-spec "Cgroups Path")."""
        controller, path = next(iter(self.paths.items()))
        return path.removeprefix(layout.detect().mounts[controller].rstrip("/"))

    def _directories(self) -> list[str]:
        return list(dict.fromkeys(self.paths.values()))

    def create(self) -> None:
        """Make the group and its parents; on v2 enable the controllers on the way down."""
        if self.version == 2:
            self._create_v2()
            return
        for controller, path in self.paths.items():
            is_first = controller == "blkio" and not os.path.exists(os.path.dirname(path))
            _make_path(path, layout.detect().mounts[controller])
            if is_first:
                _count_io(os.path.dirname(path))
            if controller == "cpuset":
                _inherit_cpuset(path, layout.detect().mounts[controller])

    def _create_v2(self) -> None:
        mount = layout.detect().mounts[UNIFIED]
        path = self.paths[UNIFIED]
        _make_path(os.path.dirname(path), mount)
        relative = os.path.relpath(os.path.dirname(path), mount)
        current = mount
        for part in ["", *([] if relative == "." else relative.split("/"))]:
            current = f"{current}/{part}" if part else current
            _enable_controllers(current)
        _make_path(path, mount)

    def apply(self, resources: Section) -> None:
        """Put OCI `linux.resources` in force, all or nothing.

        Raises:
            CgroupError: A field is wrong or the kernel refused it; those already written have their old values again.
        """
        if resources:
            Change(self.version, self.paths).make(resources)

    def _file(self, controller: str, name: str) -> str:
        directory = self.paths.get(controller if self.version == 1 else UNIFIED)
        if directory is None:
            raise CgroupError(errno.EOPNOTSUPP, f"the {controller} controller is not available on this host")
        return f"{directory}/{name}"

    def join_self(self) -> None:
        """Move the calling, single-threaded process into the group; on v2 it was born there.

        Writing "0" to `tasks` moves one thread without the RCU grace period that `cgroup.procs` waits for.
        """
        if self.version == 2:
            return
        for path in self._directories():
            write(f"{path}/tasks", "0")

    def move_self(self) -> None:
        """Move the calling, single-threaded process into the group on either version."""
        if self.version == 2:
            write(f"{self.paths[UNIFIED]}/cgroup.procs", "0")
        else:
            self.join_self()

    def open_fd(self) -> int:
        """Return an fd of the v2 group for CLONE_INTO_CGROUP."""
        return os.open(self.paths[UNIFIED], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def freeze(self, within: float = _PATIENCE) -> None:
        """Stop all processes and wait until they are stopped.

        Args:
            within: Seconds to wait.

        Raises:
            CgroupError: They do not stop; they go on then.
        """
        self._set_frozen(True, within)

    def thaw(self) -> None:
        """Let all processes go on."""
        self._set_frozen(False, _PATIENCE)

    def _set_frozen(self, frozen: bool, within: float) -> None:
        if self.version == 2:
            path, on, off = f"{self.paths[UNIFIED]}/cgroup.freeze", "1", "0"
        else:
            path, on, off = self._file("freezer", "freezer.state"), "FROZEN", "THAWED"
        write(path, on if frozen else off)
        deadline = time.monotonic() + within
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                write(path, off)
                raise CgroupError(errno.ETIMEDOUT, f"the processes do not {'freeze' if frozen else 'thaw'}", path)
            time.sleep(0.002)

    def is_frozen(self) -> bool:
        """Return whether all processes are stopped."""
        try:
            if self.version == 2:
                return "frozen 1" in read(f"{self.paths[UNIFIED]}/cgroup.events")
            return read(self._file("freezer", "freezer.state")) == "FROZEN"
        except OSError:
            return False

    def pids(self) -> list[int]:
        """Return the processes in the group, without those of groups below it."""
        path = self.paths[UNIFIED] if self.version == 2 else next(iter(self.paths.values()))
        try:
            return [int(pid) for pid in read(f"{path}/cgroup.procs").split()]
        except FileNotFoundError:
            return []

    def all_pids(self) -> list[int]:
        """Return the processes in the group and in all groups below it."""
        path = self.paths[UNIFIED] if self.version == 2 else next(iter(self.paths.values()))
        found: list[int] = []
        for directory in _tree(path):
            try:
                found.extend(int(pid) for pid in read(f"{directory}/cgroup.procs").split())
            except OSError:
                continue
        return found

    def kill(self) -> None:
        """Kill all processes, frozen ones and those that fork meanwhile too; returns at once."""
        if self.version == 2:
            try:
                write(f"{self.paths[UNIFIED]}/cgroup.kill", "1")
            except OSError as error:
                # No such group, one that somebody removes right now, or a kernel before 5.14.
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
                self._kill_each()
            return
        if not self.all_pids():
            return
        try:
            self.freeze(_FREEZE_TO_KILL)
        except OSError:
            pass  # a process that cannot be stopped now; the others are killed all the same
        self._kill_each()
        if "freezer" in self.paths:
            for path in _tree(self.paths["freezer"]):
                try:
                    write(f"{path}/freezer.state", "THAWED")
                except OSError:
                    continue

    def _kill_each(self) -> None:
        for pid in self.all_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def inherited(self, name: str) -> str:
        """Return what to write to a cpuset file to have the parent's CPUs or memory nodes again.

        An empty text would say so on v2, but the kernel refuses it once the group has processes.
        """
        if self.version == 2:
            return read(f"{os.path.dirname(self.paths[UNIFIED])}/{name}.effective")
        return read(f"{os.path.dirname(self.paths['cpuset'])}/{name}")

    def reclaim(self, size: int) -> None:
        """Have the kernel take back memory; on v1, which knows no amount, all that can be had.

        Raises:
            CgroupError: This kernel cannot do it.
        """
        name = "memory.reclaim" if self.version == 2 else "memory.force_empty"
        try:
            write(self._file("memory", name), str(size if self.version == 2 else 0))
        except FileNotFoundError as error:
            raise CgroupError(errno.EOPNOTSUPP, f"this kernel has no {name}") from error
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EBUSY):  # less than was asked for
                raise

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed for lack of memory."""
        try:
            if self.version == 2:
                fields = read(f"{self.paths[UNIFIED]}/memory.events")
            else:
                fields = read(self._file("memory", "memory.oom_control"))
        except OSError:
            return 0
        values = dict(line.split(" ", 1) for line in fields.splitlines() if " " in line)
        return int(values.get("oom_kill", 0))

    def remove(self) -> None:
        """Remove the group and all below it, once the last process has left.

        Raises:
            CgroupError: Processes stay although they were killed.
        """
        deadline = time.monotonic() + _PATIENCE
        for path in self._directories():
            while not _try_remove(path):
                if time.monotonic() > deadline:
                    raise CgroupError(errno.EBUSY, "processes stay in the group", path)
                time.sleep(0.001)


def group_for(name: str) -> Group:
    """Return the (not yet made) group of that name in each hierarchy with a controller.

    Named hierarchies, and on a hybrid host the unified one, limit nothing and are left alone.

    Args:
        name: A path such as "tuicon/ID" below the engine's place, or from the mount's root when it begins with "/"
            (runtime-spec "Cgroups Path").

    Raises:
        CgroupError: The path leads out of its place.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise CgroupError(errno.EINVAL, f"not a cgroup path: {name!r}")
    hierarchy = layout.detect()
    paths = {
        controller: "/".join((mount if name.startswith("/") else layout.base_directory(controller, mount), *parts))
        for controller, mount in hierarchy.mounts.items()
    }
    return Group(hierarchy.version, paths)


def groups_below(name: str) -> set[str]:
    """Return the names of the groups directly below a group, in any hierarchy."""
    found: set[str] = set()
    for path in group_for(name).paths.values():
        try:
            with os.scandir(path) as entries:
                found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
    return found


def _make_path(path: str, mount: str) -> None:
    try:
        _make_group(path)
    except FileNotFoundError:  # those above it are missing too
        current = mount
        for part in os.path.relpath(path, mount).split("/"):
            current = f"{current}/{part}"
            _make_group(current)


def _make_group(path: str) -> None:
    try:
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103 - whatever the umask is: users inside a container read their limits
    except FileExistsError:
        return


def _count_io(path: str) -> None:
    """Have v1 count I/O: newer kernels do so for a disk only once some limit is set on it, so set one out of reach."""
    for disk in os.listdir("/sys/block"):
        if os.path.exists(f"/sys/block/{disk}/device"):
            try:
                write(f"{path}/blkio.throttle.write_bps_device", f"{read(f'/sys/block/{disk}/dev')} {_OUT_OF_REACH}")
            except OSError:
                continue


def _inherit_cpuset(path: str, mount: str) -> None:
    """On v1 a fresh cpuset has no CPUs and no memory nodes: copy them down from the parent."""
    parent = os.path.dirname(path)
    for name in ("cpuset.cpus", "cpuset.mems"):
        if read(f"{path}/{name}"):
            continue
        value = read(f"{parent}/{name}")
        if not value and parent != mount:
            _inherit_cpuset(parent, mount)
            value = read(f"{parent}/{name}")
        write(f"{path}/{name}", value)


def _enable_controllers(path: str) -> None:
    """Enable for the groups below what is available here and not yet enabled."""
    available = set(read(f"{path}/cgroup.controllers").split())
    missing = available - set(read(f"{path}/cgroup.subtree_control").split())
    # Threaded controllers last: enabled first, they would make a group with processes the root of a threaded tree.
    for controller in sorted(missing, key=lambda name: (name in _THREADED, name)):
        try:
            _enable(path, controller)
        except OSError as error:
            if error.errno == errno.EBUSY:
                text = "processes in this group keep its controllers from being shared: move them to a group below it"
                raise CgroupError(errno.EBUSY, text, path) from error
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
                raise


def _enable(path: str, controller: str) -> None:
    """Enable a controller; v2 wants a group with limited children to hold no process (cgroup-v2, "No Internal Process").

    When the group in the way is the one this process lives in, such as a container's root or a delegated service's
    group, all that lives there moves to a leaf below it.
    """
    for is_last in (False, False, False, True):
        try:
            write(f"{path}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY or is_last or not _is_own(path):
                raise
            _move_to_leaf(path)
        else:
            return


def _is_own(path: str) -> bool:
    own = f"{layout.detect().mounts[UNIFIED]}{layout.own_group(UNIFIED)}".rstrip("/")
    return own in (path, f"{path}/{_LEAF}")


def _move_to_leaf(path: str) -> None:
    leaf = f"{path}/{_LEAF}"
    try:
        os.mkdir(leaf, 0o755)
    except FileExistsError:
        pass
    for pid in read(f"{path}/cgroup.procs").split():
        try:
            write(f"{leaf}/cgroup.procs", pid)
        except ProcessLookupError:
            continue


def _tree(path: str) -> Iterator[str]:
    """Return a group and all groups below it, each before those in it; without recursion, since others nest them."""
    waiting = [path]
    while waiting:
        current = waiting.pop()
        yield current
        try:
            with os.scandir(current) as found:
                waiting.extend(entry.path for entry in found if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue


def remove_empty(name: str) -> None:
    """Remove a group that has no processes from all hierarchies; other runtimes make groups in those without controllers."""
    for mount_point in layout.mount_points():
        _try_remove(f"{mount_point}/{name}")


def _try_remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    else:
        return True
    is_gone = True
    for directory in reversed(list(_tree(path))):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            is_gone = False
    return is_gone
