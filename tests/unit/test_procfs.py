"""What the door to /proc makes of the kernel's answers."""

from __future__ import annotations

import errno
import os

import pytest

from engine.linux import procfs


def test_a_process_that_is_being_reaped_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(ProcessLookupError):
        procfs.open_process(os.getpid(), 0)
