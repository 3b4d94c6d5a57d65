"""The host, the state root as a whole, and the demo."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

from engine.containers import confinement
from engine.containers.containers import Containers
from engine.errors import EngineError, NotFound
from engine.images.demo import REFERENCE
from engine.images.images import ImageStore
from engine.linux import files
from engine.linux.cgroup import group as cgroups
from engine.linux.cgroup import host, layout
from engine.model.container import Container, ContainerSpec
from engine.model.finding import Booted, Checked
from engine.model.host import DiskUsage, HostInfo
from engine.model.limits import Limits
from engine.networks.networks import NetworkStore
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

_DEMO = (
    ("demo-cpu", ("load", "cpu"), Limits(cpus=0.5, pids=64)),
    ("demo-memory", ("load", "memory", "48"), Limits(memory=96 << 20, cpus=0.5, pids=64)),
    ("demo-io", ("load", "io", "8"), Limits(memory=128 << 20, cpus=0.5, pids=64)),
)
_LABEL = "tuicon.demo"


class System:
    """What concerns everything at once."""

    def __init__(
        self, paths: Paths, containers: Containers, images: ImageStore, networks: NetworkStore, volumes: VolumeStore
    ) -> None:
        self._paths = paths
        self._containers = containers
        self._images = images
        self._networks = networks
        self._volumes = volumes

    def info(self) -> HostInfo:
        """Return what the host is and can do."""
        hierarchy = layout.detect()
        statuses = [str(container.status) for container in self._containers.list()]
        version = "2" if hierarchy.version == 2 else "1 (hybrid)" if hierarchy.is_hybrid else "1"
        return HostInfo(
            hostname=os.uname().nodename,
            kernel=os.uname().release,
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cgroup_version=version,
            controllers=hierarchy.controllers,
            storage_driver=self._paths.driver,
            root=str(self._paths.root),
            run_root=str(self._paths.run),
            containers_running=statuses.count("running"),
            containers_paused=statuses.count("paused"),
            containers_stopped=len(statuses) - statuses.count("running") - statuses.count("paused"),
            images=len(self._images.list()),
            warnings=(*host.warnings(), *confinement.warnings(), *self._networks.firewall.warnings()),
        )

    def check(self, *, repair: bool = False, deep: bool = False) -> Checked:
        """Find what kills and crashes left behind; safe beside engines at work.

        Args:
            repair: Whether to mend what can be mended; nothing of a live container is touched.
            deep: Whether to read all blobs and check their digests.
        """
        return self._containers.checker.run(repair=repair, deep=deep)

    def boot(self) -> tuple[Booted, ...]:
        """Start the containers whose restart policy wants it after a boot; it is fine to do so twice."""
        return self._containers.booter.start()

    def shutdown(self) -> tuple[Booted, ...]:
        """Stop all containers, so that a boot starts them again."""
        return self._containers.booter.stop()

    def unit(self, program: str) -> str:
        """Return a systemd unit that boots and shuts down this state root with the host.

        Args:
            program: The absolute path of the tuicon program.
        """
        from engine.containers.boot import systemd_unit

        return systemd_unit(program, str(self._paths.root), str(self._paths.run))

    def autotune_unit(self, program: str, rules: str) -> str:
        """Return a systemd unit that moves limits by rules.

        Args:
            program: The absolute path of the tuicon program.
            rules: The absolute path of the file with the rules.
        """
        from engine.containers.boot import autotune_unit

        return autotune_unit(program, str(self._paths.root), str(self._paths.run), rules)

    def disk_usage(self) -> tuple[DiskUsage, ...]:
        """Return what images, containers and volumes occupy on the disk."""
        from engine.containers.disk import disk_usage

        return disk_usage(self._paths, self._containers.list(), self._images.list(), self._volumes)

    def check_permissions(self) -> tuple[str, ...]:
        """Return a sentence for each thing that is missing to run containers; empty when nothing is."""
        if os.geteuid() != 0:
            return ("Containers need root: namespaces, mounts and cgroups. Start it with: sudo tuicon",)
        found = []
        try:
            self._paths.prepare()
        except EngineError as error:
            found.append(f"{error}.")
        try:
            layout.detect()
        except OSError as error:
            found.append(f"{error}.")
        return tuple(found)

    def reset(self) -> None:
        """Remove everything: containers, images, networks, volumes, cgroups, rules, and the state itself.

        Raises:
            ExceptionGroup: Some of it could not be removed; the rest is gone.
        """
        if not self._paths.root.exists():
            return
        problems: list[Exception] = []

        def attempt(action: Callable[[], object]) -> None:
            try:
                action()
            except NotFound:
                return
            except (EngineError, OSError) as error:
                problems.append(error)

        for container in self._containers.list():
            attempt(lambda ref=container.id: self._containers.remove(ref, force=True, volumes=True))  # type: ignore[misc]
        attempt(self._networks.reset)
        attempt(self._remove_own_group)
        attempt(lambda: files.remove_tree(self._paths.run))
        attempt(lambda: files.remove_tree(self._paths.root))
        if problems:
            raise ExceptionGroup("the reset left something behind", problems)

    def _remove_own_group(self) -> None:
        """Remove this root's own group, from each hierarchy, with what may still run in it."""
        group = cgroups.group_for(self._paths.host_name)
        group.kill()
        group.remove()
        cgroups.remove_empty(self._paths.host_name)

    def demo_up(self) -> tuple[Container, ...]:
        """Start the demo's three containers, with CPU, memory and I/O load; it is fine when they run already."""
        try:
            self._images.get(REFERENCE)
        except NotFound:
            self._images.build_demo()
        return tuple(self._demo_container(name, command, limits) for name, command, limits in _DEMO)

    def _demo_container(self, name: str, command: tuple[str, ...], limits: Limits) -> Container:
        try:
            container = self._containers.get(name)
        except NotFound:
            spec = ContainerSpec(
                REFERENCE, name=name, command=command, limits=limits, labels={_LABEL: "1"}, stop_timeout=2
            )
            container = self._containers.create(spec)
        return self._containers.start(container.id)

    def demo_down(self) -> None:
        """Remove the demo's containers."""
        for container in self._containers.list():
            if _LABEL in container.spec.labels:
                self._containers.remove(container.id, force=True, volumes=True)
