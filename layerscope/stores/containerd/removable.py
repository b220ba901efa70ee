"""What docker, Kubernetes, nerdctl or ctr could remove of a containerd store, and what keeps each part.

| part | goes when these go |
| --- | --- |
| blob's file | every image, container, lease and label, of any namespace, that leads to it |
| snapshot's folder | the same of its own namespace; a snapshot above keeps those below it |
| record of a container, docker's or Kubernetes' | the container |
| volume | the volume, every container that mounts it |

docker keeps an image as long as there is a container of it, or an image that was made of it. Others
remove names: the content goes with the last of them, a container goes on keeping its snapshots. containerd gives bytes
back when its garbage collector runs, at once with ``--sync``; what nothing leads to any more goes with the next run.
Source: containerd core/metadata/gc.go; moby daemon/containerd/image_delete.go; held against containerd 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from layerscope.model.claim import Category
from layerscope.model.container import Container
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.stores.containerd.bare import has_task, sandbox_of
from layerscope.stores.containerd.claims import containerd_prefix
from layerscope.stores.containerd.content import FOLDER as CONTENT
from layerscope.stores.containerd.metadata import ImageRecord, Namespace
from layerscope.stores.containerd.references import Root, RootKind, keepers
from layerscope.stores.containerd.removal_commands import (
    container_command,
    image_command,
    lease_command,
    snapshot_command,
)
from layerscope.stores.containerd.snapshots import folder_of, read_snapshots
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.docker.removable import anonymous_volumes

_RUNNING = {"running", "paused", "restarting"}
_FLAT = "containerd.io/gc.flat"
_BUILT = re.compile(r"[0-9a-z]{25}(-variants|-view)?")
"""BuildKit's leases."""
_HISTORY = "moby_history"
_TASKS = "io.containerd.runtime.v2.task"
_CRI = "io.containerd.grpc.v1.cri"
_DANGLING = "moby-dangling@"
_BUILD_CACHE = Thing(ThingKind.BUILD_CACHE, "")
_BUILD_RECORDS = Thing(ThingKind.BUILD_CACHE, _HISTORY)


def removable(store: ContainerdStore, ledger: Ledger) -> Removable:
    """Everything that may go of the root of ``store``, whatever namespace it is in."""
    return _Reasoning(store, ledger).result()


class _Reasoning:
    def __init__(self, store: ContainerdStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._shown = store.halves.namespace
        self._prefix = containerd_prefix(store.halves)
        self._containers = {str(one.id): Thing(ThingKind.CONTAINER, one.id) for one in store.containers()}
        self._of_container = {str(one.id): self._container_need(one) for one in store.containers()}
        self._users: dict[str, set[Thing]] = {}
        self._children: dict[str, list[str]] = {}
        for container in store.containers():
            if container.image_id is not None:
                self._users.setdefault(container.image_id, set()).update(self._of_container[container.id])
        for image in store.images():
            if image.parent is not None:
                self._children.setdefault(image.parent, []).append(image.id)
        self._names: dict[Thing, str] = {}
        self._commands: dict[Thing, str] = {}
        self._guarded: dict[Thing, str] = {}
        self._needs: dict[str, tuple[Need, ...]] = {}
        self._running = {self._containers[one.id] for one in store.containers() if _runs(one)}

    def result(self) -> Removable:
        self._add_containers()
        self._add_images()
        found = self._store.halves.containerd
        # Of a database that can't be read in full nobody knows what keeps what: then nothing of it is told to go.
        if found is not None and found.metadata.sound:
            self._add_kept([found.metadata.namespace(name) for name in found.metadata.namespaces])
        self._add_volumes()
        self._add_orphans()
        containers = self._store.containers()
        return Removable(
            names=self._names,
            commands=self._commands,
            running=frozenset(self._running),
            guarded=self._guarded,
            needs=self._needs,
            with_volumes={self._containers[one.id]: anonymous_volumes(one) for one in containers},
            groups=self._groups(),
            dependents=self._dependents(),
        )

    def _thing(self, kind: ThingKind, id_: str, name: str, command: str = "") -> Thing:
        thing = Thing(kind, id_)
        self._names.setdefault(thing, name)
        self._commands.setdefault(thing, command)
        return thing

    def _groups(self) -> dict[str, frozenset[Thing]]:
        """Only what the opened namespace has: what others have is the matter of who uses those."""
        images = [image for image in self._store.images() if Thing(ThingKind.IMAGE, image.id) in self._names]
        return {
            "stopped-containers": frozenset(self._containers.values()) - self._running,
            "dangling-images": frozenset(
                Thing(ThingKind.IMAGE, one.id) for one in images if not one.repo_tags and one.id not in self._children
            ),
            "unused-images": frozenset(Thing(ThingKind.IMAGE, image.id) for image in images),
        }

    def _dependents(self) -> dict[Thing, Need]:
        found = {thing: self._of_container[one] - {thing} for one, thing in self._containers.items()}
        if self._store.halves.is_docker:
            images = {Thing(ThingKind.IMAGE, image.id): image.id for image in self._store.images()}
            found.update((thing, self._image_need(id_) - {thing}) for thing, id_ in images.items())
        return found

    # ------------------------------------------------------------------ containers
    def _container_need(self, container: Container) -> Need:
        """The container; of a pod's sandbox, all containers of the pod."""
        return frozenset(
            thing for id_, thing in self._containers.items() if container.id in (id_, self._sandboxes.get(id_))
        )

    @cached_property
    def _sandboxes(self) -> dict[str, str]:
        """The sandbox of each container that runs in one."""
        return {id_: sandbox_of(record) for id_, record in self._store.namespace.containers.items()}

    def _add_containers(self) -> None:
        store, prefix = self._store, self._prefix
        for one in store.containers():
            name = one.name or one.id[:12]
            record = store.namespace.containers.get(one.id)
            command = container_command(self._shown, one.id, name, record, _runs(one))
            self._thing(ThingKind.CONTAINER, one.id, name, command)
            need = self._of_container[one.id]
            places = [f"{prefix}{_TASKS}/{self._shown}/{one.id}"]
            places += [f"{prefix}{_CRI}/{folder}/{one.id}" for folder in ("containers", "sandboxes")]
            if store.halves.docker is not None:
                places.append(f"containers/{one.id}")
            self._needs.update((place, (need,)) for place in places)
            if one.log_path and one.log_size:
                log = self._thing(ThingKind.LOG, one.id, f"log of {name}")
                self._needs[one.log_path] = (need, frozenset((log,)))

    # ------------------------------------------------------------------ images
    def _add_images(self) -> None:
        for one in self._store.stored_images:
            image = one.image
            named = [*image.repo_tags, *(name for name in image.repo_digests if not image.repo_tags)]
            short = image.id.removeprefix("sha256:")[:12]
            if named or not self._keeps_nameless(image.id) or not self._store.halves.is_docker:
                command = image_command(self._shown, one.records, named or [short])
                self._thing(ThingKind.IMAGE, image.id, ", ".join(named) or short, command)

    def _keeps_nameless(self, image: str) -> bool:
        return any(child != image for child in self._children.get(image, ()))

    def _image_need(self, image: str) -> Need:
        """The image; docker keeps it for its containers, and one without a name for its children."""
        if not self._store.halves.is_docker:
            return frozenset((Thing(ThingKind.IMAGE, image),))
        need: set[Thing] = set()
        seen: set[str] = set()
        pending = [image]
        while pending:
            here = pending.pop()
            if here in seen:
                continue
            seen.add(here)
            thing = Thing(ThingKind.IMAGE, here)
            if thing in self._names:
                need.add(thing)
            need.update(self._users.get(here, ()))
            pending.extend(self._children.get(here, ()))
        return frozenset(need)

    # ------------------------------------------------------------------ blobs and snapshots
    def _add_kept(self, namespaces: Iterable[Namespace]) -> None:
        blobs: dict[str, set[Thing]] = {}
        for namespace in namespaces:
            needs: dict[Root, Need] = {}
            numbers = {name: self._numbers(name, namespace.name) for name in namespace.snapshots}
            for node, roots in keepers(namespace).items():
                need: set[Thing] = set()
                for root in roots:
                    if root not in needs:
                        needs[root] = self._root_need(root, namespace)
                    need.update(needs[root])
                if not node.snapshotter:
                    blobs.setdefault(node.key, set()).update(need)
                    continue
                number = numbers[node.snapshotter].get(node.key)
                if number is not None:
                    path = f"{self._prefix}{folder_of(node.snapshotter)}/snapshots/{number}"
                    command = snapshot_command(namespace.name, node.snapshotter, node.key)
                    self._goes(path, need, f"snapshot {node.key[:71]} that nothing leads to", command)
        for digest, need in blobs.items():
            path = f"{self._prefix}{CONTENT}/blobs/{digest.replace(':', '/')}"
            self._goes(path, need, f"content {digest[:19]} that nothing leads to", "")

    def _goes(self, path: str, need: set[Thing], unused: str, command: str) -> None:
        if not need:
            need = {self._thing(ThingKind.UNUSED_LAYER, path, unused, command)}
        self._needs[path] = (frozenset(need),)

    def _numbers(self, snapshotter: str, namespace: str) -> Mapping[str, str | None]:
        found = self._store.halves.containerd
        assert found is not None
        snapshots = read_snapshots(found.directory, snapshotter, found.metadata, namespace)
        return {key: one.cache_id for key, one in snapshots.by_key.items()}

    def _root_need(self, root: Root, namespace: Namespace) -> Need:
        """What must go for a root to go."""
        here = namespace.name == self._shown
        if root.kind is RootKind.IMAGE:
            record = namespace.images[root.name]
            if here:
                return self._image_need(record.digest)
            return frozenset((self._other_image(record, namespace),))
        if root.kind is RootKind.CONTAINER and here and root.name in self._containers:
            return self._of_container[root.name]
        if root.kind is RootKind.CONTAINER:
            return self._other_container(root.name, namespace)
        if root.kind is RootKind.LEASE:
            return self._lease_need(root.name, namespace)
        # Somebody put a label on it, such as ctr on a snapshot that it prepares: only that user's removal ends that.
        snapshotter, slash, key = root.name.partition("/")
        command = snapshot_command(namespace.name, snapshotter, key) if slash else ""
        name = f"{'snapshot' if slash else 'content'} {(key or root.name)[:71]} of {namespace.name}"
        return frozenset((self._thing(ThingKind.TEMPORARY, f"{namespace.name}/{root.name}", name, command),))

    def _other_container(self, id_: str, namespace: Namespace) -> Need:
        """A container of a namespace that isn't opened."""
        found = self._store.halves.containerd
        runs = found is not None and has_task(found.directory, namespace.name, id_)
        command = container_command(namespace.name, id_, id_, namespace.containers[id_], runs)
        name = f"{id_[:64]} of {namespace.name}"
        thing = self._thing(ThingKind.CONTAINER, f"{namespace.name}/{id_}", name, command)
        if runs:
            self._running.add(thing)
        need = frozenset((thing,))
        self._needs[f"{self._prefix}{_TASKS}/{namespace.name}/{id_}"] = (need,)
        return need

    def _other_image(self, record: ImageRecord, namespace: Namespace) -> Thing:
        """An image of a namespace that isn't opened: all its names there are one thing."""
        records = [one for one in namespace.images.values() if one.digest == record.digest]
        names = sorted(one.name for one in records)
        short = [name.removeprefix(_DANGLING) for name in names]
        command = image_command(namespace.name, records, short)
        name = f"{', '.join(short)} of {namespace.name}"
        return self._thing(ThingKind.IMAGE, f"{namespace.name}/{record.digest}", name, command)

    def _lease_need(self, lease: str, namespace: Namespace) -> Need:
        if namespace.name == self._shown and lease in self._containers:
            return self._of_container[lease]
        if namespace.name == _HISTORY:
            self._thing(ThingKind.BUILD_CACHE, _HISTORY, "records of builds", "docker buildx history rm --all")
            return frozenset((_BUILD_RECORDS,))
        if _FLAT in namespace.leases[lease].labels or _BUILT.fullmatch(lease):
            self._thing(ThingKind.BUILD_CACHE, "", "build cache", "docker builder prune -a")
            return frozenset((_BUILD_CACHE,))
        command = lease_command(namespace.name, lease)
        thing = self._thing(ThingKind.TEMPORARY, f"{namespace.name}/{lease}", f"lease {lease}", command)
        self._guarded[thing] = f"lease {lease[:64]} of {namespace.name} keeps it: a pull or build may be going on"
        return frozenset((thing,))

    # ------------------------------------------------------------------ the rest
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
                self._needs[f"volumes/{volume.name}"] = (frozenset((thing, *users.get(volume.name, ()))),)

    def _add_orphans(self) -> None:
        for entry in self._ledger.entries:
            if entry.category is Category.ORPHAN and entry.path not in self._needs:
                thing = self._thing(ThingKind.ORPHAN, entry.path, f"orphan {entry.path}")
                self._needs[entry.path] = (frozenset((thing,)),)


def _runs(container: Container) -> bool:
    return container.state in _RUNNING and not container.unclean
