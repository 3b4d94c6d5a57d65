"""The front door: `Engine` opens a state root, and everything else hangs below it.

    with Engine() as engine:
        engine.images.build_demo()
        container = engine.containers.run(ContainerSpec("tuicon/demo", command=("sleep", "60")))
        engine.containers.update(container.id, lambda limits: replace(limits, cpus=0.5))

All methods are synchronous and may be called from any thread; none needs a terminal.
"""

from __future__ import annotations

import os
from functools import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any, BinaryIO

    from engine.containers.containers import Containers
    from engine.containers.events import Events
    from engine.containers.groups import Groups
    from engine.containers.launch import Launcher
    from engine.containers.metrics import Metrics
    from engine.containers.records import Registry
    from engine.containers.session import Session
    from engine.containers.sync import Wire
    from engine.containers.system import System
    from engine.containers.volumes import Volumes
    from engine.images.images import ImageStore
    from engine.images.registry.registries import Registries
    from engine.model.container import Mount
    from engine.model.network import PortMapping
    from engine.networks.networks import NetworkStore
    from engine.store.journal import Journal
    from engine.store.paths import Paths


DEFAULT_ROOT = "/var/lib/tuicon"
DEFAULT_RUN_ROOT = "/run/tuicon"


def _absolute(path: Path | str) -> str:
    """Return what Path.absolute does, without loading pathlib: what follows a link stays as it is."""
    text = os.fspath(path)
    return os.path.join(os.getcwd(), text) if ".." in text else os.path.abspath(text)  # noqa: PTH100, PTH109, PTH118


class Engine:
    """A container engine on one state root. Cheap to make: each room is loaded when it is first used.

    Args:
        root: The state root; it is made when it is first needed.
        run_root: What does not survive a reboot.
        storage_driver: "overlay", "btrfs", "fuse-overlayfs" or "vfs"; empty for what the root has, or what suits a new one.

    """

    def __init__(
        self, root: Path | str = DEFAULT_ROOT, run_root: Path | str | None = None, storage_driver: str = ""
    ) -> None:
        self._root = _absolute(root)
        at_home = DEFAULT_RUN_ROOT if self._root == DEFAULT_ROOT else f"{self._root}/run"
        self._run_root = _absolute(run_root or at_home)
        self._storage_driver = storage_driver

    def __enter__(self) -> Engine:
        """Return the engine."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    def close(self) -> None:
        """End the launcher; containers go on."""
        if "_launcher" in self.__dict__:
            self._launcher.close()

    def warm(self) -> None:
        """Start the launcher now, so that the first start takes milliseconds."""
        self._launcher.warm()

    def disk(self) -> str:
        """Return the disk that containers write to, such as /dev/vda; empty when it has none."""
        return disk_of(str(self.root if self.root.exists() else self.root.parent))

    @cached_property
    def root(self) -> Path:
        """Records, images, layers, volumes."""
        from pathlib import Path

        return Path(self._root)

    @cached_property
    def run_root(self) -> Path:
        """What does not survive a reboot."""
        from pathlib import Path

        return Path(self._run_root)

    @cached_property
    def _paths(self) -> Paths:
        from engine.store.paths import Paths

        return Paths(self.root, self.run_root, self._storage_driver)

    def execute(self, ref: str, asked: dict[str, Any], size: tuple[int, int] | None = None) -> Session:
        """Run a command in a running container as `containers.exec` does, and faster where no launcher is warm.

        Args:
            ref: The container.
            asked: The fields of an ExecSpec that is not detached.
            size: Rows and columns of the terminal.

        Raises:
            Conflict: The container is not running, or paused.
            StartFailed: The command cannot be started (CommandNotFound, CommandNotExecutable).
        """
        from engine.containers import express

        session = express.execute(self._root, self._run_root, ref, asked, size)
        if session is None:
            self.warm()
            from engine.model.container import ExecSpec

            session = self.containers.exec(ref, ExecSpec(**asked), size=size)
            assert session is not None
        return session

    @cached_property
    def _launcher(self) -> Launcher:
        from engine.containers.launch import Launcher

        return Launcher()

    @cached_property
    def _journal(self) -> Journal:
        from engine.store.journal import Journal

        return Journal(self._paths.journal, self._paths.lock("journal"))

    @cached_property
    def _registry(self) -> Registry:
        from engine.containers.records import Registry

        return Registry(self._paths)

    @cached_property
    def containers(self) -> Containers:
        """Containers."""
        from engine.containers.containers import Containers

        return Containers(self._paths, self._journal, self._registry, self, self._launcher)

    def metrics(self) -> Metrics:
        """Return the metrics of all containers, for Prometheus."""
        from engine.containers.metrics import Metrics

        return Metrics(self.containers)

    @cached_property
    def images(self) -> ImageStore:
        """Images."""
        from engine.images.images import ImageStore

        return ImageStore(self._paths, self._journal, self._registry.users_of_image)

    @property
    def registries(self) -> Registries:
        """Registries: pull, push, login, tags, search."""
        return self.images.registries

    @cached_property
    def networks(self) -> NetworkStore:
        """Networks."""
        from engine.networks.networks import NetworkStore

        return NetworkStore(self._paths, self._journal, self._registry.is_running, self._registry.in_force)

    @cached_property
    def volumes(self) -> Volumes:
        """Volumes."""
        from engine.containers.volumes import Volumes

        return Volumes(self._paths, self._journal, self._registry)

    @cached_property
    def events(self) -> Events:
        """Events."""
        from engine.containers.events import Events

        return Events(self._paths, self._journal)

    @cached_property
    def groups(self) -> Groups:
        """The control groups of the whole host."""
        from engine.containers.groups import Groups

        return Groups(self._registry)

    @cached_property
    def system(self) -> System:
        """The host, the state root as a whole, and the demo."""
        from engine.containers.system import System

        return System(self._paths, self.containers, self.images, self.networks, self.volumes)


def parse_volume(text: str) -> Mount:
    """Parse docker's -v."""
    from engine.volumes.parse import parse_volume as parse

    return parse(text)


def parse_mount(text: str) -> Mount:
    """Parse docker's --mount."""
    from engine.volumes.parse import parse_mount as parse

    return parse(text)


def parse_tmpfs(text: str) -> Mount:
    """Parse docker's --tmpfs."""
    from engine.volumes.parse import parse_tmpfs as parse

    return parse(text)


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Parse docker's -p."""
    from engine.networks.ports import parse_publish as parse

    return parse(text)


def parse_expose(text: str) -> tuple[str, ...]:
    """Parse docker's --expose."""
    from engine.networks.ports import parse_expose as parse

    return parse(text)


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value below which a part (0..1) of the values lies; 0.0 of none."""
    from engine.sandbox.ring import percentile as of

    return of(values, part)


def full_reference(text: str) -> str:
    """Return a reference in its full form, "docker.io/library/busybox:latest".

    Raises:
        InvalidArgument: With the part that is wrong.
    """
    from engine.oci.reference import parse

    return str(parse(text))


def check_platform(text: str) -> None:
    """Check an "os/architecture[/variant]".

    Raises:
        InvalidArgument: It is none.
    """
    from engine.oci.manifest import parse_platform

    parse_platform(text)


def familiar_reference(reference: str) -> tuple[str, str]:
    """Return (name, tag) of a reference in the short form that docker prints."""
    from engine.oci.reference import familiar

    return familiar(reference)


def wire(reader: BinaryIO, write: Callable[[bytes], object]) -> Wire:
    """Return the connection to the other end of a sync for `volumes.serve`."""
    from engine.containers.sync import Wire

    return Wire(reader, write)


def disk_of(path: str) -> str:
    """Return the disk that a path is on, such as /dev/vda; empty when there is none."""
    from engine.linux.cgroup.devices import disk_of as find

    return find(path)
