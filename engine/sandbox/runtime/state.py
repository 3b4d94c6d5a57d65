"""What is known of each container: a directory under --root with its state and the config it was created from.

ROOT/ID/state.json is the record, written whole; it has a "pid" once there is a first process. ROOT/ID/config.json is
the config as it was at create, since later changes of the bundle mean nothing (runtime-spec runtime.md, "Lifecycle").
ROOT/ID/start is the socket on which the first process waits for `start`; it is gone once that was asked for.
ROOT/ID/lock is held while the container is changed.
"""

from __future__ import annotations

import os

from engine.linux import files, procfs
from engine.linux.cgroup.group import Group
from engine.linux.light import json
from engine.sandbox.runtime.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.sandbox.runtime.arguments import Arguments

    Document = dict[str, Any]

DEFAULT_ROOT = "/run/tuicon-oci"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_LONGEST_ID = 255


class Container:
    """One container's directory and record."""

    def __init__(self, root: str, container_id: str) -> None:
        if not 0 < len(container_id) <= _LONGEST_ID or set(container_id) - _LETTERS or container_id[0] == ".":
            raise Fault(f"container ID {container_id!r}: invalid characters; it is made of letters, digits and _+-.")
        self.container_id = container_id
        self.directory = f"{root}/{container_id}"
        self.record: Document = {}

    @classmethod
    def named_by(cls, arguments: Arguments) -> Container:
        """Return the container that a command names, with its record.

        Raises:
            Fault: There is none.
        """
        container = cls(arguments.text("root", DEFAULT_ROOT), arguments.container_id)
        container.load()
        return container

    def load(self) -> None:
        """Read the record; it is empty when `create` was killed before it wrote one.

        Raises:
            Fault: There is no such container.
        """
        try:
            self.record = json.loads(files.read_file(f"{self.directory}/state.json"))
        except FileNotFoundError:
            if not os.path.isdir(self.directory):
                raise Fault(f"container {self.container_id} does not exist") from None

    def make(self) -> None:
        """Make the directory.

        Raises:
            Fault: The ID is taken.
        """
        os.makedirs(os.path.dirname(self.directory), 0o700, exist_ok=True)
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            raise Fault(f"a container with the ID {self.container_id} exists") from None

    def save(self) -> None:
        """Write the record."""
        files.write_atomic(f"{self.directory}/state.json", json.dumps(self.record).encode())

    def lock(self) -> files.FileLock:
        """Return the lock that changes of this container are made under.

        Raises:
            Fault: There is no such container any more.
        """
        if not os.path.isdir(self.directory):
            raise Fault(f"container {self.container_id} does not exist")
        return files.FileLock(f"{self.directory}/lock")

    def discard(self) -> None:
        """Forget the container."""
        files.remove_tree(self.directory)

    @property
    def config(self) -> Document:
        """The config that it was created from."""
        found: Document = json.loads(files.read_file(f"{self.directory}/config.json"))
        return found

    @property
    def start_socket(self) -> str:
        """The socket on which the first process waits."""
        return f"{self.directory}/start"

    @property
    def pid(self) -> int:
        """The first process, or 0 when there is none."""
        pid, start = int(self.record.get("pid") or 0), int(self.record.get("pid_start") or 0)
        if not procfs.is_same_process(pid, start) or self.record.get("boot_id") != files.boot_id():
            return 0
        return pid

    @property
    def group(self) -> Group:
        """The cgroup."""
        found: Document = self.record["cgroup"]
        if found.get("unit"):
            from engine.linux.cgroup.systemd import ScopeGroup

            return ScopeGroup(int(found["version"]), found["paths"], str(found["unit"]))
        return Group.from_paths(int(found["version"]), found["paths"])

    def status(self) -> str:
        """Return "creating", "created", "running", "paused" or "stopped" (runtime-spec runtime.md, "State")."""
        if not self.pid:
            return "creating" if not self.record.get("pid") else "stopped"
        if os.path.exists(self.start_socket):
            return "created"
        return "paused" if self.group.is_frozen() else "running"

    def oci_state(self, status: str = "") -> Document:
        """Return the state that hooks and callers are told."""
        status = status or self.status()
        return {
            "ociVersion": self.record.get("ociVersion") or "", "id": self.container_id, "status": status,
            "pid": 0 if status in ("stopped", "creating") and not self.pid else int(self.record.get("pid") or 0),
            "bundle": self.record.get("bundle") or "", "annotations": self.record.get("annotations") or {},
        }  # fmt: skip


def all_containers(root: str) -> list[Container]:
    """Return the containers of a root, by ID."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            container = Container(root, name)
            container.load()
        except (Fault, OSError, ValueError):
            continue
        found.append(container)
    return found
