"""Layers: ``<driver>-layers/layers.json`` and ``volatile-layers.json``.

| field | content |
| --- | --- |
| `id`, `parent` | 64 digits each; ``id`` is also the name of the layer's directory |
| `names` | of a writable layer: that of its container and ``-layer`` |
| `diff-digest`, `diff-size` | diff ID and bytes of the uncompressed tar; a writable layer has neither |
| `toc-digest` | of a layer pulled in parts: then ``diff-digest`` may be absent and ``diff-size`` -1 |
| `big-data-names` | ``zstd-chunked-manifest``: pulled in parts, or turned into that form by the pull |
| `compressed-diff-digest`, `compressed-size`, `compression` | of the blob that it came from |
| `uidmap`, `gidmap` | of a copy whose owners are shifted for a user namespace |
| `flags` | ``incomplete``: its writing was interrupted, the engine removes it |

What lies below a layer is told by ``parent`` alone: IDs of copies and of layers pulled in parts are no digest of it.
Source: containers/storage layers.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, ChainID, DiffID, chain_id, is_digest, is_hex64
from layerscope.model.image import Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.podman.record_list import HasID, Listed, read_list
from layerscope.stores.records.files import shown

_LIST_OF_FILES = "zstd-chunked-manifest"
_MOST_LEVELS = 1000
"""containers/storage mounts at most 500 layers upon each other."""


class IDMap(msgspec.Struct):
    """One range of owners: ``size`` IDs from ``container_id`` on are those from ``host_id`` on."""

    container_id: int | None = None
    host_id: int | None = None
    size: int | None = None


class LayerFields(HasID, rename="kebab"):
    """The fields that are read."""

    names: list[str | None] | None = None
    parent: str | None = None
    created: str | None = None
    diff_digest: str | None = None
    diff_size: int | None = None
    toc_digest: str | None = None
    compressed_size: int | None = None
    uidmap: list[IDMap | None] | None = None
    gidmap: list[IDMap | None] | None = None
    flags: dict[str, Any] | None = None
    big_data_names: list[str | None] | None = None


class StoredLayer(Struct, frozen=True):
    """One layer, image's or container's. ``size`` is None where it isn't recorded; ``raw`` the whole record.

    ``chain_id`` is the OCI chain ID where all diff IDs down to the base are known, no layer is a shifted copy, and no
    other layer has it already; else ``sha256:`` and the layer's own ID. ``committed``: it came from a tar.
    ``pulled_in_parts``: its files were made one by one, by a list of them, and not by unpacking the tar.
    """

    id: CacheID
    parent: CacheID | None
    chain_id: ChainID
    diff_id: DiffID | None
    size: int | None
    committed: bool
    incomplete: bool
    volatile: bool
    pulled_in_parts: bool
    user_map: tuple[IDMap, ...]
    group_map: tuple[IDMap, ...]
    names: tuple[str, ...]
    path: str
    raw: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()

    @property
    def id_map(self) -> tuple[IDMap, ...]:
        """How its owners are shifted: the ranges of users, then those of groups."""
        return (*self.user_map, *self.group_map)

    @property
    def as_layer(self) -> Layer:
        """The same as the store's callers know it; its parent is put in by who knows all layers."""
        return Layer(self.chain_id, self.diff_id, None, self.id, self.size, self.path, self.problems)


class Layers(Struct, frozen=True):
    """All layers by ID, in the order of the records, and what is wrong with the lists themselves."""

    by_id: dict[CacheID, StoredLayer]
    problems: tuple[Problem, ...]
    complete: bool

    def chain(self, top: CacheID | None) -> tuple[StoredLayer, ...]:
        """The layers from the base to ``top``, as far down as records tell; a circle ends where it closes."""
        found: dict[CacheID, StoredLayer] = {}
        while top is not None and top in self.by_id and top not in found and len(found) < _MOST_LEVELS:
            found[top] = self.by_id[top]
            top = found[top].parent
        return tuple(reversed(found.values()))

    def missing_below(self, top: CacheID | None) -> CacheID | None:
        """The ID, at ``top`` or below it, that has no record; None if the chain is whole."""
        chain = self.chain(top)
        lowest = chain[0].parent if chain else top
        return lowest if lowest is not None and lowest not in self.by_id else None


def read_layers(*folders: Directory) -> Layers:
    """All layers; ``folders`` are ``<driver>-layers`` of the root and of its additional stores, the root's first.

    Incomplete ones are among them, marked. Of several with one ID the first counts.
    """
    lists = [
        read_list(folder, "layers", LayerFields, "layers are missing, and with them whole images") for folder in folders
    ]
    plain: dict[CacheID, StoredLayer] = {}
    for listed in lists:
        for key, record in listed.records.items():
            plain.setdefault(CacheID(key), _layer(record))
    by_id = _with_chain_ids(_with_sound_parents(plain))
    problems = tuple(problem for listed in lists for problem in listed.problems)
    return Layers(by_id, problems, all(listed.complete for listed in lists) and lists[0].present)


def _layer(record: Listed[LayerFields]) -> StoredLayer:
    fields, path = record.fields, record.path
    effect = "its size, or what lies below it, may be unknown"
    problems = record.problems("layer", effect)
    parent = fields.parent or None
    if parent is not None and not is_hex64(parent):
        what = f"layer {record.id[:12]} has the parent {shown(parent)}, expected 64 hexadecimal digits"
        problems.append(Problem(path, what, "the layers below it are not shown"))
        parent = None
    diff = fields.diff_digest or None
    if diff is not None and not is_digest(diff):
        what = f"layer {record.id[:12]} has the diff ID {shown(diff)}, expected sha256:<64 digits>"
        problems.append(Problem(path, what, severity=Severity.WARNING))
        diff = None
    size = fields.diff_size
    committed = bool(fields.diff_digest or fields.toc_digest)
    if not committed or size is None or size < 0:
        size = 0 if committed and size is None else None
    return StoredLayer(
        id=CacheID(record.id),
        parent=CacheID(parent) if parent else None,
        chain_id=ChainID(f"sha256:{record.id}"),
        diff_id=DiffID(diff) if diff else None,
        size=size,
        committed=committed,
        incomplete=(fields.flags or {}).get("incomplete") is True,
        volatile=record.volatile,
        pulled_in_parts=bool(fields.toc_digest) or _LIST_OF_FILES in (fields.big_data_names or ()),
        user_map=tuple(one for one in fields.uidmap or () if one is not None),
        group_map=tuple(one for one in fields.gidmap or () if one is not None),
        names=tuple(name for name in fields.names or () if name),
        path=path,
        raw=record.raw,
        problems=tuple(problems),
    )


def _with_sound_parents(layers: dict[CacheID, StoredLayer]) -> dict[CacheID, StoredLayer]:
    """The same with a problem at each layer whose parent has no record, or stands on the layer itself."""
    sound: set[CacheID] = set()
    for start in layers:
        trail: dict[CacheID, None] = {}
        place: CacheID | None = start
        while place is not None and place in layers and place not in trail and place not in sound:
            trail[place] = None
            place = layers[place].parent
        if place is not None and place not in sound:
            last = next(reversed(trail)) if trail else start
            what = f"layer {last[:12]} stands on {place[:12]}, which "
            what += "stands on it" if place in trail else "has no record"
            problem = Problem(layers[last].path, what, "the layers below it are not shown")
            layers[last] = replace(layers[last], problems=(*layers[last].problems, problem))
        sound.update(trail)
    return layers


def _with_chain_ids(layers: dict[CacheID, StoredLayer]) -> dict[CacheID, StoredLayer]:
    """The same with OCI chain IDs where they are known; each layer is looked at once."""
    known: dict[CacheID, ChainID | None] = {}
    taken: set[ChainID] = set()
    for start in layers:
        trail: list[CacheID] = []
        place: CacheID | None = start
        while place is not None and place in layers and place not in known and len(trail) <= len(layers):
            trail.append(place)
            place = layers[place].parent
        whole = place is None or known.get(place) is not None
        chain = known.get(place) if place is not None else None
        for one in reversed(trail):
            layer = layers[one]
            if not whole or layer.diff_id is None or layer.id_map:
                whole, chain = False, None
            else:
                chain = chain_id(chain, layer.diff_id)
            known[one] = chain
            if chain is not None and chain not in taken:
                taken.add(chain)
                layers[one] = replace(layer, chain_id=chain)
    return layers
