"""An image's history: the steps that its config tells, beside the layers they made."""

from __future__ import annotations

from typing import Any

from engine.errors import ImageError
from engine.images.catalogue import Catalogue, time_of
from engine.model.image import Image
from engine.model.transfer import HistoryStep
from engine.oci import manifest as documents


def history(catalogue: Catalogue, image: Image) -> tuple[HistoryStep, ...]:
    """Return the steps, the newest first; layers that no step tells of stand for themselves."""
    config = documents.decode_config(catalogue.blobs.get(image.id))
    layers = list(zip(image.layers, catalogue.layers_of(image.layers), strict=True))
    steps: list[HistoryStep] = []
    for entry in config.history or []:
        has_layer = not entry.get("empty_layer") and bool(layers)
        chain_id, layer = layers.pop(0) if has_layer else ("", None)
        steps.append(_step(entry, chain_id, layer.size if layer else 0))
    steps += [_step({}, chain_id, layer.size) for chain_id, layer in layers]
    return tuple(reversed(steps))


def _step(entry: dict[str, Any], chain_id: str, size: int) -> HistoryStep:
    try:
        created = time_of(str(entry.get("created") or ""))
    except ImageError:
        created = None  # a history is for people; a wrong time in it breaks nothing
    text = [str(entry.get(name) or "") for name in ("created_by", "comment")]
    return HistoryStep(created, text[0], text[1], chain_id, size)
