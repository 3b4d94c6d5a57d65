"""Creates a container: a directory that is whole when it becomes visible."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.containers import devices, isolation, log_settings, names, runtimes
from engine.containers.confinement import Confinement
from engine.containers.identifiers import Identifiers
from engine.containers.isolation import CONTAINER, Shared
from engine.containers.knobs import checked
from engine.containers.launch import Launcher
from engine.containers.mounting import Mounting
from engine.containers.networking import Networking
from engine.containers.records import HEALTH, NETWORKING, Record, Registry
from engine.errors import Conflict, InvalidArgument, NotFound, NotSupported
from engine.images.images import ImageStore
from engine.linux import capabilities, files
from engine.linux.cgroup.devices import block_device
from engine.model.container import ContainerSpec
from engine.model.health import HealthCheck
from engine.model.image import Image
from engine.model.value import asdict, replace
from engine.networks import resolver
from engine.networks.networks import NetworkStore
from engine.oci import resources, runtime_config
from engine.oci.runtime_config import Bind
from engine.sandbox import reaper
from engine.store import records
from engine.store.drivers.drivers import driver_of
from engine.store.journal import Journal
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

STOPPING = "stopping"
_TRIES = 30


class Creator:
    """Makes containers from specifications."""

    def __init__(
        self, paths: Paths, journal: Journal, registry: Registry, images: ImageStore, networks: NetworkStore,
        volumes: VolumeStore, launcher: Launcher,
    ) -> None:  # fmt: skip
        self._paths = paths
        self._journal = journal
        self._registry = registry
        self._confinement = Confinement(paths)
        self._identifiers = Identifiers(paths, registry.is_running)
        self._images = images
        self._networking = Networking(paths, networks)
        self._volumes = volumes
        self._mounting = Mounting(paths, registry, images, volumes, launcher)

    def create(self, spec: ContainerSpec) -> str:
        """Create a container; return its id.

        Raises:
            EngineError: Something asked for is wrong or missing; nothing is left.
        """
        self._paths.prepare()
        if spec.name:
            names.check(spec.name)
        image = self._images.get(spec.image)
        command = runtime_config.command_of(spec, image.settings)
        stop_signal = spec.stop_signal or image.settings.stop_signal or "TERM"
        spec = self._check(replace(spec, health=spec.health.completed_by(image.settings.health)), stop_signal)
        container_id = os.urandom(32).hex()
        made: list[str] = []
        name = ""
        with self._paths.staged(f"create.{container_id[:16]}") as staged:
            try:
                name = self._take_name(spec.name, container_id)
                volumes = self._mounting.make_volumes(spec, image, made)
                record = Record(
                    container_id, name, image.id, spec.image, command, stop_signal, replace(spec, name=name),
                    spec.limits, datetime.now(UTC), volumes,
                )  # fmt: skip
                log_settings.tag_of(spec.log.tag, record)
                self._write(record, image, staged)
            except BaseException:
                if name:
                    self._paths.names.joinpath(name).unlink(missing_ok=True)
                for volume in made:
                    self._volumes.remove(volume, force=True)
                raise
        self._journal.append("container", "create", container_id, name, image=spec.image)
        return container_id

    def _check(self, spec: ContainerSpec, stop_signal: str) -> ContainerSpec:
        """Refuse what cannot work before anything is made; return the specification with ids for names."""
        signal_number(stop_signal)
        spec = self._mounting.resolve(replace(spec, limits=checked(spec.limits, self._volumes)))
        isolation.check(spec)
        _check_policies(spec)
        runtimes.check(spec)
        devices.granted(spec)
        self._confinement.apparmor(spec)
        self._confinement.check_label(spec.selinux_label)
        self._confinement.seccomp(spec, runtime_config.capabilities_of(spec, capabilities.available()))
        spec = isolation.resolve(spec, self._registry)
        return self._networking.check(spec)

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
                if self.is_taken(holder):
                    return False
                link.unlink()
                link.symlink_to(container_id)
            return True

    def is_taken(self, holder: str) -> bool:
        """Return whether the container behind a name exists or is being made (its link is younger than its files)."""
        being_made = set(self._paths.trash.glob(f"create.{holder[:16]}.*")) - set(self._paths.abandoned())
        return bool(being_made) or self._paths.container(holder).exists()

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
        self._networking.rename(record.id, name)
        self.drop_name(record.name, record.id)

    def drop_name(self, name: str, container_id: str) -> None:
        """Free a container's name, unless another container has it by now."""
        link = self._paths.names / name
        with files.FileLock(self._paths.lock("names")):
            try:
                if os.readlink(link) == container_id:
                    link.unlink()
            except FileNotFoundError:
                return

    def restore_name(self, record: Record) -> None:
        """Have a container's name lead to it again.

        Raises:
            Conflict: Another container has it.
        """
        self._take_name(record.name, record.id)

    def _write(self, record: Record, image: Image, staged: Path) -> None:
        driver_of(self._paths).create(staged, self._images.lower_directories(image))
        records.save(staged / "record.json", record)
        staged.rename(self._paths.container(record.id))

    def prepare_start(self, record: Record) -> None:
        """Write what the monitor needs: config.json, monitor.json, hosts, hostname, resolv.conf; lease addresses and ids.

        Raises:
            Conflict: A container whose namespaces are to be shared is not running.
            EngineError: Something that was asked for has gone since the container was created.
        """
        spec, directory = record.spec, self._paths.container(record.id)
        image = self._images.get(record.image_id)
        self._mounting.check_directories(record)
        shared = isolation.namespaces(spec, self._registry)
        granted = devices.granted(spec)
        available = capabilities.available()
        seccomp, compiled = self._confinement.seccomp(spec, runtime_config.capabilities_of(spec, available))
        running = self._paths.running(record.id)
        for path in (running, running / "rootfs"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        uids, gids, ids_lease = self._identifiers.mappings(spec.userns, record.id)
        attached = self._networking.prepare(record, image)
        addresses = tuple(str(item[name]) for item in attached.settings["endpoints"]
            for name in ("address", "address6") if item[name])  # fmt: skip
        hostname = self._hostname(record)
        owner = (uids[0]["hostID"], gids[0]["hostID"]) if uids else (0, 0)
        resolver_of = attached.settings.get("resolver")
        named = (
            replace(spec, dns=(resolver_of["address"],), dns_options=spec.dns_options or ("ndots:0",))
            if resolver_of
            else spec
        )
        self._write_files(directory, named, hostname, addresses, attached.gateway, owner)
        leases = [*attached.leases, *([str(ids_lease)] if ids_lease else [])]
        settings = self._monitor(record, image, attached.settings, leases)
        place = runtime_config.Place(
            rootfs=settings["rootfs"], hostname=hostname, binds=(*self._files(record), *self._mounting.binds(record)),
            namespaces=shared.namespaces, resources=resources.resources(record.limits, block_device),
            uid_mappings=uids, gid_mappings=gids, capabilities=available, nodes=granted.nodes,
            device_rules=granted.rules, seccomp=seccomp, apparmor=self._confinement.apparmor(spec), edits=granted.edits,
        )  # fmt: skip
        config = runtime_config.runtime_config(spec, image.settings, place)
        records.save(directory / "config.json", config)
        records.save(directory / "monitor.json", {**settings, "seccomp": compiled, **_sharing(shared)})

    def _hostname(self, record: Record) -> str:
        spec = record.spec
        if spec.network.startswith(CONTAINER):
            return self._hostname(self._registry.record(spec.network.removeprefix(CONTAINER)))
        if spec.hostname:
            return spec.hostname
        return os.uname().nodename if "host" in (spec.network, spec.uts_mode) else record.id[:12]

    def _files(self, record: Record) -> tuple[Bind, ...]:
        """Return the binds of resolv.conf, hostname and hosts; those who share a network share the files."""
        owner = record
        while owner.spec.network.startswith(CONTAINER):
            owner = self._registry.record(owner.spec.network.removeprefix(CONTAINER))
        directory = self._paths.container(owner.id)
        return tuple(Bind(str(directory / name), f"/etc/{name}") for name in ("resolv.conf", "hostname", "hosts"))

    @staticmethod
    def _write_files(
        directory: Path, spec: ContainerSpec, hostname: str, addresses: tuple[str, ...], gateway: str,
        owner: tuple[int, int],
    ) -> None:  # fmt: skip
        host = resolver.host_resolv_conf()
        texts = {
            "hostname": hostname + "\n",
            "hosts": resolver.hosts_file(hostname, spec.domainname, addresses, spec.extra_hosts, gateway),
            "resolv.conf": resolver.resolv_conf(
                host, spec.dns, spec.dns_search, spec.dns_options, keeps_loopback=spec.network == "host"
            ),
        }
        for name, text in texts.items():
            files.write_atomic(directory / name, text.encode(), 0o644)
            if owner != (0, 0):
                os.chown(directory / name, *owner)

    def root(self, record: Record) -> dict[str, Any]:
        """Return what a container's root file system is made of, in the storage driver's words."""
        return driver_of(self._paths).settings(self._paths.container(record.id), self.layers(record))

    def layers(self, record: Record) -> tuple[Path, ...]:
        """Return the directories of the layers of a container's image, top first."""
        return self._images.lower_directories(self._images.get(record.image_id))

    def mounts(self, record: Record) -> list[dict[str, Any]]:
        """Return the mounts of a container's own files, binds and volumes, those whose source is there."""
        try:
            own = self._files(record)
        except NotFound:  # the container whose network it shares is gone
            own = ()
        found = tuple(bind for bind in (*own, *self._mounting.binds(record)) if self._mounting.is_there(bind))
        return runtime_config.bind_mounts(found)

    def volumes(self, record: Record) -> list[dict[str, Any]]:
        """Return what has to be mounted for those of the mounts whose sources stand for volumes."""
        return self._mounting.plans(record, self._images.get(record.image_id))

    def _monitor(self, record: Record, image: Image, network: dict[str, Any], leases: list[str]) -> dict[str, Any]:
        directory, running = self._paths.container(record.id), self._paths.running(record.id)
        return {
            "id": record.id,
            "name": record.name,
            "image": record.image,
            "rootfs": str(running / "rootfs"),
            **driver_of(self._paths).settings(directory, self._images.lower_directories(image)),
            "cgroup": cgroup_name(self._paths, record.id, record.spec.cgroup_parent),
            "log": log_settings.settings_of(record, image, directory / "log.json"),
            "exit": str(directory / "exit.json"),
            "state": str(running / "state.json"),
            "stopping": str(running / STOPPING),
            "networking": str(running / NETWORKING),
            "lock": str(self._paths.lock(f"container-{record.id}")),
            "restart": asdict(record.spec.restart),
            "health": health_settings(record.spec.health, running),
            "attach": str(running / "attach.sock"),
            "journal": str(self._paths.journal),
            "stdin": record.spec.interactive,
            "init": record.spec.init,
            "runtime": runtimes.program_of(record.spec),
            "size": None,
            "volumes": self._mounting.plans(record, image),
            "network": network,
            "leases": leases,
            "auto_remove": record.spec.auto_remove,
            "name_link": str(self._paths.names / record.name),
            "trash": str(self._paths.trash),
            "anonymous_volumes": [
                str(self._paths.volumes / name) for name, _, _, anonymous in record.volumes if anonymous
            ],
        }


def cgroup_name(paths: Paths, container_id: str, parent: str = "") -> str:
    """Return the name of a container's cgroup: below the engine's place in each hierarchy, or in a group of the user's."""
    return f"/{parent.strip('/')}/{container_id}" if parent else f"{paths.host_name}/{container_id}"


def health_settings(check: HealthCheck, running: Path) -> dict[str, Any] | None:
    """Return what a monitor must know to check a container's health; None when it does not."""
    return {**asdict(check), "path": str(running / HEALTH)} if check.is_wanted else None


def _sharing(shared: Shared) -> dict[str, Any]:
    """Return what the monitor must know of other containers; it checks that they are still the same."""
    found: dict[str, Any] = {"donors": shared.donors, "memory_of": shared.memory_of}
    return {name: value for name, value in found.items() if value}


def check_health(check: HealthCheck) -> None:
    """Refuse a health check of another form than those of docker.

    Raises:
        InvalidArgument: It names neither CMD, CMD-SHELL nor NONE.
    """
    if check.test not in ((), ("NONE",)) and not check.is_wanted:
        raise InvalidArgument(f"invalid health check {check.test[0]!r}: expected CMD, CMD-SHELL or NONE")


def _check_policies(spec: ContainerSpec) -> None:
    if spec.init and not reaper.is_available():
        raise NotSupported(f"--init has no program for this kind of machine, {os.uname().machine}")
    if spec.auto_remove and spec.restart.name != "no":
        raise InvalidArgument("a container that is removed when it ends cannot have a restart policy")
    check_health(spec.health)
    parts = spec.cgroup_parent.strip("/").split("/")
    if spec.cgroup_parent and any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(f"invalid cgroup parent {spec.cgroup_parent!r}: expected a path such as /tenants/blue")
    if spec.shm_size <= 0:
        raise InvalidArgument("the size of /dev/shm must be above 0")


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
