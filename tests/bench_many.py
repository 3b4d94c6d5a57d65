"""Times many containers at once: what starting, listing, sampling and removing costs for each, as their number grows.

The cost is linear when the microseconds for each container stay the same from one line to the next. Run as root:
python -m tests.bench_many [NUMBER]
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.api import Engine
from engine.model.container import Container, ContainerSpec
from tests.bench import IMAGE, milliseconds, rootfs_archive

NUMBER = 500
_STEPS = 4


def grow(engine: Engine, number: int) -> None:
    """Start containers in equal steps, and print after each what one of them costs."""
    print(f"  {'containers':>10} {'start':>10} {'list':>10} {'sample':>10}   (µs for each)")
    spec = ContainerSpec(IMAGE, command=("sleep", "100000"), network="none")
    step = number // _STEPS
    running = 0
    sampler = engine.containers.sampler()
    while running < number:
        starting = milliseconds(lambda: [engine.containers.run(spec) for _ in range(step)])
        running += step
        containers = engine.containers.list()
        if len(containers) != running:
            sys.exit(f"bench: {len(containers)} containers are listed, {running} were started")
        listing = min(milliseconds(engine.containers.list) for _ in range(3))
        sampler.sample()
        sampling = min(milliseconds(sampler.sample) for _ in range(3))
        each = (
            f"{taken * 1000 / count:10.0f}"
            for taken, count in ((starting, step), (listing, running), (sampling, running))
        )
        print(f"  {running:10} {' '.join(each)}", flush=True)


def _remove(engine: Engine, containers: Sequence[Container]) -> None:
    for container in containers:
        engine.containers.remove(container.id, force=True)


def shrink(engine: Engine) -> None:
    """Remove them by force in equal steps, and print what one of them costs."""
    containers = engine.containers.list()
    step = len(containers) // _STEPS
    print(f"  {'left':>10} {'remove':>10}   (µs for each)")
    while containers:
        batch, containers = containers[:step], containers[step:]
        removing = milliseconds(partial(_remove, engine, batch))
        print(f"  {len(containers):10} {removing * 1000 / len(batch):10.0f}", flush=True)


def main() -> None:
    """Run it and print it."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else NUMBER
    print(f"\n{number} containers at once")
    with (
        tempfile.TemporaryDirectory(prefix="tuicon-bench-", ignore_cleanup_errors=True) as name,
        Engine(Path(name) / "tuicon") as engine,
    ):
        try:
            engine.images.import_rootfs(io.BytesIO(rootfs_archive()), IMAGE)
            grow(engine, number)
            shrink(engine)
        finally:
            engine.system.reset()


if __name__ == "__main__":
    main()
