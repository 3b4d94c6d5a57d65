"""A container's files as one descriptor, whether it runs or not; its lock is held, so they stay those of one mount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from engine.containers.create import Creator
from engine.containers.launch import Launcher
from engine.containers.lifecycle import Lifecycle
from engine.containers.records import Known, Record, Registry
from engine.images.tar import Entry
from engine.linux import inside
from engine.model.status import Status
from engine.model.value import Value
from engine.store import records
from engine.store.drivers.drivers import driver_of
from engine.store.paths import Paths

_NOBODY = 65534


class Owners(Value, frozen=True):
    """What the ids of files are in the container and in a view of them.

    Attributes:
        uids, gids: The maps of its user namespace, as in the OCI config; empty when ids are the same.
    """

    uids: tuple[dict[str, int], ...] = ()
    gids: tuple[dict[str, int], ...] = ()

    @property
    def root(self) -> tuple[int, int]:
        """The container's root in the view."""
        return (_mapped(0, self.uids, "containerID", "hostID", 0), _mapped(0, self.gids, "containerID", "hostID", 0))

    def to_view(self, entry: Entry) -> None:
        """Give an entry with ids of the container those of the view; what the container has no id for is its root's."""
        root_uid, root_gid = self.root
        entry.uid = _mapped(entry.uid, self.uids, "containerID", "hostID", root_uid)
        entry.gid = _mapped(entry.gid, self.gids, "containerID", "hostID", root_gid)

    def from_view(self, entry: Entry) -> None:
        """Give an entry of the view the ids that the container sees."""
        entry.uid = _mapped(entry.uid, self.uids, "hostID", "containerID", _NOBODY)
        entry.gid = _mapped(entry.gid, self.gids, "hostID", "containerID", _NOBODY)


def _mapped(number: int, mappings: tuple[dict[str, int], ...], source: str, target: str, otherwise: int) -> int:
    for item in mappings:
        if 0 <= number - item[source] < item["size"]:
            return number - item[source] + item[target]
    return otherwise if mappings else number


class View(Value, frozen=True):
    """A container's root.

    Attributes:
        fd: Its directory.
        owners: What its ids are.
    """

    fd: int
    owners: Owners


class Views:
    """Opens views."""

    def __init__(
        self, paths: Paths, registry: Registry, creator: Creator, lifecycle: Lifecycle, launcher: Launcher
    ) -> None:
        self._paths = paths
        self._registry = registry
        self._creator = creator
        self._lifecycle = lifecycle
        self._launcher = launcher

    @contextmanager
    def root(self, container_id: str, *, alone: bool = False) -> Iterator[View]:
        """Open a container's root with its volumes and binds.

        Args:
            container_id: The container; nobody can start, pause or remove it meanwhile.
            alone: Whether to leave out what is mounted on its root file system.

        Raises:
            NotSupported: It cannot be mounted.
        """
        with self._lifecycle.lock(container_id):
            self._lifecycle.wait_for_monitor(container_id)
            known = self._registry.known(container_id)
            view = View(self._launcher.view({**self._request(known, alone=alone), "alone": alone}), self._owners(known))
            try:
                yield view
            finally:
                os.close(view.fd)

    def _request(self, known: Known, *, alone: bool) -> dict[str, Any]:
        if known.state:
            return {"pid": known.state.pid, "pid_start": known.state.pid_start}
        return {
            "root": self._creator.root(known.record), "place": str(self._paths.trash),
            "mounts": [] if alone else self._creator.mounts(known.record),
            "volumes": [] if alone else self._creator.volumes(known.record), "read_only": known.record.spec.read_only,
        }  # fmt: skip

    def _owners(self, known: Known) -> Owners:
        """Return the map of a running container; the files of others show the ids that they have inside."""
        if not known.state:
            return Owners()
        linux = records.load_json(self._paths.container(known.record.id) / "config.json").get("linux") or {}
        return Owners(tuple(linux.get("uidMappings") or ()), tuple(linux.get("gidMappings") or ()))

    @contextmanager
    def image(self, record: Record) -> Iterator[int]:
        """Open the root of a container's image, which nobody can write."""
        lower = [str(path) for path in self._creator.layers(record)]
        fd = self._launcher.view({"lower": lower, "place": str(self._paths.trash)})
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def upper(self, record: Record) -> Iterator[int]:
        """Open the directory of what a container changed, in overlay form."""
        directory = self._paths.container(record.id)
        with driver_of(self._paths).upper(directory, self._creator.layers(record)) as upper:
            fd = inside.open_root(upper)
            try:
                yield fd
            finally:
                os.close(fd)

    @contextmanager
    def changed(self, container_id: str, *, is_held: bool) -> Iterator[tuple[Record, int, int]]:
        """Open the upper directory and the image's root of a container that nobody starts or removes meanwhile.

        Args:
            container_id: The container.
            is_held: Whether its processes stand still; one that was paused before stays so.
        """
        with self._lifecycle.lock(container_id), ExitStack() as stack:
            self._lifecycle.wait_for_monitor(container_id)
            known = self._registry.known(container_id)
            image_fd = stack.enter_context(self.image(known.record))
            upper_fd = stack.enter_context(self.upper(known.record))
            if is_held and known.state and known.status is Status.RUNNING:
                cgroup = known.state.cgroup
                stack.enter_context(self._launcher.held(cgroup["version"], cgroup["paths"]))
            yield known.record, upper_fd, image_fd
