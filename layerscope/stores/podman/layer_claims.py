"""Who claims each layer of a driver: images, containers, a write that didn't end, or nobody.

| claim | class |
| --- | --- |
| a record that an image's stack, or a shifted copy of it, has | image layer |
| … that is a container's own | writable layer |
| … with the flag ``incomplete`` | temporary: the engine removes it |
| … that nothing leads to | unused layer |
| no record, but one in the run root, or mounted now | writable layer of a container of a transient store |
| no record, and nobody can tell what the run root had | unknown, if it may be such a container's |
| no record | orphan |

Layers are made and removed under the lock ``layers.lock``, and recorded before it is given back. So while nobody holds
it, a directory without a record is nobody's, however young; while somebody does, it may be in work.
With ``--transient-store`` podman keeps the records of containers in the run root (``run_root``), no part of this one.
Source: containers/storage layers.go ``create``, ``Delete``; store.go ``DeleteImage``; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from layerscope.hostfs import Directory
from layerscope.hostfs.locks import held_locks
from layerscope.hostfs.mounts import mounts_below
from layerscope.model.claim import Category, Claim
from layerscope.model.digest import CacheID, is_hex64
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.podman.layers import StoredLayer
from layerscope.stores.podman.record_list import state_of
from layerscope.stores.podman.run_root import TransientContainers
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.records.files import Fault, is_gone, list_directory, shown

OWNER = "containers/storage"
"""Who makes what podman, Buildah and CRI-O share."""
ELSEWHERE = "a container that is recorded elsewhere"
_WHOLE_TREES = {"vfs", "btrfs", "zfs"}
_CONTAINER_RANK, _OTHER_RANK = 10_000, 20_000
_MOST_NAMES = 4


def layer_ids(root: Directory, driver: str) -> frozenset[str]:
    """The names of a driver's layers as they lie there now, claimed or not."""
    entries = list_directory(root.descend(layer_folder(driver)))
    if isinstance(entries, Fault):
        return frozenset()
    return frozenset(name for name, kind in entries if kind == "d" and is_hex64(name))


def is_locked(folder: Directory, name: str) -> bool:
    """Whether a process writes what the lock file ``name`` guards. The device isn't compared: some kernels hide it."""
    try:
        stat = folder.stat_or_none(name)
    except OSError:
        return False
    if stat is None:
        return False
    writers = (lock for lock in held_locks() or () if lock.type != "FLOCK" and lock.access == "WRITE")
    return any(lock.inode == stat.st_ino for lock in writers)


class LayerClaims:
    """The claims on the layers of one driver. ``directories`` were listed before the records of ``store`` are read."""

    def __init__(self, store: PodmanStore, directories: frozenset[str]) -> None:
        self._store = store
        self._directories = directories
        self._folder = layer_folder(store.driver)
        self._suspects: dict[str, Claim] = {}
        self._again: tuple[tuple[object, ...], dict[str, Claim]] | None = None
        self.transient = TransientContainers(store)
        self._own = {one.id: one for one in store.stored_layers.by_id.values() if not one.path.startswith("/")}
        self._claims = dict(self._recorded())

    def claim(self, name: str) -> Claim | None:
        """Who has the layer ``name``; None for a name that is no layer's."""
        known = self._claims.get(name)
        if known is not None:
            return known
        if not is_hex64(name):
            return None
        if name not in self._suspects:
            self._suspects[name] = self._suspected(name)
        return self._suspects[name]

    def exists(self, name: str) -> bool:
        """Whether the layer ``name`` has a directory now."""
        if name in self._directories:
            return True
        try:
            return is_hex64(name) and self._store.root.descend(self._folder).stat_or_none(name) is not None
        except OSError:
            return False

    def record_claim(self, name: str, path: str) -> Claim:
        """Who has the file or folder at ``path``, which is kept beside the list for the layer ``name``."""
        other = self._store.stored_layers.by_id.get(CacheID(name))
        if other is not None and other.id not in self._own:
            return Claim(path, Category.RECORD, name[:12], f"record of a layer of an image store, {other.path}")
        layer = self.claim(name)
        if layer is None or layer.category in (Category.ORPHAN, Category.TEMPORARY, Category.UNKNOWN):
            category, reason = (layer.category, layer.reason) if layer else (Category.UNKNOWN, "names no layer")
            return Claim(path, category, "", reason)
        return Claim(path, Category.RECORD, name[:12], f"record of a layer, {layer.reason}")

    def items(self, name: str) -> tuple[str, ...]:
        """The keys of what is kept beside a layer in files of its own."""
        layer = self._own.get(CacheID(name))
        names = layer.raw.get("big-data-names") if layer else None
        return tuple(key for key in names if isinstance(key, str)) if isinstance(names, list) else ()

    # ------------------------------------------------------------------ records
    def _recorded(self) -> Iterator[tuple[str, Claim]]:
        users, depths = self._users()
        writers = {one.mount_id: one.name or one.id[:12] for one in self._store.containers() if one.mount_id}
        lists = (self._store.image_list, self._store.container_list)
        for layer in self._own.values():
            told, rank = layer.path, depths.get(layer.id, 0)
            if layer.incomplete:
                reason = f"{told}: marked as incomplete: it is being written, or that was interrupted"
                yield layer.id, self._made(layer.id, Category.TEMPORARY, OWNER, reason, _OTHER_RANK)
            elif layer.id in writers:
                yield layer.id, self._made(layer.id, Category.CONTAINER_RW, writers[layer.id], told, _CONTAINER_RANK)
            elif layer.id in users:
                names = users[layer.id]
                more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
                owner = ", ".join(names[:_MOST_NAMES]) + more
                yield layer.id, self._made(layer.id, Category.IMAGE_LAYER, owner, told, rank, layer.committed)
            elif not all(one.complete for one in lists):
                reason = f"{told}; whose it is can't be told, since a list can't be read"
                yield layer.id, self._made(layer.id, Category.UNKNOWN, "", reason, _OTHER_RANK)
            else:
                reason = f"{told}; no image and no container leads to it"
                yield layer.id, self._made(layer.id, Category.UNUSED_LAYER, "", reason, rank, layer.committed)

    def _users(self) -> tuple[dict[CacheID, list[str]], dict[CacheID, int]]:
        """For each layer the images and containers that stand on it, and how many layers are below it."""
        store = self._store
        users: dict[CacheID, list[str]] = {}
        depths: dict[CacheID, int] = {}
        for one in store.stored_images:
            name = ", ".join(one.image.repo_tags) or one.image.id.removeprefix("sha256:")[:12]
            for layer in one.counted:
                users.setdefault(layer.id, []).append(name)
        for container in store.containers():
            for layer in store.stored_layers.chain(container.mount_id)[:-1]:
                users.setdefault(layer.id, [f"container {container.name or container.id[:12]}"])
        for layer in self._own.values():
            depths[layer.id] = _depth(layer, depths, store.stored_layers.by_id)
        return users, depths

    def _made(
        self, name: str, category: Category, owner: str, reason: str, rank: int, committed: bool = False
    ) -> Claim:
        whole = self._store.driver in _WHOLE_TREES
        return Claim(f"{self._folder}/{name}", category, owner, reason, rank, None, whole, committed)

    # ------------------------------------------------------------------ nobody's
    def _suspected(self, name: str) -> Claim:
        """A directory that no record names: an engine may have made it since the records were read."""
        folder = self._store.folder("layers")
        if not self._store.stored_layers.complete:
            reason = f"{folder.path}/layers.json can't be read in full, so whether it claims this isn't known"
            return self._made(name, Category.UNKNOWN, "", reason, _OTHER_RANK)
        locked = is_locked(folder, "layers.lock")
        again = self._anew(folder).get(name)
        if again is not None:
            return again
        if locked or is_gone(self._store.root.descend(self._folder), name):
            reason = "no record claims it, but layers are being written or removed now"
            return self._made(name, Category.TEMPORARY, OWNER, reason, _OTHER_RANK)
        self.transient.read()
        owner = self.transient.of_layer(name)
        if name in self.mounted:
            reason = "no record here names it, but it is mounted now, as the layer of a transient store's container"
            return self._made(name, Category.CONTAINER_RW, owner or ELSEWHERE, reason, _CONTAINER_RANK)
        if owner is not None:
            reason = f"the list of containers in the run root {shown(self.transient.place, 200)}"
            return self._made(name, Category.CONTAINER_RW, owner, reason, _CONTAINER_RANK)
        if why := self.transient.why_unknown((name,)):
            return self._made(name, Category.UNKNOWN, "", why, _OTHER_RANK)
        return self._made(name, Category.ORPHAN, "", f"{folder.path}/layers.json has no record of it", _OTHER_RANK)

    def unrecorded(self) -> tuple[str, ...]:
        """The layers' directories that no record names."""
        return tuple(sorted(self._directories - self._claims.keys()))

    @cached_property
    def mounted(self) -> frozenset[str]:
        """The layers without a record that are mounted here now."""
        folder = Path(os.path.realpath(self._store.path)) / self._folder
        names = (os.path.relpath(mount.point, folder).split("/") for mount in mounts_below(folder))
        found = (parts[0] for parts in names if parts[1:] == ["merged"])
        return frozenset(name for name in found if is_hex64(name) and name not in self._claims)

    def _anew(self, folder: Directory) -> dict[str, Claim]:
        """The claims by records that are read once more, for what seemed to have none."""
        state = state_of(folder, "layers")
        if self._again is None or self._again[0] != state:
            store = self._store
            fresh = PodmanStore(store.root, store.path, store.driver)
            try:
                self._again = state, LayerClaims(fresh, frozenset())._claims
            finally:
                fresh.close()
        return self._again[1]


def _depth(layer: StoredLayer, known: dict[CacheID, int], layers: dict[CacheID, StoredLayer]) -> int:
    seen: set[CacheID] = set()
    below = layer.parent
    while below is not None and below in layers and below not in seen and below not in known:
        seen.add(below)
        below = layers[below].parent
    return len(seen) + (known[below] + 1 if below is not None and below in known else 0)
