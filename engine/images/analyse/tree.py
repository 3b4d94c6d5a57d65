"""File systems as trees: layers are laid over each other by overlayfs's rules, and a mark tells what changed since.

A layer's deletions hide what lower layers have and never what the layer itself brings, in whatever order its archive
has them (image-spec layer.md, "Whiteouts").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.images.analyse.index import DIRECTORY, OPAQUE_DIRECTORY, REMOVAL, SYMBOLIC_LINK, Item
from engine.model.contents import Change, FileEntry

_IMPLIED = Item(b"", DIRECTORY, mode=0o755)
_MOST_LINKS = 40


class Node:
    """A path: what is there now, what was there at the mark; None for nothing.

    Attributes:
        layer: The layer that last put something there or removed it.
    """

    __slots__ = ("base", "children", "item", "layer")

    def __init__(self, item: Item | None, layer: int) -> None:
        self.item = item
        self.base: Item | None = None
        self.layer = layer
        self.children: dict[bytes, Node] = {}

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there now."""
        return self.item is not None and self.item.kind == DIRECTORY


class Stack:
    """The layers so far; subclasses may watch what is lost."""

    def __init__(self) -> None:
        self.root = Node(_IMPLIED, -1)
        self._home: tuple[bytes, Node] | None = None

    def lost(self, path: bytes, node: Node, layer: int, successor: Item | None) -> None:
        """Called before an upper layer removes or replaces what is at a path."""

    def apply(self, layer: int, items: Sequence[Item]) -> None:
        """Lay a layer on top.

        Args:
            layer: Its number.
            items: Its entries, in the archive's order.
        """
        for item in items:
            if item.kind == REMOVAL:
                self._remove(item.path, layer)
            elif item.kind == OPAQUE_DIRECTORY:
                node = self.at(item.path)
                if node is not None:
                    self._hide_children(node, item.path, layer)
        self._home = None
        for item in items:
            if item.kind not in (REMOVAL, OPAQUE_DIRECTORY):
                self._put(item, layer)

    def mark(self) -> None:
        """Have what is there now be what later states are compared with."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            node.base = node.item
            waiting.extend(node.children.values())

    def at(self, path: bytes) -> Node | None:
        """Return what is at a path, links not followed; it may be something removed."""
        node: Node | None = self.root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if node else None
        return node

    def find(self, path: bytes, *, follow: bool = True) -> tuple[bytes, Node] | None:
        """Return what a path leads to now, with its path; links are followed inside the tree, the last one if asked."""
        waiting, links = path.split(b"/")[::-1], 0
        place: list[bytes] = []
        nodes = [self.root]
        while waiting:
            name = waiting.pop()
            if name == b"..":
                del place[-1:], nodes[max(1, len(nodes) - 1) :]
            if name in (b"", b".", b".."):
                continue
            child = nodes[-1].children.get(name)
            if child is None or child.item is None:
                return None
            if child.item.kind == SYMBOLIC_LINK and (waiting or follow):
                links += 1
                if links > _MOST_LINKS:
                    return None
                if child.item.link.startswith(b"/"):
                    place, nodes = [], [self.root]
                waiting.extend(child.item.link.split(b"/")[::-1])
                continue
            place.append(name)
            nodes.append(child)
        return b"/".join(place), nodes[-1]

    def _remove(self, path: bytes, layer: int) -> None:
        parent = self.at(path.rpartition(b"/")[0])
        node = parent.children.get(path.rpartition(b"/")[2]) if parent else None
        if parent is not None and node is not None and node.item is not None:
            self._hide(node, path, layer, None)
            if node.base is None and not node.children:
                del parent.children[path.rpartition(b"/")[2]]

    def _hide(self, node: Node, path: bytes, layer: int, successor: Item | None) -> None:
        self._hide_children(node, path, layer)
        self.lost(path, node, layer, successor)
        node.item, node.layer = None, layer

    def _hide_children(self, node: Node, path: bytes, layer: int) -> None:
        kept = {}
        for name, child in node.children.items():
            if child.item is not None:
                self._hide(child, path + b"/" + name if path else name, layer, None)
            if child.base is not None or child.children:
                kept[name] = child
        node.children = kept

    def _put(self, item: Item, layer: int) -> None:
        parent, _, name = item.path.rpartition(b"/")
        if self._home is None or self._home[0] != parent:  # an archive lists what is in a directory together
            self._home = parent, self._directory(parent, layer)
        self._replace(self._child(self._home[1], name, layer), item.path, item, layer)

    def _directory(self, path: bytes, layer: int) -> Node:
        """Return a directory, made where the archive leaves it out."""
        node = self.root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            node = self._child(node, name, layer)
            is_own_link = node.layer == layer and node.item is not None and node.item.kind == SYMBOLIC_LINK
            if not node.is_directory and not is_own_link:
                self._replace(node, b"/".join(names[:depth]), _IMPLIED, layer)
        return node

    @staticmethod
    def _child(node: Node, name: bytes, layer: int) -> Node:
        child = node.children.get(name)
        if child is None:
            child = node.children[name] = Node(None, layer)
        return child

    def _replace(self, node: Node, path: bytes, item: Item, layer: int) -> None:
        if node.item is not None and not (node.is_directory and item.kind == DIRECTORY):
            self._hide(node, path, layer, item)
            self._home = None
        node.item, node.layer = item, layer


def differs(one: Item, other: Item) -> bool:
    """Return whether two things at one path differ; times do not count."""
    return one is not other and (
        (one.kind, one.size, one.mode, one.uid, one.gid, one.link, one.checksum)
        != (other.kind, other.size, other.mode, other.uid, other.gid, other.link, other.checksum)
    )


def walk(node: Node, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Yield what is below a node now, sorted, directories before what is in them."""
    for name in sorted(node.children):
        child = node.children[name]
        if child.item is not None:
            place = path + b"/" + name if path else name
            yield place, child
            yield from walk(child, place)


def entries(stack: Stack) -> tuple[FileEntry, ...]:
    """Return all paths with what became of them since the mark."""
    found: list[FileEntry] = []
    for name in sorted(stack.root.children):
        _collect(stack.root.children[name], "/" + text(name), found)
    return tuple(found)


def _collect(node: Node, path: str, found: list[FileEntry]) -> tuple[int, int, bool]:
    """Append a path and what is below; return its sizes now and at the mark, and whether anything changed."""
    place, item = len(found), node.item or node.base
    found.append(_NOTHING)
    if item is None:
        raise AssertionError("a path of nothing is not kept")
    now, before = node.item.size if node.item else 0, node.base.size if node.base else 0
    is_changed_inside = False
    for name in sorted(node.children):
        sizes = _collect(node.children[name], f"{path}/{text(name)}", found)
        now, before, is_changed_inside = now + sizes[0], before + sizes[1], is_changed_inside or sizes[2]
    change = _change(node, is_changed_inside=is_changed_inside)
    size = before if change is Change.REMOVED else now
    found[place] = FileEntry(
        path, item.kind, size, before, item.mode, item.uid, item.gid, item.mtime, text(item.link), change, node.layer
    )
    return now, before, change is not Change.UNCHANGED


def _change(node: Node, *, is_changed_inside: bool) -> Change:
    if node.base is None:
        return Change.ADDED
    if node.item is None:
        return Change.REMOVED
    if differs(node.base, node.item):
        return Change.CHANGED
    return Change.INSIDE if is_changed_inside else Change.UNCHANGED


def text(name: bytes) -> str:
    """Return a name as text; bytes that are no UTF-8 become surrogates."""
    return name.decode("utf-8", "surrogateescape")


_NOTHING = FileEntry("", "", 0, 0, 0, 0, 0, 0, "", Change.UNCHANGED, 0)
