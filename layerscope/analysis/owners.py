"""Who owns a thing of the root: a path, an id or its prefix, a short name, a layer's digest, a mount line.

Every claim is entered with the record that makes it; what lies in the driver's folder without a claim is an orphan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, ContainerID, hex_of, is_file_name
from layerscope.model.image import Image, Layer
from layerscope.model.owner import Owner

_MOUNT_WORD = re.compile(r"(?:lowerdir|upperdir|workdir)\+?=([^,\s]+)")
_MOUNT_LINE = re.compile(r"(\S+) (?:on )?/\S* (?:type )?\S+ \S+")
"""As mount(8) or ``/proc/mounts`` has it: what is mounted, where, the file system's type."""
_LAYER_FOLDERS = "overlay2|overlay|fuse-overlayfs|aufs/diff|aufs/mnt|aufs/layers|btrfs/subvolumes|vfs/dir|zfs/graph"
_PATHS = (
    (re.compile(r"(?:^|/)layerdb/mounts/([^/]+)"), "container"),
    (re.compile(r"(?:^|/)layerdb/sha256/([0-9a-f]{64})"), "digest"),
    (re.compile(r"(?:^|/)imagedb/(?:content|metadata)/sha256/([0-9a-f]{64})"), "digest"),
    (re.compile(r"(?:^|/)overlay2?/l/([^/]+)"), "short"),
    (re.compile(r"^/?l/([A-Z2-7]{26})(?:/|$)"), "short"),
    (re.compile(rf"(?:^|/)(?:{_LAYER_FOLDERS})/([^/]+)"), "cache"),
    (re.compile(r"(?:^|/)[a-z]+-layers/([0-9a-f]{64})"), "cache"),
    (re.compile(r"(?:^|/)[a-z]+-images/([0-9a-f]{64})"), "digest"),
    (re.compile(r"(?:^|/)(?:[a-z]+-)?containers/([0-9a-f]{64})(/.*)?"), "folder"),
    (re.compile(r"(?:^|/)volumes/([^/]+)"), "volume"),
    (re.compile(r"(?:^|/)plugins/([0-9a-f]{64})"), "plugin"),
)
_DEVICE = re.compile(r"docker-\d+:\d+-\d+-(.+)")
"""A thin device's name: the data root's device and inode, then the layer's ID."""
_LONG_ID = 32
_HOME_PARTS = 2
"""Of a folder of layers, so many names at its end tell it apart: ``vfs/dir``, ``…overlayfs/snapshots``."""
_LOG_NAMES = re.compile(r"^/[0-9a-f]{64}-json\.log|^/local-logs(/|$)|^/container-cached\.log|^/userdata/ctr\.log")


class Claims(Struct, frozen=True):
    """What the records of a root claim. ``layer_paths`` says where the driver keeps a layer, relative to the root.

    ``container_places`` are the folder of each container and the record that claims its layers, where that isn't
    docker's way.
    """

    images: tuple[Image, ...]
    containers: tuple[Container, ...]
    layers: Mapping[ChainID, Layer]
    volumes: tuple[str, ...]
    build_cache: frozenset[CacheID]
    cache_ids: tuple[CacheID, ...]
    short_names: Mapping[str, CacheID]
    layer_paths: Mapping[CacheID, str]
    container_places: Mapping[ContainerID, tuple[str, str]] = field(default_factory=dict)

    def layer_at(self, path: str) -> CacheID | None:
        """The layer whose folder a path leads into, wherever the root lay on the host that named it; None if none.

        Besides its own folder, whatever bears the layer's long ID counts: a device, a dataset, a record.
        """
        parts = path.strip("/").split("/")
        for cache_id, place in self.layer_paths.items():
            above, _, _ = f"/{place}/".partition(f"/{cache_id}/")
            home = above.strip("/").split("/")[-_HOME_PARTS:]
            wanted = [*home, cache_id]
            if cache_id in parts and any(parts[end - len(wanted) : end] == wanted for end in range(1, len(parts) + 1)):
                return cache_id
        known = {*self.cache_ids, *(owner.cache_id for owner in self.all() if owner.cache_id)}
        for part in parts:
            device = _DEVICE.fullmatch(part)
            name = CacheID(device[1] if device else part)
            if len(name) >= _LONG_ID and name in known:
                return name
        return None

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
            held, seen = container.chain_id, set[ChainID]()
            while held is not None and held in self.layers and held not in seen:  # records may name each other
                seen.add(held)
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
            mount = f"image/{container.driver}/layerdb/mounts/{container.id}"
            folder, record = self.container_places.get(container.id, (f"containers/{container.id}", ""))
            yield Owner("container", container.id, names, path=folder)
            for kind, cache_id, file in (
                ("container", container.mount_id, "mount-id"),
                ("init", container.init_id, "init-id"),
            ):
                if cache_id:
                    path = self.layer_paths.get(cache_id)
                    claimed_by = record or f"{mount}/{file}"
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
    if mounted := _MOUNT_LINE.match(thing):
        thing = mounted[1]
    if "/" in thing or _DEVICE.fullmatch(thing):
        by_path = _by_path(claims, thing)
        if by_path or thing.startswith("/"):
            return by_path
    return _by_name(claims, thing)


def _by_path(claims: Claims, path: str) -> list[Owner]:
    layer = claims.layer_at(path)
    if layer is not None:
        return _of_cache_id(claims, layer)
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
            return [
                replace(owner, kind="log", path=f"{owner.path}{match[2]}")
                for owner in _matching(claims.all(), name)
                if owner.path is not None and owner.path.endswith(f"containers/{name}")
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
