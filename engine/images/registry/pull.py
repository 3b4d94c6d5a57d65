"""Pulls an image: resolve it, then bring its layers, several at once, each unpacked while it arrives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack

from engine.errors import ImageError
from engine.images.catalogue import Catalogue
from engine.images.intake import Source, take_layer
from engine.images.registry.client import Client, Document
from engine.images.registry.download import Download
from engine.images.registry.transport import Stopped, Transport
from engine.model.transfer import Phase, Progress, Pulled, Watch
from engine.model.value import Value, replace
from engine.oci import digest as digests
from engine.oci import manifest as documents
from engine.oci.manifest import Descriptor, ImageConfig, Manifest, Platform
from engine.oci.reference import Reference

PARALLEL = 4
_DEEPEST_INDEX = 4
_LARGEST_CONFIG = 8 << 20


class Resolved(Value, frozen=True):
    """What a reference leads to.

    Attributes:
        top: What the registry gives for the reference: an index, or the manifest itself.
        document: The manifest's bytes.
        manifest: The manifest for the platform.
    """

    top: Document
    document: Document
    manifest: Manifest


def resolve(client: Client, reference: Reference, platform: Platform) -> Resolved:
    """Ask a registry for the manifest of a reference for a platform.

    Raises:
        NotFound: There is none.
        ImageError: It is no image, damaged, or not for the platform.
    """
    name = str(reference)
    top = document = client.manifest(reference.digest or reference.tag)
    found = documents.decode_manifest(document.data, name, document.media_type)
    for _ in range(_DEEPEST_INDEX):
        if isinstance(found, Manifest):
            return Resolved(top, document, documents.check_image(found, name))
        chosen = documents.choose(found, platform, name)
        if not digests.is_digest(chosen.digest):
            raise ImageError(f"{name} has the malformed descriptor {chosen.digest[:80]!r}")
        document = client.manifest(chosen.digest)
        if len(document.data) != chosen.size:
            raise ImageError(f"{name} has a manifest of another size than its index says")
        found = documents.decode_manifest(document.data, name, chosen.mediaType or document.media_type)
    raise ImageError(f"{name} is an index that is nested too deeply")


def pull(catalogue: Catalogue, client: Client, reference: Reference, platform: Platform | None, watch: Watch) -> Pulled:
    """Pull an image from one endpoint.

    Args:
        catalogue: Where it goes.
        client: The endpoint.
        reference: The image.
        platform: None for this machine's, and then an image for another one is taken when there is no choice.
        watch: Is told of progress.

    Raises:
        NotFound: There is no such image.
        ImageError: It is damaged, hostile, or not for the platform.
        RegistryError: The registry fails.
    """
    found = resolve(client, reference, platform or documents.this_platform())
    names = () if reference.digest else (str(replace(reference, digest="")),)
    called = f"{reference.registry}/{reference.repository}@{found.top.digest}"
    with catalogue.being_made():
        raw = _config(catalogue, client, found.manifest.config)
        config = documents.decode_config(raw)
        _check_config(config, found.manifest, platform, str(reference))
        known = catalogue.pointed(names[0] if names else called)
        _bring_layers(catalogue, client, config, found.manifest, watch)
        image = catalogue.record(raw, found.document.data, names, (called,))
    return Pulled(image, str(reference), found.top.digest, is_new=known != image.id)


def _config(catalogue: Catalogue, client: Client, descriptor: Descriptor) -> bytes:
    if catalogue.blobs.stat(descriptor.digest) is not None:
        return catalogue.blobs.get(descriptor.digest)
    if descriptor.size > _LARGEST_CONFIG:
        raise ImageError("the image config is larger than 8 MiB")
    with ExitStack() as stack:
        download = Download(catalogue.blobs, client, descriptor, lambda _: None).open(stack)
        download.finish()
    return catalogue.blobs.get(descriptor.digest)


def _check_config(config: ImageConfig, manifest: Manifest, platform: Platform | None, name: str) -> None:
    if len(config.rootfs.diff_ids) != len(manifest.layers):
        raise ImageError("the image config names another number of layers than the manifest")
    if platform and config.architecture and (config.os, config.architecture) != (platform.os, platform.architecture):
        raise ImageError(f"{name} is for {config.os}/{config.architecture}, not for {platform}")


def _bring_layers(catalogue: Catalogue, client: Client, config: ImageConfig, manifest: Manifest, watch: Watch) -> None:
    diff_ids = tuple(config.rootfs.diff_ids)
    jobs: list[Callable[[], None]] = []
    for chain_id, diff_id, blob in zip(digests.chain_ids(diff_ids), diff_ids, manifest.layers, strict=True):
        watch(Progress(blob.digest[7:19], Phase.WAITING, 0, blob.size))

        def bring(chain: str = chain_id, diff: str = diff_id, blob: Descriptor = blob) -> None:
            if not _has(catalogue, chain):
                _bring(catalogue, client, chain, diff, blob, watch)
                watch(Progress(blob.digest[7:19], Phase.PULLED, blob.size, blob.size))
            else:
                watch(Progress(blob.digest[7:19], Phase.EXISTS, blob.size, blob.size))

        jobs.append(bring)
    in_parallel(client.transport, jobs)


def _has(catalogue: Catalogue, chain_id: str) -> bool:
    layer = catalogue.layers.get(chain_id)
    return layer is not None and bool(layer.blob) and catalogue.blobs.stat(layer.blob) is not None


def _bring(catalogue: Catalogue, client: Client, chain_id: str, diff_id: str, blob: Descriptor, watch: Watch) -> None:
    def opens(stack: ExitStack) -> Source:
        return Download(catalogue.blobs, client, blob, watch).open(stack)

    layer = take_layer(catalogue.layers, chain_id, diff_id, opens, None)
    if not layer.blob or catalogue.blobs.stat(layer.blob) is None:  # the files are there, the blob is not
        with ExitStack() as stack:
            kept = opens(stack).finish()
        catalogue.layers.update(replace(layer, blob=kept.digest, blob_size=kept.size, media_type=kept.mediaType))


def in_parallel(transport: Transport, jobs: list[Callable[[], None]]) -> None:
    """Run jobs, a few at once; when one fails, or the caller is interrupted, the others end soon.

    Raises:
        EngineError: The first failure.
    """
    with ThreadPoolExecutor(PARALLEL, "tuicon-transfer") as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            transport.interrupt()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        failures = [error for future in done if (error := future.exception())]
        if failures:
            transport.interrupt()
            pool.shutdown(wait=True, cancel_futures=True)
            raise next((error for error in failures if not isinstance(error, Stopped)), failures[0])
