"""What podman could remove, and what keeps each part, by podman's own rules.

| part | goes when these go |
| --- | --- |
| container's folder and writable layer | the container, every container that depends on it |
| image's folder | the image, every container of it; children don't keep it |
| layer: directory, short name, tar-split | every image and container on it, every unused layer above it |
| volume | the volume, every container that mounts it |
| log | the container, or the log alone |
| artifact's blob | every artifact that has it |

An image without a name goes with its last child; if a container is of it ``podman rmi`` removes the child, then fails.
Removing a container takes nothing of what it stands on: what no image has is left as an unused layer. ``volume prune``
takes every volume that no container mounts, ``container prune`` leaves containers of pods. Source: containers/common
libimage/image.go ``removeRecursive``; containers/storage store.go ``DeleteImage``, ``DeleteContainer``; podman
libpod/runtime_ctr.go, pkg/domain/infra/abi; held against podman 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from layerscope.model.container import Container
from layerscope.model.digest import hex_of
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.podman.artifacts import BLOBS, read_artifacts
from layerscope.stores.podman.images import StoredImage
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.podman.unused_layers import add_unused
from layerscope.stores.removal import Removal, called, command_of, reached

_STOPPED = {"created", "exited"}
_AUTOREMOVE = "io.podman.annotations.autoremove"
_DEPENDS = tuple(f"{kind}NsCtr" for kind in ("ipc", "mount", "net", "pid", "user", "uts", "cgroup"))


def removable(store: PodmanStore, ledger: Ledger) -> Removable:
    """Everything that may go of the driver's world of ``store``; images of other stores are only read."""
    own = store.image_list.records
    stored = [one for one in store.stored_images if hex_of(one.image.id) in own]
    images = [one.image for one in stored]
    found = Removal(store, ledger, images=images, dependents=_dependents(store))
    _add_containers(store, found)
    _add_images(store, stored, found)
    _add_layers(store, stored, found)
    _add_volumes(store, found)
    _add_artifacts(store, found)
    found.add_orphans()
    return found.removable()


def _add_artifacts(store: PodmanStore, found: Removal) -> None:
    """Each name by itself; what names share goes with the last of them."""
    needs: dict[str, set[Thing]] = {}
    for one in read_artifacts(store.root).listed:
        command = command_of("podman", "artifact", "rm", names=(one.name,))
        thing = found.thing(ThingKind.IMAGE, f"artifact {one.name}", f"artifact {one.name}", command)
        for blob in one.blobs:
            needs.setdefault(blob, set()).add(thing)
    for blob, things in needs.items():
        found.goes(f"{BLOBS}/{blob}", frozenset(things))


# ---------------------------------------------------------------------- containers
def _dependents(store: PodmanStore) -> dict[str, list[str]]:
    """For each container those that share a namespace of its, and thus can't be without it."""
    found: dict[str, list[str]] = {}
    for container in store.containers():
        listed = container.config.get("Dependencies")
        names = [container.config.get(key) for key in _DEPENDS]
        for name in (*names, *(listed if isinstance(listed, list) else ())):
            if isinstance(name, str) and name and name != container.id:
                found.setdefault(name, []).append(container.id)
    return found


def _add_containers(store: PodmanStore, found: Removal) -> None:
    stopped = set()
    for one in store.containers():
        command, left_by_prune = _removal(store, one)
        need = found.of_container[one.id]
        thing = found.thing(ThingKind.CONTAINER, one.id, called(one), command)
        found.with_volumes[thing] = frozenset(_anonymous_volumes(store, one))
        if one.runs and _is_removed_when_it_ends(one):
            alone = (volume for volume in found.with_volumes[thing] if found.mounting[volume.id] == need)
            found.follows.update(dict.fromkeys(alone, need))
        found.add_log(one)
        found.goes(f"{store.driver}-containers/{one.id}", need)
        if one.mount_id is not None:
            _layer_goes(store, one.mount_id, need, found)
        if one.state in _STOPPED and not left_by_prune:
            stopped.add(thing)
    found.groups["stopped-containers"] = frozenset(stopped)


def _removal(store: PodmanStore, container: Container) -> tuple[str, bool]:
    """The command that removes a container, by who made it, and whether ``podman container prune`` leaves it."""
    name, short = called(container), container.id[:12]
    force = ("-f",) if container.runs else ()
    recorded = store.libpod.containers.get(container.id)
    if recorded is not None:
        if recorded.typed.is_infra and recorded.typed.pod:
            pod = store.libpod.pods.get(recorded.typed.pod)
            named = pod.typed.name if pod else None
            return command_of("podman", "pod", "rm", *force, names=(named or recorded.typed.pod,)), True
        # Its end may remove such a container's volumes before this command gets to it: so it asks for that, too.
        volumes = ("-v",) if container.runs and _is_removed_when_it_ends(container) else ()
        return command_of("podman", "rm", *force, *volumes, names=(name,)), bool(recorded.typed.pod)
    metadata = store.container_list.records[container.id].raw.get("metadata")
    if isinstance(metadata, str) and '"pod-name"' in metadata:
        verb = "rmp" if '"pod":true' in metadata else "rm"
        return command_of("crictl", verb, *force, short), True
    if store.libpod.path:
        # Of a build that was cut off: what it had mounted only force takes. Buildah itself need not be installed.
        return command_of("podman", "rm", "-f", names=(name,)), True
    return command_of("buildah", "rm", names=(name,)), False


def _is_removed_when_it_ends(container: Container) -> bool:
    """Whether it was made with ``--rm``, which removes its anonymous volumes, too."""
    spec = container.config.get("spec")
    annotations = spec.get("annotations") if isinstance(spec, Mapping) else None
    return isinstance(annotations, Mapping) and annotations.get(_AUTOREMOVE) == "TRUE"


def _anonymous_volumes(store: PodmanStore, container: Container) -> Iterator[Thing]:
    """The volumes that ``podman rm -v`` removes with a container, if no other one has them."""
    for mount in container.mounts:
        if mount.name and _is_anonymous(store, mount.name):
            yield Thing(ThingKind.VOLUME, mount.name)


def _is_anonymous(store: PodmanStore, volume: str) -> bool:
    recorded = store.libpod.volumes.get(volume)
    return recorded is not None and recorded.raw.get("isAnon") is True


# ---------------------------------------------------------------------- images
def _add_images(store: PodmanStore, stored: Sequence[StoredImage], found: Removal) -> None:
    images = [one.image for one in stored]
    names_of = {one.image.id: _names(one) for one in stored}
    tool = "podman" if store.libpod.path or not _is_kubernetes(store) else "crictl"
    followers: dict[str, list[str]] = {
        image.id: found.children[image.id] for image in images if image.id in found.children and not image.names
    }
    things, dangling = set(), set()
    for one in stored:
        image, short = one.image, hex_of(one.image.id)[:12]
        names = names_of[image.id]
        # A list of manifests has a command of its own: rmi takes its name for that of the image in it.
        words = ("manifest", "rm") if one.is_list and tool == "podman" else ("rmi",)
        command = command_of(tool, *words, names=names or (short,))
        thing = found.thing(ThingKind.IMAGE, image.id, ", ".join(image.names) or short, command)
        things.add(thing)
        if tool == "podman" and not one.is_list:
            found.alone[thing] = command_of(tool, "rmi", "--no-prune", names=names or (short,))
        found.references[thing] = names if len(names) > 1 else ()
        if not image.names and image.id not in found.children:
            dangling.add(thing)
        users = frozenset(found.users.get(image.id, ()))
        found.dependents[thing] = users
        needs = [users | {thing}]
        if image.id in followers:
            # It goes with the last of its children; of these, too, some may go with theirs.
            last = (one for one in reached(image.id, followers) if one not in followers)
            needs.append(users.union(*(_with_users(one, found) for one in last)))
            found.follows[thing] = users.union(*(_with_users(child, found) for child in followers[image.id]))
            found.tried[thing] = frozenset(Thing(ThingKind.IMAGE, child) for child in followers[image.id])
        found.goes(f"{store.driver}-images/{hex_of(image.id)}", *needs)
    found.groups["unused-images"] = frozenset(things)
    found.groups["dangling-images"] = frozenset(dangling)


def _names(one: StoredImage) -> tuple[str, ...]:
    """The names that podman knows it by. It tells of more: each of them with the digest of each manifest."""
    names = one.raw.get("names")
    return tuple(name for name in names if isinstance(name, str) and name) if isinstance(names, list) else ()


def _is_kubernetes(store: PodmanStore) -> bool:
    return any("pod-name" in (one.fields.metadata or "") for one in store.container_list.records.values())


def _with_users(image: str, found: Removal) -> Need:
    """An image and every container of it: its children don't keep it."""
    return frozenset((Thing(ThingKind.IMAGE, image), *found.users.get(image, ())))


# ---------------------------------------------------------------------- layers
def _add_layers(store: PodmanStore, images: Sequence[StoredImage], found: Removal) -> None:
    layers = [one for one in store.stored_layers.by_id.values() if not one.path.startswith("/")]
    keepers: dict[str, set[Thing]] = {}
    for one in images:
        # An image that follows its children needs none of its own: they have all its layers.
        if Thing(ThingKind.IMAGE, one.image.id) not in found.follows:
            for layer in one.counted:
                keepers.setdefault(layer.id, set()).update(_with_users(one.image.id, found))
    for container in store.containers():
        for layer in store.stored_layers.chain(container.mount_id)[:-1]:
            keepers.setdefault(layer.id, set()).update(found.of_container[container.id])
    writable = {container.mount_id for container in store.containers()}
    of_images = {layer.id for one in images for layer in one.counted}
    unused = (layer for layer in layers if layer.id not in writable and layer.id not in of_images)
    add_unused(store, unused, keepers, found)
    for layer in layers:
        if layer.id not in writable:
            _layer_goes(store, layer.id, frozenset(keepers.get(layer.id, ())), found)


def _layer_goes(store: PodmanStore, id_: str, need: Need, found: Removal) -> None:
    record = f"{store.driver}-layers/{id_}"
    found.layer_goes(f"{layer_folder(store.driver)}/{id_}", need)
    for path in (record, f"{record}.tar-split.gz"):
        found.goes(path, need)


# ---------------------------------------------------------------------- volumes
def _add_volumes(store: PodmanStore, found: Removal) -> None:
    """Those that podman knows; the folder of another one is nothing that it removes."""
    known = (one for one in store.volumes() if one.name in store.libpod.volumes or not store.libpod.path)
    found.add_volumes(known, "podman", "volume", "rm")
    unused = {thing for thing in found.names if thing.kind is ThingKind.VOLUME and thing.id not in found.mounting}
    found.groups["unused-volumes"] = frozenset(unused)
    found.groups["anonymous-volumes"] = frozenset(thing for thing in unused if _is_anonymous(store, thing.id))
