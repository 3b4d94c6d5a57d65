"""Indexes: what a layer's archive lists, one compact file a layer, written while the layer is unpacked.

The file is gzip; plain, it is a magic line and then blocks of MessagePack, each behind its length. A checksum tells
contents apart, it does not prove them equal: what depends on that compares the files. An index is a cache: one that is
missing or damaged is made anew from the layer's blob.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from engine.errors import ImageError
from engine.images import tar
from engine.images.catalogue import Catalogue
from engine.images.compression import Decompressed, gzip_compressor
from engine.images.tar import Entry, TarReader
from engine.images.unpack import OPAQUE, WHITEOUT
from engine.linux import files
from engine.store.layers import Layer

FILE, HARD_LINK, DIRECTORY, SYMBOLIC_LINK = "-", "h", "d", "l"
REMOVAL, OPAQUE_DIRECTORY = "w", "o"
_KINDS = {
    tar.FILE: FILE, tar.HARDLINK: HARD_LINK, tar.SYMLINK: SYMBOLIC_LINK, tar.CHARACTER: "c", tar.BLOCK_DEVICE: "b",
    tar.DIRECTORY: DIRECTORY, tar.FIFO: "p",
}  # fmt: skip
_MAGIC = b"tuicon index 1\n"
_BLOCK = 4096
_LARGEST = 1 << 29


class Item(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entry of a layer.

    Attributes:
        path: Without a leading slash; of a deletion, what it deletes; of an opaque mark, the directory.
        kind: One of the letters above, or c, b, p.
        size: Bytes of a regular file.
        mtime: Seconds since the epoch.
        checksum: CRC-32 of a regular file's content.
    """

    path: bytes
    kind: str
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: bytes = b""
    checksum: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Item])


class IndexWriter:
    """Writes an index entry by entry; holds one block in memory."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._compressor = gzip_compressor()
        self._items: list[Item] = []
        self._target.write(self._compressor.compress(_MAGIC))

    def add(self, entry: Entry, checksum: int) -> None:
        """Add an entry of the archive, with the checksum of its content."""
        item = _item(entry, checksum)
        if item is not None:
            self._items.append(item)
            if len(self._items) == _BLOCK:
                self._write_block()

    def finish(self) -> None:
        """Write what is left."""
        self._write_block()
        self._target.write(self._compressor.flush())

    def _write_block(self) -> None:
        block = _ENCODER.encode(self._items)
        self._target.write(self._compressor.compress(len(block).to_bytes(4, "big") + block))
        self._items.clear()


def _item(entry: Entry, checksum: int) -> Item | None:
    name = entry.name
    if "//" in name or "./" in name or name.endswith("/."):
        name = os.path.normpath("/" + name)
    path = name.strip("/").encode("utf-8", "surrogateescape")
    if WHITEOUT in name and (hidden := _hidden(path)) is not None:
        return hidden
    kind = _KINDS.get(entry.kind)
    if not path or kind is None:
        return None
    seconds = entry.mtime_ns // 1_000_000_000
    if kind == FILE:
        return Item(path, kind, entry.size, entry.mode, entry.uid, entry.gid, seconds, b"", checksum)
    link = entry.link.encode("utf-8", "surrogateescape")
    return Item(path, kind, 0, entry.mode, entry.uid, entry.gid, seconds, link)


def _hidden(path: bytes) -> Item | None:
    """Return the deletion or the opaque mark that a path stands for, None when it is a path like others."""
    parent, _, name = path.rpartition(b"/")
    if name == OPAQUE.encode():
        return Item(parent, OPAQUE_DIRECTORY)
    if name.startswith(WHITEOUT.encode()):
        hidden = name.removeprefix(WHITEOUT.encode())
        return Item(parent + b"/" + hidden if parent else hidden, REMOVAL)
    return None


def load(catalogue: Catalogue, layer: Layer) -> list[Item]:
    """Return the entries of a layer in the archive's order; its index is made first when there is none.

    Raises:
        ImageError: There is neither index nor blob, or the layer has more names than can be looked at.
    """
    path = catalogue.layers.index(layer.chain_id)
    try:
        return _read(path)
    except (FileNotFoundError, ImageError, msgspec.DecodeError):
        return _make(catalogue, layer, path)


def _read(path: Path) -> list[Item]:
    items: list[Item] = []
    with path.open("rb") as file:
        plain = Decompressed(file)
        if _exactly(plain, len(_MAGIC)) != _MAGIC:
            raise ImageError("an index is of another version")
        while length := _exactly(plain, 4):
            size = int.from_bytes(length, "big")
            if plain.given + size > _LARGEST:
                raise ImageError("a layer of the image has too many and too long names to look inside")
            items.extend(_DECODER.decode(_exactly(plain, size)))
    return items


def _exactly(plain: Decompressed, size: int) -> bytes:
    """Return that many bytes, or b"" at the end.

    Raises:
        ImageError: There are fewer.
    """
    data = plain.read(size)
    while 0 < len(data) < size and (more := plain.read(size - len(data))):
        data += more
    if data and len(data) < size:
        raise ImageError("an index is cut off")
    return data


def _make(catalogue: Catalogue, layer: Layer, path: Path) -> list[Item]:
    buffer = io.BytesIO()
    writer = IndexWriter(buffer)
    with catalogue.being_made(), catalogue.blobs.open(layer.blob or layer.diff_id) as blob:
        reader = TarReader(Decompressed(blob))
        for entry in reader:
            for _ in reader.content():
                pass
            writer.add(entry, reader.checksum)
        writer.finish()
        files.write_atomic(path, buffer.getvalue())
    return _read(path)
