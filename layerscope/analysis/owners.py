"""Who owns a thing of the root: a path, an id or its prefix, a short name, a layer's digest, a mount line.

Every claim is entered with the record that makes it; what lies in the driver's folder without a claim is an orphan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, hex_of, is_file_name
from layerscope.model.image import Image, Layer
from layerscope.model.owner import Owner

_MOUNT_WORD = re.compile(r"(?:lowerdir|upperdir|workdir)\+?=([^,\s]+)")
_LAYER_FOLDERS = "overlay2|overlay|fuse-overlayfs|aufs/diff|aufs/mnt|aufs/layers|btrfs/subvolumes|vfs/dir|zfs/graph"
_PATHS = (
    (re.compile(r"(?:^|/)overlay2/l/([^/]+)"), "short"),
    (re.compile(r"^/?l/([A-Z2-7]{26})(?:/|$)"), "short"),
    (re.compile(rf"(?:^|/)(?:{_LAYER_FOLDERS})/([^/]+)"), "cache"),
    (re.compile(r"(?:^|/)layerdb/mounts/([^/]+)"), "container"),
    (re.compile(r"(?:^|/)layerdb/sha256/([0-9a-f]{64})"), "digest"),
    (re.compile(r"(?:^|/)imagedb/(?:content|metadata)/sha256/([0-9a-f]{64})"), "digest"),
    (re.compile(r"(?:^|/)containers/([0-9a-f]{64})(/.*)?"), "folder"),
    (re.compile(r"(?:^|/)volumes/([^/]+)"), "volume"),
    (re.compile(r"(?:^|/)plugins/([0-9a-f]{64})"), "plugin"),
)
_LOG_NAMES = re.compile(r"^/[0-9a-f]{64}-json\.log|^/local-logs(/|$)|^/container-cached\.log")


@dataclass(frozen=True, slots=True)
class Claims:
    """What the records of a root claim. ``layer_paths`` says where the driver keeps a layer, relative to the root."""

    images: tuple[Image, ...]
    containers: tuple[Container, ...]
    layers: Mapping[ChainID, Layer]
    volumes: tuple[str, ...]
    build_cache: frozenset[CacheID]
    cache_ids: tuple[CacheID, ...]
    short_names: Mapping[str, CacheID]
    layer_paths: Mapping[CacheID, str]

    def all(self) -> Iterator[Owner]:
        """Every claim, layers first."""
        yield from self._layer_claims()
        yield from self._container_claims()
        for name in self.volumes:
            yield Owner("volume", name, (name,), path=f"volumes/{name}", claimed_by=f"volumes/{name}")

    def _layer_claims(self) -> Iterator[Owner]:
        users: dict[ChainID, list[Image]] = {}
        for image in self.images:
            for chain in image.chain_ids:
                users.setdefault(chain, []).append(image)
        kept: dict[ChainID, list[Container]] = {}
        for container in self.containers:
            held = container.chain_id
            while held is not None and held in self.layers:
                kept.setdefault(held, []).append(container)
                held = self.layers[held].parent
        for chain, layer in self.layers.items():
            owner = Owner(
                "record",
                chain,
                chain_id=chain,
                diff_id=layer.diff_id,
                cache_id=layer.cache_id,
                path=self.layer_paths.get(layer.cache_id) if layer.cache_id else None,
                claimed_by=layer.path,
            )
            for image in users.get(chain, ()):
                yield replace(owner, kind="image", id=image.id, names=image.repo_tags)
            if chain in users:
                continue
            for container in kept.get(chain, ()):
                yield replace(owner, kind="container", id=container.id, names=(container.name,))
            if chain not in kept:
                yield replace(owner, kind="build-cache") if layer.cache_id in self.build_cache else owner
        recorded = {layer.cache_id for layer in self.layers.values()}
        for cache_id in sorted(self.build_cache - recorded):
            path = self.layer_paths.get(cache_id)
            yield Owner("build-cache", cache_id, cache_id=cache_id, path=path, claimed_by="buildkit/metadata_v2.db")

    def _container_claims(self) -> Iterator[Owner]:
        for container in self.containers:
            names = (container.name,) if container.name else ()
            record = f"image/{container.driver}/layerdb/mounts/{container.id}"
            yield Owner("container", container.id, names, path=f"containers/{container.id}")
            for kind, cache_id, file in (
                ("container", container.mount_id, "mount-id"),
                ("init", container.init_id, "init-id"),
            ):
                if cache_id:
                    path = self.layer_paths.get(cache_id)
                    claimed_by = f"{record}/{file}"
                    yield Owner(kind, container.id, names, container.chain_id, None, cache_id, path, claimed_by)


def owners(claims: Claims, thing: str) -> list[Owner]:
    """Everybody who claims ``thing``; empty if nobody knows it.

    A mount line gives the owners of every directory that it names, in its order.
    """
    thing = thing.strip()
    words = [word for match in _MOUNT_WORD.finditer(thing) for word in match[1].split(":")]
    if words:
        found = [owner for word in words for owner in owners(claims, word)]
        return list(dict.fromkeys(found))
    if "/" in thing:
        by_path = _by_path(claims, thing)
        if by_path or thing.startswith("/"):
            return by_path
    return _by_name(claims, thing)


def _by_path(claims: Claims, path: str) -> list[Owner]:
    for pattern, what in _PATHS:
        match = pattern.search(path)
        if not match:
            continue
        name = match[1]
        if what == "short":
            cache_id = claims.short_names.get(name)
            return _of_cache_id(claims, cache_id) if cache_id else []
        if what == "cache":
            return _of_cache_id(claims, CacheID(name))
        if what == "folder" and match[2] and _LOG_NAMES.search(match[2]):
            inside = f"containers/{name}{match[2]}"
            return [
                replace(owner, kind="log", path=inside)
                for owner in _matching(claims.all(), name)
                if owner.path == f"containers/{name}"
            ]
        if what == "volume":
            return [owner for owner in claims.all() if owner.kind == "volume" and owner.id == name]
        if what == "plugin":
            return [Owner("plugin", name, path=f"plugins/{name}", claimed_by=f"plugins/{name}/config.json")]
        found = _matching(claims.all(), name)
        return [owner for owner in found if owner.kind != "init"] if what != "digest" else found
    return []


def _of_cache_id(claims: Claims, cache_id: CacheID) -> list[Owner]:
    found = [owner for owner in claims.all() if owner.cache_id == cache_id]
    if not found and cache_id in claims.cache_ids:
        found = [Owner("orphan", cache_id, cache_id=cache_id, path=claims.layer_paths.get(cache_id))]
    return found


def _by_name(claims: Claims, name: str) -> list[Owner]:
    if not is_file_name(name.replace("/", "_")):
        return []
    if name in claims.short_names:
        return _of_cache_id(claims, claims.short_names[name])
    found = _matching(claims.all(), hex_of(name))
    if not found:
        found = [
            Owner("orphan", cache_id, cache_id=cache_id, path=claims.layer_paths.get(cache_id))
            for cache_id in claims.cache_ids
            if cache_id.startswith(name)
        ]
    return found


def _matching(claims: Iterable[Owner], text: str) -> list[Owner]:
    """Claims one of whose ids begins with ``text`` (hexadecimal, no ``sha256:``), or one of whose names is it."""
    found = []
    for owner in claims:
        ids = (owner.id, owner.chain_id, owner.diff_id, owner.cache_id)
        names = {name for full in owner.names for name in (full, full.removesuffix(":latest"))}
        if text in names or any(hex_of(identifier).startswith(text) for identifier in ids if identifier):
            found.append(owner)
    return found
