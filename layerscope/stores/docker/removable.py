"""What docker could remove, and what keeps each part, by docker's own rules.

| part | goes when these go |
| --- | --- |
| container's directory, mount record, both layers | the container |
| image's config and metadata | the image, every image made of it, every container of it |
| layer: its record, directory, short name | every image and container that stands on it, the build cache holding it |
| volume | the volume, every container that mounts it |
| log | the container, or the log alone |

An image without a name goes with its last child; with the last tag of a repository the image's digests in it go, too.
Since 23.0 `volume prune` takes anonymous volumes only, unless `-a` is given; volumes with options are not pruned.
Source: moby daemon/images/image_delete.go, image_prune.go, daemon/delete.go, prune.go, layer/layer_store.go.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from layerscope.formats.reference import parse_reference
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, hex_of, is_hex64
from layerscope.model.image import Image
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.model.volume import Volume
from layerscope.stores.docker.containers import is_loaded
from layerscope.stores.docker.engine import SINCE_23
from layerscope.stores.docker.interrupted import YOUNG_SECONDS
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.removal import Removal, called, command_of

_ANONYMOUS = "com.docker.volume.anonymous"
_BUILD_CACHE = Thing(ThingKind.BUILD_CACHE, "")
_NEVER = Thing(ThingKind.TEMPORARY, "")
"""What nothing removes: it is in no set of things that go."""


def removable(store: DockerStore, ledger: Ledger) -> Removable:
    """Everything that may go of the driver's world of ``store``."""
    unknown = frozenset(one.id for one in store.containers() if not is_loaded(one))
    found = Removal(store, ledger, unknown=unknown)
    _add_containers(store, found)
    _add_images(store, found)
    _add_layers(store, _keepers(store, found), found)
    _guard_unused(store, found)
    found.add_volumes(store.volumes(), "docker", "volume", "rm")
    found.anonymous = made_without_name(store.volumes(), labelled=SINCE_23 in store.engine.traces)
    found.add_orphans()
    return found.removable()


def _add_containers(store: DockerStore, found: Removal) -> None:
    layers = layer_folder(store.driver)
    mounts = f"image/{store.driver}/layerdb/mounts"
    tasks = "containerd/daemon/io.containerd.runtime.v2.task/moby"
    for one in store.containers():
        if one.id not in found.containers:
            continue
        found.with_volumes[found.containers[one.id]] = anonymous_volumes(one)
        name, force = called(one), ("-f",) if one.runs else ()
        need = found.of_container[one.id]
        found.thing(ThingKind.CONTAINER, one.id, name, command_of("docker", "rm", *force, names=(name,)))
        found.add_log(one)
        for path in (f"containers/{one.id}", f"{mounts}/{one.id}"):
            found.goes(path, need)
        if one.runs:  # what a crash left there of one that doesn't run stays
            found.goes(f"{tasks}/{one.id}", need)
        for cache_id in (one.mount_id, one.init_id):
            if cache_id is not None:
                found.layer_goes(f"{layers}/{cache_id}", need)


def _add_images(store: DockerStore, found: Removal) -> None:
    images = store.images()
    for image in images:
        if image.names or image.id not in found.children:
            short = hex_of(image.id)[:12]
            names = references(image)
            command = command_of("docker", "rmi", names=names or (short,))
            thing = found.thing(ThingKind.IMAGE, image.id, ", ".join(image.names) or short, command)
            found.references[thing] = names
    for image in images:
        thing, need = Thing(ThingKind.IMAGE, image.id), found.with_all_above(image.id)
        if thing in found.names:
            found.dependents[thing] = need - {thing}
        for folder in ("content", "metadata"):
            found.goes(f"image/{store.driver}/imagedb/{folder}/sha256/{hex_of(image.id)}", need)


def references(image: Image) -> tuple[str, ...]:
    """The names that must be removed one by one: with the last tag of a repository its digests go, too."""
    tagged = {_repository(tag) for tag in image.repo_tags}
    return (*image.repo_tags, *(name for name in image.repo_digests if _repository(name) not in tagged))


def _repository(name: str) -> str:
    parts = parse_reference(name)
    return parts[0] if parts is not None else name


# ---------------------------------------------------------------------- layers
def _keepers(store: DockerStore, found: Removal) -> dict[str, set[Thing]]:
    """By the chain ID of a layer, the images and containers that stand on it.

    docker loads the record of a writable layer whatever it knows of the container: what that stands on stays with it.
    """
    keepers: dict[str, set[Thing]] = {}
    for image in store.images():
        need = found.with_all_above(image.id)
        for chain in image.chain_ids:
            keepers.setdefault(chain, set()).update(need)
    for container in store.containers():
        keeper = found.containers.get(container.id, _NEVER)
        if keeper is _NEVER and container.id not in store.mounts():
            continue
        for level in store.levels(container):
            if level.chain_id is not None:
                keepers.setdefault(level.chain_id, set()).add(keeper)
    for record in store.orphan_mounts():
        below: ChainID | None = record.parent
        seen: set[str] = set()
        while below is not None and below not in seen:
            seen.add(below)
            keepers.setdefault(below, set()).add(_NEVER)
            stood_on = store.layers().get(below)
            below = stood_on.parent if stood_on is not None else None
    return keepers


def _add_layers(store: DockerStore, keepers: Mapping[str, set[Thing]], found: Removal) -> None:
    layers, held = layer_folder(store.driver), store.build_cache()
    if held:
        found.thing(ThingKind.BUILD_CACHE, "", "build cache", "docker builder prune -a -f")
    for link, layer in store.layers().items():
        kept_by = set(keepers.get(link, ()))
        if layer.cache_id in held:
            kept_by.add(_BUILD_CACHE)
        if not kept_by:
            kept_by.add(found.thing(ThingKind.UNUSED_LAYER, layer.path, f"unused layer {hex_of(link)[:12]}"))
        need: Need = frozenset(kept_by)
        found.goes(layer.path, need)
        if layer.cache_id is not None:
            found.layer_goes(f"{layers}/{layer.cache_id}", need)
    known = {layer.cache_id for layer in store.layers().values()}
    for cache_id in held - known:
        found.layer_goes(f"{layers}/{cache_id}", frozenset((_BUILD_CACHE,)))


def _guard_unused(store: DockerStore, found: Removal) -> None:
    """A pull or load registers layers before their image: while a daemon lives, a young one may be in use."""
    if store.liveness.held is False:
        return
    newest = 0.0
    for path in (f"image/{store.driver}/layerdb/{name}" for name in ("sha256", "tmp")):
        try:
            newest = max(newest, store.root.descend(path).stat_self().st_mtime)
        except OSError:
            continue
    if time.time() - newest < YOUNG_SECONDS:
        why = "layers were made a moment ago: a pull or load may be going on"
        found.guarded.update({thing: why for thing in found.names if thing.kind is ThingKind.UNUSED_LAYER})


def made_without_name(volumes: Iterable[Volume], labelled: bool) -> set[str]:
    """The volumes that docker takes for anonymous: since 23.0 by their label, before that it gave them 64 digits."""
    return {one.name for one in volumes if _ANONYMOUS in one.labels or (not labelled and is_hex64(one.name))}


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
