"""What there is to say of a root of containers/storage as a whole: who wrote it, who uses it, what lies about.

Nobody holds such a root for long: each command of podman's takes its locks and gives them back. What lasts are the
mounts of running containers, which are seen in the mount namespace of the user who started them.
Source: containers/storage drivers/overlay/overlay.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from layerscope.hostfs.mounts import mounts_below
from layerscope.model.digest import is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.model.root import Daemon
from layerscope.stores.base import StoreFacts
from layerscope.stores.podman.artifacts import read_artifacts
from layerscope.stores.podman.layers import IDMap
from layerscope.stores.podman.worlds import drivers_of
from layerscope.stores.records.files import Fault, list_directory, shown

if TYPE_CHECKING:
    from layerscope.stores.podman.store import PodmanStore

_MERGED = re.compile(r"/overlay/[0-9a-f]{64}/merged$|/[a-z]+-containers/[0-9a-f]{64}/userdata/shm$")
_LISTED = 8
_CRI_MARK = "pod-name"


def daemon(path: Path, rootless: bool) -> Daemon:
    """Whether containers of the root at ``path`` run here now."""
    points = [mount.point for mount in mounts_below(Path(os.path.realpath(path))) if _MERGED.search(mount.point)]
    if points:
        more = f" and {len(points) - 1} more" if len(points) > 1 else ""
        return Daemon(True, f"containers have mounts below it: {shown(points[0], 200)}{more}")
    if rootless:
        return Daemon(None, "no container has a mount below it here; a user's own are in a mount namespace of theirs")
    return Daemon(False, "no container has a mount below it")


def facts(store: PodmanStore) -> StoreFacts:
    """What there is beside images, containers and layers."""
    return StoreFacts(
        engine=_engine(store),
        features=tuple(_features(store)),
        counts={
            "pods": len(store.libpod.pods),
            "writable_layers": sum(not layer.committed for layer in store.stored_layers.by_id.values()),
        },
    )


def _engine(store: PodmanStore) -> str:
    """By what kind of records there are beside the layers."""
    makers = []
    if store.libpod.path:
        old = store.libpod.path.endswith("bolt_state.db")
        makers.append(f"podman{', a version or a root from before 4.8' if old else ' 4.8 or newer'}")
    if any(_CRI_MARK in (record.fields.metadata or "") for record in store.container_list.records.values()):
        makers.append("CRI-O")
    return " and ".join(makers) or "containers/storage (podman, Buildah, CRI-O, skopeo)"


def _features(store: PodmanStore) -> Iterator[str]:
    libpod, layers = store.libpod, store.stored_layers.by_id.values()
    if libpod.path:
        yield f"{libpod.path} (podman's state)"
    recorded = libpod.settings.get("GraphRoot")
    if recorded and recorded != str(store.path):
        yield f"was last used at {shown(recorded, 200)}"
    if store.has_mount_program:
        yield "fuse-overlayfs: marks of several kinds, changes are told by comparison"
    side = "in the engine's namespace" if store.rootless else "on disk"
    yield from _maps("layers whose owners are shifted", side, (one.id_map for one in layers))
    records = [record.fields for record in store.container_list.records.values()]
    maps = (tuple(one for one in (*(own.uidmap or ()), *(own.gidmap or ())) if one) for own in records)
    yield from _maps("containers in a user namespace", side, maps)
    yield from _counted("layers pulled in parts", (one for one in layers if one.pulled_in_parts))
    yield from _counted("layers without a diff ID", (one for one in layers if one.committed and one.diff_id is None))
    yield from _counted("volatile layers", (one for one in layers if one.volatile))
    elsewhere = (one for one in libpod.containers.values() if one.typed.rootfs)
    yield from _counted("containers whose files are in a folder of the host's (--rootfs)", elsewhere)
    yield from _counted("lists of manifests", (one for one in store.stored_images if one.is_list))
    yield from _counted("artifacts", read_artifacts(store.root).listed)
    if _has(store, "composefs-data"):
        yield "composefs: layers hold objects by digest, their names are not read"
    for other in store.others:
        yield f"additional image store {shown(other.path, 200)}"
    if libpod.pods:
        names = (record.typed.name or key[:12] for key, record in libpod.pods.items())
        yield f"pods: {_some(sorted(names))}"


def _maps(what: str, side: str, maps: Iterable[tuple[IDMap, ...]]) -> Iterator[str]:
    """Each way in which owners are shifted for a user namespace, and how many things it is of."""
    found: dict[str, int] = {}
    for one in maps:
        if one:
            text = ", ".join(dict.fromkeys(map(_map_text, one)))
            found[text] = found.get(text, 0) + 1
    for text, count in sorted(found.items())[:_LISTED]:
        yield f"{count} {what} (ID there:ID {side}:count {text})"


def _map_text(one: IDMap) -> str:
    return f"{one.container_id}:{one.host_id}:{one.size}"


def _counted(what: str, things: Iterable[object]) -> Iterator[str]:
    count = sum(1 for _ in things)
    if count:
        yield f"{count} {what}"


def _has(store: PodmanStore, name: str) -> bool:
    """Whether the first layers' folders have an entry of this name."""
    for layer in list(store.stored_layers.by_id)[:_LISTED]:
        try:
            if store.root.enter(store.driver).enter(layer).stat_or_none(name) is not None:
                return True
        except OSError:
            continue
    return False


def problems(store: PodmanStore) -> Iterator[Problem]:
    """What is wrong with no single image or container: layers that nobody claims, folders without a record."""
    layers = store.stored_layers
    for layer in layers.by_id.values():
        if layer.incomplete:
            what = f"layer {layer.id[:12]} is marked as incomplete: its writing was interrupted"
            yield Problem(layer.path, what, "the engine removes it when it next starts", severity=Severity.NOTE)
    images, containers = store.image_list, store.container_list
    if not (layers.complete and images.complete and containers.complete):
        return  # whoever claims them may be among what couldn't be read
    claimed = {one.id for image in store.stored_images for one in image.counted}
    for container in store.containers():
        claimed.update(one.id for one in layers.chain(container.mount_id))
    lost = [
        layer
        for layer in layers.by_id.values()
        if layer.id not in claimed and not layer.incomplete and not layer.path.startswith("/")
    ]
    if lost:
        what = f"has {len(lost)} layers that no image and no container has: {_some(one.id for one in lost)}"
        hint = "podman system prune, or buildah rm if a build left them"
        yield Problem(lost[0].path, what, "their bytes are held until they are removed", hint, Severity.NOTE)
    yield from _lost_containers(store)
    yield from _strays(store, "images", images.records)
    yield from _strays(store, "containers", containers.records)


def _lost_containers(store: PodmanStore) -> Iterator[Problem]:
    """Containers that podman still lists although nothing of them is stored: their removal was cut off."""
    libpod, entries = store.libpod, list_directory(store.root)
    names = () if isinstance(entries, Fault) else (name for name, kind in entries if kind == "d")
    if any(driver != store.driver for driver in drivers_of(names)):
        return  # they may be another driver's
    for key, record in libpod.containers.items():
        if key not in store.container_list.records:
            name = shown(record.typed.name or key[:12], 160)
            what = f"has the container {name}, of which nothing is stored: its removal was interrupted"
            hint = f"podman rm -f {key[:12]}" if is_hex64(key) else ""
            yield Problem(libpod.path, what, "podman ps lists it, nothing of it is left to show", hint, Severity.NOTE)


def _strays(store: PodmanStore, kind: str, known: Iterable[str]) -> Iterator[Problem]:
    """Folders of images or containers that there is no record of."""
    folder = store.folder(kind)
    entries = list_directory(folder)
    names = set() if isinstance(entries, Fault) else {name for name, entry in entries if entry == "d"}
    strays = sorted(names - set(known) - {"tmp"})
    if strays:
        what = f"has {len(strays)} folders without a record: {_some(strays)}"
        yield Problem(folder.path, what, "the engine doesn't know them", severity=Severity.NOTE)


def _some(names: Iterable[str]) -> str:
    """The first of ``names``, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(shown(name, 160) for name in listed[:_LISTED]) + more
