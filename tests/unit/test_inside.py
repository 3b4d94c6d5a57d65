from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.linux import inside, syscalls


def test_an_absolute_path_stays_inside_even_when_the_kernel_is_not_asked_to_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wall: without it, one lost flag would let a layer be unpacked over the host."""
    real = syscalls.openat2
    monkeypatch.setattr(syscalls, "openat2", lambda fd, path, flags, mode=0, _resolve=0: real(fd, path, flags, mode))
    tmp_path.joinpath("etc").mkdir()
    root = inside.open_root(tmp_path)
    try:
        for path in ("/etc", "//etc", "/", ""):
            fd = inside.open_inside(root, path, os.O_PATH)
            assert os.path.samestat(os.fstat(fd), tmp_path.joinpath(path.lstrip("/")).stat())
            os.close(fd)
    finally:
        os.close(root)
