"""What docker could remove, and what keeps each part, by docker's own rules.

| part | goes when these go |
| --- | --- |
| container's directory, mount record, both layers | the container |
| image's config and metadata | the image, every image made of it, every container of it |
| layer: its record, directory, short name | every image and container that stands on it, the build cache holding it |
| volume | the volume, every container that mounts it |
| log | the container, or the log alone |

An image without a name goes with its last child. Since 23.0 `volume prune` takes anonymous volumes only; volumes with
options are not pruned.
Source: moby daemon/images/image_delete.go, image_prune.go, daemon/delete.go, prune.go, layer/layer_store.go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from layerscope.model.claim import Category
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, hex_of
from layerscope.model.image import Image
from layerscope.model.ledger import Ledger, LedgerEntry
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.stores.docker.cache_claims import LAYER_FOLDERS, YOUNG_SECONDS, interrupted_creations
from layerscope.stores.docker.store import DockerStore

_RUNNING = {"running", "paused", "restarting"}
_BUILD_CACHE = Thing(ThingKind.BUILD_CACHE, "")
_NEVER = Thing(ThingKind.TEMPORARY, "")
"""What nothing removes: it is in no set of things that go."""


def removable(store: DockerStore, ledger: Ledger) -> Removable:
    """Everything that may go of the driver's world of ``store``."""
    return _Reasoning(store, ledger).result()


class _Reasoning:
    def __init__(self, store: DockerStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._images = {image.id: image for image in store.images()}
        self._children: dict[str, list[Image]] = {}
        for image in store.images():
            if image.parent is not None and image.parent in self._images:
                self._children.setdefault(image.parent, []).append(image)
        self._containers = {one.id: Thing(ThingKind.CONTAINER, one.id) for one in store.containers()}
        self._users: dict[str, list[Thing]] = {}
        for container in store.containers():
            if container.image_id is not None:
                self._users.setdefault(container.image_id, []).append(self._containers[container.id])
        self._of_image: dict[str, Need] = {}
        self._needs: dict[str, tuple[Need, ...]] = {}
        self._short_names: dict[str, str] = {}
        for entry in ledger.entries:
            if entry.category is Category.RECORD and entry.path.startswith(f"{store.driver}/l/"):
                self._short_names[entry.owner] = entry.path
        self._interrupted = interrupted_creations(store)
        self._names: dict[Thing, str] = {}
        self._commands: dict[Thing, str] = {}
        self._guarded: dict[Thing, str] = {}

    def result(self) -> Removable:
        self._add_containers()
        self._add_images()
        self._add_layers()
        self._add_volumes()
        self._add_rest()
        running = frozenset(
            self._containers[one.id] for one in self._store.containers() if one.state in _RUNNING and not one.unclean
        )
        return Removable(
            names=self._names,
            commands=self._commands,
            running=running,
            guarded=self._guarded,
            needs=self._needs,
            with_volumes={self._containers[one.id]: anonymous_volumes(one) for one in self._store.containers()},
            dependents={
                thing: self._image_need(id_) - {thing}
                for id_ in self._images
                if (thing := Thing(ThingKind.IMAGE, id_)) in self._names
            },
        )

    def _thing(self, kind: ThingKind, id_: str, name: str, command: str = "") -> Thing:
        thing = Thing(kind, id_)
        self._names[thing] = name
        self._commands[thing] = command
        return thing

    def _goes(self, path: str, *needs: Need) -> None:
        self._needs[path] = needs

    def _layer_goes(self, cache_id: str | None, need: Need) -> None:
        if cache_id is not None:
            self._goes(f"{LAYER_FOLDERS.get(self._store.driver, self._store.driver)}/{cache_id}", need)
            if cache_id in self._short_names:
                self._goes(self._short_names[cache_id], need)

    # ------------------------------------------------------------------ each kind
    def _add_containers(self) -> None:
        place = f"image/{self._store.driver}/layerdb/mounts"
        tasks = "containerd/daemon/io.containerd.runtime.v2.task/moby"
        for one in self._store.containers():
            if one.id in self._interrupted:
                continue
            name = one.name or one.id[:12]
            force = "-f " if one.state in _RUNNING and not one.unclean else ""
            thing = self._thing(ThingKind.CONTAINER, one.id, name, f"docker rm {force}{name}")
            need = frozenset((thing,))
            for path in (f"containers/{one.id}", f"{place}/{one.id}", f"{tasks}/{one.id}"):
                self._goes(path, need)
            self._layer_goes(one.mount_id, need)
            self._layer_goes(one.init_id, need)
            if one.log_path and one.log_size:
                log = self._thing(ThingKind.LOG, one.id, f"log of {name}", "")
                self._goes(one.log_path, need, frozenset((log,)))

    def _add_images(self) -> None:
        place = f"image/{self._store.driver}/imagedb"
        for image in self._images.values():
            named = [*image.repo_tags, *(name for name in image.repo_digests if not image.repo_tags)]
            names = ", ".join(named) or hex_of(image.id)[:12]
            if named or image.id not in self._children:
                self._thing(ThingKind.IMAGE, image.id, names, f"docker rmi {' '.join(named) or hex_of(image.id)[:12]}")
        for id_ in self._images:
            need = self._image_need(id_)
            for folder in ("content", "metadata"):
                self._goes(f"{place}/{folder}/sha256/{hex_of(id_)}", need)

    def _image_need(self, id_: str) -> Need:
        """The image, all that were made of it, and every container of any of these."""
        known = self._of_image.get(id_)
        if known is not None:
            return known
        need: set[Thing] = set()
        seen: set[str] = set()
        pending = [id_]
        while pending:
            here = pending.pop()
            if here in seen:
                continue
            seen.add(here)
            thing = Thing(ThingKind.IMAGE, here)
            if thing in self._names:
                need.add(thing)
            need.update(self._users.get(here, ()))
            pending.extend(child.id for child in self._children.get(here, ()))
        self._of_image[id_] = frozenset(need)
        return self._of_image[id_]

    def _add_layers(self) -> None:
        store = self._store
        keepers: dict[str, set[Thing]] = {}
        for image in self._images.values():
            for chain in image.chain_ids:
                keepers.setdefault(chain, set()).update(self._image_need(image.id))
        for container in store.containers():
            for level in store.levels(container):
                if level.chain_id is not None:
                    keeper = _NEVER if container.id in self._interrupted else self._containers[container.id]
                    keepers.setdefault(level.chain_id, set()).add(keeper)
        for record in store.orphan_mounts():
            below: ChainID | None = record.parent
            seen: set[str] = set()
            while below is not None and below not in seen:
                seen.add(below)
                keepers.setdefault(below, set()).add(_NEVER)
                stood_on = store.layers().get(below)
                below = stood_on.parent if stood_on is not None else None
        held = store.build_cache()
        if held:
            self._thing(ThingKind.BUILD_CACHE, "", "build cache", "docker builder prune -a")
        for link, layer in store.layers().items():
            need = keepers.get(link, set())
            if layer.cache_id in held:
                need.add(_BUILD_CACHE)
            if not need:
                need.add(self._thing(ThingKind.UNUSED_LAYER, layer.path, f"unused layer {hex_of(link)[:12]}"))
            self._goes(layer.path, frozenset(need))
            self._layer_goes(layer.cache_id, frozenset(need))
        known = {layer.cache_id for layer in store.layers().values()}
        for cache in held - known:
            self._layer_goes(cache, frozenset((_BUILD_CACHE,)))
        self._guard_unused()

    def _guard_unused(self) -> None:
        """A pull or load registers layers before their image: while a daemon lives, a young one may be in use."""
        if self._store.liveness.held is False:
            return
        newest = 0.0
        for path in (f"image/{self._store.driver}/layerdb/{name}" for name in ("sha256", "tmp")):
            try:
                newest = max(newest, self._store.root.descend(path).stat_self().st_mtime)
            except OSError:
                continue
        if time.time() - newest < YOUNG_SECONDS:
            why = "layers were made a moment ago: a pull or load may be going on"
            self._guarded.update({thing: why for thing in self._names if thing.kind is ThingKind.UNUSED_LAYER})

    def _add_volumes(self) -> None:
        users: dict[str, set[Thing]] = {}
        for container in self._store.containers():
            for mount in container.mounts:
                if mount.name:
                    users.setdefault(mount.name, set()).add(self._containers[container.id])
        for volume in self._store.volumes():
            if volume.path is not None:
                command = f"docker volume rm {volume.name}"
                thing = self._thing(ThingKind.VOLUME, volume.name, f"volume {volume.name}", command)
                self._goes(f"volumes/{volume.name}", frozenset((thing, *users.get(volume.name, ()))))

    def _add_rest(self) -> None:
        for entry in self._ledger.entries:
            if entry.category is Category.ORPHAN and entry.path not in self._needs:
                thing = self._thing(ThingKind.ORPHAN, entry.path, f"orphan {entry.path}")
                self._goes(entry.path, frozenset((thing,)))
                for path in self._beside(entry):
                    self._goes(path, frozenset((thing,)))

    def _beside(self, entry: LedgerEntry) -> Iterable[str]:
        short = self._short_names.get(entry.path.rpartition("/")[2])
        return (short,) if short is not None else ()


def anonymous_volumes(container: Container) -> frozenset[Thing]:
    """The volumes that ``docker rm -v`` removes with a container, if no other one has them."""
    points = container.config.get("MountPoints")
    found = set()
    for point in points.values() if isinstance(points, Mapping) else ():
        if not isinstance(point, Mapping) or point.get("Type", "volume") != "volume":
            continue
        spec = point.get("Spec")
        named = isinstance(spec, Mapping) and spec.get("Source")
        if not named and isinstance(point.get("Name"), str) and point["Name"]:
            found.add(Thing(ThingKind.VOLUME, point["Name"]))
    return frozenset(found)
