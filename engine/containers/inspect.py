"""A container in docker's JSON shape."""

from __future__ import annotations

from typing import Any

from engine.model.container import Container, ContainerSpec, LogOptions, Mount
from engine.model.health import Health, HealthCheck
from engine.networks import ports as published
from engine.oci import runtime_config

_NEVER = "0001-01-01T00:00:00Z"


def document(
    container: Container,
    volumes: list[dict[str, Any]],
    directory: str,
    apparmor: str = "",
    driver: str = "overlay2",
    exposes: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return what `docker inspect` would print, as far as it applies.

    Args:
        container: The container.
        volumes: Its volumes, in docker's shape.
        directory: Its bundle.
        apparmor: The AppArmor profile it last started with.
        driver: docker's name of the storage driver.
        exposes: The ports that its image says it has.
    """
    spec, limits = container.spec, container.limits
    exposed = published.exposed(spec.ports, (*spec.exposed, *exposes))
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
            "Restarting": container.status == "restarting",
            "OOMKilled": container.oom_killed,
            "Dead": False,
            "Pid": container.pid,
            "ExitCode": container.exit_code or 0,
            "Error": container.error,
            "StartedAt": started,
            "FinishedAt": finished,
            **({"Health": _health_state(container.health)} if container.health else {}),
        },
        "Image": container.image_id,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": spec.selinux_label,
        "AppArmorProfile": apparmor,
        "LogPath": container.log_path,
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostConfig": {**_host_config(spec), **_isolation(spec), **_limits(container)},
        "Mounts": [
            *volumes,
            *({"Type": "bind", "Source": mount.source, "Destination": mount.target, "RW": not mount.read_only}
                for mount in spec.mounts if mount.kind == "bind"),
            *({"Type": "image", "Source": mount.source, "Destination": mount.target, "RW": False}
                for mount in spec.mounts if mount.kind == "image"),
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
            **({"ExposedPorts": {port: {} for port in exposed}} if exposed else {}),
            "StopSignal": spec.stop_signal or "",
            "StopTimeout": spec.stop_timeout,
            **({"Healthcheck": _health_check(spec.health)} if spec.health != HealthCheck() else {}),
        },
        "NetworkSettings": {"Ports": _ports(container, exposed), "Networks": _networks(container)},
        "GraphDriver": {"Name": driver, "Data": _directories(directory) if "overlay" in driver else None},
        "Limits": {"EffectiveCpus": limits.effective_cpus, "CpuBurst": limits.cpu_burst, "CpuIdle": limits.cpu_idle,
            "MemoryHigh": limits.memory_high, "MemoryMin": limits.memory_min, "OomGroup": limits.oom_group,
            "Hugepages": {page.size: page.limit for page in limits.hugepages}, "CgroupConf": dict(limits.unified),
            "NetRateIn": limits.net_rate_in, "NetRateOut": limits.net_rate_out, "NetBurstIn": limits.net_burst_in,
            "NetBurstOut": limits.net_burst_out, "NetDelay": limits.net_delay, "NetLoss": limits.net_loss},
    }  # fmt: skip


def _directories(directory: str) -> dict[str, str]:
    return {"UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"}


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "NetworkMode": spec.network,
        "PortBindings": _bindings(spec),
        "PublishAllPorts": spec.publish_all,
        "Binds": [_bind(mount) for mount in spec.mounts if mount.kind == "bind"] or None,
        "VolumesFrom": [*spec.volumes_from] or None,
        "AutoRemove": spec.auto_remove,
        "Dns": [*spec.dns],
        "DnsOptions": [*spec.dns_options],
        "DnsSearch": [*spec.dns_search],
        "ExtraHosts": [*spec.extra_hosts] or None,
        "ShmSize": spec.shm_size,
        "Tmpfs": {mount.target: ",".join(mount.options) for mount in spec.mounts if mount.kind == "tmpfs"},
        "LogConfig": {"Type": spec.log.driver, "Config": _log_options(spec.log)},
        "RestartPolicy": {"Name": spec.restart.name, "MaximumRetryCount": spec.restart.attempts},
        "Runtime": spec.runtime,
        "Init": spec.init,
        "Annotations": spec.annotations or None,
    }


def _bind(mount: Mount) -> str:
    options = [*mount.options, *(["ro"] if mount.read_only else [])]
    return f"{mount.source}:{mount.target}" + (f":{','.join(options)}" if options else "")


def _log_options(log: LogOptions) -> dict[str, str]:
    options = {"max-size": str(log.max_size or ""), "max-file": str(log.max_file) if log.max_size else "", "tag": log.tag,
        "labels": ",".join(log.labels), "env": ",".join(log.env)}  # fmt: skip
    return {name: value for name, value in options.items() if value}


def _isolation(spec: ContainerSpec) -> dict[str, Any]:
    masked, protected = runtime_config.hidden_paths(spec)
    return {
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "CapAdd": _capabilities(spec.cap_add),
        "CapDrop": _capabilities(spec.cap_drop),
        "SecurityOpt": _security_options(spec) or None,
        "MaskedPaths": masked,
        "ReadonlyPaths": protected,
        "PidMode": spec.pid_mode,
        "IpcMode": spec.ipc_mode or "private",
        "UTSMode": spec.uts_mode,
        "UsernsMode": spec.userns,
        "CgroupnsMode": spec.cgroupns_mode or "private",
        "CgroupParent": spec.cgroup_parent,
        "GroupAdd": [*spec.group_add] or None,
        "Devices": [
            {"PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.permissions}
            for device in spec.devices if device.target
        ] or None,
        "DeviceCgroupRules": [*spec.device_rules] or None,
        "DeviceRequests": _device_requests(spec) or None,
        "Ulimits": [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in spec.ulimits] or None,
        "Sysctls": spec.sysctls or None,
        "OomScoreAdj": spec.oom_score_adj or 0,
    }  # fmt: skip


def _capabilities(names: tuple[str, ...]) -> list[str] | None:
    short = [name.upper().removeprefix("CAP_") for name in names]
    return [name if name == runtime_config.ALL else f"CAP_{name}" for name in short] or None


def _security_options(spec: ContainerSpec) -> list[str]:
    options = {"seccomp": spec.seccomp, "apparmor": spec.apparmor, "label": spec.selinux_label,
        "mask": ":".join(spec.mask), "unmask": ":".join(spec.unmask)}  # fmt: skip
    found = [f"{name}={value}" for name, value in options.items() if value]
    return found if spec.no_new_privileges else [*found, "no-new-privileges=false"]


def _device_requests(spec: ContainerSpec) -> list[dict[str, Any]]:
    names = [device.source for device in spec.devices if not device.target]
    found: list[dict[str, Any]] = [{"Driver": "cdi", "DeviceIDs": names}] if names else []
    return [*found, {"Driver": "", "Options": {"gpus": spec.gpus}}] if spec.gpus else found


def _health_check(check: HealthCheck) -> dict[str, Any]:
    times = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period,
        "StartInterval": check.start_interval}  # fmt: skip
    found: dict[str, Any] = {name: round(seconds * 1e9) for name, seconds in times.items() if seconds}
    return {**({"Test": [*check.test]} if check.test else {}), **found,
        **({"Retries": check.retries} if check.retries else {})}  # fmt: skip


def _health_state(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status, "FailingStreak": health.failing_streak,
        "Log": [
            {"Start": result.started_at.isoformat(), "End": result.finished_at.isoformat(),
                "ExitCode": result.exit_code, "Output": result.output}
            for result in health.log
        ],
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
        "BlkioWeightDevice": [{"Path": weight.device, "Weight": weight.rate} for weight in limits.blkio_weight_devices],
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": bool(limits.oom_kill_disable),
        "CpuRealtimePeriod": limits.cpu_rt_period or 0,
        "CpuRealtimeRuntime": limits.cpu_rt_runtime or 0,
        **{name: [{"Path": rate.device, "Rate": rate.rate} for rate in found] for name, found in rates.items()},
    }


def _bindings(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for mapping in spec.ports:
        host = f"{mapping.first}-{mapping.last}" if mapping.last > mapping.first else str(mapping.first or "")
        found.setdefault(f"{mapping.port}/{mapping.protocol}", []).append({"HostIp": mapping.host_ip, "HostPort": host})
    return found


def _ports(container: Container, exposed: tuple[str, ...]) -> dict[str, list[dict[str, str]] | None]:
    if not container.status.is_alive:
        return {}
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed)
    for port in container.ports:
        name = f"{port.port}/{port.protocol}"
        found[name] = [*(found.get(name) or []), {"HostIp": port.host_ip, "HostPort": str(port.host_port)}]
    return found


def _networks(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = {
        endpoint.network: {
            "IPAddress": endpoint.address, "IPPrefixLen": endpoint.prefix_length, "Gateway": endpoint.gateway,
            "MacAddress": endpoint.mac, "Aliases": [*endpoint.aliases] or None, "GlobalIPv6Address": endpoint.address6,
            "GlobalIPv6PrefixLen": endpoint.prefix_length6, "IPv6Gateway": endpoint.gateway6,
        } for endpoint in container.endpoints
    }  # fmt: skip
    return found or {container.spec.network: {"IPAddress": "", "IPPrefixLen": 0, "Gateway": "", "MacAddress": ""}}
