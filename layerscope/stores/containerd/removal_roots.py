"""What must go for a root of containerd's garbage collector to go, of any namespace.

| root | goes when these go |
| --- | --- |
| image of the opened namespace | the image; docker's only with all that were made of it, and their containers |
| container of the opened namespace | the container; a pod's sandbox with all containers of the pod |
| lease of BuildKit | the build cache, or its records of builds |
| other lease | the lease, which may be a pull's or a build's that goes on |
| label ``gc.root`` | whatever it stands on |
| image, container of another namespace | itself, with all its names there |

Source: containerd core/metadata/gc.go; moby daemon/containerd/image_delete.go; held against containerd 1.6 and the one
of docker 28.5.2, where a lease that BuildKit calls temporary outlives its build and goes with the cache.
"""

from __future__ import annotations

import re

from layerscope.model.reclaim import Need, Thing, ThingKind
from layerscope.stores.containerd.bare import has_task
from layerscope.stores.containerd.claims import containerd_prefix
from layerscope.stores.containerd.folders import TASKS
from layerscope.stores.containerd.metadata import ImageRecord, Namespace
from layerscope.stores.containerd.references import Root, RootKind
from layerscope.stores.containerd.removal_commands import (
    container_command,
    image_command,
    lease_command,
    snapshot_command,
)
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.removal import Removal

_FLAT = "containerd.io/gc.flat"
_TEMPORARY = "buildkit/lease.temporary"
_BUILT = re.compile(r"[0-9a-z]{25}(-variants|-view)?")
"""BuildKit's leases."""
_HISTORY = "moby_history"
_DANGLING = "moby-dangling@"


def need_of_root(root: Root, namespace: Namespace, store: ContainerdStore, found: Removal) -> Need:
    """What must go for ``root`` to go; of other namespaces than the opened one that is named here, too."""
    here = namespace.name == store.halves.namespace
    if root.kind is RootKind.IMAGE and here:
        return _image(namespace.images[root.name], store, found)
    if root.kind is RootKind.IMAGE:
        return _other_image(namespace.images[root.name], namespace, found)
    if here and root.kind in (RootKind.CONTAINER, RootKind.LEASE) and root.name in found.containers:
        return found.of_container[root.name]  # docker's lease for a container has the container's ID
    if root.kind is RootKind.CONTAINER:
        return _other_container(root.name, namespace, store, found)
    if root.kind is RootKind.LEASE:
        return _lease(root.name, namespace, found)
    # Somebody put a label on it, such as ctr on a snapshot that it prepares: only that user's removal ends that.
    snapshotter, slash, key = root.name.partition("/")
    command = snapshot_command(namespace.name, snapshotter, key) if slash else ""
    name = f"{'snapshot' if slash else 'content'} {(key or root.name)[:71]} of {namespace.name}"
    return frozenset((found.thing(ThingKind.TEMPORARY, f"{namespace.name}/{root.name}", name, command),))


def _image(record: ImageRecord, store: ContainerdStore, found: Removal) -> Need:
    """docker keeps an image for its containers, and one without a name for its children; others do not."""
    if store.halves.is_docker:
        return found.with_all_above(record.digest)
    return frozenset((Thing(ThingKind.IMAGE, record.digest),))


def _other_image(record: ImageRecord, namespace: Namespace, found: Removal) -> Need:
    """An image of a namespace that isn't opened: all its names there are one thing."""
    records = [one for one in namespace.images.values() if one.digest == record.digest]
    short = [name.removeprefix(_DANGLING) for name in sorted(one.name for one in records)]
    command = image_command(namespace.name, records, short)
    name = f"{', '.join(short)} of {namespace.name}"
    return frozenset((found.thing(ThingKind.IMAGE, f"{namespace.name}/{record.digest}", name, command),))


def _other_container(id_: str, namespace: Namespace, store: ContainerdStore, found: Removal) -> Need:
    """A container that isn't among the opened ones: of another namespace, or of another snapshotter."""
    half = store.halves.containerd
    runs = half is not None and has_task(half.directory, namespace.name, id_)
    command = container_command(namespace.name, id_, id_, namespace.containers[id_], runs)
    name = f"{id_[:64]} of {namespace.name}"
    thing = found.thing(ThingKind.CONTAINER, f"{namespace.name}/{id_}", name, command)
    if runs:
        found.running.add(thing)
    need = frozenset((thing,))
    found.goes(f"{containerd_prefix(store.halves)}{TASKS}/{namespace.name}/{id_}", need)
    return need


def _lease(lease: str, namespace: Namespace, found: Removal) -> Need:
    if namespace.name == _HISTORY:
        command = "docker buildx history rm --all"
        return frozenset((found.thing(ThingKind.BUILD_CACHE, _HISTORY, "records of builds", command),))
    if {_FLAT, _TEMPORARY} & namespace.leases[lease].labels.keys() or _BUILT.fullmatch(lease):
        return frozenset((found.thing(ThingKind.BUILD_CACHE, "", "build cache", "docker builder prune -a -f"),))
    command = lease_command(namespace.name, lease)
    thing = found.thing(ThingKind.TEMPORARY, f"{namespace.name}/{lease}", f"lease {lease}", command)
    found.guarded[thing] = f"lease {lease[:64]} of {namespace.name} keeps it: a pull or build may be going on"
    return frozenset((thing,))
