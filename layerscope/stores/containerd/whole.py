"""What there is to say of a containerd store as a whole: which engine wrote it, who holds it, what lies about.

| trace | docker |
| --- | --- |
| `image/identity-cache.db` in docker's half | 29.3 or newer |
| a label `moby/build.ref.…` on a blob | 29.2 or newer |
| the newest container's record has no `NetworkSettings.Bridge` | 29 or newer: older ones always write it |

Nothing tells 29.5, from where on shared sizes are counted otherwise. Seen with docker 28.5.2 and 29.7.2; which 29
began with what is from moby's source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from layerscope.hostfs import Directory
from layerscope.model.digest import is_hex64
from layerscope.model.level import Role
from layerscope.model.problem import Problem, Severity
from layerscope.model.root import Daemon
from layerscope.stores.base import StoreFacts
from layerscope.stores.containerd.folders import CONTENT, METADATA, snapshotter_folder
from layerscope.stores.containerd.halves import is_docker_namespace
from layerscope.stores.containerd.metadata import FILE, ImageRecord
from layerscope.stores.containerd.snapshots import FILE as RECORDS
from layerscope.stores.docker.containers import ContainerConfig
from layerscope.stores.docker.liveness import Liveness, find_liveness
from layerscope.stores.oci.manifest import BlobState
from layerscope.stores.records.files import Fault, list_directory, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

if TYPE_CHECKING:
    from layerscope.stores.containerd.store import ContainerdStore

_BUILD_LABEL = "moby/build.ref."
_LISTED = 8


# ---------------------------------------------------------------------- the engine
def shares_blobs(store: ContainerdStore) -> bool:
    """Whether shared sizes count blobs, as docker does since 29.5. A root that may be of that is taken for one."""
    return store.halves.docker is None or _is_of_29(store.halves.docker, store) is not False


def tells_what_is_shared(store: ContainerdStore) -> bool:
    """Whether it is known how the engine counts shared sizes: no root tells 29.5 from the engines of 29 before it."""
    return not store.halves.is_docker or not shares_blobs(store)


def _is_of_29(docker: Directory, store: ContainerdStore) -> bool | None:
    """By what its daemon wrote; None where that is the same in 28: a root without containers and builds."""
    if _is_there(docker.enter("image"), "identity-cache.db"):
        return True
    if any(label.startswith(_BUILD_LABEL) for blob in store.namespace.blobs.values() for label in blob.labels):
        return True
    newest = next((container for container in store.containers() if container.created), None)
    settings = newest.config.get("NetworkSettings") if newest is not None else None
    return None if newest is None else not (isinstance(settings, dict) and "Bridge" in settings)


def _is_there(directory: Directory, name: str) -> bool:
    try:
        return directory.stat_or_none(name) is not None
    except OSError:
        return False


def recorded_targets(docker: Directory) -> Iterator[ImageRecord]:
    """The images that docker's containers were made from, for when meta.db doesn't tell: nameless."""
    entries = list_directory(docker.enter("containers"))
    for name, kind in [] if isinstance(entries, Fault) else entries:
        if kind != "d" or not is_hex64(name):
            continue
        data = read_bytes(docker.enter("containers").enter(name), "config.v2.json", LIMIT)
        config = ContainerConfig() if isinstance(data, Fault) else parse(data, ContainerConfig).typed
        if config.image:
            yield ImageRecord("", config.image, "", None, None, {})


# ---------------------------------------------------------------------- who holds it
def containerd_liveness(store: ContainerdStore) -> Liveness | None:
    """Whether a containerd holds its half; None without it."""
    found = store.halves.containerd
    if found is None:
        return None
    files = [f"{METADATA}/{FILE}", *(f"{snapshotter_folder(name)}/{RECORDS}" for name in found.snapshotters)]
    return find_liveness(found.directory, found.path, files)


def daemon(store: ContainerdStore) -> Daemon:
    """Held if either half is; not held only if both are known not to be."""
    told = {"docker": store.liveness, "containerd": store.containerd_liveness}
    halves = {name: one for name, one in told.items() if one is not None}
    states = {one.held for one in halves.values()}
    held = True if True in states else None if None in states or not states else False
    evidence = "; ".join(f"{name}: {', '.join(one.evidence)}" for name, one in halves.items())
    return Daemon(held, evidence or "neither half can be looked at")


# ---------------------------------------------------------------------- facts
def facts(store: ContainerdStore) -> StoreFacts:
    """What there is beside images, containers and layers."""
    halves, found = store.halves, store.halves.containerd
    engine = ""
    if halves.is_docker and halves.docker is not None:
        is_of_29 = _is_of_29(halves.docker, store)
        engine = {True: "docker 29 or newer", False: "docker 24 to 28", None: "docker 24 or newer"}[is_of_29]
    return StoreFacts(
        engine=engine,
        features=tuple(_features(store)),
        counts={
            "snapshots": len(store.snapshots.by_key),
            "content_blobs": len(store.namespace.blobs),
            "leases": len(store.namespace.leases),
        },
        other_root=str(found.path) if found is not None and halves.docker is not None else "",
        namespace=halves.namespace,
        namespaces=found.metadata.namespaces if found is not None else (),
    )


def _features(store: ContainerdStore) -> Iterator[str]:
    found = store.halves.containerd
    if store.halves.docker is not None and found is not None:
        proof = f"proved by {found.proofs} of this root's records" if found.proofs else "not proved: nothing to compare"
        yield f"containerd root {found.path} ({proof})"
        rule = "29.5 or newer: layers and blobs" if shares_blobs(store) else "24 to 29.4: layers only"
        unsure = "" if tells_what_is_shared(store) else "; whether it was an older one isn't told here"
        yield f"shared sizes are counted as by docker {rule}{unsure}"
    for name in found.metadata.namespaces if found is not None else ():
        counts = found.metadata.namespace(name).counts() if found is not None else None
        if counts is not None:
            snapshots = ", ".join(f"{number} {kind} snapshots" for kind, number in counts.snapshots.items())
            running = "running containers" if is_docker_namespace(name) else "containers"
            told = f"{counts.images} images, {counts.containers} {running}, {counts.blobs} blobs"
            yield f"namespace {name}: {told}{', ' if snapshots else ''}{snapshots}"
    if store.build_cache():
        yield "build cache"
    images = store.images()
    if any(level.role is Role.INIT for image in images for level in store.levels(image)):
        yield "hidden init layers inside images"
    if any(container.init_id for container in store.containers()):
        yield "init layers"
    if any(manifest.attests is not None for image in images for manifest in image.manifests or ()):
        yield "attestations"
    if any(sum(one.attests is None for one in image.manifests or ()) > 1 for image in images):
        yield "images for several platforms"


# ---------------------------------------------------------------------- what lies about, and what is missing
def half_problems(store: ContainerdStore) -> Iterator[Problem]:
    """What is missing of the store as a whole."""
    halves, found = store.halves, store.halves.containerd
    if found is None:
        places = "; ".join(halves.tried) or "no place"
        what = f"the other half of this store, containerd's root, was not found; tried {places}"
        effect = "images and layers are unknown, and no container's files can be shown"
        yield Problem("", what, effect, "--containerd-root PATH")
        return
    if halves.is_docker and halves.docker is None:
        what = "docker's half of this store is not beside it: its data root, with containers/ and volumes/"
        effect = "names, images and states of containers are unknown"
        hint = f"layerscope --root DOCKER_ROOT --containerd-root {shown(found.path, 300)}"
        yield Problem("", what, effect, hint, Severity.WARNING)
    if halves.docker is not None and not found.proofs and store.containers():
        what = "holds nothing of this docker root's containers: it may be another host's"
        yield Problem(str(found.path), what, "what is shown may not belong together", severity=Severity.WARNING)


def problems(store: ContainerdStore) -> Iterator[Problem]:
    """What is wrong with no single image or container."""
    found = store.halves.containerd
    if found is None:
        return
    yield from found.metadata.problems
    yield from store.snapshots.problems
    yield from store.content.problems if store.content is not None else ()
    yield from _lost_blobs(store)
    yield from _leftovers(store)


def _lost_blobs(store: ContainerdStore) -> Iterator[Problem]:
    """Blobs with a record but no file that no image tells of."""
    content = store.content
    if content is None:
        return
    told = {blob.digest for one in store.stored_images for manifest in one.manifests for blob in manifest.parts}
    told |= {one.image.id for one in store.stored_images}
    lost = [digest for digest in store.namespace.blobs if content.state(digest) is BlobState.LOST]
    rest = [digest for digest in lost if digest not in told]
    if rest:
        what = f"lacks {len(rest)} blobs that have a record: {_some(rest)}"
        yield Problem(f"{content.path}", what, "builds may have to be made anew", severity=Severity.WARNING)


def _leftovers(store: ContainerdStore) -> Iterator[Problem]:
    """What only containerd's garbage collector, or nobody, knows of."""
    found, content, snapshots = store.halves.containerd, store.content, store.snapshots
    assert found is not None
    if snapshots.unclaimed:
        names = _some(one.key for one in snapshots.unclaimed)
        what = f"has {len(snapshots.unclaimed)} snapshots that no name leads to: {names}"
        effect = "containerd's garbage collector removes them"
        yield Problem(snapshots.path, what, effect, severity=Severity.NOTE)
    folder = found.directory.enter(snapshotter_folder(store.driver)).enter("snapshots")
    entries = list_directory(folder)
    numbers = [] if isinstance(entries, Fault) else [name for name, kind in entries if kind == "d" and name.isdigit()]
    orphans = [name for name in numbers if name not in snapshots.folders]
    if orphans and snapshots.sound:
        what = f"holds {len(orphans)} folders without a record: {_some(orphans)}"
        yield Problem(folder.path, what, "they wait for containerd's clean-up", severity=Severity.NOTE)
    if content is not None and found.metadata.sound:
        known = {digest for name in found.metadata.namespaces for digest in found.metadata.namespace(name).blobs}
        unknown = sorted(content.files - known)
        if unknown:
            what = f"holds {len(unknown)} blobs that no namespace has a record of: {_some(unknown)}"
            yield Problem(content.path, what, "containerd's garbage collector removes them", severity=Severity.NOTE)
    entries = list_directory(found.directory.enter(CONTENT).enter("ingest"))
    unfinished = [] if isinstance(entries, Fault) else [name for name, kind in entries if kind == "d"]
    if unfinished:
        what = f"holds {len(unfinished)} downloads or builds that are going on, or were interrupted"
        yield Problem(f"{found.directory.enter(CONTENT).path}/ingest", what, severity=Severity.NOTE)


def _some(names: Iterable[str]) -> str:
    """The first of ``names``, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(shown(name, 160) for name in listed[:_LISTED]) + more
