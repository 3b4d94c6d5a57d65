"""What the attacks have in common: hostile images, and Python as the attacker's tool inside a container."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

from engine.api import Engine
from engine.images import demo
from engine.model.container import ContainerSpec, ExecSpec, Mount
from tests.kernel.test_images import docker_archive, entry, tar_of

__all__ = ["PYTHON", "attacker", "entry", "executed", "finish", "hostile_image", "python", "spec", "tar_of"]

IMAGE = "tuicon/demo"
PYTHON = os.path.realpath(sys.executable)


def spec(*command: str, image: str = IMAGE, **more: object) -> ContainerSpec:
    return replace(ContainerSpec(image, command=command, network="none"), **more)  # type: ignore[arg-type]


def finish(engine: Engine, wanted: ContainerSpec) -> tuple[int, str]:
    """Run a container to its end; return its exit code and all that it said."""
    container = engine.containers.run(wanted)
    code = engine.containers.wait(container.id, timeout=300)
    return code, "".join(entry.text for entry in engine.containers.logs(container.id))


def executed(engine: Engine, container: str, *command: str, **more: object) -> tuple[int | None, str]:
    """Run a command in a container; return its exit code and output."""
    session = engine.containers.exec(container, replace(ExecSpec(command), **more))  # type: ignore[arg-type]
    assert session is not None
    text = b""
    with session:
        while found := session.read(300):
            text += found[1]
    return session.exit_code, text.decode()


def hostile_image(engine: Engine, *entries: tuple[object, bytes], name: str = "evil:1") -> str:
    """Load the demo image with one more layer on it."""
    layer = tar_of(*entries)  # type: ignore[arg-type]
    engine.images.load(io.BytesIO(docker_archive(demo.root_archive().getvalue(), layer, tag=name)))
    return name


def python(*mounts: Mount) -> tuple[Mount, ...]:
    """Return mounts that give a container the host's Python, read-only."""
    places = dict.fromkeys(["/usr", "/lib", "/lib64", sys.base_prefix])
    wanted = [place for place in places if Path(place).exists() and not (place != "/usr" and place.startswith("/usr"))]
    return (*(Mount("bind", place, place, read_only=True) for place in wanted), *mounts)


def attacker(code: str, *arguments: str, mounts: tuple[Mount, ...] = (), **more: object) -> ContainerSpec:
    """Return a container that runs Python code."""
    prelude = "import os, sys, time, ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    command = (PYTHON, "-I", "-S", "-c", prelude + code, *arguments)
    return replace(spec(*command, mounts=python(*mounts)), **more)  # type: ignore[arg-type]
