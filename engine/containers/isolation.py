"""Which namespaces a container shares with the host or with another container, and which combinations make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.containers import identifiers
from engine.errors import Conflict, InvalidArgument
from engine.model.value import Value, replace
from engine.oci import sysctls
from engine.sandbox.users import LARGEST_ID

if TYPE_CHECKING:
    from engine.containers.records import Registry, State
    from engine.model.container import ContainerSpec, Ulimit

CONTAINER = "container:"
_MODES = {
    "pid": ("", "private", "host"),
    "ipc": ("", "private", "shareable", "none", "host"),
    "uts": ("", "private", "host"),
    "cgroup": ("", "private", "host"),
}
_JOINABLE = ("pid", "ipc")
ULIMITS = ("core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack")  # fmt: skip


class Shared(Value, frozen=True):
    """The namespaces of a container.

    Attributes:
        namespaces: Kind to path; an empty path makes a new one, a missing kind is the host's.
        donors: (pid, start time) of the processes whose namespaces are joined.
        memory_of: (pid, start time) of the container whose /dev/shm is shared, or None.
    """

    namespaces: dict[str, str]
    donors: tuple[tuple[int, int], ...] = ()
    memory_of: tuple[int, int] | None = None


def modes(spec: ContainerSpec) -> dict[str, str]:
    """Return the mode of each kind of namespace that has one."""
    network = spec.network if spec.network == "host" or spec.network.startswith(CONTAINER) else ""
    return {"network": network, "pid": spec.pid_mode, "ipc": spec.ipc_mode, "uts": spec.uts_mode,
        "cgroup": spec.cgroupns_mode}  # fmt: skip


def resolve(spec: ContainerSpec, registry: Registry) -> ContainerSpec:
    """Return the specification with containers' ids for their names.

    Raises:
        NotFound: One of them does not exist.
    """

    def with_id(mode: str) -> str:
        return CONTAINER + registry.resolve(mode.removeprefix(CONTAINER)) if mode.startswith(CONTAINER) else mode

    return replace(
        spec, network=with_id(spec.network), pid_mode=with_id(spec.pid_mode), ipc_mode=with_id(spec.ipc_mode)
    )


def check(spec: ContainerSpec) -> None:
    """Check modes and what they exclude.

    Raises:
        InvalidArgument: With one sentence about the first wrong value.
    """
    asked = modes(spec)
    for kind, known in _MODES.items():
        mode = asked[kind]
        if mode not in known and not (kind in _JOINABLE and len(mode) > len(CONTAINER) and mode.startswith(CONTAINER)):
            names = [*filter(None, known), *(["container:NAME"] if kind in _JOINABLE else [])]
            raise InvalidArgument(f"invalid {kind} namespace mode {mode!r}: {', '.join(names)}")
    identifiers.check(spec.userns)
    _check_names(spec)
    _check_user_namespace(spec, asked)
    sysctls.check(spec.sysctls, has_own_network=not asked["network"],
        has_own_ipc=asked["ipc"] in ("", "private", "shareable", "none"))  # fmt: skip
    _check_numbers(spec)


def check_ulimits(ulimits: tuple[Ulimit, ...]) -> None:
    """Refuse resource limits that do not exist or contradict themselves.

    Raises:
        InvalidArgument: With one sentence about the first wrong one.
    """
    for limit in ulimits:
        if limit.name not in ULIMITS:
            raise InvalidArgument(f"invalid ulimit {limit.name!r}: one of {', '.join(ULIMITS)}")
        if min(limit.soft, limit.hard) < -1 or (limit.hard != -1 and not -1 < limit.soft <= limit.hard):
            raise InvalidArgument(f"the soft limit of ulimit {limit.name} must not be above the hard limit")


def _check_numbers(spec: ContainerSpec) -> None:
    check_ulimits(spec.ulimits)
    for group in spec.group_add:
        if not group or (group.isascii() and group.isdigit() and int(group) > LARGEST_ID):
            raise InvalidArgument(f"invalid group {group!r}: a name, or a number up to {LARGEST_ID}")
    if spec.oom_score_adj is not None and not -1000 <= spec.oom_score_adj <= 1000:
        raise InvalidArgument("the OOM score adjustment must be between -1000 and 1000")


def _check_names(spec: ContainerSpec) -> None:
    """Refuse names for a namespace or for files that belong to somebody else."""
    if spec.uts_mode == "host" and (spec.hostname or spec.domainname):
        raise InvalidArgument("a container in the UTS namespace of the host cannot have a host name of its own")
    if not spec.network.startswith(CONTAINER):
        return
    given = {"a host name": spec.hostname, "name servers": spec.dns, "search domains": spec.dns_search,
        "lines for /etc/hosts": spec.extra_hosts,
        "published ports": spec.ports or spec.publish_all}  # fmt: skip
    wrong = next((name for name, value in given.items() if value), "")
    if wrong:
        raise InvalidArgument(f"a container in the network of another cannot have {wrong} of its own")


def _check_user_namespace(spec: ContainerSpec, asked: dict[str, str]) -> None:
    if spec.userns in ("", "host"):
        return
    if spec.privileged:
        raise InvalidArgument("a privileged container cannot have a user namespace of its own")
    if asked["pid"] not in ("", "private"):
        raise InvalidArgument("a container with a user namespace of its own cannot share the processes of others")


def namespaces(spec: ContainerSpec, registry: Registry) -> Shared:
    """Return the namespaces for a start.

    Raises:
        Conflict: A container whose namespaces are to be shared is not running, or does not share them.
    """
    found = {"mount": ""}
    donors: list[tuple[int, int]] = []
    memory_of = None
    for kind, mode in modes(spec).items():
        if mode == "host":
            continue
        if not mode.startswith(CONTAINER):
            found[kind] = ""
            continue
        state = _donor(kind, mode.removeprefix(CONTAINER), registry)
        found[kind] = f"/proc/{state.pid}/ns/{'net' if kind == 'network' else kind}"
        donors.append((state.pid, state.pid_start))
        if kind == "ipc":
            memory_of = donors[-1]
    if spec.userns not in ("", "host"):
        found["user"] = ""
    return Shared(found, tuple(donors), memory_of)


def _donor(kind: str, container_id: str, registry: Registry) -> State:
    known = registry.known(container_id)
    if known.state is None:
        raise Conflict(f"cannot join the {kind} namespace of container {known.record.name}: it is not running")
    if kind == "ipc" and known.record.spec.ipc_mode != "shareable":
        raise Conflict(
            f"cannot join the ipc namespace of container {known.record.name}: it does not share it",
            hint="create that container with --ipc shareable",
        )
    return known.state
