"""Looks inside images: layers, trees, waste, advice, files; from the layers' indexes, so nothing is exported."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from engine.errors import ImageError, InvalidArgument, NotFound
from engine.images.analyse import advice as slimming
from engine.images.analyse import index
from engine.images.analyse import waste as wasted
from engine.images.analyse.index import DIRECTORY, FILE, HARD_LINK, OPAQUE_DIRECTORY, Item
from engine.images.analyse.reading import LayerFiles
from engine.images.analyse.tree import Node, Stack, entries, walk
from engine.images.catalogue import Catalogue
from engine.images.history import history
from engine.model.contents import Advice, Change, Extracted, FileEntry, LayerSummary, SharedLayer, Waste
from engine.model.image import Image
from engine.oci.reference import familiar_text
from engine.store.layers import Layer


class ImageContents:
    """What is inside one image; what is read of it is kept, so ask one object several times."""

    def __init__(self, catalogue: Catalogue, image: Image) -> None:
        self._catalogue = catalogue
        self.image = image

    @cached_property
    def _records(self) -> tuple[Layer, ...]:
        found = self._catalogue.layers_of(self.image.layers)
        if len(found) < len(self.image.layers):
            raise ImageError(f"the image {self.image.short_id} misses a layer", hint="pull or load it again")
        return found

    @cached_property
    def _items(self) -> tuple[list[Item], ...]:
        return tuple(index.load(self._catalogue, record) for record in self._records)

    @cached_property
    def layers(self) -> tuple[LayerSummary, ...]:
        """The layers, lowest first."""
        steps = {step.layer: step for step in history(self._catalogue, self.image) if step.layer}
        return tuple(
            LayerSummary(
                number, record.chain_id, record.diff_id, steps[record.chain_id].created_by,
                steps[record.chain_id].created_at, wasted.size_of(items), len(items), record.blob_size,
            )
            for number, (record, items) in enumerate(zip(self._records, self._items, strict=True))
        )  # fmt: skip

    def tree(self, layer: int | None = None, since: int | None = None) -> tuple[FileEntry, ...]:
        """Return the file system as it is after a layer, with what became of each path.

        Args:
            layer: The layer's number, None for the highest.
            since: The number of the layer that it is compared with, -1 for an empty file system; None takes the lowest.

        Raises:
            InvalidArgument: There is no such layer.
        """
        top = self._number(layer)
        start = min(0, top - 1) if since is None else since
        stack = Stack()
        for number in range(top + 1):
            if number == start + 1:
                stack.mark()
            stack.apply(number, self._items[number])
        if start >= top:
            stack.mark()
        return entries(stack)

    def compare(self, other: ImageContents) -> tuple[FileEntry, ...]:
        """Return all paths of two images, with what became of each in the other; layers are the other's."""
        stack, after = self._stack(None), other._stack(None)
        stack.mark()
        stack.apply(-1, [Item(b"", OPAQUE_DIRECTORY)])
        by_layer: dict[int, list[Item]] = {}
        for path, node in walk(after.root):
            if node.item is not None:
                by_layer.setdefault(node.layer, []).append(_at(path, node.item))
        for number, items in sorted(by_layer.items()):
            stack.apply(number, items)
        return entries(stack)

    def waste(self) -> Waste:
        """Return what is wasted, by dive's rules."""
        return wasted.waste(self._items)

    def advice(self) -> tuple[Advice, ...]:
        """Return how the image gets smaller, what saves most first."""
        with self._catalogue.being_made():  # nobody may collect a layer meanwhile
            return slimming.advice(self.layers, self._items, self._files().same_content)

    def open(self, path: str, *, layer: int | None = None) -> BinaryIO:
        """Open a file as it is after a layer; links are followed inside the image.

        Args:
            path: The file.
            layer: The layer's number, None for the highest.

        Raises:
            NotFound: There is none.
            InvalidArgument: It is a directory, a device or a pipe, or there is no such layer.
        """
        found, node = self._find(path, layer, follow=True)
        kind = node.item.kind if node.item else ""
        if kind not in (FILE, HARD_LINK):
            raise InvalidArgument(f"{path} is {'a directory' if kind == DIRECTORY else 'no regular file'}")
        with self._catalogue.being_made():
            return os.fdopen(self._files().open(found, node), "rb")

    def extract(self, path: str, target: Path, *, layer: int | None = None) -> Extracted:
        """Write a file, or a directory with what is in it, as it is after a layer, to a path of the host.

        An existing directory gets it under its own name. Owners, set-id bits, device nodes and pipes stay behind.

        Raises:
            NotFound: The image has no such path.
            InvalidArgument: The target exists or cannot be written, or there is no such layer.
        """
        found, node = self._find(path, layer, follow=False)
        with self._catalogue.being_made():
            return self._files().extract(found, node, target)

    def _files(self) -> LayerFiles:
        return LayerFiles([self._catalogue.layers.directory(chain_id) for chain_id in self.image.layers])

    def _find(self, path: str, layer: int | None, *, follow: bool) -> tuple[bytes, Node]:
        found = self._stack(layer).find(path.encode("utf-8", "surrogateescape"), follow=follow)
        if found is None:
            raise NotFound("file", path)
        return found

    def _stack(self, layer: int | None) -> Stack:
        stack = Stack()
        for number in range(self._number(layer) + 1):
            stack.apply(number, self._items[number])
        return stack

    def _number(self, layer: int | None) -> int:
        count = len(self._items)
        if layer is not None and not 0 <= layer < count:
            raise InvalidArgument(f"the image {self.image.short_id} has the layers 0 to {count - 1}, and no {layer}")
        return count - 1 if layer is None else layer


def _at(path: bytes, item: Item) -> Item:
    """Return an item for a path; a directory that no archive has comes without one."""
    if item.path == path:
        return item
    return Item(path, item.kind, item.size, item.mode, item.uid, item.gid, item.mtime, item.link, item.checksum)


def changes(found: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Return only the paths that are themselves added, changed or removed."""
    return tuple(entry for entry in found if entry.change not in (Change.UNCHANGED, Change.INSIDE))


def shared_layers(catalogue: Catalogue) -> tuple[SharedLayer, ...]:
    """Return the layers that several images have, the largest first."""
    users: dict[str, list[str]] = {}
    for image in catalogue.list():
        name = familiar_text(image.references[0]) if image.references else image.short_id
        for chain_id in image.layers:
            users.setdefault(chain_id, []).append(name)
    found = [
        SharedLayer(layer.chain_id, layer.size, tuple(sorted(users[layer.chain_id])))
        for layer in catalogue.layers_of(tuple(chain_id for chain_id, names in users.items() if len(names) > 1))
    ]
    return tuple(sorted(found, key=lambda one: (-one.size, one.chain_id)))
