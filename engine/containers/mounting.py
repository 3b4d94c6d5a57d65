"""What a container has mounted: its volumes are made and filled, and its mounts become documents for its monitor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.containers.launch import Launcher
from engine.containers.records import Record, Registry
from engine.errors import InvalidArgument
from engine.images.images import ImageStore
from engine.model.container import ContainerSpec, Mount
from engine.model.image import Image
from engine.model.value import Value, replace
from engine.model.volume import Volume
from engine.oci.runtime_config import Bind
from engine.store.paths import Paths
from engine.volumes.drivers.drivers import driver_of
from engine.volumes.drivers.local import bind_options
from engine.volumes.parse import parse_volumes_from
from engine.volumes.volumes import VolumeStore

Volumes = tuple[tuple[str, str, bool, bool], ...]
_STANDS_FOR = "volume:"
"""With a target behind it, the source of a mount that the monitor makes."""


class _Wanted(Value, frozen=True):
    mount: Mount
    volume: Volume
    read_only: bool


class Mounting:
    """Makes what the specification's mounts need."""

    def __init__(
        self, paths: Paths, registry: Registry, images: ImageStore, volumes: VolumeStore, launcher: Launcher
    ) -> None:
        self._paths = paths
        self._registry = registry
        self._images = images
        self._volumes = volumes
        self._launcher = launcher

    def resolve(self, spec: ContainerSpec) -> ContainerSpec:
        """Return a specification with the mounts of the containers that it names, and ids for images.

        Raises:
            InvalidArgument: Two mounts have one target, a bind has no source, or a driver does not take its options.
            NotFound: There is no such container or image.
        """
        self._check(spec)
        found: dict[str, Mount] = {}
        for text in spec.volumes_from:
            container, read_only = parse_volumes_from(text)
            for mount in self._mounts_of(self._registry.record(self._registry.resolve(container))):
                found[mount.target] = replace(mount, read_only=mount.read_only or bool(read_only))
        for mount in spec.mounts:
            is_image = mount.kind == "image"
            found[mount.target] = replace(mount, source=self._images.get(mount.source).id) if is_image else mount
        return replace(spec, mounts=tuple(found.values()))

    def _check(self, spec: ContainerSpec) -> None:
        targets = [mount.target for mount in spec.mounts]
        double = next((target for target in targets if targets.count(target) > 1), None)
        if double:
            raise InvalidArgument(f"two mounts have the target {double}")
        for mount in spec.mounts:
            if mount.kind == "bind" and not Path(mount.source).exists():
                raise InvalidArgument(f"the bind source does not exist: {mount.source}")
            if mount.kind == "volume":
                driver_of(mount.driver or "local").check(mount.driver_options)

    @staticmethod
    def _mounts_of(record: Record) -> Iterator[Mount]:
        """Yield the binds and volumes of another container, volumes by their names."""
        asked = {mount.target: mount for mount in record.spec.mounts}
        for name, target, read_only, _ in record.volumes:
            subpath = asked[target].subpath if target in asked else ""
            yield Mount("volume", target, name, read_only, subpath=subpath)
        yield from (mount for mount in record.spec.mounts if mount.kind == "bind")

    def make_volumes(self, spec: ContainerSpec, image: Image, made: list[str]) -> Volumes:
        """Make the volumes of a container, and fill those that are new and whose files are here.

        Args:
            spec: The specification.
            image: Its image, which may want more volumes.
            made: Gets the names of anonymous ones that were made, also when something fails.
        """
        targets = {mount.target for mount in spec.mounts}
        wanted = [mount for mount in spec.mounts if mount.kind == "volume"]
        wanted += [Mount("volume", path) for path in image.settings.volumes if path not in targets]
        found = []
        for mount in wanted:
            volume = self._volumes.create(
                mount.source, driver=mount.driver, options=mount.driver_options, labels=mount.labels
            )
            if not mount.source:
                made.append(volume.name)
            elif volume.anonymous:
                self._volumes.share(volume.name)
            directory = driver_of(volume.driver).directory(volume)
            if directory and not mount.no_copy and not mount.subpath:
                self._fill(volume, directory, image, mount.target)
            is_anonymous = volume.anonymous and (not mount.source or bool(spec.volumes_from))
            found.append((volume.name, mount.target, mount.read_only, is_anonymous))
        return tuple(found)

    def _fill(self, volume: Volume, directory: str, image: Image, target: str) -> None:
        """Copy what the image has at a target into an empty directory; the kernel says what the layers hide."""
        if not self._volumes.is_empty(directory):
            return
        lower = [str(path) for path in self._images.lower_directories(image)]
        image_fd = self._launcher.view({"lower": lower, "place": str(self._paths.trash)})
        try:
            self._volumes.copy_up(volume.name, directory, image_fd, target)
        finally:
            os.close(image_fd)

    def check_directories(self, record: Record) -> None:
        """Refuse to start a container with a volume whose directory of the host has gone.

        Raises:
            InvalidArgument: One is not there.
        """
        for item in self._wanted(record):
            directory = driver_of(item.volume.driver).directory(item.volume)
            if directory and not Path(directory).exists():
                raise InvalidArgument(
                    f"the volume {item.volume.name} has its files in {directory}, which does not exist"
                )

    def binds(self, record: Record) -> tuple[Bind, ...]:
        """Return the binds and volumes of a container; what has to be mounted first has a source that stands for it."""
        given = [
            Bind(mount.source, mount.target, mount.read_only,
                tuple(option for option in mount.options if option != "idmap"), "idmap" in mount.options)
            for mount in record.spec.mounts if mount.kind == "bind"
        ]  # fmt: skip
        targets = {bind.target for bind in given}
        volumes = [self._bind(item) for item in self._wanted(record) if item.mount.target not in targets]
        images = [
            Bind(_STANDS_FOR + mount.target, mount.target, True)
            for mount in record.spec.mounts
            if mount.kind == "image"
        ]
        return (*given, *volumes, *images)

    @staticmethod
    def _bind(item: _Wanted) -> Bind:
        directory = driver_of(item.volume.driver).directory(item.volume)
        source = directory if directory and not item.mount.subpath else _STANDS_FOR + item.mount.target
        options = bind_options(item.volume) if directory else ()
        return Bind(source, item.mount.target, item.read_only, options, is_mapped=True)

    def plans(self, record: Record, image: Image) -> list[dict[str, Any]]:
        """Return what the monitor has to mount (see engine.sandbox.volumes)."""
        place = str(self._paths.trash)
        found = []
        for item in self._wanted(record):
            mount, volume = item.mount, item.volume
            driver = driver_of(volume.driver)
            directory = driver.directory(volume)
            if directory and not mount.subpath:
                continue
            plan: dict[str, Any] = {
                "source": _STANDS_FOR + mount.target, "name": volume.name, "subpath": mount.subpath, "place": place,
            }  # fmt: skip
            if directory:
                plan["path"] = directory
            else:
                plan |= {"mount": driver.plan(volume), "notes": str(self._paths.mounted_volume(volume.name))}
                if not mount.no_copy and not mount.subpath:
                    plan["copy"] = {"lower": self._layers(image), "target": mount.target}
            found.append(plan)
        images = [
            {"source": _STANDS_FOR + mount.target, "name": f"the image at {mount.target}", "subpath": mount.subpath,
                "place": place, "lower": self._layers(self._images.get(mount.source))}
            for mount in record.spec.mounts if mount.kind == "image"
        ]  # fmt: skip
        return [*found, *images]

    def _layers(self, image: Image) -> list[str]:
        return [str(path) for path in self._images.lower_directories(image)]

    def _wanted(self, record: Record) -> Iterator[_Wanted]:
        asked = {mount.target: mount for mount in record.spec.mounts if mount.kind == "volume"}
        for name, target, read_only, _ in record.volumes:
            yield _Wanted(asked.get(target) or Mount("volume", target), self._volumes.get(name), read_only)

    @staticmethod
    def is_there(bind: Bind) -> bool:
        """Return whether a bind has its source, as far as that can be seen without mounting anything."""
        return bind.source.startswith(_STANDS_FOR) or Path(bind.source).exists()
