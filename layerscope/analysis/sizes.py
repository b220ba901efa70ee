"""Sizes as docker counts them, in bytes.

* layer: the recorded size; image: the sum over its layers;
* writable layer (SizeRw): where the driver's directory holds only changes, a walk of it (``walked_sizes``) – every
  non-directory counts its apparent size, once per inode, symlinks the length of their target, directories and
  whiteouts nothing;
* SizeRootFs: SizeRw and the image's size;
* SharedSize of an image: its layers that another listed image has too, since 23.0 any other; UniqueSize: the rest.

Source: moby layer/layer_store.go, pkg/directory, daemon/images/images.go, image_list.go; equal to the
daemon's answers on the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from layerscope.formats.gotime import parse_rfc3339
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, ImageID
from layerscope.model.image import Image, Layer
from layerscope.model.subject import ImageUsage


def image_usages(
    images: Sequence[Image],
    containers: Iterable[Container],
    layers: Mapping[ChainID, Layer],
    shares_with_unlisted: bool = False,
) -> list[ImageUsage]:
    """Every image with its shared and unique bytes among those that docker lists, newest first, then by id.

    Listed are images with a name, and those without a child; broken ones take no part. ``shares_with_unlisted``:
    what an image shares with one that isn't listed counts, as docker has done since 23.0.
    """
    parents = {image.parent for image in images if image.parent}
    users: Counter[ImageID] = Counter(container.image_id for container in containers if container.image_id)
    listed = [image for image in images if not image.broken and (image.names or image.id not in parents)]
    counted = [image for image in images if not image.broken] if shares_with_unlisted else listed
    uses: Counter[ChainID] = Counter(chain for image in counted for chain in set(image.chain_ids))
    listed_ids = {image.id for image in listed}
    found = []
    for image in images:
        shared = unique = None
        if image.id in listed_ids and image.size is not None:
            shared = sum(layers[chain].size or 0 for chain in set(image.chain_ids) if uses[chain] > 1)
            unique = image.size - shared
        found.append(
            ImageUsage(
                image,
                shared,
                unique,
                users[image.id],
                dangling=not image.names and image.id not in parents,
                intermediate=not image.names and image.id in parents,
            )
        )
    return sorted(found, key=lambda usage: newest_first(usage.image.created, usage.image.id))


def newest_first(created: str | None, identifier: str) -> tuple[int, str]:
    """A sort key: later times first, then by identifier; no time is the oldest."""
    return (-(parse_rfc3339(created) or 0), identifier)
