"""What images share, as ``podman system df -v`` counts it: the bytes of every layer that more than one image has.

All images count, those without a name and intermediate ones too; of an image, each layer counts once, those of its
shifted copies with it. What is left, and the items of the image itself, are its own.
Source: containers/common libimage disk_usage.go; equal to podman's answers on the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from layerscope.model.container import Container
from layerscope.model.digest import ImageID
from layerscope.model.subject import ImageUsage
from layerscope.stores.podman.images import StoredImage


def image_usages(images: Sequence[StoredImage], containers: Iterable[Container]) -> list[ImageUsage]:
    """Every image with its shared and unique bytes, in the order given."""
    uses = Counter(layer.id for one in images for layer in one.counted)
    users: Counter[ImageID] = Counter(container.image_id for container in containers if container.image_id)
    parents = {one.image.parent for one in images if one.image.parent}
    found = []
    for one in images:
        image = one.image
        shared = sum(layer.size or 0 for layer in one.counted if uses[layer.id] > 1)
        found.append(
            ImageUsage(
                image=image,
                shared_size=None if image.size is None else shared,
                unique_size=None if image.size is None else image.size - shared,
                containers=users[image.id],
                dangling=not image.names and image.id not in parents,
                intermediate=not image.names and image.id in parents,
            )
        )
    return found
