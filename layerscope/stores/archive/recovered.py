"""Images of archives that nothing describes: those cut before their index, and those from before docker 1.10.

docker's own layout has a folder for each layer; the newest ones of an image have no child.

| file | content |
| --- | --- |
| ``<id>/json`` | the old record of a layer: ``id``, ``parent``, ``created``; of a top layer the configuration, too |
| ``<id>/layer.tar`` | the layer |
| ``repositories`` | ``{repository: {tag: id}}`` |
| ``<hex>.json`` | an image config, from docker 1.10 on |
| ``<hex>.tar`` | the layer of that diff ID, where skopeo or podman wrote the archive |

Source: docker image spec v1.0 and v1.2; moby image/tarexport/save.go; containers/image docker/internal/tarfile/;
seen with docker 20.10.24 and skopeo 1.9.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from layerscope.model.digest import hex_of, is_digest, is_hex64
from layerscope.stores.archive.archive import Archive
from layerscope.stores.archive.described import ArchivedBlobs, Described, blob_name, images_of
from layerscope.stores.oci.content import Content
from layerscope.stores.oci.manifest import Descriptor, Document
from layerscope.stores.records.image_config import ImageConfig
from layerscope.stores.records.json_record import parse

_NAMED = "repositories"
_LIMIT = 1 << 20
_MOST = 4096
_MOST_LAYERS = 1000


class _OldRecord(msgspec.Struct):
    """``<id>/json``."""

    parent: str | None = None
    created: str | None = None


class _Repositories(msgspec.Struct):
    """``repositories``, put into an object so that it is read as other records are."""

    names: dict[str, dict[str, str]] | None = None


def recovered(archive: Archive) -> list[Described] | None:
    """The images that can be made out, their names as far as those are known; None if there are none."""
    # Without the file of names, which comes last, records of layers may be missing, too.
    whole = archive.has(_NAMED)
    ways = (_by_manifests, _by_folders, _by_configs) if whole else (_by_manifests, _by_configs, _by_folders)
    return next(filter(None, (way(archive) for way in ways)), None)


def _by_manifests(archive: Archive) -> list[Described]:
    """The images whose OCI manifests lie among the blobs."""
    content = Content(ArchivedBlobs(archive), None)
    found: list[Described] = []
    for digest in sorted(content.files)[:_MOST]:
        data = archive.read(blob_name(digest), _LIMIT)
        if isinstance(data, bytes) and data.lstrip()[:1] == b"{":
            document = parse(data, Document).typed
            if document.config is not None and document.layers is not None:
                found.extend(images_of(Descriptor(digest=digest), content, []))
    return found


def _by_folders(archive: Archive) -> list[Described]:
    """The images that the old records of layers make, each layer upon its parent."""
    records: dict[str, _OldRecord] = {}
    for folder in archive.members.folders():
        data = archive.read(f"{folder}/json", _LIMIT) if is_hex64(folder) and len(records) < _MOST else None
        if isinstance(data, bytes):
            records[folder] = parse(data, _OldRecord).typed
    names = _names(archive)
    parents = {record.parent for record in records.values()}
    configs = _configs(archive)
    found = []
    for top, record in records.items():
        if top in parents and top not in names:
            continue
        chain = _chain(top, records)
        config = configs.get((record.created, len(chain)), f"{top}/json")
        found.append(Described(config, tuple(f"{layer}/layer.tar" for layer in chain), names.get(top, ())))
    return found


def _by_configs(archive: Archive) -> list[Described]:
    """The images whose configs are there, if a tar bears the name of one of their layers; names are lost."""
    there = set(archive.members.names(""))
    found = []
    for config, _, layers in _configs_at_the_top(archive):
        tars = tuple(f"{hex_of(diff_id)}.tar" for diff_id in layers[:_MOST_LAYERS] if is_digest(diff_id))
        if len(tars) == len(layers) and there & set(tars):
            found.append(Described(config, tars, ()))
    return found


def _chain(top: str, records: Mapping[str, _OldRecord]) -> list[str]:
    """A layer and all below it, base first; a circle is cut."""
    chain: dict[str, None] = {}
    layer: str | None = top
    while layer is not None and layer in records and layer not in chain and len(chain) < _MOST_LAYERS:
        chain[layer] = None
        layer = records[layer].parent
    return list(chain)[::-1]


def _names(archive: Archive) -> dict[str, tuple[str, ...]]:
    """The names of each top layer."""
    data = archive.read(_NAMED, _LIMIT)
    told = parse(b'{"names":' + data + b"}", _Repositories).typed.names if isinstance(data, bytes) else None
    found: dict[str, tuple[str, ...]] = {}
    for repository, tags in (told or {}).items():
        for tag, layer in tags.items():
            found[layer] = (*found.get(layer, ()), f"{repository}:{tag}")
    return found


def _configs(archive: Archive) -> dict[tuple[str | None, int], str]:
    """The image configs at the top, by their time and how many layers they have: what tells whose they are."""
    return {(config.created, len(layers)): name for name, config, layers in _configs_at_the_top(archive)}


def _configs_at_the_top(archive: Archive) -> Iterator[tuple[str, ImageConfig, Sequence[str]]]:
    """Name, content and diff IDs of each file that bears an image config's name."""
    for name in archive.members.names("")[:_MOST]:
        data = archive.read(name, _LIMIT) if is_hex64(name.removesuffix(".json")) else None
        if isinstance(data, bytes):
            config = parse(data, ImageConfig).typed
            yield name, config, (config.rootfs.diff_ids if config.rootfs else None) or ()
