"""Groups that systemd makes: a transient scope, asked for over D-Bus (org.freedesktop.systemd1(5)).

The limits are told to systemd as properties, so that it knows them, and written to the delegated group, since
properties do not cover all of them.
"""

from __future__ import annotations

import errno

from engine.linux import dbus, files
from engine.linux.cgroup import device_rules, layout
from engine.linux.cgroup.apply import Change
from engine.linux.cgroup.group import Group
from engine.linux.cgroup.layout import CgroupError
from engine.linux.cgroup.plan import plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.fields import Section

    Property = tuple[str, tuple[str, object]]

_NAME, _PATH, _MANAGER = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
_PROPERTIES = "org.freedesktop.DBus.Properties"
_INFINITY = (1 << 64) - 1
_MOST_CPUS = 1 << 13
_NUMBERS = {
    "memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "memory.low": "MemoryLow", "memory.high": "MemoryHigh",
    "memory.min": "MemoryMin", "memory.limit_in_bytes": "MemoryLimit", "pids.max": "TasksMax", "cpu.weight": "CPUWeight",
    "cpu.shares": "CPUShares", "io.weight": "IOWeight", "blkio.weight": "BlockIOWeight",
}  # fmt: skip
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


class ScopeGroup(Group):
    """The group of a transient scope.

    Attributes:
        unit: The scope's name.
    """

    def __init__(self, version: int, paths: dict[str, str], unit: str) -> None:
        super().__init__(version, paths)
        self.unit = unit

    def create(self) -> None:
        """Make on v1 the groups of the controllers that systemd does not use; all else is there already."""
        if self.version == 1:
            super().create()

    def apply(self, resources: Section) -> None:
        """Put OCI `linux.resources` in force and tell systemd about them.

        Raises:
            CgroupError: A field is wrong, or the kernel or systemd refused it; nothing is changed.
        """
        change = Change(self.version, self.paths)
        change.make(resources)
        properties = properties_of(self.version, resources)
        if not properties:
            return
        try:
            with _connect() as bus:
                bus.call(_NAME, _PATH, _MANAGER, "SetUnitProperties", "sba(sv)", self.unit, True, properties)
        except OSError as error:
            change.take_back()
            raise CgroupError(errno.EIO, f"systemd refuses the limits of {self.unit}: {error}") from error

    def remove(self) -> None:
        """Stop the scope, and remove what systemd left of the group.

        Raises:
            CgroupError: Processes stay although they were killed.
        """
        with _connect() as bus:
            _subscribe(bus)
            try:
                (job,) = bus.call(_NAME, _PATH, _MANAGER, "StopUnit", "ss", self.unit, "replace")
                _wait(bus, job)
            except dbus.DBusError as error:
                if not error.name.endswith(".NoSuchUnit"):
                    raise CgroupError(errno.EIO, f"systemd does not stop {self.unit}: {error}") from error
        super().remove()


def scope_group(cgroups_path: str, pid: int, resources: Section, description: str = "") -> ScopeGroup:
    """Start a transient scope around a process and return its group.

    A scope without a process ends: the caller keeps `pid` until another is born in the group.

    Args:
        cgroups_path: "SLICE:PREFIX:NAME" (runtime-spec "Cgroups Path", systemd form); the scope is PREFIX-NAME.scope.
        pid: The process, as seen from here.
        resources: OCI `linux.resources`; systemd is told those it has a property for. `apply` sets all.
        description: What `systemctl status` shows.

    Raises:
        CgroupError: The path is wrong, there is no systemd here, or it refuses.
    """
    slice_name, unit = names_of(cgroups_path)
    version = layout.detect().version
    properties: list[Property] = [
        ("Description", ("s", description or f"container {unit}")), ("Slice", ("s", slice_name)),
        ("PIDs", ("au", [pid])), ("Delegate", ("b", True)), ("DefaultDependencies", ("b", False)),
        ("CPUAccounting", ("b", True)), ("MemoryAccounting", ("b", True)), ("TasksAccounting", ("b", True)),
        ("IOAccounting" if version == 2 else "BlockIOAccounting", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")), *properties_of(version, resources), *_devices(resources),
    ]  # fmt: skip
    with _connect() as bus:
        try:
            _subscribe(bus)
            (job,) = bus.call(_NAME, _PATH, _MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail",
                properties, [])  # fmt: skip
            result = _wait(bus, job)
            if result != "done":
                raise CgroupError(errno.EIO, f"systemd did not start {unit}: {result}")
            place = _control_group(bus, unit)
        except dbus.DBusError as error:
            raise CgroupError(errno.EIO, f"systemd does not start {unit}: {error}") from error
    return ScopeGroup(version, {name: f"{mount}{place}" for name, mount in layout.detect().mounts.items()}, unit)


def names_of(cgroups_path: str) -> tuple[str, str]:
    """Return the slice and the unit of "SLICE:PREFIX:NAME".

    Raises:
        CgroupError: It has another form.
    """
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2] or "/" in cgroups_path:
        raise CgroupError(
            errno.EINVAL, f"linux.cgroupsPath is not SLICE:PREFIX:NAME, as systemd needs it: {cgroups_path!r}"
        )
    slice_name, prefix, name = parts
    if slice_name and not slice_name.endswith(".slice"):
        raise CgroupError(errno.EINVAL, f"linux.cgroupsPath: the slice {slice_name!r} does not end in .slice")
    return slice_name or "system.slice", f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def properties_of(version: int, resources: Section) -> list[Property]:
    """Return the unit properties that say what resources say, as far as systemd has them."""
    found: list[Property] = []
    times: dict[str, str] = {}
    for _, name, value in plan(version, resources, lambda _, name: name != "io.bfq.weight"):
        text = value.removeprefix("default ")
        if name in _NUMBERS and (text.isdigit() or text in ("max", "-1")):
            found.append((_NUMBERS[name], ("t", int(text) if text.isdigit() else _INFINITY)))
        elif name in _SETS and value and version == 2:
            found.append((_SETS[name], ("ay", _bits(value))))
        elif name == "cpu.max":
            times["quota"], times["period"] = value.split(" ")
        elif name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
            times[name.split("_")[1]] = value
    return found + _quota(times)


def _quota(times: dict[str, str]) -> list[Property]:
    if "quota" not in times:
        return []
    period = int(times.get("period", "100000"))
    quota = int(times["quota"]) * 1_000_000 // period if times["quota"].isdigit() else _INFINITY
    return [("CPUQuotaPerSecUSec", ("t", quota)), ("CPUQuotaPeriodUSec", ("t", period))]


def _devices(resources: Section) -> list[Property]:
    """Return the device rules as systemd has them, so that a reload of systemd does not open what they close.

    Properties can only allow: what is denied beyond the default is denied by the group's own rules.
    """
    rules = device_rules.rules_of(resources)
    if not rules or rules[0].is_allowed:
        return [("DevicePolicy", ("s", "auto"))]
    allowed = [(name, rule.access) for rule in rules if rule.is_allowed for name in _device_names(rule)]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _device_names(rule: device_rules.Rule) -> list[str]:
    kinds = [name for letter, name in (("c", "char"), ("b", "block")) if rule.kind in ("a", letter)]
    if rule.major < 0:
        return [f"{kind}-*" for kind in kinds if rule.minor < 0]
    if rule.minor >= 0:
        return [f"/dev/{kind}/{rule.major}:{rule.minor}" for kind in kinds]
    return [f"{kind}-{name}" for kind in kinds for name in _driver_names(kind, rule.major)]


def _driver_names(kind: str, major: int) -> list[str]:
    """Return the driver of a major number as /proc/devices calls it."""
    characters, _, blocks = files.read_file("/proc/devices").decode().partition("Block devices:")
    lines = [line.split() for line in (characters if kind == "char" else blocks).splitlines()]
    return [words[1] for words in lines if len(words) == 2 and words[0] == str(major)][:1]


def _bits(listing: str) -> list[int]:
    """Return a list such as 0-3,5 as a mask's bytes, lowest first."""
    mask = 0
    for part in listing.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) >= _MOST_CPUS:
            raise CgroupError(errno.EINVAL, f"linux.resources.cpu: not a list such as 0-3,5: {listing!r}")
        for number in range(int(first), int(last or first) + 1):
            mask |= 1 << number
    return list(mask.to_bytes(mask.bit_length() // 8 + 1, "little"))


def _connect() -> dbus.Connection:
    try:
        return dbus.Connection()
    except dbus.DBusError as error:
        raise CgroupError(errno.EOPNOTSUPP, f"the systemd cgroup driver needs systemd: {error}") from error


def _subscribe(bus: dbus.Connection) -> None:
    rule = f"type='signal',sender='{_NAME}',interface='{_MANAGER}',member='JobRemoved'"
    bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", rule)
    bus.call(_NAME, _PATH, _MANAGER, "Subscribe")


def _wait(bus: dbus.Connection, job: object) -> str:
    """Return how a job ended, "done" when well."""
    message = bus.wait_signal(lambda signal: signal.is_signal(_MANAGER, "JobRemoved") and signal.body[1] == job)
    return str(message.body[3])


def _control_group(bus: dbus.Connection, unit: str) -> str:
    (path,) = bus.call(_NAME, _PATH, _MANAGER, "GetUnit", "s", unit)
    (value,) = bus.call(_NAME, str(path), _PROPERTIES, "Get", "ss", f"{_NAME}.Scope", "ControlGroup")
    return str(value[1])  # type: ignore[index]
