"""What is prepared on the host side for a command's security: its label and its seccomp filter."""

from __future__ import annotations

import os

from engine.linux import files, lsm, seccomp
from engine.linux.light import json, socket
from engine.sandbox import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]


class Security:
    """Label and filter of one process; opened before a container is entered, used just before its command runs.

    Nothing of it is looked up in the container: the label is written through an fd of the host's /proc, and the
    filter is read and compiled outside (CVE-2019-16884, CVE-2025-52881).
    """

    def __init__(self, process: Document, config: Document, compiled: str = "") -> None:
        linux: Document = config.get("linux") or {}
        self._apparmor = str(process.get("apparmorProfile") or "")
        self._selinux = str(process.get("selinuxLabel") or "")
        lsm.check(self._apparmor, self._selinux)
        wanted: Document = linux.get("seccomp") or {}
        self._bpf = b""
        if compiled:
            self._bpf = files.read_file(compiled)
        elif wanted:
            self._bpf = seccomp.compile_filter(wanted)
        self._flags = seccomp.filter_flags(wanted) if wanted else 0
        self._listener = str(wanted.get("listenerPath") or "")
        self._metadata = str(wanted.get("listenerMetadata") or "")
        self._channel: socket.socket | None = None
        self._label_fd = -1

    def open(self) -> None:
        """Open what must be reached from the host's file system; called in the child before it leaves it."""
        self._label_fd = lsm.open_exec_label(self._apparmor, self._selinux)
        if self._listener and self._bpf:
            self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self._channel.connect(self._listener)

    def apply_label(self) -> None:
        """Have the next execve put the label on."""
        if self._label_fd >= 0:
            lsm.write_exec_label(self._label_fd, self._apparmor, self._selinux)

    def apply_filter(self, state: Document) -> None:
        """Put the filter on the calling thread, and hand its listener over when one is wanted."""
        if not self._bpf:
            return
        listener = seccomp.load(self._bpf, self._flags)
        if self._channel is not None and listener > 0:
            told = {"ociVersion": state.get("ociVersion"), "fds": ["seccompFd"], "pid": os.getpid(),
                "metadata": self._metadata, "state": state}  # fmt: skip
            protocol.send_message(self._channel, json.dumps(told).encode(), [listener])
            os.close(listener)
            self._channel.close()
