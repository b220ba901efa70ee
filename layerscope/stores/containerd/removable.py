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

from collections.abc import Mapping

from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.stores.containerd.bare import sandbox_of
from layerscope.stores.containerd.claims import containerd_prefix
from layerscope.stores.containerd.folders import CONTENT, CRI, TASKS, snapshotter_folder
from layerscope.stores.containerd.metadata import Namespace
from layerscope.stores.containerd.parent_images import ParentImages
from layerscope.stores.containerd.references import Root, RootKind, keepers
from layerscope.stores.containerd.removal_commands import container_command, image_command, snapshot_command
from layerscope.stores.containerd.removal_roots import need_of_root
from layerscope.stores.containerd.snapshots import read_snapshots
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.docker.removable import anonymous_volumes, made_without_name
from layerscope.stores.removal import Removal, called


def removable(store: ContainerdStore, ledger: Ledger) -> Removable:
    """Everything that may go of the root of ``store``, whatever namespace it is in."""
    found = Removal(store, ledger, dependents=_pods(store))
    _add_containers(store, found)
    _add_images(store, found)
    halves = store.halves
    # Of a database that can't be read in full nobody knows what keeps what: then nothing of it is told to go.
    if halves.containerd is not None and halves.containerd.metadata.sound:
        _add_kept(store, found)
    found.add_volumes(store.volumes(), "docker", "volume", "rm")
    found.anonymous = made_without_name(store.volumes(), labelled=True)
    found.add_orphans()
    return found.removable()


# ---------------------------------------------------------------------- the opened namespace
def _pods(store: ContainerdStore) -> dict[str, list[str]]:
    """The containers that run in each sandbox of Kubernetes: they go before it."""
    found: dict[str, list[str]] = {}
    for id_, record in store.namespace.containers.items():
        if sandbox := sandbox_of(record):
            found.setdefault(sandbox, []).append(id_)
    return found


def _add_containers(store: ContainerdStore, found: Removal) -> None:
    namespace, prefix = store.halves.namespace, containerd_prefix(store.halves)
    places = [f"{prefix}{TASKS}/{namespace}", f"{prefix}{CRI}/containers", f"{prefix}{CRI}/sandboxes"]
    if store.halves.docker is not None:
        places.append("containers")
    for one in store.containers():
        record = store.namespace.containers.get(one.id)
        command = container_command(namespace, one.id, called(one), record, one.runs)
        thing = found.thing(ThingKind.CONTAINER, one.id, called(one), command)
        found.with_volumes[thing] = anonymous_volumes(one)
        found.add_log(one)
        for place in places:
            found.goes(f"{place}/{one.id}", found.of_container[one.id])
    found.groups["stopped-containers"] = frozenset(found.containers.values()) - found.running


def _add_images(store: ContainerdStore, found: Removal) -> None:
    unused, dangling = set(), set()
    for one in store.stored_images:
        image = one.image
        short = image.id.removeprefix("sha256:")[:12]
        # docker keeps an image without a name for its children.
        keeps = store.halves.is_docker and any(child != image.id for child in found.children.get(image.id, ()))
        if image.names or not keeps:
            names, tags = image.names, image.repo_tags
            if store.halves.is_docker and tags:
                names = tags = one.usable_tags  # the others go with the last of these
            command = image_command(store.halves.namespace, one.records, names or (short,))
            thing = found.thing(ThingKind.IMAGE, image.id, ", ".join(image.names) or short, command)
            found.references[thing] = tags if len(tags) > 1 else ()
            unused.add(thing)
            nameless = not (image.names if store.halves.is_docker else image.repo_tags)
            if nameless and image.id not in found.children:
                dangling.add(thing)
    if store.halves.is_docker:
        for image in store.images():
            # One that others were made of isn't refused: it loses its name.
            found.dependents[Thing(ThingKind.IMAGE, image.id)] = frozenset(found.users.get(image.id, ()))
    found.groups["unused-images"] = frozenset(unused)
    found.groups["dangling-images"] = frozenset(dangling)


# ---------------------------------------------------------------------- blobs and snapshots of all namespaces
def _add_kept(store: ContainerdStore, found: Removal) -> None:
    half = store.halves.containerd
    assert half is not None
    prefix = containerd_prefix(store.halves)
    blobs: dict[str, set[Thing]] = {}
    own: dict[str, set[str]] = {}
    for namespace in map(half.metadata.namespace, half.metadata.namespaces):
        needs: dict[Root, Need] = {}
        numbers = {name: _numbers(store, name, namespace.name) for name in namespace.snapshots}
        for node, roots in keepers(namespace).items():
            for root in roots - needs.keys():
                needs[root] = need_of_root(root, namespace, store, found)
            kept_by = {thing for root in roots for thing in needs[root]}
            if not node.snapshotter:
                blobs.setdefault(node.key, set()).update(kept_by)
                own.setdefault(node.key, set()).update(_image_of(root, namespace, store) for root in roots)
                continue
            number = numbers[node.snapshotter].get(node.key)
            if number is not None:
                path = f"{prefix}{snapshotter_folder(node.snapshotter)}/snapshots/{number}"
                command = snapshot_command(namespace.name, node.snapshotter, node.key)
                _goes(path, kept_by, f"snapshot {node.key[:71]}", command, found)
    parents = ParentImages(store, found)
    for word, more in parents.groups.items():
        found.groups[word] |= more
    for digest, kept_by in blobs.items():
        path = f"{prefix}{CONTENT}/blobs/{digest.replace(':', '/')}"
        _goes(path, kept_by, f"content {digest[:19]}", "", found)
        images = own[digest]
        if len(images) == 1 and "" not in images:
            found.goes(path, *parents.ways(*images))


def _image_of(root: Root, namespace: Namespace, store: ContainerdStore) -> str:
    """The image of the opened docker that a root is a name of, "" if it is anything else."""
    if root.kind is RootKind.IMAGE and store.halves.is_docker and namespace.name == store.halves.namespace:
        return namespace.images[root.name].digest
    return ""


def _goes(path: str, kept_by: set[Thing], name: str, command: str, found: Removal) -> None:
    if not kept_by:
        kept_by = {found.thing(ThingKind.UNUSED_LAYER, path, f"{name} that nothing leads to", command)}
    found.goes(path, frozenset(kept_by))


def _numbers(store: ContainerdStore, snapshotter: str, namespace: str) -> Mapping[str, str | None]:
    """The folders of a namespace's snapshots, by their keys."""
    half = store.halves.containerd
    assert half is not None
    snapshots = read_snapshots(half.directory, snapshotter, half.metadata, namespace)
    return {key: one.cache_id for key, one in snapshots.by_key.items()}
