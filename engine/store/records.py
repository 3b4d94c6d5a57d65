"""Records: the model's values as JSON files, written whole and checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.errors import StoreError
from engine.linux import files

Record = TypeVar("Record")


def load(path: Path, kind: type[Record]) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It is damaged.
    """
    data = files.read_file(path)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"the record {path} is damaged: {error}") from error


def save(path: Path, record: object, *, durable: bool = False) -> None:
    """Write a record whole."""
    files.write_atomic(path, msgspec.json.encode(record), durable=durable)


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, with the same errors as `load`."""
    return load(path, dict[str, Any])
