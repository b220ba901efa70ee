"""Who claims each directory of a storage driver: images, containers, BuildKit, a removal that didn't end, or nobody.

| claim | class |
| --- | --- |
| `cache-id` of a chain that an image or a container stands on | image layer |
| … that only a live record or lease of BuildKit leads to, not one that lost the other | build cache |
| … that nothing leads to | unused layer |
| `mount-id`, `init-id` of a container's record | writable layer, init layer |
| `cache-id` of a `-removing` chain | temporary |
| none | orphan, unless something may be writing it |

Source: moby layer/layer_store.go, layer/filestore.go ``getOrphan``; each rule held against killed daemons of 20.10.24.
"""

from __future__ import annotations

import os
import re
import stat as modes
import time
from collections.abc import Iterator
from functools import cached_property

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, is_file_name
from layerscope.stores.docker.interrupted import YOUNG_SECONDS, changed, interrupted_category, interrupted_creations
from layerscope.stores.docker.mounts import MountRecord
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.records.files import Fault, list_directory, read_line

_SAME_MOMENT = 1.0
_REMOVING = re.compile(r"[0-9a-f]{64}-.*-removing")
_LAYER_NAME = re.compile(r"([0-9a-f]{64}(-init)?|[0-9a-z]{25})(-removing)?")
_CONTAINER_RANK, _OTHER_RANK = 10_000, 20_000
_MOST_NAMES = 4
_WALKED = 5000
_WHOLE_TREES = {"overlay", "vfs", "btrfs", "zfs"}


def layer_ids(root: Directory, driver: str) -> frozenset[str]:
    """The names of a driver's layers as they lie there now, claimed or not."""
    entries = list_directory(root.descend(layer_folder(driver)))
    if isinstance(entries, Fault):
        return frozenset()
    wanted = "f" if driver == "devicemapper" else "d"
    return frozenset(name for name, kind in entries if kind == wanted and name != "l")


def claims_now(store: DockerStore) -> CacheClaims:
    """The claims on the layers of a store's driver by records that are read anew, the directories before them."""
    listed = layer_ids(store.root, store.driver)
    return CacheClaims(store.root, DockerStore(store.root, store.path, store.driver), store.driver, listed, "")


class CacheClaims:
    """The claims on the layers of one driver.

    ``directories`` were listed before the records of ``store`` are read (None: the driver has no records here).
    ``prefix`` stands before all paths.
    """

    def __init__(
        self, root: Directory, store: DockerStore | None, driver: str, directories: frozenset[str], prefix: str
    ) -> None:
        self._root = root
        self._store = store
        self._driver = driver
        self.directories = directories
        self._folder = layer_folder(driver)
        self._prefix = prefix
        self._suspects: dict[str, Claim | None] = {}

    def claim(self, name: str) -> Claim | None:
        """Who has the layer ``name``; None for a name that is no layer's."""
        known = self._claims.get(name)
        if known is not None:
            return known
        if name not in self.directories and not self._appeared(name):
            return None
        if name not in self._suspects:
            self._suspects[name] = self._suspected(name)
        return self._suspects[name]

    def _appeared(self, name: str) -> bool:
        """Whether a layer may have been made since the directories were listed."""
        return self._driver != "devicemapper" and self._held and _LAYER_NAME.fullmatch(name) is not None

    def exists(self, name: str) -> bool:
        """Whether the layer ``name`` had a directory when they were listed, or has one now."""
        return name in self.directories or self._is_there(name)

    def _is_there(self, name: str) -> bool:
        try:
            return self._root.descend(self._folder).stat_or_none(name) is not None
        except OSError:
            return False

    # ------------------------------------------------------------------ records
    @cached_property
    def _claims(self) -> dict[str, Claim]:
        store = self._store
        if store is None:
            return {}
        found: dict[str, Claim] = {}
        for name, chain in self._removing():
            found[name] = self._made(name, Category.TEMPORARY, chain[:12], f"{chain}: a removal that didn't end")
        for cache in store.build_cache():
            reason = "a live record or lease of BuildKit"
            found[cache] = self._made(cache, Category.BUILD_CACHE, "BuildKit", reason)
        found.update(self._layers(store))
        for record in store.mounts().values():
            found.update(self._mounted(store, record))
        return found

    def _layers(self, store: DockerStore) -> Iterator[tuple[str, Claim]]:
        users, depths = _users(store, self._interrupted)
        built = store.build_cache()
        for chain, layer in store.layers().items():
            if layer.cache_id is None:
                continue
            told = f"{self._prefix}{layer.path}/cache-id"
            if chain in users:
                names = users[chain]
                more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
                category, owner = Category.IMAGE_LAYER, ", ".join(names[:_MOST_NAMES]) + more
            elif layer.cache_id in built:
                category, owner = Category.BUILD_CACHE, "BuildKit"
            else:
                category, owner = Category.UNUSED_LAYER, ""
                told = f"{told}; no image, container or build cache leads to it"
            rank = depths.get(chain, 0)
            made = self._made(layer.cache_id, category, owner, told, rank, layer.size, committed=True)
            yield layer.cache_id, made

    def _mounted(self, store: DockerStore, record: MountRecord) -> Iterator[tuple[str, Claim]]:
        container = self._containers.get(record.name)
        told = f"{self._prefix}{record.path}"
        if record.name in self._interrupted:
            owner, told = record.name[:12], f"{told}; creating its container was interrupted"
            kinds = (interrupted_category(store, record.name),) * 2
        elif container is not None:
            owner = container.name or record.name[:12]
            if container.state in ("dead", "removing"):
                told = f"{told}; removal interrupted"
            kinds = (Category.CONTAINER_RW, Category.CONTAINER_INIT)
        elif record.name in self._lost:
            owner = record.name[:12]
            young = time.time() - changed(store, record.path) < YOUNG_SECONDS
            if self._maybe_alive and young:
                what = "a build's step" if record.init_id is None else "a container that is being made or removed"
                kinds, told = (Category.TEMPORARY,) * 2, f"{told}; {what}"
            else:
                kinds, told = (Category.ORPHAN,) * 2, f"{told}; its container is gone"
        else:
            owner, kinds = record.name[:12], (Category.CONTAINER_RW, Category.CONTAINER_INIT)
        for id_, category, file in ((record.mount_id, kinds[0], "mount-id"), (record.init_id, kinds[1], "init-id")):
            if id_ is not None:
                yield id_, self._made(id_, category, owner, told.replace(record.path, f"{record.path}/{file}", 1))

    @cached_property
    def _containers(self) -> dict[str, Container]:
        return {str(one.id): one for one in self._store.containers()} if self._store is not None else {}

    @cached_property
    def _interrupted(self) -> frozenset[str]:
        return interrupted_creations(self._store) if self._store is not None else frozenset()

    @cached_property
    def _lost(self) -> frozenset[str]:
        """Writable layers whose container is gone."""
        return (
            frozenset(record.name for record in self._store.orphan_mounts()) if self._store is not None else frozenset()
        )

    def _made(
        self,
        name: str,
        category: Category,
        owner: str,
        reason: str,
        rank: int | None = None,
        stored: int | None = None,
        committed: bool = False,
    ) -> Claim:
        if rank is None:
            rank = _CONTAINER_RANK if category is Category.CONTAINER_RW else _OTHER_RANK
        whole = self._driver in _WHOLE_TREES
        path = f"{self._prefix}{self._folder}/{name}"
        return Claim(path, category, owner, reason, rank, stored, whole, committed)

    def _removing(self) -> Iterator[tuple[str, str]]:
        """Directories whose chain was renamed to be deleted, with that record's path."""
        place = f"image/{self._driver}/layerdb/sha256"
        folder = self._root.descend(place)
        entries = list_directory(folder)
        for name, kind in [] if isinstance(entries, Fault) else entries:
            if kind == "d" and _REMOVING.fullmatch(name):
                told = read_line(folder.enter(name), "cache-id")
                if not isinstance(told, Fault) and is_file_name(told.strip()):
                    yield told.strip(), f"{self._prefix}{place}/{name}"

    # ------------------------------------------------------------------ nobody's
    def _suspected(self, name: str) -> Claim | None:
        """A directory that no record names: looked at again, since a daemon may be working."""
        directory = self._root.descend(f"{self._folder}/{name}")
        if self._driver == "devicemapper" or not _LAYER_NAME.fullmatch(name):
            return None if self._driver == "devicemapper" else self._orphan(name, "no layer has such a name")
        store = self._store
        if store is None:
            return self._orphan(name, f"there are no records of the driver {self._driver}")
        if not store.build_claims.complete:
            reason = "BuildKit's records can't be read, so whether it claims this isn't known"
            return Claim(f"{self._prefix}{self._folder}/{name}", Category.UNKNOWN, "", reason, _OTHER_RANK)
        beside = self._in_stack_of(directory)
        if beside:
            reason = f"{self._folder}/{beside}/lower names it, no record does"
            return self._made(name, Category.UNUSED_LAYER, "", reason)
        moment = self._link_time(directory)
        writing = next((one for one, time_ in self._write_sets if abs(time_ - moment) <= _SAME_MOMENT), "")
        if self._maybe_alive:
            if writing:
                return self._made(name, Category.TEMPORARY, "docker", f"being written, or interrupted: {writing}")
            if time.time() - self._newest(directory) < YOUNG_SECONDS:
                return self._made(name, Category.TEMPORARY, "docker", "young and unclaimed: it may be being written")
            again = self._claims_anew.get(name)
            if again is not None and again.category is not Category.ORPHAN:
                return again
            if not self._is_there(name):
                return self._made(name, Category.TEMPORARY, "docker", "removed while it was looked at")
        if name in store.build_claims.lost_ids:
            return self._orphan(name, "BuildKit has only a lease or only a deleted record of it, and never removes it")
        return self._orphan(name, f"an interrupted write: {writing}" if writing else "no record claims it")

    def _orphan(self, name: str, reason: str) -> Claim:
        return self._made(name, Category.ORPHAN, "", reason)

    @cached_property
    def _held(self) -> bool:
        return self._store is not None and self._store.liveness.held is True

    @cached_property
    def _maybe_alive(self) -> bool:
        """Whether a daemon may be working here: it holds the root, or that can't be told."""
        return self._store is not None and self._store.liveness.held is not False

    @cached_property
    def _claims_anew(self) -> dict[str, Claim]:
        """The claims by records that are read once more, for what seemed to have none."""
        if self._store is None:
            return {}
        store = DockerStore(self._root, self._store.path, self._driver)
        return CacheClaims(self._root, store, self._driver, frozenset(), self._prefix)._claims

    @cached_property
    def _write_sets(self) -> list[tuple[str, float]]:
        """Layers that are being written, or were: the path and time of each one's directory."""
        place = f"image/{self._driver}/layerdb/tmp"
        folder = self._root.descend(place)
        found = []
        entries = list_directory(folder)
        for name, kind in [] if isinstance(entries, Fault) else entries:
            stat = folder.stat_or_none(name) if kind == "d" else None
            if stat is not None:
                found.append((f"{self._prefix}{place}/{name}", stat.st_mtime))
        return found

    def _link_time(self, directory: Directory) -> float:
        """When a layer's directory was made: its ``link`` file is never written again."""
        for name in ("link", "diff"):
            try:
                stat = directory.stat_or_none(name)
            except OSError:
                return 0.0
            if stat is not None:
                return stat.st_mtime
        return 0.0

    def _newest(self, directory: Directory) -> float:
        """The newest change time in a tree, of at most some thousand of its directories."""
        newest = 0.0
        pending = [directory]
        for _ in range(_WALKED):
            if not pending:
                break
            here = pending.pop()
            try:
                newest = max(newest, _time(here.stat_self(), self._held))
                names = [name for name, _kind in here.scan()]
                for name, stat in zip(names, here.stats(names), strict=True):
                    if stat is not None:
                        newest = max(newest, _time(stat, self._held))
                        if modes.S_ISDIR(stat.st_mode):
                            pending.append(here.enter(name))
            except OSError:
                continue
        return newest

    def _in_stack_of(self, directory: Directory) -> str:
        """A claimed layer whose ``lower`` file names this one."""
        told = read_line(directory, "link")
        if isinstance(told, Fault) or not told.strip():
            return ""
        return self._lowers.get(f"l/{told.strip()}", "")

    @cached_property
    def _lowers(self) -> dict[str, str]:
        """For each short name in the ``lower`` file of a claimed layer, that layer."""
        found: dict[str, str] = {}
        for name in sorted(self.directories & self._claims.keys(), key=os.fsencode):
            told = read_line(self._root.descend(f"{self._folder}/{name}"), "lower")
            if not isinstance(told, Fault):
                found.update(dict.fromkeys(told.strip().split(":"), name))
        return found


def _time(stat: os.stat_result, held: bool) -> float:
    """When something changed. Copying a root changes every ctime, so that counts only where a daemon is."""
    return max(stat.st_mtime, stat.st_ctime) if held else stat.st_mtime


def _users(store: DockerStore, interrupted: frozenset[str]) -> tuple[dict[ChainID, list[str]], dict[ChainID, int]]:
    """For each chain ID the images and containers that stand on it, and how many layers are below it."""
    users: dict[ChainID, list[str]] = {}
    depths: dict[ChainID, int] = {}
    for image in store.images():
        name = ", ".join(image.repo_tags) or image.id.removeprefix("sha256:")[:12]
        for depth, chain in enumerate(image.chain_ids):
            users.setdefault(chain, []).append(name)
            depths.setdefault(chain, depth)
    for container in store.containers():
        levels = [level.chain_id for level in store.levels(container) if level.chain_id is not None]
        name = container.name or container.id[:12]
        for depth, chain in enumerate(levels):
            depths.setdefault(chain, depth)
            if not users.get(chain) and container.id not in interrupted:
                users.setdefault(chain, []).append(f"container {name}")
    for chain in store.layers():
        if chain not in depths:
            depths[chain] = _depth(store, chain)
    return users, depths


def _depth(store: DockerStore, chain: ChainID) -> int:
    seen: set[ChainID] = set()
    above: ChainID | None = chain
    layers = store.layers()
    while above is not None and above in layers and above not in seen:
        seen.add(above)
        above = layers[above].parent
    return len(seen) - 1
