"""Finds what kills and crashes left behind, and mends it; never touches a live container or what belongs to others.

The plan is a list of problems, made by looking only; the repair runs down the list. Each repair looks again under the
lock of what it touches, so it is safe beside engines at work.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from engine.containers.create import Creator
from engine.containers.lifecycle import Lifecycle
from engine.containers.records import Record, Registry
from engine.errors import EngineError, NotFound, StoreError
from engine.images.images import ImageStore
from engine.linux import files
from engine.linux.cgroup import group as cgroups
from engine.model.finding import Checked, Finding
from engine.model.status import Status
from engine.networks import check as networks_check
from engine.networks.networks import NetworkStore
from engine.store import check as store_check
from engine.store.check import Problem
from engine.store.layers import Layers
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore

_LOOKS = 20


class Check:
    """Checks one state root."""

    def __init__(
        self, paths: Paths, registry: Registry, lifecycle: Lifecycle, creator: Creator, images: ImageStore,
        networks: NetworkStore, volumes: VolumeStore,
    ) -> None:  # fmt: skip
        self._paths = paths
        self._registry = registry
        self._lifecycle = lifecycle
        self._creator = creator
        self._images = images
        self._networks = networks
        self._volumes = volumes

    def run(self, *, repair: bool, deep: bool) -> Checked:
        """Look, and mend what can be mended.

        Args:
            repair: Whether to mend; else nothing is changed.
            deep: Whether to read all blobs and check their digests.
        """
        self._paths.prepare()
        plan = self._look(deep=deep)
        found = tuple(problem.finding for problem in plan)
        if not repair or not plan:
            return Checked(found, found)
        errors = []
        for problem in plan:
            try:
                if problem.mend:
                    problem.mend()
            except FileNotFoundError:
                continue  # somebody else mended it
            except (EngineError, OSError) as error:
                errors.append(f"{problem.finding.kind} {problem.finding.subject}: {error}")
        left = tuple(problem.finding for problem in self._look(deep=deep))
        return Checked(found, left, tuple(errors))

    def _look(self, *, deep: bool) -> tuple[Problem, ...]:
        """Return the plan; when something vanishes while it is looked at, look anew."""
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError):
                return tuple(self.plan(deep=deep))
        return tuple(self.plan(deep=deep))

    def plan(self, *, deep: bool) -> Iterator[Problem]:
        """Yield what is wrong, in an order in which it can be mended: containers first, then what they held."""
        records = {}
        for container_id in self._registry.ids():
            try:
                records[container_id] = self._registry.record(container_id)
            except NotFound:
                yield from self._without_record(container_id)
            except StoreError as error:
                yield Problem(Finding("container", container_id, f"{error}; remove it with: tuicon rm -f"))
        for record in records.values():
            yield from self._container(record)
        yield from self._strays()
        yield from self._names(records)
        yield from networks_check.problems(self._paths, self._networks, self._registry.is_running, self._interfaces)
        yield from self._image_problems(records)
        yield from store_check.problems(self._paths, deep=deep)

    def _without_record(self, container_id: str) -> Iterator[Problem]:
        if self._registry.has_directory(container_id):  # else somebody removed it meanwhile
            text = f"the container directory {container_id[:12]} has no record"
            yield Problem(
                Finding("container", container_id, text, "delete it"), partial(self._lifecycle.forget, container_id)
            )

    def _container(self, record: Record) -> Iterator[Problem]:
        try:
            known = self._registry.known(record.id)
        except NotFound:
            return
        if known.state:
            if not known.state.has_monitor:
                text = (
                    f"container {record.name} runs without its monitor, which was killed: its output is lost, and its \
exit code will be unknown; restart it"
                )
                yield Problem(Finding("monitor", record.name, text))
        elif self._registry.is_running(record.id):
            return
        elif record.spec.auto_remove and known.status is Status.EXITED:
            text = f"container {record.name} was to be removed when it ended"
            mend = partial(self._lifecycle.remove, record.id, force=True, volumes=True)
            yield Problem(Finding("container", record.name, text, "remove it"), mend)
        elif self._is_unsettled(record.id):
            text = f"container {record.name} has ended, and its monitor was killed before it had cleaned up"
            repair = "write down its end and clean up"
            yield Problem(Finding("container", record.name, text, repair), partial(self._lifecycle.settle, record.id))
        yield from self._missing_volumes(record)

    def _is_unsettled(self, container_id: str) -> bool:
        running, directory = self._paths.running(container_id), self._paths.container(container_id)
        marks = (running / "state.json", running / "attach.sock", directory / "starting")
        has_ended = self._registry.exit(container_id) is not None
        return (
            any(path.exists() for path in marks)
            or (not has_ended and self._registry.lost(container_id, None) is not None)
            or container_id in cgroups.groups_below(self._paths.host_name)
        )

    def _missing_volumes(self, record: Record) -> Iterator[Problem]:
        for name, target, _, _ in record.volumes:
            try:
                self._volumes.get(name)
            except NotFound:
                text = f"container {record.name} cannot start: its volume {name[:24]} for {target} is gone"
                yield Problem(Finding("volume", name, text))

    def _strays(self) -> Iterator[Problem]:
        """Yield cgroups and volatile directories of containers that are gone."""
        running = self._paths.run / "containers"
        left = {path.name for path in running.iterdir()} if running.exists() else set()
        groups = cgroups.groups_below(self._paths.host_name)
        for name in sorted(left | groups):
            if self._registry.has_directory(name) or self._is_busy(name):
                continue
            what = " and ".join(["its cgroup"] * (name in groups) + ["its volatile directory"] * (name in left))
            text = f"container {name[:12]} is gone, and {what} is left"
            mend = partial(self._lifecycle.forget, name)
            kind = "cgroup" if name in groups else "directory"
            yield Problem(Finding(kind, name, text, "kill what runs in it, and remove it"), mend)

    def _is_busy(self, container_id: str) -> bool:
        lock = self._paths.lock(f"container-{container_id}")
        return lock.exists() and store_check.is_locked(lock)

    def _names(self, records: dict[str, Record]) -> Iterator[Problem]:
        links = {link.name: os.readlink(link) for link in self._paths.names.iterdir()}
        for name, holder in links.items():
            if self._is_busy(holder):
                continue  # it is being renamed
            record = records.get(holder)
            if record is None and self._creator.is_taken(holder):
                continue  # it is being made
            if record is None or record.name != name:
                text = f"the name {name} leads to {'no container' if record is None else f'container {record.name}'}"
                mend = partial(self._creator.drop_name, name, holder)
                yield Problem(Finding("name", name, text, "free it"), mend)
        for record in records.values():
            if links.get(record.name) != record.id and not self._is_busy(record.id):
                text = f"the name {record.name} does not lead to its container {record.id[:12]}"
                mend = partial(self._creator.restore_name, record)
                yield Problem(Finding("name", record.name, text, "have it lead there, if it is free"), mend)

    def _interfaces(self) -> set[str]:
        """Return the host's ends of the interfaces of containers that run or are being started."""
        found: set[str] = set()
        for container_id in self._registry.ids():
            if not self._registry.is_running(container_id):
                continue
            try:
                settings = json.loads(files.read_file(self._paths.container(container_id) / "monitor.json"))
            except FileNotFoundError:
                continue
            endpoints = [*((settings.get("network") or {}).get("endpoints") or []),
                *self._registry.endpoints(container_id, self._registry.state(container_id))]  # fmt: skip
            found.update(str(endpoint.get("shaper")) for endpoint in endpoints)
            found.update(str(endpoint["host_interface"]) for endpoint in endpoints)
        return found

    def _image_problems(self, records: dict[str, Record]) -> Iterator[Problem]:
        layers = Layers(self._paths)
        images = self._images.list()
        for image in images:
            name = image.references[0] if image.references else image.short_id
            missing = [chain_id for chain_id in image.layers if not layers.directory(chain_id).is_dir()]
            if missing:
                text = f"the image {name} lacks {len(missing)} of its {len(image.layers)} layers; load or pull it again"
                yield Problem(Finding("image", name, text))
        known = {image.id for image in images}
        for record in records.values():
            if record.image_id not in known:
                text = f"container {record.name} cannot start: its image {record.image} is gone"
                yield Problem(Finding("image", record.image, text))
        for kind, ids in zip(("layer", "blob"), self._images.unreferenced(), strict=True):
            for digest in ids:
                path = layers.directory(digest) if kind == "layer" else self._paths.blob(digest)
                finding = Finding(kind, digest, f"no image has the {kind} {digest[7:19]}", "delete it", _size(path))
                yield Problem(finding, self._images.collect)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else store_check.size_of(path)
