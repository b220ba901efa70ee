"""What images share, as docker counts it in a content store.

| docker | shared |
| --- | --- |
| 24 to 29.4 | the recorded size of each layer that two images have |
| 29.5 or newer | that, and each blob that two images have, once |

Init layers between an image's layers are never shared, though several images may stand on them. Two images means two of
those that docker lists: an intermediate one shares with all, but no other shares with it. Source: moby
daemon/containerd/image_list.go of these versions; equal to the answers of 28.5.2 and 29.7.2 on the samples, and of a
living 28.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from layerscope.model.container import Container
from layerscope.model.digest import ImageID
from layerscope.model.subject import ImageUsage
from layerscope.stores.containerd.images import StoredImage
from layerscope.stores.containerd.snapshots import Snapshots


def image_usages(
    images: Sequence[StoredImage], containers: Iterable[Container], snapshots: Snapshots, blobs_too: bool
) -> list[ImageUsage]:
    """Every image with its shared and unique bytes, in the order given; ``blobs_too``: as docker 29.5 counts."""
    parents = {one.image.parent for one in images if one.image.parent}
    users: Counter[ImageID] = Counter(container.image_id for container in containers if container.image_id)
    listed = [one for one in images if one.image.names or one.image.id not in parents]
    counts = {True: _Uses(images), False: _Uses(listed)}
    found = []
    for one in images:
        image = one.image
        intermediate = not image.names and image.id in parents
        chains, blobs = counts[intermediate].chains, counts[intermediate].blobs
        sizes = [_size(snapshots, chain) for chain in one.chain_ids if chains[chain] > 1]
        if blobs_too:
            sizes.extend({blob.digest: blob.size for blob in one.blobs if blobs[blob.digest] > 1}.values())
        shared = None if None in sizes or image.size is None else sum(size or 0 for size in sizes)
        found.append(
            ImageUsage(
                image=image,
                shared_size=shared,
                unique_size=None if shared is None or image.size is None else image.size - shared,
                containers=users[image.id],
                dangling=not image.names and image.id not in parents,
                intermediate=intermediate,
            )
        )
    return found


class _Uses:
    """How often each layer and each blob is found among ``images``: a layer of two platforms of one image is twice."""

    def __init__(self, images: Sequence[StoredImage]) -> None:
        self.chains = Counter(chain for one in images for chain in one.chain_ids)
        self.blobs = Counter(digest for one in images for digest in {blob.digest for blob in one.blobs})


def _size(snapshots: Snapshots, key: str) -> int | None:
    """The recorded bytes of a layer; 0 if it isn't unpacked."""
    snapshot = snapshots.by_key.get(key)
    return 0 if snapshot is None else snapshot.size
