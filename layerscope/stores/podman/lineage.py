"""Which image came from which. It isn't recorded: libimage tells it from layers and history, and so is it told here.

A parent has the same top layer or the one below it, its diff IDs begin the child's, and the child's history is the
parent's and one row more. Of several the first counts: those with the same top layer before those with the one below.
Source: containers/common libimage layer_tree.go ``parent``, oci.go ``areParentAndChild``, ``historiesMatch``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerscope.model.digest import CacheID, ImageID
from layerscope.model.image import Image
from layerscope.stores.moment import nanoseconds
from layerscope.stores.podman.layers import Layers

_Row = tuple[int | None, str, str, str, bool]
_MOST_ALIKE = 64
"""How many images with the same layers and the same history are looked at."""


def find_parents(
    images: Sequence[Image], tops: Mapping[ImageID, CacheID | None], layers: Layers
) -> dict[ImageID, ImageID]:
    """The parent of each image that has one. ``images`` go in the order of their records, with their ``tops``."""
    rows = {image.id: _rows(image) for image in images if image.config}
    alike: dict[tuple[CacheID | None, tuple[_Row, ...]], list[Image]] = {}
    for image in images:
        if image.config:
            alike.setdefault((tops[image.id], rows[image.id]), []).append(image)
    found = {}
    for child in images:
        if not rows.get(child.id):
            continue
        top = tops[child.id]
        layer = layers.by_id.get(top) if top is not None else None
        places = (top,) if layer is None or layer.parent is None else (top, layer.parent)
        candidates = [one for place in places for one in alike.get((place, rows[child.id][:-1]), [])[:_MOST_ALIKE]]
        for one in candidates:
            if child.diff_ids[: len(one.diff_ids)] == one.diff_ids:
                found[child.id] = one.id
                break
    return found


def _rows(image: Image) -> tuple[_Row, ...]:
    """What is compared of the rows that the configuration itself has."""
    history = image.config.get("history") or ()
    return tuple(
        (nanoseconds(row.created), row.created_by, row.comment, row.author, row.empty_layer)
        for row in image.history[len(image.history) - len(history) :]
    )
