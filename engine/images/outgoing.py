"""What an image is outside the store: its manifest, with a blob for everything that it names."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.errors import ImageError
from engine.images.catalogue import Catalogue
from engine.model.image import Image
from engine.model.value import Value
from engine.oci.digest import of_bytes
from engine.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest


class _Written(msgspec.Struct, frozen=True):
    """A manifest as we write it, its fields in the specification's order."""

    schemaVersion: int  # noqa: N815 - the document's name
    mediaType: str  # noqa: N815 - the document's name
    config: Descriptor
    layers: list[Descriptor]


class Outgoing(Value, frozen=True):
    """A manifest to push or save."""

    data: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return of_bytes(self.data)


def outgoing(
    catalogue: Catalogue, image: Image, can_do_without: Callable[[Descriptor], bool] = lambda _: False
) -> Outgoing:
    """Return the manifest that an image came with, or one of the blobs that its layers came from.

    The first is chosen whenever its blobs are there, so an unchanged image has the same digest everywhere. They are
    not when another image with an equal layer, compressed otherwise, came before.

    Args:
        catalogue: Where the image is.
        image: The image.
        can_do_without: Says of a missing blob that it need not be there, for the other side has it.

    Raises:
        ImageError: A blob is missing.
    """
    manifest = catalogue.manifest(image)
    blobs = catalogue.blobs
    if manifest and all(blobs.stat(item.digest) is not None or can_do_without(item) for item in manifest.layers):
        return _as_it_came(catalogue, image, manifest)
    layers = []
    for chain_id, layer in zip(image.layers, catalogue.layers_of(image.layers), strict=True):
        if not layer.blob or blobs.stat(layer.blob) is None:
            raise ImageError(
                f"the blob of the layer {chain_id[:19]}… is not in the store", hint="pull or load it again"
            )
        layers.append(Descriptor(layer.media_type, layer.blob, layer.blob_size))
    config = Descriptor(OCI_CONFIG, image.id, blobs.stat(image.id) or 0)
    data = msgspec.json.encode(_Written(2, OCI_MANIFEST, config, [_in_oci(layer) for layer in layers]))
    return Outgoing(data, OCI_MANIFEST, config, tuple(layers))


def _as_it_came(catalogue: Catalogue, image: Image, manifest: Manifest) -> Outgoing:
    data = catalogue.blobs.get(image.digest)
    return Outgoing(data, manifest.mediaType or OCI_MANIFEST, manifest.config, tuple(manifest.layers))


def _in_oci(layer: Descriptor) -> Descriptor:
    """Return a descriptor with the media type of the OCI's specification, without what others added to it."""
    kind = next((f"+{kind}" for kind in ("gzip", "zstd") if layer.mediaType.endswith(kind)), "")
    return Descriptor(f"application/vnd.oci.image.layer.v1.tar{kind}", layer.digest, layer.size)
