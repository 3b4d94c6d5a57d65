"""Layer directories by chain_id: a layer exists when its layer.json does; anything else is a leftover."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.linux import files
from engine.model.value import Value
from engine.store import records
from engine.store.paths import Paths

INDEX = "index"


class Layer(Value, frozen=True):
    """A layer.

    Attributes:
        size: Bytes of its files.
        entries: How many entries it has.
        blob: The digest of the blob that it was unpacked from; pushes and archives copy that.
        blob_size: Bytes of the blob.
        media_type: The blob's.
    """

    chain_id: str
    diff_id: str
    size: int
    entries: int
    blob: str = ""
    blob_size: int = 0
    media_type: str = ""


class Layers:
    """The layers of a state root."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def get(self, chain_id: str) -> Layer | None:
        """Return a layer, None when there is none."""
        try:
            return records.load(self._paths.layer(chain_id) / "layer.json", Layer)
        except FileNotFoundError:
            return None

    def directory(self, chain_id: str) -> Path:
        """Return the directory with a layer's files, in overlay form."""
        return self._paths.layer(chain_id) / "diff"

    def index(self, chain_id: str) -> Path:
        """Return the file that lists a layer's entries; it goes with the layer."""
        return self._paths.layer(chain_id) / INDEX

    def directories(self, chain: tuple[str, ...]) -> tuple[Path, ...]:
        """Return the directories of an image's layers, top first, as overlayfs wants them."""
        return tuple(self.directory(chain_id) for chain_id in reversed(chain))

    def ensure(self, chain_id: str, fill: Callable[[Path], Layer]) -> Layer:
        """Return a layer, filled first when it is missing.

        Two callers of one layer wait for each other; an interrupted one leaves nothing that counts.

        Args:
            chain_id: The layer's id.
            fill: Puts the files into an empty directory and returns the record; raises when they are wrong.
        """
        found = self.get(chain_id)
        if found is not None:
            return found
        target = self._paths.layer(chain_id)
        with files.FileLock(self._paths.lock(f"layer-{target.name}")):
            found = self.get(chain_id)
            if found is not None:
                return found
            files.remove_tree(target)
            staged = target.with_name(f"{target.name}.{os.getpid()}.tmp")
            files.remove_tree(staged)
            staged.mkdir(mode=0o700)
            try:
                staged.joinpath("diff").mkdir(mode=0o755)
                layer = fill(staged / "diff")
                records.save(staged / "layer.json", layer)
                staged.rename(target)
            except BaseException:
                files.remove_tree(staged)
                raise
            return layer

    def update(self, layer: Layer) -> None:
        """Write the record of a layer anew."""
        records.save(self._paths.layer(layer.chain_id) / "layer.json", layer)

    def delete(self, chain_id: str) -> None:
        """Delete a layer; it is fine when there is none."""
        try:
            self._paths.discard(self._paths.layer(chain_id))
        except FileNotFoundError:
            return
        self._paths.lock(f"layer-{chain_id.removeprefix('sha256:')}").unlink(missing_ok=True)

    def list(self) -> Iterator[str]:
        """Yield the chain_ids of all layers."""
        for entry in self._paths.root.joinpath("layers").iterdir():
            if len(entry.name) == 64 and entry.joinpath("layer.json").exists():
                yield f"sha256:{entry.name}"

    def leftovers(self) -> tuple[Path, ...]:
        """Return what interrupted loads left."""
        return tuple(entry for entry in self._incomplete() if self._with_lock(entry, lambda _: None))

    def collect(self) -> None:
        """Delete what interrupted loads left."""
        for entry in self._incomplete():
            self._with_lock(entry, files.remove_tree)

    def _incomplete(self) -> Iterator[Path]:
        for entry in self._paths.root.joinpath("layers").iterdir():
            if len(entry.name) != 64 or not entry.joinpath("layer.json").exists():
                yield entry

    def _with_lock(self, entry: Path, action: Callable[[Path], None]) -> bool:
        """Act on an incomplete layer unless somebody is filling it; return whether nobody is."""
        try:
            with files.FileLock(self._paths.lock(f"layer-{entry.name.partition('.')[0]}"), blocking=False) as lock:
                action(entry)
                os.unlink(lock.path)  # noqa: PTH108 - locks are named by text
        except BlockingIOError:
            return False
        return True
