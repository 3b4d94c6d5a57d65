# ruff: noqa: F811 - fixtures of another module
from __future__ import annotations

import gzip
import io
import threading
import time

import pytest

from engine.api import Engine
from engine.errors import Cancelled, NotFound
from engine.model.transfer import Phase, Progress
from tests.kernel.registries import WAITS, Told
from tests.kernel.test_images import docker_archive, entry, tar_of
from tests.kernel.test_registry import blobs, cutter, noise, other, own_configuration, pushed, registry, told  # noqa: F401 - fixtures


def call_off(stop: threading.Event) -> None:
    """Call a transfer off, and hold it where it is until it has been told."""
    stop.set()
    deadline = time.monotonic() + WAITS
    while any(thread.name == "tuicon-stop" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_pull_that_is_called_off_leaves_nothing(engine: Engine, other: Engine, registry: str) -> None:
    pushed(engine, f"{registry}/off:1", *(tar_of(entry(f"f{n}", content=noise(400_000 + n))) for n in range(3)))
    stop = threading.Event()

    def watch(news: Progress) -> None:
        if news.phase is Phase.DOWNLOADING:
            call_off(stop)

    with cutter(registry) as proxy:
        proxy.pause = 0.05
        with pytest.raises(Cancelled):
            other.registries.pull(f"{proxy.name}/off:1", watch=watch, stop=stop)
        assert blobs(other) == set()
        assert [*other.root.joinpath("layers").iterdir()] == []
        assert other.images.list() == ()
        proxy.pause = 0.0
        assert other.registries.pull(f"{proxy.name}/off:1").is_new


def test_a_pull_from_a_silent_registry_can_be_called_off(engine: Engine, other: Engine, registry: str) -> None:
    pushed(engine, f"{registry}/silent:1", tar_of(entry("f", content=noise(3_000_000))))
    stop = threading.Event()
    with cutter(registry) as proxy:
        proxy.pause = 0.05

        def watch(news: Progress) -> None:
            if news.phase is Phase.DOWNLOADING and proxy.pause < 1:
                proxy.pause = 3600.0
                threading.Timer(0.2, stop.set).start()

        with pytest.raises(Cancelled):
            other.registries.pull(f"{proxy.name}/silent:1", watch=watch, stop=stop)
    assert blobs(other) == set()


def test_a_push_that_is_called_off_makes_no_image_in_the_registry(engine: Engine, registry: str) -> None:
    reference = f"{registry}/half:1"
    engine.images.load(io.BytesIO(docker_archive(tar_of(entry("f", content=noise(900_000))), tag=reference)))
    stop = threading.Event()

    def watch(news: Progress) -> None:
        if news.phase is Phase.UPLOADING:
            call_off(stop)

    with pytest.raises(Cancelled):
        engine.registries.push(reference, watch=watch, stop=stop)
    with pytest.raises(NotFound):
        engine.registries.manifest(reference)
    assert engine.registries.push(reference).digest


def test_a_pull_tells_when_a_layer_is_unpacked_and_checked(other: Engine, told: Told) -> None:
    layer = tar_of(entry("file", content=noise(300_000)))
    told.put_image("phases", layer, gzip.compress(layer))
    seen: list[Progress] = []
    other.registries.pull(f"{told.name}/phases:1", watch=seen.append)
    assert [*dict.fromkeys(news.phase for news in seen)] == [
        Phase.WAITING, Phase.DOWNLOADING, Phase.UNPACKING, Phase.VERIFYING, Phase.PULLED,
    ]  # fmt: skip
    assert all(news.done <= news.total for news in seen)


def test_what_a_removal_frees_does_not_count_what_others_share(engine: Engine) -> None:
    shared, own = tar_of(entry("base", content=b"x" * 50_000)), tar_of(entry("top", content=b"y" * 20_000))
    engine.images.load(io.BytesIO(docker_archive(shared, tag="base:1")))
    engine.images.load(io.BytesIO(docker_archive(shared, own, tag="top:1")))
    before = disk_bytes(engine)
    freed = engine.images.reclaimable(("top:1",))
    assert 20_000 <= freed < 50_000
    assert engine.images.reclaimable(("base:1",)) < 20_000
    assert engine.images.reclaimable(("base:1", "top:1")) >= 70_000
    engine.images.remove("top:1")
    assert before - disk_bytes(engine) == freed


def disk_bytes(engine: Engine) -> int:
    stored = sum(path.stat().st_size for path in engine.root.joinpath("blobs/sha256").iterdir())
    chain = {layer for image in engine.images.list() for layer in image.layers}
    sizes = {step.layer: step.size for image in engine.images.list() for step in engine.images.history(image.id)}
    return stored + sum(sizes[layer] for layer in chain)


def test_the_registries_with_credentials_are_listed(engine: Engine, registry: str) -> None:
    assert engine.registries.accounts() == ()
    engine.registries.login(registry, "user", "secret")
    assert engine.registries.accounts() == (registry,)
    assert engine.registries.logout(registry)
    assert engine.registries.accounts() == ()
