"""A container in docker's JSON shape."""

from __future__ import annotations

from typing import Any

from engine.model.container import Container

_NEVER = "0001-01-01T00:00:00Z"


def document(container: Container, volumes: list[dict[str, Any]], directory: str) -> dict[str, Any]:
    """Return what `docker inspect` would print, as far as it applies."""
    spec, limits = container.spec, container.limits
    started = container.started_at.isoformat() if container.started_at else _NEVER
    finished = container.finished_at.isoformat() if container.finished_at else _NEVER
    return {
        "Id": container.id,
        "Created": container.created_at.isoformat(),
        "Path": container.command[0],
        "Args": [*container.command[1:]],
        "State": {
            "Status": str(container.status),
            "Running": container.status.is_alive,
            "Paused": container.status == "paused",
            "Restarting": False,
            "OOMKilled": container.oom_killed,
            "Dead": False,
            "Pid": container.pid,
            "ExitCode": container.exit_code or 0,
            "Error": container.error,
            "StartedAt": started,
            "FinishedAt": finished,
        },
        "Image": container.image_id,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "LogPath": container.log_path,
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostConfig": {
            "NetworkMode": spec.network,
            "Binds": [f"{mount.source}:{mount.target}" for mount in spec.mounts if mount.kind == "bind"] or None,
            "AutoRemove": spec.auto_remove,
            "Privileged": spec.privileged,
            "ReadonlyRootfs": spec.read_only,
            "CapAdd": [*spec.cap_add] or None,
            "CapDrop": [*spec.cap_drop] or None,
            "Dns": [*spec.dns],
            "ExtraHosts": [*spec.extra_hosts] or None,
            "ShmSize": spec.shm_size,
            "Tmpfs": {mount.target: ",".join(mount.options) for mount in spec.mounts if mount.kind == "tmpfs"},
            "LogConfig": {"Type": spec.log.driver, "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            **_limits(container),
        },
        "Mounts": [
            *volumes,
            *({"Type": "bind", "Source": mount.source, "Destination": mount.target, "RW": not mount.read_only}
                for mount in spec.mounts if mount.kind == "bind"),
        ],
        "Config": {
            "Hostname": spec.hostname or container.short_id,
            "Domainname": spec.domainname,
            "User": spec.user or "",
            "Tty": spec.tty,
            "OpenStdin": spec.interactive,
            "Env": [*spec.env],
            "Cmd": [*spec.command] if spec.command else None,
            "Entrypoint": [*spec.entrypoint] or None,
            "Image": container.image,
            "WorkingDir": spec.workdir or "",
            "Labels": spec.labels,
            "StopSignal": spec.stop_signal or "",
            "StopTimeout": spec.stop_timeout,
        },
        "NetworkSettings": {"Networks": _networks(container)},
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"}},
        "Limits": {"EffectiveCpus": limits.effective_cpus},
    }  # fmt: skip


def _limits(container: Container) -> dict[str, Any]:
    limits = container.limits
    rates = {
        "BlkioDeviceReadBps": limits.device_read_bps, "BlkioDeviceWriteBps": limits.device_write_bps,
        "BlkioDeviceReadIOps": limits.device_read_iops, "BlkioDeviceWriteIOps": limits.device_write_iops,
    }  # fmt: skip
    return {
        "NanoCpus": round((limits.cpus or 0) * 1e9),
        "CpuShares": limits.cpu_shares or 0,
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "Memory": limits.memory or 0,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": limits.memory_swap or 0,
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.blkio_weight or 0,
        **{name: [{"Path": rate.device, "Rate": rate.rate} for rate in found] for name, found in rates.items()},
    }


def _networks(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = {
        endpoint.network: {
            "IPAddress": endpoint.address, "IPPrefixLen": endpoint.prefix_length, "Gateway": endpoint.gateway,
            "MacAddress": endpoint.mac,
        } for endpoint in container.endpoints
    }  # fmt: skip
    return found or {container.spec.network: {"IPAddress": "", "IPPrefixLen": 0, "Gateway": "", "MacAddress": ""}}
