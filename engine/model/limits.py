"""Limits: what the kernel is asked to enforce on a container."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class DeviceRate:
    """A limit on one block device.

    Attributes:
        device: The path of a block device ("/dev/vda"), or "MAJOR:MINOR".
        rate: Bytes or operations per second, above 0; or a weight.
    """

    device: str
    rate: int


@dataclass(frozen=True, slots=True)
class Limits:
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
        device_read_bps: Bytes per second read, per device.
        device_write_bps: Bytes per second written, per device.
        device_read_iops: Reads per second, per device.
        device_write_iops: Writes per second, per device.
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
    device_read_bps: tuple[DeviceRate, ...] = ()
    device_write_bps: tuple[DeviceRate, ...] = ()
    device_read_iops: tuple[DeviceRate, ...] = ()
    device_write_iops: tuple[DeviceRate, ...] = ()

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
        return all(getattr(self, field.name) in (None, ()) for field in fields(self))


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """What an update did, enough to undo it."""

    container_id: str
    before: Limits
    after: Limits
