"""What the state root occupies on the disk."""

from __future__ import annotations

from engine.model.container import Container
from engine.model.host import DiskUsage
from engine.model.image import Image
from engine.store.drivers.drivers import driver_of
from engine.store.layers import Layers
from engine.store.paths import Paths
from engine.volumes.volumes import VolumeStore


def disk_usage(
    paths: Paths, containers: tuple[Container, ...], images: tuple[Image, ...], volumes: VolumeStore
) -> tuple[DiskUsage, ...]:
    """Return a line each for images, containers and volumes; a layer that images share counts once."""
    return (_images(paths, containers, images), _containers(paths, containers, images), _volumes(volumes))


def sizes(paths: Paths, container_id: str, image: Image) -> tuple[int, int]:
    """Return the bytes that a container's own files occupy, and those of all its files, the image's included."""
    layers = Layers(paths).directories(image.layers)
    own = sum(change.size for change in driver_of(paths).changes(paths.container(container_id), layers))
    return own, own + image.size


def _images(paths: Paths, containers: tuple[Container, ...], images: tuple[Image, ...]) -> DiskUsage:
    layers = Layers(paths)
    used = {container.image_id for container in containers}
    needed = {chain_id for image in images if image.id in used for chain_id in image.layers}
    sizes = {chain_id: layer.size + layer.blob_size for chain_id in layers.list() if (layer := layers.get(chain_id))}
    free = sum(size for chain_id, size in sizes.items() if chain_id not in needed)
    return DiskUsage("Images", len(images), sum(image.id in used for image in images), sum(sizes.values()), free)


def _containers(paths: Paths, containers: tuple[Container, ...], images: tuple[Image, ...]) -> DiskUsage:
    driver, layers = driver_of(paths), Layers(paths)
    chains = {image.id: layers.directories(image.layers) for image in images}
    sizes = [
        (driver.occupied(paths.container(item.id), chains.get(item.image_id, ())), item.status.is_alive)
        for item in containers
    ]
    total, free = sum(size for size, _ in sizes), sum(size for size, is_alive in sizes if not is_alive)
    return DiskUsage("Containers", len(sizes), sum(is_alive for _, is_alive in sizes), total, free)


def _volumes(volumes: VolumeStore) -> DiskUsage:
    sizes = [(volumes.size(volume.name), bool(volume.used_by)) for volume in volumes.list()]
    total, free = sum(size for size, _ in sizes), sum(size for size, is_used in sizes if not is_used)
    return DiskUsage("Local Volumes", len(sizes), sum(is_used for _, is_used in sizes), total, free)
