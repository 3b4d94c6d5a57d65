"""Containers: what was asked for (spec), what is known of one (container), and what runs inside it."""

from __future__ import annotations

from datetime import datetime

from engine.model.health import Health, HealthCheck
from engine.model.limits import Limits
from engine.model.network import Attachment, Endpoint, PortMapping, PublishedPort
from engine.model.status import Status
from engine.model.value import Value, field


class Mount(Value, frozen=True):
    """A mount that the user asked for.

    Attributes:
        kind: "bind", "volume", "tmpfs" or "image".
        target: Absolute path inside the container.
        source: Host path (bind), volume name (volume; empty for an anonymous one) or an image's reference.
        read_only: Whether writes are refused.
        options: More mount options, e.g. "size=64m" and "mode=1777" for tmpfs; of a bind its propagation, "idmap", "bind"
            to leave out what is mounted below its source, "writable" to let that be written although the bind is read-only.
        subpath: volume, image: the path inside that is mounted.
        no_copy: volume: whether an empty one stays empty, whatever the image has at the target.
        driver, driver_options, labels: volume: what it is made with when it does not exist yet.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    options: tuple[str, ...] = ()
    subpath: str = ""
    no_copy: bool = False
    driver: str = ""
    driver_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class LogOptions(Value, frozen=True):
    """How output is kept.

    Attributes:
        driver: "json-file", "journald" or "none".
        max_size: json-file: rotate above so many bytes; None never does.
        max_file: json-file: keep so many files.
        tag: docker's template such as "{{.Name}}": of journald the identifier, which is the short id when it is empty; of
            json-file, one more attribute of each entry.
        labels: Names of container labels, and env: of its variables, that are kept with each entry.
    """

    driver: str = "json-file"
    max_size: int | None = None
    max_file: int = 1
    tag: str = ""
    labels: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


class RestartPolicy(Value, frozen=True):
    """When the monitor starts a container again that has ended.

    Attributes:
        name: "no", "on-failure", "always" or "unless-stopped".
        attempts: For on-failure: how often; 0 is no limit.
    """

    name: str = "no"
    attempts: int = 0


class Ulimit(Value, frozen=True):
    """A resource limit of each process: "nofile" without RLIMIT_, soft and hard value; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Device(Value, frozen=True):
    """A device of the host inside the container, or a CDI device ("vendor/class=name") with no target.

    Attributes:
        source: Path on the host, or the CDI name.
        target: Path inside; empty for a CDI device.
        permissions: Any of "r", "w" and "m".
    """

    source: str
    target: str = ""
    permissions: str = "rwm"


class ContainerSpec(Value, frozen=True):
    """What the user asks for; None and () take the image's value.

    Attributes:
        image: A reference or an image id.
        name: The container's name; empty for a generated one.
        command: Replaces the image's Cmd.
        entrypoint: Replaces the image's Entrypoint; () keeps it, ("",) clears it.
        env: "NAME=VALUE" items that are added to the image's.
        user: "USER", "UID", "USER:GROUP" or "UID:GID".
        tty: Whether the container has a pseudo-terminal.
        interactive: Whether stdin is kept open.
        network: "bridge", "host", "none", a network's name, or "container:NAME".
        attachments: More bridge networks, and what is asked of `network` when that is one.
        ports: The ports to publish on the host.
        exposed: "PORT/PROTOCOL" that the container has, beside those of the image.
        publish_all: Whether exposed ports are published too, each on a free port of the host.
        dns: Name servers; empty takes the host's.
        dns_options: Options of resolv.conf; empty takes the host's.
        extra_hosts: "NAME:ADDRESS" lines for /etc/hosts.
        volumes_from: "CONTAINER[:ro|rw|z|Z]" whose volumes and binds it gets too.
        cap_add, cap_drop: Capability names with or without CAP_, or ALL.
        auto_remove: Whether the container is removed when it exits.
        stop_timeout: Seconds between the stop signal and KILL.
        annotations: Set by the engine and its callers, never from an image.
        seccomp: "" for the default profile, "unconfined", or the text of a profile in docker's JSON format.
        apparmor: "" for the default profile where AppArmor is active, "unconfined", or a profile's name.
        selinux_label: The process label, where SELinux is active.
        mask, unmask: Paths to hide, and default paths to leave open ("ALL" is all of them).
        userns: "" or "host", "auto" (a range of ids of its own, "auto:size=N"), or "keep-id".
        pid_mode, ipc_mode, uts_mode, cgroupns_mode: "" or "private", "host", or "container:NAME" (not uts, cgroupns);
            ipc_mode also "shareable" (others may join) and "none" (private, and no /dev/shm).
        group_add: Supplementary groups, names or numbers.
        device_rules: Device cgroup rules such as "c 42:* rmw".
        gpus: docker's --gpus; found through CDI.
        oom_score_adj: -1000..1000; None leaves it.
        init: Whether a small process 1 reaps orphans and passes signals on.
        runtime: "" for the engine's own, or the name or path of an external OCI runtime.
        cgroup_parent: The group that holds the container's; empty for the engine's own.
    """

    image: str
    name: str = ""
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    interactive: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    network: str = "bridge"
    attachments: tuple[Attachment, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    exposed: tuple[str, ...] = ()
    publish_all: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = True
    shm_size: int = 64 << 20
    stop_signal: str | None = None
    stop_timeout: float = 10.0
    auto_remove: bool = False
    log: LogOptions = field(default_factory=LogOptions)
    seccomp: str = ""
    apparmor: str = ""
    selinux_label: str = ""
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    userns: str = ""
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    group_add: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()
    gpus: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    oom_score_adj: int | None = None
    init: bool = False
    runtime: str = ""
    cgroup_parent: str = ""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    health: HealthCheck = field(default_factory=HealthCheck)


class Container(Value, frozen=True):
    """What the engine knows of a container at one moment.

    Attributes:
        id: 64 hex digits.
        image_id: The digest of the image's config, "sha256:…".
        image: The reference it was created from.
        command: What runs: entrypoint and command together.
        limits: The limits in force (create, then every update).
        pid: The host's pid of the container's first process; 0 when it is not running.
        exit_code: 0..255 (128+n after signal n); None while it never ended.
        oom_killed: Whether the kernel killed the container for lack of memory.
        error: Why the last start failed or was lost; empty when it did not.
        restart_count: How often its restart policy started it again.
        health: What its health check says; None without one.
        endpoints: Its places in networks; empty when it is not running or has no network of its own.
        log_path: The json-file log.
        ports: The ports of the host that lead to it; empty when it is not running.
    """

    id: str
    name: str
    image_id: str
    image: str
    command: tuple[str, ...]
    spec: ContainerSpec
    limits: Limits
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    pid: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    health: Health | None = None
    endpoints: tuple[Endpoint, ...] = ()
    log_path: str = ""
    ports: tuple[PublishedPort, ...] = ()

    @property
    def short_id(self) -> str:
        """The first twelve digits, as docker prints them."""
        return self.id[:12]

    @property
    def is_running(self) -> bool:
        """Whether it has processes that are not frozen."""
        return self.status is Status.RUNNING


class ExecSpec(Value, frozen=True):
    """A command to run inside a running container.

    Attributes:
        env: "NAME=VALUE" items that are added to the container's.
        user: As in ContainerSpec; None takes the container's.
        workdir: None takes the container's.
    """

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    privileged: bool = False


class Process(Value, frozen=True):
    """A process of a container.

    Attributes:
        pid: The host's pid; container_pid is the one seen inside.
        cpu_seconds: CPU time used so far.
        memory_bytes: Resident set.
        started_at: When it started.
    """

    pid: int
    container_pid: int
    parent_pid: int
    user: str
    command: str
    state: str
    cpu_seconds: float
    memory_bytes: int
    started_at: datetime


class LogEntry(Value, frozen=True):
    """One piece of output, at most one line.

    Attributes:
        time: When the monitor read it (UTC).
        stream: "stdout" or "stderr".
        text: The text with its line end, if it had one.
        attributes: The tag, labels and variables that are kept with it.
    """

    time: datetime
    stream: str
    text: str
    attributes: dict[str, str] = field(default_factory=dict)
