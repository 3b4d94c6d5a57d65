# ruff: noqa: F811 - fixtures of other modules
from __future__ import annotations

import io
import re

import pytest

from engine.api import Engine
from engine.images import demo
from tests.e2e.screen import ConsoleScreen
from tests.kernel.conftest import engine, root  # noqa: F401 - fixtures
from tests.kernel.test_images import docker_archive, entry, tar_of
from tests.kernel.test_registry import blobs, cutter, noise, other, own_configuration, registry  # noqa: F401 - fixtures

pytestmark = pytest.mark.kernel


def test_an_image_is_pulled_called_off_pulled_again_and_run(other: Engine, engine: Engine, registry: str) -> None:
    layers = [
        demo.root_archive().getvalue(),
        tar_of(entry("a", content=b"hello\n"), entry("n", content=noise(8 << 20))),
    ]
    engine.images.load(io.BytesIO(docker_archive(*layers, tag=f"{registry}/shop/web:1")))
    pushed = engine.registries.push(f"{registry}/shop/web:1")
    with cutter(registry) as proxy:
        proxy.pause = 0.05
        reference = f"{proxy.name}/shop/web:1"
        screen = ConsoleScreen(str(other.root))
        screen.until("Welcome to tuicon")
        screen.press("n")
        screen.until(lambda seen: "Welcome" not in seen)
        screen.press("2")
        screen.until("p pull")
        screen.press("p")
        screen.until("Pull an image")
        screen.press(reference)
        screen.until(f"→ {reference}")
        screen.press("\r")
        screen.until(lambda seen: re.search(r"Downloading +[█▏▎▍▌▋▊▉]", seen))
        screen.press("b")
        screen.until(lambda seen: "b shows it" in seen and f"pulling {reference}" in seen)
        screen.press("b")
        screen.until("Transfers")
        screen.press("c")
        screen.until("called off, nothing of it is left")
        assert blobs(other) == set()
        assert [*other.root.joinpath("layers").iterdir()] == []

        proxy.pause = 0.0
        screen.press("r")
        screen.until(lambda seen: re.search(r"Pull complete +█{16}", seen) and " done" in seen)
        assert other.images.get(reference).repo_digests == (f"{proxy.name}/shop/web@{pushed.digest}",)
        screen.press("q")
        screen.until(lambda seen: "Transfers" not in seen and "2 images 1" in seen)

        screen.press("u")
        screen.until(lambda seen: re.search(r"✓ +" + re.escape(proxy.name), seen))
        screen.press("n")
        screen.until("Run a container")
        screen.press("hello")
        screen.until("  hello")
        screen.press("\r")
        screen.until(lambda seen: re.search(r"○ exit 0 +hello", seen))
        screen.press("q")
        assert screen.close() == 0
