"""Creates a container: a directory that is whole when it becomes visible."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.containers import names
from engine.containers.records import Record
from engine.errors import Conflict, InvalidArgument
from engine.images.images import ImageStore
from engine.linux import files
from engine.linux.cgroup.devices import block_device
from engine.model.container import ContainerSpec
from engine.model.image import Image
from engine.networks import resolver
from engine.networks.networks import NetworkStore
from engine.oci import resources, runtime_config
from engine.store import records
from engine.store.journal import Journal
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

_TRIES = 30
Volumes = tuple[tuple[str, str, bool, bool], ...]


class Creator:
    """Makes containers from specifications."""

    def __init__(
        self, paths: Paths, journal: Journal, images: ImageStore, networks: NetworkStore, volumes: VolumeStore
    ) -> None:
        self._paths = paths
        self._journal = journal
        self._images = images
        self._networks = networks
        self._volumes = volumes

    def create(self, spec: ContainerSpec) -> str:
        """Create a container; return its id.

        Raises:
            EngineError: Something asked for is wrong or missing; nothing is left.
        """
        self._paths.prepare()
        if spec.name:
            names.check(spec.name)
        image = self._images.get(spec.image)
        resources.validate(spec.limits, os.cpu_count() or 1)
        command = runtime_config.command_of(spec, image.settings)
        runtime_config.capabilities_of(spec)
        self._networks.get(spec.network)
        stop_signal = spec.stop_signal or image.settings.stop_signal or "TERM"
        signal_number(stop_signal)
        _check_mounts(spec)
        container_id = os.urandom(32).hex()
        staged = self._paths.trash / f"create.{container_id[:16]}.{os.getpid()}"
        staged.mkdir(mode=0o700)
        made: list[str] = []
        name = ""
        try:
            name = self._take_name(spec.name, container_id)
            volumes = self._make_volumes(spec, image, made)
            record = Record(
                container_id, name, image.id, spec.image, command, stop_signal, replace(spec, name=name), spec.limits,
                datetime.now(UTC), volumes,
            )  # fmt: skip
            self._write(record, staged)
        except BaseException:
            files.remove_tree(staged)
            if name:
                self._paths.names.joinpath(name).unlink(missing_ok=True)
            for volume in made:
                self._volumes.remove(volume, force=True)
            raise
        self._journal.append("container", "create", container_id, name, image=spec.image)
        return container_id

    def _take_name(self, wanted: str, container_id: str) -> str:
        for attempt in range(_TRIES):
            name = wanted or (names.made_up() if attempt < _TRIES - 1 else f"container_{container_id[:8]}")
            if self._link_name(name, container_id):
                return name
            if wanted:
                holder = os.readlink(self._paths.names / name)
                raise Conflict(f"the container name {name!r} is already in use by container {holder[:12]}",
                    hint="remove or rename that container")  # fmt: skip
        raise Conflict("no free name was found")

    def _link_name(self, name: str, container_id: str) -> bool:
        """Take a name; one whose container is gone is free."""
        link = self._paths.names / name
        with files.FileLock(self._paths.lock("names")):
            try:
                link.symlink_to(container_id)
            except FileExistsError:
                holder = os.readlink(link)
                if self._is_taken(holder):
                    return False
                link.unlink()
                link.symlink_to(container_id)
            return True

    def _is_taken(self, holder: str) -> bool:
        """Return whether the container behind a name exists or is being made (its link is younger than its files)."""
        if self._paths.container(holder).exists():
            return True
        return any(self._paths.trash.glob(f"create.{holder[:16]}.*"))

    def rename(self, record: Record, name: str) -> None:
        """Move a container to another name.

        Raises:
            Conflict: The name is taken.
        """
        names.check(name)
        if name == record.name:
            raise Conflict(f"the container is already named {name}")
        self._take_name(name, record.id)
        renamed = replace(record, name=name, spec=replace(record.spec, name=name))
        records.save(self._paths.container(record.id) / "record.json", renamed)
        self.drop_name(record)

    def drop_name(self, record: Record) -> None:
        """Free a container's name, unless another container has it by now."""
        link = self._paths.names / record.name
        with files.FileLock(self._paths.lock("names")):
            try:
                if os.readlink(link) == record.id:
                    link.unlink()
            except FileNotFoundError:
                return

    def _make_volumes(self, spec: ContainerSpec, image: Image, made: list[str]) -> Volumes:
        wanted = [(mount.source, mount.target, mount.read_only) for mount in spec.mounts if mount.kind == "volume"]
        targets = {mount.target for mount in spec.mounts}
        wanted += [("", path, False) for path in image.settings.volumes if path not in targets]
        layers = self._images.lower_directories(image)
        found = []
        for source, target, read_only in wanted:
            volume = self._volumes.create(source)
            if not source:
                made.append(volume.name)
            self._volumes.copy_up(volume.name, layers, target)
            found.append((volume.name, target, read_only, not source))
        return tuple(found)

    def _write(self, record: Record, staged: Path) -> None:
        for name in ("upper", "work"):
            staged.joinpath(name).mkdir(mode=0o755)
        records.save(staged / "record.json", record)
        staged.rename(self._paths.container(record.id))

    def prepare_start(self, record: Record) -> None:
        """Write what the monitor needs: config.json, monitor.json, hosts, hostname, resolv.conf; lease addresses."""
        spec, directory = record.spec, self._paths.container(record.id)
        image = self._images.get(record.image_id)
        running = self._paths.running(record.id)
        for path in (running, running / "rootfs"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        network = self._networks.get(spec.network)
        endpoints, leases = [], []
        if network.driver == "bridge":
            endpoint, network, lease = self._networks.prepare(network.name, record.id)
            endpoints.append({**asdict(endpoint), "bridge": network.bridge, "mtu": network.mtu})
            leases.append(str(lease))
        hostname = spec.hostname or (os.uname().nodename if network.driver == "host" else record.id[:12])
        self._write_files(directory, spec, hostname, tuple(str(item["address"]) for item in endpoints), network.gateway)
        place = runtime_config.Place(
            rootfs=str(running / "rootfs"),
            hostname=hostname,
            files=tuple((str(directory / name), f"/etc/{name}") for name in ("resolv.conf", "hostname", "hosts")),
            binds=self._binds(record),
            has_own_network=network.driver != "host",
            resources=resources.resources(record.limits, block_device),
        )
        config = runtime_config.runtime_config(spec, image.settings, place)
        records.save(directory / "config.json", config)
        records.save(directory / "monitor.json", self._monitor(record, image, endpoints, leases))

    def _binds(self, record: Record) -> tuple[tuple[str, str, bool], ...]:
        binds = [(mount.source, mount.target, mount.read_only) for mount in record.spec.mounts if mount.kind == "bind"]
        volumes = ((self._volumes.get(name).mountpoint, target, ro) for name, target, ro, _ in record.volumes)
        return tuple(sorted([*binds, *volumes], key=lambda bind: bind[1]))

    @staticmethod
    def _write_files(
        directory: Path, spec: ContainerSpec, hostname: str, addresses: tuple[str, ...], gateway: str
    ) -> None:
        host = resolver.host_resolv_conf()
        texts = {
            "hostname": hostname + "\n",
            "hosts": resolver.hosts_file(hostname, spec.domainname, addresses, spec.extra_hosts, gateway),
            "resolv.conf": resolver.resolv_conf(host, spec.dns, spec.dns_search, keeps_loopback=spec.network == "host"),
        }
        for name, text in texts.items():
            files.write_atomic(directory / name, text.encode(), 0o644)

    def _monitor(
        self, record: Record, image: Image, endpoints: list[dict[str, Any]], leases: list[str]
    ) -> dict[str, Any]:
        directory, running = self._paths.container(record.id), self._paths.running(record.id)
        return {
            "id": record.id,
            "name": record.name,
            "image": record.image,
            "rootfs": str(running / "rootfs"),
            "overlay": {
                "lower": [str(path) for path in self._images.lower_directories(image)],
                "upper": str(directory / "upper"),
                "work": str(directory / "work"),
            },
            "cgroup": cgroup_name(self._paths, record.id),
            "log": {
                "path": str(directory / "log.json"),
                "driver": record.spec.log.driver,
                "max_size": record.spec.log.max_size,
                "max_file": record.spec.log.max_file,
            },
            "exit": str(directory / "exit.json"),
            "state": str(running / "state.json"),
            "attach": str(running / "attach.sock"),
            "journal": str(self._paths.journal),
            "stdin": record.spec.interactive,
            "size": None,
            "network": {"endpoints": endpoints},
            "leases": leases,
            "auto_remove": record.spec.auto_remove,
            "name_link": str(self._paths.names / record.name),
            "trash": str(self._paths.trash),
            "anonymous_volumes": [
                str(self._paths.volumes / name) for name, _, _, anonymous in record.volumes if anonymous
            ],
        }


def cgroup_name(paths: Paths, container_id: str) -> str:
    """Return the name of a container's cgroup below the engine's place in each hierarchy."""
    return f"{paths.host_name}/{container_id}"


def _check_mounts(spec: ContainerSpec) -> None:
    targets = [mount.target for mount in spec.mounts]
    double = next((target for target in targets if targets.count(target) > 1), None)
    if double:
        raise InvalidArgument(f"two mounts have the target {double}")
    for mount in spec.mounts:
        if mount.kind == "bind" and not Path(mount.source).exists():
            raise InvalidArgument(f"the bind source does not exist: {mount.source}")


def signal_number(name: str) -> int:
    """Return a signal's number from "KILL", "SIGKILL", "9" or "RTMIN+3".

    Raises:
        InvalidArgument: There is no such signal.
    """
    short = name.upper().removeprefix("SIG")
    if short.isdigit() and 0 < int(short) < signal.NSIG:
        return int(short)
    base, _, offset = short.partition("+")
    try:
        number = signal.Signals[f"SIG{base}"].value + (int(offset) if offset else 0)
    except (KeyError, ValueError):
        raise InvalidArgument(f"unknown signal: {name}") from None
    return number
