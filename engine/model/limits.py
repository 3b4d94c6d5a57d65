"""Limits: what the kernel is asked to enforce on a container."""

from __future__ import annotations

from datetime import datetime

from engine.model.value import Value, names


class DeviceRate(Value, frozen=True):
    """A limit on one block device.

    Attributes:
        device: The path of a block device ("/dev/vda"), or "MAJOR:MINOR".
        rate: Bytes or operations per second, above 0; or a weight.
    """

    device: str
    rate: int


class HugepageLimit(Value, frozen=True):
    """A limit on the huge pages of one size, such as "2MB", in bytes; 0 allows none."""

    size: str
    limit: int


class Limits(Value, frozen=True):
    """The limits of one container; None and () mean "no limit".

    Names and units are those of docker's flags.

    Attributes:
        cpus: CPU time in cores (1.5 is one and a half); quota over period. Excludes cpu_quota.
        cpu_period: The period of the quota in microseconds, 1000..1000000 (docker's default is 100000).
        cpu_quota: CPU time per period in microseconds, at least 1000.
        cpu_shares: Relative weight, 2..262144 (docker's default is 1024).
        cpuset_cpus: CPUs in the kernel's list format ("0-3,5").
        cpuset_mems: Memory nodes in the kernel's list format.
        memory: Bytes; the container is killed (OOM) above it.
        memory_reservation: Bytes; protected under pressure (v2 memory.low, v1 soft limit).
        memory_swap: Bytes of memory and swap together; -1 is unlimited swap. Needs memory.
        pids: Number of tasks.
        memory_swappiness: 0..100; how readily the kernel swaps (v1 only).
        oom_kill_disable: Whether processes wait for memory instead of being killed (v1 only).
        cpu_rt_period: The period of real-time scheduling in microseconds (v1 only).
        cpu_rt_runtime: Microseconds of real-time scheduling per period (v1 only).
        blkio_weight: Relative I/O weight, 10..1000.
        blkio_weight_devices: Relative I/O weights, per device.
        net_rate_in: Bytes per second that reach the container, from each of its networks.
        net_rate_out: Bytes per second that leave it, into each of its networks.
        net_burst_in, net_burst_out: Bytes that may go at once before the rate holds.
        net_delay: Microseconds that each packet it sends waits.
        net_loss: Percent of the packets it sends that are lost, above 0 and at most 100.
        device_read_bps: Bytes per second read, per device.
        device_write_bps: Bytes per second written, per device.
        device_read_iops: Reads per second, per device.
        device_write_iops: Writes per second, per device.
        cpu_burst: Unused quota in microseconds that may be saved up and spent at once.
        cpu_idle: Whether it runs only when nobody else wants the CPU (SCHED_IDLE for the whole group).
        memory_high: Bytes above which it is slowed down and its memory reclaimed, but not killed (v2 only).
        memory_min: Bytes that are never reclaimed (v2 only).
        oom_group: Whether lack of memory kills all its processes together (v2 only).
        hugepages: Bytes of huge pages, per page size ("2MB").
        unified: (file, text) of cgroup v2, as podman's --cgroup-conf; they are written last, over all others.
    """

    cpus: float | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    pids: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    blkio_weight: int | None = None
    blkio_weight_devices: tuple[DeviceRate, ...] = ()
    net_rate_in: int | None = None
    net_rate_out: int | None = None
    net_burst_in: int | None = None
    net_burst_out: int | None = None
    net_delay: int | None = None
    net_loss: float | None = None
    device_read_bps: tuple[DeviceRate, ...] = ()
    device_write_bps: tuple[DeviceRate, ...] = ()
    device_read_iops: tuple[DeviceRate, ...] = ()
    device_write_iops: tuple[DeviceRate, ...] = ()
    cpu_burst: int | None = None
    cpu_idle: bool | None = None
    memory_high: int | None = None
    memory_min: int | None = None
    oom_group: bool | None = None
    hugepages: tuple[HugepageLimit, ...] = ()
    unified: tuple[tuple[str, str], ...] = ()

    @property
    def effective_cpus(self) -> float | None:
        """CPU time in cores that cpus, or cpu_quota over cpu_period, allow; None when unlimited."""
        if self.cpus is not None:
            return self.cpus
        if self.cpu_quota is not None:
            return self.cpu_quota / (self.cpu_period or 100_000)
        return None

    @property
    def is_unlimited(self) -> bool:
        """Whether no limit is set at all."""
        return all(getattr(self, name) in (None, ()) for name in names(self))


class LimitsChanged(Value, frozen=True):
    """What an update did, enough to undo it.

    Attributes:
        trial_seconds: Time after which it is reverted unless it is confirmed; 0.0 when it is for good.
    """

    container_id: str
    before: Limits
    after: Limits
    trial_seconds: float = 0.0


class OnTrial(Value, frozen=True):
    """A change that is on trial.

    Attributes:
        began: When it was made.
        seconds_left: Until it is reverted.
        confirmed: The limits that come back then; after: those on trial.
    """

    began: datetime
    seconds_left: float
    confirmed: Limits
    after: Limits


class Knob(Value, frozen=True):
    """Whether one field of Limits can be set on this host.

    Attributes:
        name: The field.
        file: The kernel's file behind it; empty where there is none.
        why_not: One sentence; empty when it can be set.
    """

    name: str
    file: str = ""
    why_not: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether it can be set."""
        return not self.why_not


class Effective(Value, frozen=True):
    """What is really in force: the tightest limit of a container's group and of all groups above it.

    Attributes:
        cpus: CPU time in cores; the host's CPUs when no group limits it.
        memory: Bytes; None when no group limits it. pids likewise.
        cpu_share: Part of the host's CPU time, 0..1, that its weight gives when every group with processes wants all.
        cpus_by, memory_by, pids_by: The group that limits it, from its hierarchy's root; empty for none.
    """

    cpus: float
    memory: int | None
    pids: int | None
    cpu_share: float
    cpus_by: str = ""
    memory_by: str = ""
    pids_by: str = ""


class Preview(Value, frozen=True):
    """What a change would do, computed before it is made.

    Attributes:
        effective: What would be in force; None when the container is not running.
        refusal: Why the change would be refused; empty when it would not.
    """

    container_id: str
    name: str
    before: Limits
    after: Limits
    effective: Effective | None = None
    refusal: str = ""


class Change(Value, frozen=True):
    """One change of a container's limits, as its history keeps it.

    Attributes:
        how: "update", "undo", "trial", "confirm", "revert", "profile" or "autotune".
        by: Who asked for it.
    """

    time: datetime
    how: str
    by: str
    before: Limits
    after: Limits
