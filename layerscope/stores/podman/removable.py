"""What podman could remove, and what keeps each part, by podman's own rules.

| part | goes when these go |
| --- | --- |
| container's folder and writable layer | the container, every container that depends on it |
| image's folder | the image, every container of it; children don't keep it |
| layer: directory, short name, tar-split | every image and container on it, every unused layer above it |
| volume | the volume, every container that mounts it |
| log | the container, or the log alone |

An image without a name goes with its last child. Removing a container takes nothing of what it stands on: what no image
has is left as an unused layer. ``volume prune`` takes every volume that no container mounts, ``container prune`` leaves
containers of pods. Source: containers/common libimage/image.go ``removeRecursive``; containers/storage store.go
``DeleteImage``, ``DeleteContainer``; podman libpod/runtime_ctr.go, pkg/domain/infra/abi; held against podman 4.3.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cached_property

from layerscope.model.claim import Category
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, hex_of
from layerscope.model.image import Image
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.stores.moment import nanoseconds
from layerscope.stores.podman.images import StoredImage
from layerscope.stores.podman.layer_claims import LAYER_FOLDERS
from layerscope.stores.podman.layers import StoredLayer
from layerscope.stores.podman.store import PodmanStore

_RUNNING = {"running", "paused"}
_STOPPED = {"created", "exited"}
_YOUNG_SECONDS = 600.0
_DEPENDS = tuple(f"{kind}NsCtr" for kind in ("ipc", "mount", "net", "pid", "user", "uts", "cgroup"))


def removable(store: PodmanStore, ledger: Ledger) -> Removable:
    """Everything that may go of the driver's world of ``store``."""
    return _Reasoning(store, ledger).result()


class _Reasoning:
    def __init__(self, store: PodmanStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        own = store.image_list.records
        self._images = [one for one in store.stored_images if hex_of(one.image.id) in own]
        ids = {one.image.id for one in self._images}
        self._children: dict[str, list[Image]] = {}
        for one in self._images:
            if one.image.parent in ids:
                self._children.setdefault(one.image.parent or "", []).append(one.image)
        self._containers = {one.id: Thing(ThingKind.CONTAINER, one.id) for one in store.containers()}
        self._of_container = {one.id: self._container_need(one.id) for one in store.containers()}
        self._users: dict[str, set[Thing]] = {}
        for container in store.containers():
            if container.image_id is not None:
                self._users.setdefault(container.image_id, set()).update(self._of_container[container.id])
        self._layers = [one for one in store.stored_layers.by_id.values() if not one.path.startswith("/")]
        self._short_names: dict[str, str] = {}
        for entry in ledger.entries:
            if entry.category is Category.RECORD and entry.path.startswith(f"{store.driver}/l/"):
                self._short_names[entry.owner] = entry.path
        self._needs: dict[str, tuple[Need, ...]] = {}
        self._names: dict[Thing, str] = {}
        self._commands: dict[Thing, str] = {}
        self._guarded: dict[Thing, str] = {}
        self._follows: dict[Thing, Need] = {}

    def result(self) -> Removable:
        self._add_containers()
        self._add_images()
        self._add_layers()
        self._add_volumes()
        self._add_orphans()
        containers = self._store.containers()
        return Removable(
            names=self._names,
            commands=self._commands,
            running=frozenset(self._containers[one.id] for one in containers if _runs(one)),
            guarded=self._guarded,
            needs=self._needs,
            with_volumes={self._containers[one.id]: frozenset(self._anonymous(one)) for one in containers},
            follows=self._follows,
            groups=self._groups(),
            dependents=self._dependents(),
        )

    def _thing(self, kind: ThingKind, id_: str, name: str, command: str = "") -> Thing:
        thing = Thing(kind, id_)
        self._names[thing] = name
        self._commands[thing] = command
        return thing

    def _groups(self) -> dict[str, frozenset[Thing]]:
        used = {mount.name for one in self._store.containers() for mount in one.mounts}
        images = [one.image for one in self._images]
        volumes = (thing for thing in self._names if thing.kind is ThingKind.VOLUME)
        return {
            "stopped-containers": frozenset(
                self._containers[one.id]
                for one in self._store.containers()
                if one.state in _STOPPED and not self._maker(one)[1]
            ),
            "dangling-images": frozenset(
                Thing(ThingKind.IMAGE, one.id) for one in images if not _is_named(one) and one.id not in self._children
            ),
            "unused-images": frozenset(Thing(ThingKind.IMAGE, one.id) for one in images),
            "unused-volumes": frozenset(thing for thing in volumes if thing.id not in used),
        }

    def _dependents(self) -> dict[Thing, Need]:
        found = {thing: self._of_container[one] - {thing} for one, thing in self._containers.items()}
        images = {one.image.id: Thing(ThingKind.IMAGE, one.image.id) for one in self._images}
        found.update((thing, frozenset(self._users.get(id_, ()))) for id_, thing in images.items())
        return found

    # ------------------------------------------------------------------ containers
    def _container_need(self, id_: str) -> Need:
        """The container, and all that can't be without it: those that share a namespace of its."""
        found: set[str] = set()
        pending = [id_]
        while pending:
            here = pending.pop()
            if here not in found:
                found.add(here)
                pending.extend(self._sharing.get(here, ()))
        return frozenset(thing for one, thing in self._containers.items() if one in found)

    @cached_property
    def _sharing(self) -> dict[str, list[str]]:
        """For each container those that depend on it."""
        found: dict[str, list[str]] = {}
        for container in self._store.containers():
            listed = container.config.get("dependencies")
            names = [container.config.get(key) for key in _DEPENDS]
            for name in (*names, *(listed if isinstance(listed, list) else ())):
                if isinstance(name, str) and name and name != container.id:
                    found.setdefault(name, []).append(container.id)
        return found

    def _maker(self, container: Container) -> tuple[str, bool]:
        """The command that removes a container, and whether ``podman container prune`` leaves it."""
        store, id_ = self._store, container.id
        name = container.name or id_[:12]
        force = "-f " if _runs(container) else ""
        recorded = store.libpod.containers.get(id_)
        if recorded is not None:
            if recorded.typed.is_infra and recorded.typed.pod:
                pod = store.libpod.pods.get(recorded.typed.pod)
                return f"podman pod rm {force}{pod.typed.name if pod else recorded.typed.pod}", True
            return f"podman rm {force}{name}", bool(recorded.typed.pod)
        metadata = store.container_list.records[id_].raw.get("metadata")
        if isinstance(metadata, str) and '"pod-name"' in metadata:
            verb = "rmp" if '"pod":true' in metadata else "rm"
            return f"crictl {verb} {force}{id_[:12]}", True
        return f"buildah rm {name}", bool(store.libpod.path)

    def _add_containers(self) -> None:
        folder = f"{self._store.driver}-containers"
        for one in self._store.containers():
            name = one.name or one.id[:12]
            self._thing(ThingKind.CONTAINER, one.id, name, self._maker(one)[0])
            need = self._of_container[one.id]
            self._needs[f"{folder}/{one.id}"] = (need,)
            if one.mount_id is not None:
                self._layer_goes(one.mount_id, need)
            if one.log_path and one.log_size:
                log = self._thing(ThingKind.LOG, one.id, f"log of {name}")
                self._needs[one.log_path] = (need, frozenset((log,)))

    def _anonymous(self, container: Container) -> Iterator[Thing]:
        """The volumes that ``podman rm -v`` removes with a container, if no other one has them."""
        for mount in container.mounts:
            recorded = self._store.libpod.volumes.get(mount.name) if mount.name else None
            if recorded is not None and recorded.raw.get("isAnon") is True:
                yield Thing(ThingKind.VOLUME, mount.name)

    # ------------------------------------------------------------------ images
    def _add_images(self) -> None:
        folder = f"{self._store.driver}-images"
        tool = "podman" if self._store.libpod.path or not self._is_kubernetes() else "crictl"
        for one in self._images:
            image = one.image
            named = [*image.repo_tags, *(name for name in image.repo_digests if not image.repo_tags)]
            short = hex_of(image.id)[:12]
            command = f"{tool} rmi {' '.join(named) or short}"
            thing = self._thing(ThingKind.IMAGE, image.id, ", ".join(named) or short, command)
            users = frozenset(self._users.get(image.id, ()))
            needs = [users | {thing}]
            children = self._children.get(image.id)
            if children and not _is_named(image):
                self._follows[thing] = users.union(*(self._image_needs(child) for child in children))
                needs.append(users.union(*(self._image_needs(leaf) for leaf in self._leaves(image))))
            self._needs[f"{folder}/{hex_of(image.id)}"] = tuple(needs)

    def _is_kubernetes(self) -> bool:
        return any("pod-name" in (one.fields.metadata or "") for one in self._store.container_list.records.values())

    def _image_needs(self, image: Image) -> Need:
        return frozenset((Thing(ThingKind.IMAGE, image.id), *self._users.get(image.id, ())))

    def _leaves(self, image: Image) -> list[Image]:
        """What must go before an image without a name follows: the nearest above it that nothing takes along."""
        found: list[Image] = []
        seen: set[str] = set()
        pending = [image]
        while pending:
            here = pending.pop()
            children = self._children.get(here.id)
            if here.id in seen:
                continue
            seen.add(here.id)
            if children and not _is_named(here):
                pending.extend(children)
            else:
                found.append(here)
        return found

    # ------------------------------------------------------------------ layers
    def _layer_goes(self, id_: CacheID, *needs: Need) -> None:
        records = f"{self._store.driver}-layers/{id_}"
        paths = [f"{LAYER_FOLDERS[self._store.driver]}/{id_}", records, f"{records}.tar-split.gz"]
        if id_ in self._short_names:
            paths.append(self._short_names[id_])
        for path in paths:
            self._needs[path] = needs

    def _add_layers(self) -> None:
        store = self._store
        keepers: dict[CacheID, set[Thing]] = {}
        has_image = {layer.id for one in self._images for layer in one.counted}
        for one in self._images:
            if not self._takes_itself(one):
                for layer in one.counted:
                    keepers.setdefault(layer.id, set()).update(self._image_needs(one.image))
        writable = {container.mount_id for container in store.containers()}
        for container in store.containers():
            for layer in store.stored_layers.chain(container.mount_id)[:-1]:
                keepers.setdefault(layer.id, set()).update(self._of_container[container.id])
        unused = [one for one in self._layers if one.id not in writable and one.id not in has_image]
        for layer in unused:
            self._add_unused(layer, keepers)
        for layer in self._layers:
            if layer.id not in writable:
                self._layer_goes(layer.id, frozenset(keepers.get(layer.id, ())))

    def _takes_itself(self, one: StoredImage) -> bool:
        """Whether the engine removes an image with the last of its children, which have all its layers."""
        return one.image.id in self._children and not _is_named(one.image)

    def _add_unused(self, layer: StoredLayer, keepers: dict[CacheID, set[Thing]]) -> None:
        """A layer of no image: it stays, and holds what is below it, until it is itself removed."""
        path = f"{LAYER_FOLDERS[self._store.driver]}/{layer.id}"
        if layer.incomplete:
            thing = self._thing(ThingKind.TEMPORARY, path, f"interrupted write of layer {layer.id[:12]}")
            keepers.setdefault(layer.id, set()).add(thing)
            return
        thing = self._thing(ThingKind.UNUSED_LAYER, path, f"unused layer {layer.id[:12]}")
        for below in self._store.stored_layers.chain(layer.id):
            keepers.setdefault(below.id, set()).add(thing)
        if _is_young(layer):
            self._guarded[thing] = "it was made a moment ago: a pull or build may be going on"

    # ------------------------------------------------------------------ the rest
    def _add_volumes(self) -> None:
        users: dict[str, set[Thing]] = {}
        for container in self._store.containers():
            for mount in container.mounts:
                if mount.name:
                    users.setdefault(mount.name, set()).update(self._of_container[container.id])
        for volume in self._store.volumes():
            known = volume.name in self._store.libpod.volumes or not self._store.libpod.path
            if volume.path is not None and known:
                command = f"podman volume rm {volume.name}"
                thing = self._thing(ThingKind.VOLUME, volume.name, f"volume {volume.name}", command)
                self._needs[f"volumes/{volume.name}"] = (frozenset((thing, *users.get(volume.name, ()))),)

    def _add_orphans(self) -> None:
        for entry in self._ledger.entries:
            if entry.category is Category.ORPHAN and entry.path not in self._needs:
                thing = self._thing(ThingKind.ORPHAN, entry.path, f"orphan {entry.path}")
                short = self._short_names.get(entry.path.rpartition("/")[2])
                paths: Iterable[str] = (entry.path, short) if short is not None else (entry.path,)
                self._needs.update((path, (frozenset((thing,)),)) for path in paths)


def _runs(container: Container) -> bool:
    return container.state in _RUNNING and not container.unclean


def _is_named(image: Image) -> bool:
    return bool(image.repo_tags or image.repo_digests)


def _is_young(layer: StoredLayer) -> bool:
    created = layer.raw.get("created")
    moment = nanoseconds(created) if isinstance(created, str) else None
    return moment is not None and abs(time.time() - moment / 1e9) < _YOUNG_SECONDS
