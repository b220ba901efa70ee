"""Which images an archive holds: their configs, layers and names, by its own manifests, each digest checked.

``manifest.json`` (docker save) counts before ``index.json`` (OCI layout) where there are both, as for docker.

| file | content |
| --- | --- |
| `manifest.json` | ``[{"Config": name, "RepoTags": [reference …] or null, "Layers": [name …], "Parent": image ID}]`` |
| `index.json` | ``{"manifests": [descriptor …]}``; a descriptor: ``mediaType digest size platform annotations`` |
| `blobs/sha256/<hex>` | an index; a manifest ``{"config": descriptor, "layers": [descriptor …]}``; a config; a layer |

An OCI name is the annotation ``io.containerd.image.name``, else ``org.opencontainers.image.ref.name`` where that is
more than a tag. Sources: docker image spec v1.2; OCI image-layout.md, manifest.md, annotations.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from layerscope.errors import CommitError, UsageError
from layerscope.formats.escape import escape
from layerscope.lab.archive.config import demand_config
from layerscope.lab.archive.layout import Archive, read_small
from layerscope.lab.image.config import host_architecture
from layerscope.lab.image.tagging import Reference, parse_tag
from layerscope.model.digest import DiffID, ImageID, digest_of, hex_of, is_digest

_MANIFEST_LIMIT = 4 << 20
_CONFIG_LIMIT = 4 << 20
_MOST_IMAGES = 1000
_MOST_LAYERS = 125
_MOST_INDEXES = 4
_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_MANIFESTS = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}


class ArchivedLayer(Struct, frozen=True):
    """A layer's tar in an archive. ``digest``: of its bytes there, compressed or not; None where none is given."""

    name: str
    diff_id: DiffID
    digest: str | None = None


class ArchivedImage(Struct, frozen=True):
    """An image in an archive, its config checked. ``layers`` base first."""

    id: ImageID
    config: bytes
    layers: tuple[ArchivedLayer, ...]
    names: tuple[Reference, ...]
    parent: ImageID | None = None


def archived_images(archive: Archive) -> list[ArchivedImage]:
    """The images of an archive, in its order.

    Raises:
        CommitError: a manifest or config is damaged or names what isn't there; the text has the member and the rule.
    """
    if archive.has("manifest.json"):
        found = list(_saved(archive))
    elif archive.has("index.json"):
        found = list(_laid_out(archive))
    elif archive.has("repositories"):
        raise CommitError("the archive is from before docker 1.10 (no manifest.json), which is not supported")
    else:
        raise CommitError(
            "the archive is neither docker's nor an OCI layout: it has no manifest.json and no index.json"
        )
    if not found:
        raise CommitError("the archive holds no image")
    return found


# ---------------------------------------------------------------------- docker save
def _saved(archive: Archive) -> Iterator[ArchivedImage]:
    entries = _json(archive, "manifest.json")
    if not isinstance(entries, list) or len(entries) > _MOST_IMAGES:
        raise CommitError(f"manifest.json of the archive: expected a list of at most {_MOST_IMAGES} images")
    for entry in entries:
        config_name, layers = _field(entry, "Config", str, "manifest.json"), entry.get("Layers") or []
        if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
            raise CommitError("manifest.json of the archive: Layers is no list of names")
        names = entry.get("RepoTags") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CommitError("manifest.json of the archive: RepoTags is no list of names")
        config = read_small(archive, config_name, _CONFIG_LIMIT)
        diff_ids = _diff_ids(config, config_name, len(layers))
        parent = entry.get("Parent")
        yield ArchivedImage(
            ImageID(digest_of(config)),
            config,
            tuple(ArchivedLayer(name, diff_id) for name, diff_id in zip(layers, diff_ids, strict=True)),
            tuple(_name(name) for name in names),
            ImageID(parent) if isinstance(parent, str) and is_digest(parent) else None,
        )


# ---------------------------------------------------------------------- OCI layout
def _laid_out(archive: Archive) -> Iterator[ArchivedImage]:
    index = _json(archive, "index.json")
    for descriptor in _descriptors(index, "manifests", "index.json"):
        manifest = _manifest(archive, descriptor)
        if manifest is None:
            continue
        where = _blob_name(descriptor)
        config_descriptor = _field(manifest, "config", dict, where)
        config = _blob(archive, config_descriptor, where)
        layers = _descriptors(manifest, "layers", where)
        diff_ids = _diff_ids(config, _blob_name(config_descriptor), len(layers))
        yield ArchivedImage(
            ImageID(digest_of(config)),
            config,
            tuple(
                ArchivedLayer(_blob_name(layer), diff_id, layer["digest"])
                for layer, diff_id in zip(layers, diff_ids, strict=True)
            ),
            tuple(_oci_names(descriptor)),
        )


def _manifest(archive: Archive, descriptor: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a descriptor, through indexes for this machine; None for what is no image."""
    for _ in range(_MOST_INDEXES):
        kind = descriptor.get("mediaType")
        if kind not in _INDEXES | _MANIFESTS:
            return None
        where = _blob_name(descriptor)
        content = _parsed(_blob(archive, descriptor, where), where)
        if kind in _MANIFESTS:
            return content
        below = [inner for inner in _descriptors(content, "manifests", where) if _is_image(inner)]
        if not below:
            return None
        here = [inner for inner in below if _platform(inner) == ("linux", host_architecture())]
        descriptor = (here or below)[0]
    raise CommitError(f"{where}: more than {_MOST_INDEXES} indexes in each other")


def _is_image(descriptor: dict[str, Any]) -> bool:
    """Attestations stand among the images, for a platform that is unknown."""
    return _platform(descriptor)[0] != "unknown"


def _platform(descriptor: dict[str, Any]) -> tuple[str, str]:
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return "", ""
    return str(platform.get("os")), str(platform.get("architecture"))


def _oci_names(descriptor: dict[str, Any]) -> Iterator[Reference]:
    annotations = descriptor.get("annotations")
    notes = annotations if isinstance(annotations, dict) else {}
    name = notes.get(_NAME) or notes.get(_REF_NAME)
    if isinstance(name, str) and (notes.get(_NAME) or ":" in name or "/" in name):
        yield _name(name)


def _name(text: str) -> Reference:
    try:
        return parse_tag(text)
    except UsageError as error:
        raise CommitError(f"a name in the archive: {error}") from None


def _descriptors(value: Any, key: str, where: str) -> list[dict[str, Any]]:
    found = _field(value, key, list, where)
    if len(found) > _MOST_IMAGES or not all(isinstance(item, dict) and is_digest(item.get("digest")) for item in found):
        raise CommitError(f"{where} of the archive: {key} is no list of descriptors with sha256 digests")
    return list(found)


def _blob_name(descriptor: dict[str, Any]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise CommitError(f"the archive has a descriptor with the digest {digest!a:.100}, expected sha256:<64 digits>")
    return f"blobs/sha256/{hex_of(digest)}"


def _blob(archive: Archive, descriptor: dict[str, Any], where: str) -> bytes:
    """A small blob, its digest checked."""
    name = _blob_name(descriptor)
    data = read_small(archive, name, _MANIFEST_LIMIT)
    if digest_of(data) != descriptor["digest"]:
        raise CommitError(f"{name} of the archive: its digest is {digest_of(data)}, not the one that {where} names")
    return data


# ---------------------------------------------------------------------- configs
def _diff_ids(config: bytes, where: str, layers: int) -> list[DiffID]:
    """The diff IDs of a config that docker would take."""
    value = _parsed(config, where)
    rootfs = value.get("rootfs")
    if not isinstance(rootfs, dict):
        raise CommitError(f"{escape(where)[:200]} of the archive is no image config: it has no rootfs")
    diff_ids = rootfs.get("diff_ids") or []
    if not isinstance(diff_ids, list) or not all(is_digest(diff_id) for diff_id in diff_ids):
        raise CommitError(f"{escape(where)[:200]} of the archive: rootfs.diff_ids is no list of sha256 digests")
    if len(diff_ids) != layers:
        raise CommitError(
            f"{escape(where)[:200]} of the archive names {len(diff_ids)} layers, but there are {layers} of the image"
        )
    if layers > _MOST_LAYERS:
        raise CommitError(f"{escape(where)[:200]} of the archive: {layers} layers, docker takes at most {_MOST_LAYERS}")
    if value.get("os") not in (None, "", "linux"):
        raise CommitError(f"{escape(where)[:200]} of the archive: the image is for {value['os']!a:.40}, not for linux")
    demand_config(config, where)
    history = value.get("history")
    rows = history if isinstance(history, list) else []
    with_layer = sum(1 for row in rows if not (isinstance(row, dict) and row.get("empty_layer")))
    if with_layer > layers:
        raise CommitError(
            f"{escape(where)[:200]} of the archive: its history has {with_layer} rows with a layer, but it has {layers}"
        )
    return [DiffID(diff_id) for diff_id in diff_ids]


def _json(archive: Archive, name: str) -> Any:
    try:
        return json.loads(read_small(archive, name, _MANIFEST_LIMIT))
    except (ValueError, RecursionError) as error:
        raise CommitError(f"{name} of the archive is no JSON: {str(error)[:100]}") from None


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CommitError(f"{escape(where)[:200]} of the archive is no JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise CommitError(f"{escape(where)[:200]} of the archive is no JSON object")
    return value


def _field(value: Any, key: str, kind: type, where: str) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise CommitError(f"{where} of the archive: {key} is missing or of another kind")
    return found
