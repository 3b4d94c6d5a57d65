"""Puts `linux.resources` in force for a group, all or nothing."""

from __future__ import annotations

import errno
import os

from engine.linux.cgroup import device_program, device_rules
from engine.linux.cgroup.fields import integer
from engine.linux.cgroup.layout import UNIFIED, CgroupError
from engine.linux.cgroup.plan import plan
from engine.linux.cgroup.values import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import Section, Write

_WHY = {
    errno.EBUSY: "more is in use than the new limit allows",
    errno.EINVAL: "the kernel refuses the value {value!r}",
    errno.ERANGE: "the kernel refuses the value {value!r}",
    errno.ENODEV: "there is no such device, or it is a partition: {value}",
    errno.EACCES: "the parent group does not allow it",
    errno.EPERM: "the parent group or this host does not allow it",
    errno.ENOSPC: "no CPU or memory node would be left",
    errno.EOPNOTSUPP: "this kernel does not support it",
}
_BY_DEVICE = ("io.max", "io.weight", "io.bfq.weight", "blkio.throttle.", "rdma.max", "net_prio.ifpriomap")
_NOTHING = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "rdma.max": "hca_handle=max hca_object=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
}


class Change:
    """One change of a group's limits, which can be taken back until it is complete."""

    def __init__(self, version: int, paths: dict[str, str]) -> None:
        self._version = version
        self._paths = paths
        self._undo: list[tuple[str, str]] = []

    def make(self, resources: Section) -> None:
        """Write all values and the device rules.

        Raises:
            CgroupError: The kernel refused one; those already written have their old values again.
        """
        writes = plan(self._version, resources, self._has)
        self._check_usage(resources)
        try:
            self._write_all(writes)
            if resources.get("devices"):
                self._allow_devices(resources)
        except OSError:
            self.take_back()
            raise

    def take_back(self) -> None:
        """Write the old values again, last change first; device rules stay."""
        for path, value in reversed(self._undo):
            _restore(path, value)

    def _directory(self, controller: str) -> str:
        directory = self._paths.get(controller if self._version == 1 else UNIFIED)
        if directory is None:
            raise CgroupError(errno.EOPNOTSUPP, f"the {controller} controller is not available on this host")
        return directory

    def _has(self, controller: str, name: str) -> bool:
        directory = self._paths.get(controller if self._version == 1 else UNIFIED)
        return directory is not None and os.path.exists(f"{directory}/{name}")

    def _check_usage(self, resources: Section) -> None:
        """Refuse a memory limit below what is in use when that is asked for: v2 would kill instead."""
        memory = resources.get("memory")
        if not isinstance(memory, dict) or not memory.get("checkBeforeUpdate"):
            return
        limit = integer(memory, "limit", "memory")
        name = "memory.usage_in_bytes" if self._version == 1 else "memory.current"
        if limit and 0 < limit < int(read(f"{self._directory('memory')}/{name}")):
            raise CgroupError(errno.EBUSY, "linux.resources.memory.limit is below what is in use")

    def _write_all(self, writes: list[Write]) -> None:
        """Write in any order that works.

        Pairs such as memory and memory+swap, quota and burst, or idle and weight must be right at every moment, so what
        the kernel finds invalid is tried again once others have been written.
        """
        while writes:
            later: list[Write] = []
            for item in writes:
                try:
                    self._write(*item)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise self._explained(error, *item) from error
                    later.append(item)
                    refused = error
            if len(later) == len(writes):
                raise self._explained(refused, *later[-1]) from refused
            writes = later

    def _write(self, controller: str, name: str, value: str) -> None:
        path = f"{self._directory(controller)}/{name}"
        old = _read_back(path)
        write(path, value)
        if old is not None:
            self._undo.append((path, _undo_value(name, old, value)))

    def _explained(self, error: OSError, controller: str, name: str, value: str) -> CgroupError:
        if isinstance(error, CgroupError):
            return error
        if error.errno == errno.ENOENT:
            directory = self._directory(controller)
            if self._version == 2 and controller not in ("cgroup", *read(f"{directory}/cgroup.controllers").split()):
                return CgroupError(errno.EOPNOTSUPP, f"cannot set {name}: the {controller} controller is not available")
            return CgroupError(errno.EOPNOTSUPP, f"this kernel has no {name}")
        why = _WHY.get(error.errno or 0, error.strerror or "").format(value=value)
        return CgroupError(error.errno or 0, f"cannot set {name}: {why}", f"{self._directory(controller)}/{name}")

    def _allow_devices(self, resources: Section) -> None:
        """Set the device rules, last of all: on v2 they change at once, on v1 the old list comes back on failure."""
        rules = device_rules.rules_of(resources)
        if self._version == 2:
            fd = os.open(self._paths[UNIFIED], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                device_program.attach(fd, rules)
            finally:
                os.close(fd)
            return
        writes = device_rules.plan_v1(rules)
        old = read(f"{self._directory('devices')}/devices.list").splitlines()
        try:
            for _, name, value in writes:
                write(f"{self._directory('devices')}/{name}", value)
        except OSError as error:
            self._restore_devices(old)
            raise self._explained(error, "devices", name, value) from error

    def _restore_devices(self, old: list[str]) -> None:
        directory = self._directory("devices")
        is_open = any(line.startswith("a ") for line in old)
        _restore(f"{directory}/devices.allow" if is_open else f"{directory}/devices.deny", "a")
        for line in () if is_open else old:
            _restore(f"{directory}/devices.allow", line)


def _read_back(path: str) -> str | None:
    """Return a file's value; None for files that are only written, such as memory.reclaim."""
    try:
        return read(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        return None


def _restore(path: str, value: str) -> None:
    try:
        write(path, value)
    except OSError:
        return


def _undo_value(name: str, old: str, written: str) -> str:
    """Return what to write to have the old value again."""
    if name == "memory.oom_control":
        return old.split("\n", maxsplit=1)[0].rpartition(" ")[2]
    if not name.startswith(_BY_DEVICE) and not name.endswith("weight_device"):
        return old
    device = written.split(" ", maxsplit=1)[0]
    for line in old.splitlines():
        if line.split(" ")[0] == device:
            return line
    return f"{device} {_NOTHING.get(name, '0')}"
