"""Which images a prune takes, and the bytes that frees: decided first, so that it can be shown before it is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from engine.images.catalogue import Catalogue
from engine.model.image import Image
from engine.model.transfer import Prunable, PrunePlan


def plan(
    catalogue: Catalogue,
    users: Callable[[str], tuple[str, ...]],
    *,
    takes_unused: bool,
    until: datetime | None,
    labels: tuple[str, ...],
    without_labels: tuple[str, ...],
) -> PrunePlan:
    """Return the images to take: those without a name, or all that no container uses.

    Args:
        catalogue: The images.
        users: Returns the containers that use an image.
        takes_unused: Whether images with a name are taken too.
        until: Only those made before this time.
        labels: Only those with all of these labels ("name" or "name=value").
        without_labels: Only those with none of these.
    """
    kept: list[Image] = []
    taken: list[Prunable] = []
    for image in catalogue.list():
        fits = (
            (takes_unused or not image.references)
            and (until is None or (image.created_at is not None and image.created_at < until))
            and all(_has(image, label) for label in labels)
            and not any(_has(image, label) for label in without_labels)
        )
        if fits and not users(image.id):
            taken.append(Prunable(image, "unused" if image.references else "without a name"))
        else:
            kept.append(image)
    return PrunePlan(tuple(taken), freed(catalogue, kept, [item.image for item in taken]))


def _has(image: Image, label: str) -> bool:
    name, equals, value = label.partition("=")
    found = image.settings.labels.get(name)
    return found is not None and (not equals or found == value)


def freed(catalogue: Catalogue, kept: list[Image], taken: list[Image]) -> int:
    """Return the bytes of the layers and blobs that only the taken images have."""

    def needed(images: list[Image]) -> tuple[set[str], set[str]]:
        layers = {chain_id for image in images for chain_id in image.layers}
        blobs = {digest for image in images for digest in catalogue.blobs_of(image)}
        return layers, blobs | {layer.blob for layer in catalogue.layers_of(tuple(layers))}

    kept_layers, kept_blobs = needed(kept)
    gone_layers, gone_blobs = needed(taken)
    files = sum(layer.size for layer in catalogue.layers_of(tuple(gone_layers - kept_layers)))
    return files + sum(catalogue.blobs.stat(digest) or 0 for digest in gone_blobs - kept_blobs - {""})
