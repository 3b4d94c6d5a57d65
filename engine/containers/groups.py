"""The control groups of the whole host, with the names of the containers and pods that they belong to."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from engine.containers import top
from engine.containers.records import Registry
from engine.containers.triggers import DEFAULTS, Stalls
from engine.errors import EngineError, NotFound
from engine.linux.cgroup.tree import Tree
from engine.model.groups import ROOT, GroupDetail, GroupReading, HostGroup
from engine.model.value import replace

_ID = r"[0-9a-f]{64}"
_SCOPES = (
    (re.compile(rf"docker-({_ID})\.scope"), "docker"), (re.compile(rf"libpod-({_ID})(?:\.scope)?"), "podman"),
    (re.compile(rf"(?:cri-containerd|crio|cri-o)-({_ID})\.scope"), "kubernetes"),
)  # fmt: skip
_POD = re.compile(r"(?:kubepods[\w-]*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27})(?:\.slice)?")
_OURS = re.compile(r"tuicon(?:_[0-9a-f]{6})?")
_WHOLE = re.compile(_ID)
_LARGEST = 4 << 20
_ASKS_AGAIN_AFTER = 5.0


class Groups:
    """Reads all groups and names them; made for being asked once a second or so."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._tree: Tree | None = None
        self._names = Names()
        self._own: dict[str, tuple[str, float]] = {}

    def read(self) -> GroupReading:
        """Return all groups of the host now."""
        with self._lock:
            self._tree = self._tree or Tree()
            reading = self._tree.read()
            ids = set(self._registry.ids())
            found = tuple(self._named(classified(group), ids) for group in reading.groups)
            return replace(reading, groups=found)

    def _named(self, group: HostGroup, ids: set[str]) -> HostGroup:
        if group.container_id in ids:
            return replace(group, owner="tuicon", is_ours=True, name=self._own_name(group.container_id))
        if group.owner in ("docker", "podman", "kubernetes"):
            name = self._names.of(group)
            return replace(group, name=name) if name else group
        return group

    def _own_name(self, container_id: str) -> str:
        name, asked = self._own.get(container_id, ("", 0.0))
        now = time.monotonic()
        if not name or now - asked > _ASKS_AGAIN_AFTER:
            try:
                name = self._registry.record(container_id).name
            except EngineError:
                name = container_id[:12]
            self._own[container_id] = (name, now)
        return name

    def stalls(self, thresholds: Mapping[str, float] = DEFAULTS, only: Collection[str] | None = None) -> Stalls:
        """Return what waits for stalls of our containers; see engine.containers.triggers."""
        return Stalls(self._registry, thresholds, only)

    def inspect(self, path: str) -> GroupDetail:
        """Return all that the kernel says of one group.

        Raises:
            NotFound: There is no such group.
        """
        with self._lock:
            self._tree = self._tree or Tree()
            tree = self._tree
        try:
            files, pids = tree.files(path), tree.pids(path)
        except FileNotFoundError:
            raise NotFound("control group", path) from None
        return GroupDetail(path, files, top.processes(pids, pids[0] if pids else 0))


def classified(group: HostGroup) -> HostGroup:
    """Return a group with what its path says of it; pure."""
    if group.path == ROOT:
        return replace(group, kind="root", name="host")
    parent, _, last = group.path.rpartition("/")
    above = parent.rpartition("/")[2]
    for pattern, owner in _SCOPES:
        match = pattern.fullmatch(last)
        if match:
            return replace(group, kind="container", owner=owner, container_id=match[1], name=match[1][:12])
    pod = _POD.fullmatch(last)
    if pod:
        return replace(group, kind="pod", owner="kubernetes", name=pod[1].replace("_", "-"))
    if _WHOLE.fullmatch(last):
        owner = (
            "docker"
            if above == "docker"
            else "tuicon"
            if _OURS.fullmatch(above)
            else "kubernetes"
            if _POD.fullmatch(above)
            else ""
        )
        return replace(group, kind="container", owner=owner, container_id=last, name=last[:12])
    owner = "kubernetes" if last.startswith("kubepods") else "tuicon" if _OURS.fullmatch(last) else ""
    kind = last.rpartition(".")[2]
    if kind in ("slice", "service", "scope"):
        return replace(group, kind=kind, owner=owner or "systemd", name=last)
    return replace(group, owner=owner, name=last)


class Names:
    """Names of other engines' containers, from the files in which those keep them.

    Args:
        docker: docker's data roots.
        podman: podman's storage.
        pods, logs: Where kubelet keeps the logs of pods and of containers, whose names say what they belong to.
    """

    def __init__(
        self, docker: Iterable[Path] | None = None, podman: Iterable[Path] = (Path("/var/lib/containers/storage"),),
        pods: Path = Path("/var/log/pods"), logs: Path = Path("/var/log/containers"),
    ) -> None:  # fmt: skip
        self._docker = tuple(docker) if docker is not None else _docker_roots()
        self._podman = tuple(podman)
        self._pods = pods
        self._logs = logs
        self._known: dict[str, tuple[str, float]] = {}

    def of(self, group: HostGroup) -> str:
        """Return the name of a container or pod; empty when it is not known."""
        key = group.container_id or group.name
        name, asked = self._known.get(key, ("", -_ASKS_AGAIN_AFTER))
        now = time.monotonic()
        if name or now - asked < _ASKS_AGAIN_AFTER:
            return name
        if group.owner == "docker":
            name = self._of_docker(group.container_id)
        elif group.owner == "podman":
            name = self._of_podman(group.container_id)
        else:
            name = self._of_container(group.container_id) if group.container_id else self._of_pod(group.name)
        self._known[key] = (name, now)
        return name

    def _of_docker(self, container_id: str) -> str:
        for root in self._docker:
            document = _load(root / "containers" / container_id / "config.v2.json")
            if isinstance(document, dict) and document.get("Name"):
                return str(document["Name"]).lstrip("/")
        return ""

    def _of_podman(self, container_id: str) -> str:
        for root in self._podman:
            for path in root.glob("*-containers/containers.json"):
                found = _load(path)
                for item in found if isinstance(found, list) else ():
                    if isinstance(item, dict) and item.get("id") == container_id and item.get("names"):
                        return str(item["names"][0])
        return ""

    def _of_pod(self, uid: str) -> str:
        """Return "NAMESPACE/POD", from NAMESPACE_POD_UID."""
        for name in _listed(self._pods):
            if name.endswith(f"_{uid}"):
                return "/".join(name.split("_")[:2])
        return ""

    def _of_container(self, container_id: str) -> str:
        """Return "POD/CONTAINER", from POD_NAMESPACE_CONTAINER-ID.log."""
        for name in _listed(self._logs):
            if name.endswith(f"-{container_id}.log"):
                pod, _, rest = name.partition("_")
                return f"{pod}/{rest.partition('_')[2].removesuffix(f'-{container_id}.log')}"
        return ""


def _docker_roots() -> tuple[Path, ...]:
    document = _load(Path("/etc/docker/daemon.json"))
    own = document.get("data-root") if isinstance(document, dict) else None
    return (*([Path(str(own))] if own else []), Path("/var/lib/docker"))


def _load(path: Path) -> object:
    """Return a JSON document of another program; None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_LARGEST))
    except (OSError, ValueError):
        return None


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are what is wanted
    except OSError:
        return []
