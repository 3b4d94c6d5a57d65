"""One cgroup: made, limited, joined, frozen, killed, removed - the same words on v1 and v2."""

from __future__ import annotations

import errno
import os
import signal
import time

from engine.linux.cgroup import layout
from engine.linux.cgroup.layout import UNIFIED, CgroupError
from engine.linux.cgroup.plan import plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_REMOVED_WITHIN = 10.0
_OUT_OF_REACH = (1 << 63) - 1
_WHY = {
    errno.EBUSY: "more is in use than the new limit allows",
    errno.EINVAL: "the kernel refuses the value {value!r}",
    errno.ERANGE: "the kernel refuses the value {value!r}",
    errno.ENODEV: "there is no such block device, or it is a partition: {value}",
    errno.EACCES: "the parent group does not allow it",
    errno.ENOSPC: "no CPU or memory node would be left",
    errno.EOPNOTSUPP: "this kernel does not support it",
}


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

    def apply(self, resources: Mapping[str, object]) -> None:
        """Put OCI `linux.resources` in force, all or nothing.

        Raises:
            CgroupError: The kernel refused one; those already written have their old values again.
        """
        writes = plan(self.version, resources)
        undo: list[tuple[str, str]] = []
        for controller, name, value in self._ordered(writes):
            path = self._file(controller, name)
            try:
                old = _read(path)
                _write(path, value)
            except OSError as error:
                for done_path, done_value in reversed(undo):
                    _restore(done_path, done_value)
                raise _explained(error, name, value, path) from error
            undo.append((path, _undo_value(name, old, value)))

    def _ordered(self, writes: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """Put v1's memory and memory+swap limits in the order that keeps memory <= memory+swap throughout."""
        names = [name for _, name, _ in writes]
        both = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        if not all(name in names for name in both):
            return writes
        memory, swap = (names.index(name) for name in both)
        now = int(_read(self._file("memory", both[1])))
        wanted = int(writes[memory][2])
        if wanted < 0 or wanted > now:
            writes[memory], writes[swap] = writes[swap], writes[memory]
        return writes

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
            _write(f"{path}/tasks", "0")

    def move_self(self) -> None:
        """Move the calling, single-threaded process into the group on either version."""
        if self.version == 2:
            _write(f"{self.paths[UNIFIED]}/cgroup.procs", "0")
        else:
            self.join_self()

    def open_fd(self) -> int:
        """Return an fd of the v2 group for CLONE_INTO_CGROUP."""
        return os.open(self.paths[UNIFIED], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def freeze(self) -> None:
        """Stop all processes and wait until they are stopped."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Let all processes go on."""
        self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> None:
        if self.version == 2:
            _write(f"{self.paths[UNIFIED]}/cgroup.freeze", "1" if frozen else "0")
        else:
            _write(self._file("freezer", "freezer.state"), "FROZEN" if frozen else "THAWED")
        deadline = time.monotonic() + _REMOVED_WITHIN
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                raise CgroupError(
                    errno.ETIMEDOUT, "the processes do not freeze" if frozen else "the processes do not thaw"
                )
            time.sleep(0.002)

    def is_frozen(self) -> bool:
        """Return whether all processes are stopped."""
        try:
            if self.version == 2:
                return "frozen 1" in _read(f"{self.paths[UNIFIED]}/cgroup.events")
            return _read(self._file("freezer", "freezer.state")) == "FROZEN"
        except OSError:
            return False

    def pids(self) -> list[int]:
        """Return the processes in the group, without those of groups below it."""
        path = self.paths[UNIFIED] if self.version == 2 else next(iter(self.paths.values()))
        try:
            return [int(pid) for pid in _read(f"{path}/cgroup.procs").split()]
        except FileNotFoundError:
            return []

    def all_pids(self) -> list[int]:
        """Return the processes in the group and in all groups below it."""
        path = self.paths[UNIFIED] if self.version == 2 else next(iter(self.paths.values()))
        found: list[int] = []
        for directory, _, _ in os.walk(path):
            try:
                found.extend(int(pid) for pid in _read(f"{directory}/cgroup.procs").split())
            except OSError:
                continue
        return found

    def kill(self) -> None:
        """Kill all processes, frozen ones too; returns at once."""
        if not any(os.path.exists(path) for path in self._directories()):
            return
        if self.version == 2:
            try:
                _write(f"{self.paths[UNIFIED]}/cgroup.kill", "1")
            except FileNotFoundError:
                self._kill_each()
            return
        self._kill_each()
        if "freezer" in self.paths:
            try:
                _write(self._file("freezer", "freezer.state"), "THAWED")
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # it was removed meanwhile
                    raise

    def _kill_each(self) -> None:
        for pid in self.all_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed for lack of memory."""
        try:
            if self.version == 2:
                fields = _read(f"{self.paths[UNIFIED]}/memory.events")
            else:
                fields = _read(self._file("memory", "memory.oom_control"))
        except OSError:
            return 0
        values = dict(line.split(" ", 1) for line in fields.splitlines() if " " in line)
        return int(values.get("oom_kill", 0))

    def remove(self) -> None:
        """Remove the group and all below it, once the last process has left.

        Raises:
            CgroupError: Processes stay although they were killed.
        """
        deadline = time.monotonic() + _REMOVED_WITHIN
        for path in self._directories():
            while not _try_remove(path):
                if time.monotonic() > deadline:
                    raise CgroupError(errno.EBUSY, "processes stay in the group", path)
                time.sleep(0.001)


def group_for(name: str) -> Group:
    """Return the (not yet made) group of that name below the engine's place in each hierarchy.

    Args:
        name: A relative path such as "tuicon/ID".
    """
    hierarchy = layout.detect()
    paths = {
        controller: f"{layout.base_directory(controller, mount)}/{name}"
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


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16).decode().strip()
    finally:
        os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _restore(path: str, value: str) -> None:
    for line in value.splitlines():
        try:
            _write(path, line)
        except OSError:
            continue


def _undo_value(name: str, old: str, written: str) -> str:
    """Return what to write to have the old value again."""
    if not name.startswith(("io.max", "blkio.throttle", "io.weight")):
        return old
    device = written.split(" ", maxsplit=1)[0]
    for line in old.splitlines():
        if line.split(" ")[0] == device:
            return line
    return f"{device} rbps=max wbps=max riops=max wiops=max" if name == "io.max" else f"{device} 0"


def _explained(error: OSError, name: str, value: str, path: str) -> CgroupError:
    if isinstance(error, CgroupError):
        return error
    if error.errno == errno.ENOENT:
        return CgroupError(errno.EOPNOTSUPP, f"this kernel has no {name}")
    why = _WHY.get(error.errno or 0, error.strerror or "").format(value=value)
    return CgroupError(error.errno or 0, f"cannot set {name}: {why}", path)


def _make_path(path: str, mount: str) -> None:
    relative = os.path.relpath(path, mount)
    current = mount
    for part in relative.split("/"):
        current = f"{current}/{part}"
        try:
            os.mkdir(current, 0o755)
        except FileExistsError:
            continue


def _count_io(path: str) -> None:
    """Have v1 count I/O: newer kernels do so for a disk only once some limit is set on it, so set one out of reach."""
    for disk in os.listdir("/sys/block"):
        if os.path.exists(f"/sys/block/{disk}/device"):
            try:
                _write(f"{path}/blkio.throttle.write_bps_device", f"{_read(f'/sys/block/{disk}/dev')} {_OUT_OF_REACH}")
            except OSError:
                continue


def _inherit_cpuset(path: str, mount: str) -> None:
    """On v1 a fresh cpuset has no CPUs and no memory nodes: copy them down from the parent."""
    current = mount
    for part in os.path.relpath(path, mount).split("/"):
        parent, current = current, f"{current}/{part}"
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not _read(f"{current}/{name}"):
                _write(f"{current}/{name}", _read(f"{parent}/{name}"))


def _enable_controllers(path: str) -> None:
    """Enable for the groups below what is available here and not yet enabled."""
    available = set(_read(f"{path}/cgroup.controllers").split())
    missing = available - set(_read(f"{path}/cgroup.subtree_control").split())
    for controller in sorted(missing):
        try:
            _write(f"{path}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                text = "processes in this group keep its controllers from being shared"
                raise CgroupError(errno.EBUSY, text, path) from error
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
                raise


def _try_remove(path: str) -> bool:
    try:
        for directory, names, _ in os.walk(path, topdown=False):
            for name in names:
                os.rmdir(f"{directory}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        return not os.path.exists(path)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True
