"""Layers of containers/storage that no image has: each is a thing that may go, and holds what is below it.

A layer goes when every unused layer upon it goes, so a layer that thousands stand on needs thousands of things. The
engine mounts at most 500 upon each other; a broken root may have any number. What stands on one lowest layer and would
take too much to be told apart is one thing: it frees the same, all together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from layerscope.model.digest import CacheID
from layerscope.model.reclaim import Thing, ThingKind
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.moment import nanoseconds
from layerscope.stores.podman.layers import Layers, StoredLayer
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.removal import Removal

MOST_PAIRS = 300_000
"""Of a layer and an unused one that holds it, in all: two chains of 500 layers, each with every layer unused."""
_YOUNG_SECONDS = 600.0

Keepers = dict[str, set[Thing]]
"""By the ID of a layer what must go before it goes; filled here."""


def add_unused(store: PodmanStore, unused: Iterable[StoredLayer], keepers: Keepers, found: Removal) -> None:
    """``unused``: the layers of no image and no container, those whose writing was interrupted included."""
    whole = []
    for layer in unused:
        if layer.incomplete:
            what = f"interrupted write of layer {layer.id[:12]}"
            thing = found.thing(ThingKind.TEMPORARY, _path(store, layer), what)
            keepers.setdefault(layer.id, set()).add(thing)
        else:
            whole.append(layer)
    pairs = 0
    for cost, trunk in _trunks(store.stored_layers, whole):
        pairs += cost
        if pairs <= MOST_PAIRS:
            _add_each(store, trunk, keepers, found)
        else:
            _add_together(store, trunk, keepers, found)


def _add_each(store: PodmanStore, trunk: Iterable[StoredLayer], keepers: Keepers, found: Removal) -> None:
    for layer in trunk:
        thing = found.thing(ThingKind.UNUSED_LAYER, _path(store, layer), f"unused layer {layer.id[:12]}")
        for below in store.stored_layers.chain(layer.id):
            keepers.setdefault(below.id, set()).add(thing)
        _guard(thing, layer, found)


def _add_together(store: PodmanStore, trunk: Sequence[StoredLayer], keepers: Keepers, found: Removal) -> None:
    first = trunk[0]
    name = f"unused layer {first.id[:12]}" + (f" and {len(trunk) - 1} more" if len(trunk) > 1 else "")
    thing = found.thing(ThingKind.UNUSED_LAYER, _path(store, first), name)
    layers = store.stored_layers.by_id
    held: set[CacheID] = set()
    for layer in trunk:
        place: CacheID | None = layer.id
        while place is not None and place in layers and place not in held:
            held.add(place)
            keepers.setdefault(place, set()).add(thing)
            place = layers[place].parent
        _guard(thing, layer, found)


def _trunks(layers: Layers, unused: Iterable[StoredLayer]) -> list[tuple[int, list[StoredLayer]]]:
    """The unused layers by the lowest one that they stand on, with the sum of their depths, the least first."""
    depths: dict[CacheID, int] = {}
    lowest: dict[CacheID, CacheID] = {}
    costs: dict[CacheID, int] = {}
    trunks: dict[CacheID, list[StoredLayer]] = {}
    for layer in unused:
        _measure(layers.by_id, layer.id, depths, lowest)
        trunk = lowest[layer.id]
        costs[trunk] = costs.get(trunk, 0) + depths[layer.id]
        trunks.setdefault(trunk, []).append(layer)
    return sorted(((costs[trunk], one) for trunk, one in trunks.items()), key=lambda pair: pair[0])


def _measure(
    layers: Mapping[CacheID, StoredLayer],
    start: CacheID,
    depths: dict[CacheID, int],
    lowest: dict[CacheID, CacheID],
) -> None:
    """Put in how deep a layer stands, and upon which; each layer is looked at once. A circle ends where it closes."""
    trail: dict[CacheID, None] = {}
    place: CacheID | None = start
    while place is not None and place in layers and place not in depths and place not in trail:
        trail[place] = None
        place = layers[place].parent
    if place is not None and (place in depths or place in trail):
        depth, bottom = depths.get(place, len(trail)), lowest.get(place, place)
    else:
        depth, bottom = 0, next(reversed(trail), start)
    for one in reversed(trail):
        depth += 1
        depths[one], lowest[one] = depth, bottom


def _guard(thing: Thing, layer: StoredLayer, found: Removal) -> None:
    created = layer.raw.get("created")
    moment = nanoseconds(created) if isinstance(created, str) else None
    if moment is not None and abs(time.time() - moment / 1e9) < _YOUNG_SECONDS:
        found.guarded[thing] = "it was made a moment ago: a pull or build may be going on"


def _path(store: PodmanStore, layer: StoredLayer) -> str:
    return f"{layer_folder(store.driver)}/{layer.id}"
