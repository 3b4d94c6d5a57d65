"""Makes an image out of another one, with one more layer and another config."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from engine.images.archive import Stream, archive
from engine.images.catalogue import Catalogue
from engine.images.intake import take_unknown
from engine.images.tree import Item
from engine.model.image import Image
from engine.model.value import Value

_OF_ANOTHER = ("id", "parent", "container", "container_config", "docker_version")


class Step(Value, frozen=True):
    """What made the layer, as the image's history tells.

    Attributes:
        created_by: The command.
        comment: What its maker says of it.
        author: Who made it; of the image too.
    """

    created_by: str
    comment: str = ""
    author: str = ""


def derive(
    catalogue: Catalogue, parent: Image, items: Iterator[Item], change: Callable[[dict[str, Any]], dict[str, Any]], step: Step,
    names: tuple[str, ...],
) -> Image:  # fmt: skip
    """Make an image.

    Args:
        catalogue: Where the images are.
        parent: The image below.
        items: The layer's entries, with ".wh." names for what is deleted; without any there is no layer.
        change: From "config" of the parent's config to that of the new one's.
        step: Its history.
        names: Normalised references that are to point to it.

    Raises:
        ImageError: The layer is more than one may be; nothing is kept.
    """
    raw = msgspec.json.decode(catalogue.blobs.get(parent.id), type=dict[str, Any])
    settings = change(raw.get("config") or {})
    with catalogue.being_made():
        first = next(items, None)
        diff_ids = parent.diff_ids
        if first is not None:
            stream = Stream(archive(itertools.chain([first], items)))
            diff_ids = (*diff_ids, take_unknown(catalogue, stream, diff_ids).diff_id)
        config = _config(raw, settings, step, diff_ids, len(parent.diff_ids))
        return catalogue.record(msgspec.json.encode(config), b"", names)


def _config(
    raw: dict[str, Any], settings: dict[str, Any], step: Step, diff_ids: tuple[str, ...], layers_below: int
) -> dict[str, Any]:
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    told: list[dict[str, Any]] = list(raw.get("history") or ())
    told += [{}] * (
        layers_below - sum(not entry.get("empty_layer") for entry in told)
    )  # of layers that nobody tells of
    entry = {"created": created, "created_by": step.created_by, "author": step.author, "comment": step.comment}
    entry = {name: text for name, text in entry.items() if text}
    return {
        **{name: value for name, value in raw.items() if name not in _OF_ANOTHER},
        **({"author": step.author} if step.author else {}),
        "created": created,
        "config": {name: value for name, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [*told, {**entry, **({} if len(diff_ids) > layers_below else {"empty_layer": True})}],
    }
