"""Read-only layers: ``image/<driver>/layerdb/sha256/<chain ID>/``.

| file | content |
| --- | --- |
| `diff` | diff ID, `sha256:<hex>` |
| `parent` | chain ID of the layer below; absent for a base layer |
| `cache-id` | the driver's name for the layer's directory |
| `size` | decimal bytes |

White space around the texts is allowed, except in `size`. docker drops a layer with a bad file, and every layer and
image above it; it doesn't recompute chain IDs. Directories are renamed to ``<chain ID>-<random>-removing`` before they
are deleted, and are made as ``layerdb/tmp/write-set-<digits>``.
Source: moby layer/filestore.go, layer/layer_store.go ``loadLayer``; seen with 20.10.24.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, ChainID, DiffID, chain_id, is_digest, is_file_name, is_hex64
from layerscope.model.image import Layer
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import MISSING, Fault, is_gone, list_directory, read_line, shown

Facts = Mapping[ChainID, tuple[ChainID | None, DiffID]]
"""Parent and diff ID of chain IDs, as image configs tell them: a chain ID is their hash, so they are beyond doubt."""

_SIZE = re.compile(r"\+?[0-9]{1,18}")
_REMOVING = re.compile(r"[0-9a-f]{64}-.*-removing")
_DROPPED = "docker drops this layer and all images and containers above it"


class LayerRecords(Struct, frozen=True):
    """The layers by chain ID, and what else lies among them. Problems of single layers are on the layers."""

    layers: dict[ChainID, Layer]
    problems: tuple[Problem, ...]


def read_layers(layerdb: Directory, path: str, facts: Facts) -> LayerRecords:
    """All layers below ``layerdb``, whose path below the root is ``path``."""
    problems: list[Problem] = []
    layers: dict[ChainID, Layer] = {}
    folder = layerdb.enter("sha256")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        if not entries.absent:
            problems.append(entries.problem(f"{path}/sha256", "no layer can be read"))
        entries = []
    for name, kind in entries:
        place = f"{path}/sha256/{name}"
        if is_hex64(name) and kind == "d":
            chain = ChainID(f"sha256:{name}")
            directory = folder.enter(name)
            layer = read_layer(directory, chain, place, facts.get(chain))
            directory.close()
            if not (layer.problems and is_gone(folder, name)):
                layers[chain] = layer
        elif kind == "d" and _REMOVING.fullmatch(name):
            effect = "its files stay until docker stops in good order"
            problems.append(Problem(place, "is a layer whose deletion didn't end", effect, severity=Severity.NOTE))
        elif is_hex64(name):
            problems.append(Problem(place, "is not a directory (links are not followed)", _DROPPED))
        else:
            problems.append(Problem(place, "is no layer: its name is no chain ID", severity=Severity.NOTE))
    _check_stacking(layers)
    problems.extend(_unfinished(layerdb, path))
    return LayerRecords(layers, tuple(problems))


def _unfinished(layerdb: Directory, path: str) -> list[Problem]:
    entries = list_directory(layerdb.enter("tmp"))
    if isinstance(entries, Fault):
        return [] if entries.absent else [entries.problem(f"{path}/tmp", severity=Severity.NOTE)]
    what = "is a layer that is being written, or whose writing was interrupted"
    return [Problem(f"{path}/tmp/{name}", what, severity=Severity.NOTE) for name, _kind in entries]


def read_layer(directory: Directory, chain: ChainID, path: str, fact: tuple[ChainID | None, DiffID] | None) -> Layer:
    """The layer in ``directory``, whose path below the root is ``path``; ``fact``: what an image says of it."""
    texts = {name: read_line(directory, name) for name in ("diff", "parent", "cache-id", "size")}
    problems: list[Problem] = []
    diff = parent = cache = size = None
    if all(isinstance(text, Fault) and text.absent for text in texts.values()):
        hint = "docker can't register this layer again while the empty directory is there"
        problems.append(Problem(path, "holds no layer record", _DROPPED, hint))
    else:
        diff = _digest(texts["diff"], f"{path}/diff", problems)
        if texts["parent"] != MISSING:
            parent = _digest(texts["parent"], f"{path}/parent", problems)
        cache = _cache_id(texts["cache-id"], f"{path}/cache-id", problems)
        size = _size(texts["size"], f"{path}/size", problems)
    if diff is not None and chain_id(ChainID(parent) if parent else None, DiffID(diff)) != chain:
        what = "has a parent and a diff ID that together make another chain ID than its name"
        effect = "docker puts it on the wrong layer and counts wrong sizes"
        hint = "parent and diff ID are taken from an image's config" if fact else ""
        problems.append(Problem(path, what, effect, hint, Severity.WARNING))
    if fact is not None:
        parent, diff = fact
    return Layer(
        chain_id=chain,
        diff_id=DiffID(diff) if diff else None,
        parent=ChainID(parent) if parent else None,
        cache_id=CacheID(cache) if cache else None,
        size=size,
        path=path,
        problems=tuple(problems),
    )


def _digest(text: str | Fault, path: str, problems: list[Problem]) -> str | None:
    if isinstance(text, Fault):
        problems.append(text.problem(path, _DROPPED))
        return None
    if not is_digest(text.strip()):
        problems.append(Problem(path, f"holds {shown(text)}, expected sha256:<64 digits>", _DROPPED))
        return None
    return text.strip()


def _cache_id(text: str | Fault, path: str, problems: list[Problem]) -> str | None:
    if isinstance(text, Fault):
        problems.append(text.problem(path, f"{_DROPPED}; where its files lie is unknown"))
        return None
    name = text.strip()
    if not is_file_name(name) or not name.isprintable():
        problems.append(
            Problem(path, f"holds {shown(text)}, expected the name of one directory", "its files are not read")
        )
        return None
    return name


def _size(text: str | Fault, path: str, problems: list[Problem]) -> int | None:
    effect = f"{_DROPPED}; its size is unknown"
    if isinstance(text, Fault):
        problems.append(text.problem(path, effect))
        return None
    if not _SIZE.fullmatch(text):
        problems.append(Problem(path, f"holds {shown(text)}, expected a number of bytes and nothing else", effect))
        return None
    return int(text)


def _check_stacking(layers: dict[ChainID, Layer]) -> None:
    """Add what only shows between layers: a parent that isn't there, two layers with one directory."""
    claims = Counter(layer.cache_id for layer in layers.values() if layer.cache_id)
    for chain, layer in layers.items():
        found = []
        if layer.parent is not None and layer.parent not in layers:
            what = f"names the layer below, {layer.parent}, which has no record"
            found.append(Problem(f"{layer.path}/parent", what, _DROPPED))
        if layer.cache_id and claims[layer.cache_id] > 1:
            what = f"names a directory that {claims[layer.cache_id]} layers claim: {layer.cache_id}"
            found.append(Problem(f"{layer.path}/cache-id", what, severity=Severity.WARNING))
        if found:
            layers[chain] = replace(layer, problems=(*layer.problems, *found))


def chain_of(top: ChainID | None, layers: Mapping[ChainID, Layer], facts: Facts) -> tuple[ChainID, ...]:
    """The chain IDs from the base to ``top``, as far down as records tell; a circle ends where it closes."""
    chain: dict[ChainID, None] = {}
    while top is not None and top not in chain:
        chain[top] = None
        layer = layers.get(top)
        top = facts[top][0] if top in facts else layer.parent if layer else None
    return tuple(reversed(chain))
