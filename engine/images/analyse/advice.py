"""Advice how an image gets smaller: caches, files that later layers delete or replace, copies; by layer, with bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.images.analyse.index import FILE, Item
from engine.images.analyse.tree import Node, Stack, text, walk
from engine.model.contents import Advice, LayerSummary

_SMALLEST_COPY = 4096
_SMALLEST_ADVICE = 4096
_SHOWN = 20
_CACHES = (
    (b"var/cache/apt/archives", "apt's downloads", "run apt-get clean in the step that installs"),
    (b"var/lib/apt/lists", "apt's package lists", "run rm -rf /var/lib/apt/lists/* in the step that installs"),
    (b"var/cache/debconf", "debconf's cache", "delete /var/cache/debconf/*-old in the step that installs"),
    (b"var/cache/apk", "apk's cache", "use apk add --no-cache"),
    (b"etc/apk/cache", "apk's cache", "use apk add --no-cache"),
    (b"var/cache/dnf", "dnf's cache", "run dnf clean all in the step that installs"),
    (b"var/cache/libdnf5", "dnf's cache", "run dnf clean all in the step that installs"),
    (b"var/cache/yum", "yum's cache", "run yum clean all in the step that installs"),
    (b"var/cache/zypp", "zypper's cache", "run zypper clean --all in the step that installs"),
    (b"var/cache/pacman/pkg", "pacman's downloads", "run pacman -Scc in the step that installs"),
    (b"root/.cache/pip", "pip's cache", "use pip install --no-cache-dir"),
    (b"root/.cache/uv", "uv's cache", "use uv --no-cache"),
    (b"root/.npm", "npm's cache", "run npm cache clean --force in the step that installs"),
    (b"usr/local/share/.cache/yarn", "yarn's cache", "run yarn cache clean in the step that installs"),
    (b"root/.cache/go-build", "go's build cache", "build in a stage of its own, and copy the program"),
    (b"go/pkg/mod", "go's module cache", "build in a stage of its own, and copy the program"),
    (b"root/.cargo/registry", "cargo's registry", "build in a stage of its own, and copy the program"),
    (b"usr/local/cargo/registry", "cargo's registry", "build in a stage of its own, and copy the program"),
    (b"root/.m2/repository", "maven's repository", "build in a stage of its own, and copy the program"),
    (b"root/.gradle/caches", "gradle's cache", "build in a stage of its own, and copy the program"),
    (b"root/.composer/cache", "composer's cache", "run composer clear-cache in the step that installs"),
    (b"root/.cache", "a cache", "delete /root/.cache in the step that fills it"),
    (b"tmp", "temporary files", "delete them in the step that makes them"),
    (b"var/tmp", "temporary files", "delete them in the step that makes them"),
    (b"var/log", "logs", "delete them in the step that makes them"),
)
_IN_THE_SAME_STEP = "do it in the step that makes them: a layer never gives back what a lower one has"
_LOSSES = {
    "deleted": ("deleted by layer {by}: {files}", _IN_THE_SAME_STEP),
    "replaced": ("replaced by layer {by}: {files}", _IN_THE_SAME_STEP),
    "metadata": ("stored again by layer {by}, and only owner, mode or times changed: {files}",
        "give them owner and mode when they are made, as COPY --chown and --chmod do"),
}  # fmt: skip
SameContent = Callable[[Sequence[tuple[bytes, Node]]], Iterator[list[tuple[bytes, Node]]]]
"""Sorts files of one size and checksum by their content, which it reads."""


@dataclass(slots=True)
class _Group:
    """Files with the same advice."""

    files: list[tuple[int, str]] = field(default_factory=list)

    def advice(self, layer: LayerSummary, kind: str, template: str, remedy: str, by: int = 0) -> Advice:
        count = len(self.files)
        self.files.sort(key=lambda one: (-one[0], one[1]))
        words = "1 file" if count == 1 else f"{count} files"
        return Advice(
            kind, layer.number, layer.command, sum(size for size, _ in self.files), count,
            template.format(files=words, by=by), remedy, tuple(path for _, path in self.files[:_SHOWN]),
        )  # fmt: skip


class _Watched(Stack):
    """A stack that remembers which files each layer costs the lower ones."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: dict[tuple[str, int, int], _Group] = {}

    def lost(self, path: bytes, node: Node, layer: int, successor: Item | None) -> None:
        """Remember a file."""
        item = node.item
        if item is None or item.kind != FILE or not item.size or node.layer == layer:
            return
        kind = "replaced" if successor else "deleted"
        if successor and (successor.kind, successor.size, successor.checksum) == (FILE, item.size, item.checksum):
            kind = "metadata"
        self.losses.setdefault((kind, node.layer, layer), _Group()).files.append((item.size, "/" + text(path)))


def advice(
    summaries: Sequence[LayerSummary], layers: Sequence[Sequence[Item]], same_content: SameContent
) -> tuple[Advice, ...]:
    """Return the advice for an image, what saves most first.

    Args:
        summaries: Its layers, lowest first.
        layers: Their entries.
        same_content: Proves copies.
    """
    stack = _Watched()
    for number, items in enumerate(layers):
        stack.apply(number, items)
    found: list[Advice] = []
    for (kind, layer, by), group in stack.losses.items():
        found.append(group.advice(summaries[layer], kind, *_LOSSES[kind], by=by))
    files = [(path, node) for path, node in walk(stack.root) if node.item and node.item.kind == FILE and node.item.size]
    found += _caches(summaries, files)
    found += _copies(summaries, files, same_content)
    worth = [one for one in found if one.size >= _SMALLEST_ADVICE]
    return tuple(sorted(worth, key=lambda one: (-one.size, one.layer, one.kind)))


def _size(node: Node) -> int:
    return node.item.size if node.item else 0


def _cache_of(path: bytes) -> int | None:
    """Return the place of the cache that a file is in."""
    for place, (directory, _, _) in enumerate(_CACHES):
        if path.startswith(directory) and path[len(directory) : len(directory) + 1] == b"/":
            return place
    return None


def _caches(summaries: Sequence[LayerSummary], files: Sequence[tuple[bytes, Node]]) -> Iterator[Advice]:
    groups: dict[tuple[int, int], _Group] = {}
    for path, node in files:
        place = _cache_of(path)
        if place is not None:
            groups.setdefault((place, node.layer), _Group()).files.append((_size(node), "/" + text(path)))
    for (place, layer), group in groups.items():
        _, name, remedy = _CACHES[place]
        yield group.advice(summaries[layer], "cache", f"{name}: {{files}}", remedy)


def _copies(
    summaries: Sequence[LayerSummary], files: Sequence[tuple[bytes, Node]], same_content: SameContent
) -> Iterator[Advice]:
    """Yield the copies by the layer that has them; the one in the lowest layer is the original."""
    alike: dict[tuple[int, int], list[tuple[bytes, Node]]] = {}
    for path, node in files:
        if node.item and node.item.size >= _SMALLEST_COPY and _cache_of(path) is None:
            alike.setdefault((node.item.size, node.item.checksum), []).append((path, node))
    groups: dict[int, _Group] = {}
    for candidates in alike.values():
        for same in same_content(candidates) if len(candidates) > 1 else ():
            (original, _), *copies = sorted(same, key=lambda one: (one[1].layer, one[0]))
            for path, node in copies:
                named = f"/{text(path)} = /{text(original)}"
                groups.setdefault(node.layer, _Group()).files.append((_size(node), named))
    for layer, group in groups.items():
        yield group.advice(
            summaries[layer], "duplicates", "copies of other files of the image: {files}",
            "keep one, and link the others to it in the step that makes them",
        )  # fmt: skip
