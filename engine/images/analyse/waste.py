"""Wasted space and the efficiency score, by the rules that dive publishes.

Every path that ends a branch of a layer's tree counts each time that a layer has it; a deletion of a directory counts
the bytes it hides, one of a file none. The score is the sum of each path's smallest size, divided by the sum of all
sizes; wasted is all of what occurs more than once. Marks of opaque directories do not count.
Source: wagoodman/dive, dive/filetree/efficiency.go and dive/image/analysis.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.images.analyse.index import OPAQUE_DIRECTORY, REMOVAL, Item
from engine.images.analyse.tree import Node, Stack
from engine.model.contents import Waste, WastedPath


def waste(layers: Sequence[Sequence[Item]]) -> Waste:
    """Return what an image wastes; layers come lowest first."""
    stack = Stack()
    found: dict[bytes, tuple[int, int, int]] = {}
    for number, items in enumerate(layers):
        hidden = _Sizes(stack)
        for item in _ends(items):
            size = hidden.below(item.path) if item.kind == REMOVAL else item.size
            count, total, smallest = found.get(item.path, (0, 0, size))
            found[item.path] = count + 1, total + size, min(smallest, size)
        stack.apply(number, items)
    least = sum(smallest for _, _, smallest in found.values())
    most = sum(total for _, total, _ in found.values())
    wasted = [(total, path, count) for path, (count, total, _) in found.items() if count > 1 and total]
    wasted.sort(key=lambda one: (-one[0], one[1]))
    sizes = [size_of(items) for items in layers]
    return Waste(
        efficiency=least / most if most else 1.0, size=sum(sizes), user_size=sum(sizes[1:]),
        wasted=sum(total for total, _, _ in wasted),
        paths=tuple(WastedPath("/" + path.decode("utf-8", "surrogateescape"), count, total)
            for total, path, count in wasted),
    )  # fmt: skip


def size_of(items: Sequence[Item]) -> int:
    """Return the bytes of a layer's files."""
    return sum(item.size for item in items)


def _ends(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the entries with nothing below them, of several with one name the last."""
    parents: set[bytes] = {b""}
    last: dict[tuple[bytes, bool], Item] = {}
    for item in items:
        if item.kind == OPAQUE_DIRECTORY:
            continue
        last[item.path, item.kind == REMOVAL] = item
        parent = item.path.rpartition(b"/")[0]
        while parent not in parents:
            parents.add(parent)
            parent = parent.rpartition(b"/")[0]
    return (item for item in last.values() if item.kind == REMOVAL or item.path not in parents)


class _Sizes:
    """Sizes of directories of a stack, each added up once."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._known: dict[Node, int] = {}

    def below(self, path: bytes) -> int:
        node = self._stack.at(path)
        return self._of(node) if node is not None and node.is_directory else 0

    def _of(self, node: Node) -> int:
        if node not in self._known:
            own = node.item.size if node.item else 0
            self._known[node] = own + sum(self._of(child) for child in node.children.values())
        return self._known[node]
