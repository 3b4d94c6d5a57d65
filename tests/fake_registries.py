"""Registries and more images for tests of the console: transfers go on until their gate opens, or they are called off."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, NotAuthorized
from engine.model.image import Image, ImageSettings
from engine.model.transfer import HistoryStep, Phase, Progress, Pulled, Pushed, SearchResult, Update, Watch

if TYPE_CHECKING:
    from tests.fakes import FakeBackend

MIB = 1 << 20
LAYERS = tuple(f"sha256:{digit * 64}" for digit in "abcdef")
"""chain_ids."""


def an_image(number: int, *references: str, layers: int = 1, size: int = 40 * MIB, **more: Any) -> Image:
    """Return an image that was made some hours before NOW, on the first of the layers."""
    from tests.fakes import NOW

    settings = ImageSettings(
        env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"),
        entrypoint=("/docker-entrypoint.sh",), command=("serve", "--port", "8080"), user="www", workdir="/srv",
        labels={"org.opencontainers.image.source": "https://example.com/shop", "stage": "production"},
        volumes=("/data",), exposed_ports=("8080/tcp",), stop_signal="SIGQUIT",
    )  # fmt: skip
    values: dict[str, Any] = {
        "id": "sha256:" + f"{number:064x}", "references": references, "created_at": NOW - timedelta(hours=7 * number),
        "architecture": "amd64", "os": "linux", "size": size, "layers": LAYERS[:layers], "diff_ids": LAYERS[:layers],
        "settings": settings, "digest": "sha256:" + f"{number + 100:064x}",
        "repo_digests": tuple(f"{name.rpartition(':')[0]}@sha256:{number + 100:064x}" for name in references),
    }  # fmt: skip
    return Image(**(values | more))


def some_images() -> list[Image]:
    """Return a base, two images on it, one with two names, and one without a name."""
    return [
        an_image(1, "registry.example.com/shop/web:2.4.1", "registry.example.com/shop/web:latest", layers=3, size=212 * MIB),
        an_image(2, "registry.example.com/shop/worker:2.4.0", layers=2, size=180 * MIB),
        an_image(3, "docker.io/library/debian:bookworm-slim", layers=1, size=75 * MIB),
        an_image(4, layers=2, size=179 * MIB),
    ]  # fmt: skip


_INSTALL = (
    "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends nginx python3 ca-certificates"
    " && rm -rf /var/lib/apt/lists/* # buildkit"
)
STEPS = (
    ("COPY --chown=www:www . /srv # buildkit", 12 * MIB, LAYERS[2]),
    (_INSTALL, 125 * MIB, LAYERS[1]),
    ("ENV LANG=C.UTF-8", 0, ""),
    ('CMD ["bash"]', 0, ""),
    ("ADD rootfs.tar.xz / # debuerreotype 0.15", 75 * MIB, LAYERS[0]),
)  # fmt: skip


def some_steps() -> tuple[HistoryStep, ...]:
    """Return the history of the first of these images."""
    from tests.fakes import NOW

    return tuple(
        HistoryStep(NOW - timedelta(hours=8 * number), command, "", layer, size)
        for number, (command, size, layer) in enumerate(STEPS, 1)
    )


class FakeRegistries:
    """A registry that has what is asked for.

    Attributes:
        gate: Transfers end when it is open; it is open at first.
        news: What a transfer tells before it waits for the gate.
        failure: What every call raises.
        newer: References of which a newer image exists.
    """

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.newer: set[str] = set()
        self.known: list[str] = []
        self.news = (
            Progress("aaaaaaaaaaaa", Phase.EXISTS, 30 * MIB, 30 * MIB),
            Progress("bbbbbbbbbbbb", Phase.DOWNLOADING, 0, 48 * MIB),
            Progress("bbbbbbbbbbbb", Phase.DOWNLOADING, 12 * MIB, 48 * MIB),
            Progress("cccccccccccc", Phase.UNPACKING, 3 * MIB, 4 * MIB),
            Progress("dddddddddddd", Phase.RETRYING, 1 * MIB, 9 * MIB, "the registry cut the connection"),
            Progress("eeeeeeeeeeee", Phase.WAITING, 0, 2 * MIB),
        )

    def _do(self, *call: Any) -> None:
        self._backend.calls.append(call)
        if self.failure:
            raise self.failure

    def _transfer(self, watch: Watch, stop: threading.Event | None) -> None:
        for news in self.news:
            watch(news)
        while not self.gate.wait(0.01):
            if stop and stop.is_set():
                raise Cancelled("the transfer was called off")
        if self.failure:
            raise self.failure

    def pull(
        self, reference: str, *, platform: str = "", watch: Watch = lambda _: None, stop: threading.Event | None = None
    ) -> Pulled:
        self._do("pull", reference, platform)
        self._transfer(watch, stop)
        made = an_image(50 + len(self._backend.more_images), reference)
        self._backend.more_images.append(made)
        self._backend.news.set()
        return Pulled(made, reference, made.digest, is_new=True)

    def push(
        self, reference: str, *, watch: Watch = lambda _: None, stop: threading.Event | None = None
    ) -> Pushed:  # fmt: skip
        self._do("push", reference)
        self._transfer(watch, stop)
        return Pushed(reference, "sha256:" + "9" * 64, 1000)

    def check(self, reference: str) -> Update:
        self._do("check", reference)
        return Update(reference, "sha256:1", "sha256:2" if reference in self.newer else "sha256:1")

    def search(self, term: str, *, limit: int = 25) -> tuple[SearchResult, ...]:
        self._do("search", term)
        host, slash, _ = term.partition("/")
        if slash:
            return tuple(SearchResult(f"{host}/{name}") for name in ("shop/web", "shop/worker"))
        return (
            SearchResult(term, "The official build", 1200, is_official=True),
            SearchResult(f"someone/{term}", "A fork", 3),
        )

    def tags(self, repository: str) -> tuple[str, ...]:
        self._do("tags", repository)
        return ("1.0", "1.1", "latest")

    def manifest(self, reference: str) -> dict[str, Any]:
        self._do("manifest", reference)
        platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
        return {"manifests": [{"platform": {**item}} for item in platforms]}

    def login(self, registry: str, user: str, password: str) -> str:
        self._backend.calls.append(("login", registry, user))
        if password != "secret":
            raise NotAuthorized(f"{registry} denies access")
        self.known.append(registry)
        return "/root/.docker/config.json"

    def logout(self, registry: str) -> bool:
        self._do("logout", registry)
        self.known.remove(registry)
        return True

    def accounts(self) -> tuple[str, ...]:
        return tuple(self.known)
