"""Who claims what in a containerd root, and in the docker root whose images it holds.

| below the root | claimed by |
| --- | --- |
| `io.containerd.content.v1.content/blobs/<algorithm>/<hex>` | a blob record of any namespace |
| `io.containerd.snapshotter.v1.<name>/snapshots/<number>` | the snapshotter's record with that `id` |
| `io.containerd.runtime.v2.task/<namespace>/<id>` | a running container |
| `io.containerd.grpc.v1.cri/{containers,sandboxes}/<id>` | Kubernetes |

What a snapshot is for is told by its key, and by what the namespaces' images, containers and leases name.
Source: containerd plugins, core/metadata, core/snapshots; seen with 1.6 and 2.1.
"""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.model.digest import is_digest, is_hex64
from layerscope.stores.claims import ClaimedTree
from layerscope.stores.containerd.folders import CONTENT, CRI, METADATA, SNAPSHOTTER, snapshotter_folder
from layerscope.stores.containerd.halves import Halves
from layerscope.stores.containerd.locate import ContainerdRoot
from layerscope.stores.containerd.metadata import FILE, read_metadata
from layerscope.stores.containerd.snapshots import COMMITTED
from layerscope.stores.containerd.snapshots import FILE as RECORDS
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.docker.claims import content_place, root_place
from layerscope.stores.docker.interrupted import YOUNG_SECONDS
from layerscope.stores.overlay_places import overlay_layer
from layerscope.stores.records.files import Fault, list_directory

_PLUGIN = re.compile(r"io\.containerd\.[a-z0-9.-]+\.v\d+\.[A-Za-z0-9._-]+")
_STATE = re.compile(r"io\.containerd\.(runtime\.v\d+\.(task|linux)|sandbox\.controller\.v1\.shim)")
_BUILT = re.compile(r"[0-9a-z]{25}(-view)?|.*-view")
_HEX = re.compile(r"[0-9a-f]+")
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""How many digits each kind of digest has."""
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOUNT = re.compile(r"containerd-mount\d+")
_UNFINISHED = re.compile(r"(new|rm)-\d+")
_CONTAINER_RANK = 10_000
_NOWHERE = Path("/")


def containerd_prefix(halves: Halves) -> str:
    """What stands before the paths of containerd's half in a ledger: where it lies in docker's half, if it does."""
    found = halves.containerd
    if found is None or halves.docker is None:
        return ""
    path = found.directory.path or _inside(found, halves)
    return f"{path}/" if path else ""


def containerd_trees(store: ContainerdStore) -> tuple[ClaimedTree, ...]:
    """Both halves of a store, the one inside of the other if it lies there."""
    halves, found = store.halves, store.halves.containerd
    docker, path = halves.docker, halves.docker_path
    if found is None:
        return (ClaimedTree(docker, path, root_place(docker, path, "")),) if docker and path else ()
    top = found.directory.path
    if docker is None or path is None:
        return (ClaimedTree(found.directory, found.path, containerd_place(found.directory, "", None, halves)),)
    inside = _inside(found, halves)
    place = containerd_place(found.directory, top or inside or "", None, halves)
    if inside is None:
        return ClaimedTree(docker, path, root_place(docker, path, "")), ClaimedTree(found.directory, found.path, place)
    first, *rest = inside.split("/")
    for name in reversed(rest):
        place = Place(Claim(first, Category.RECORD, "containerd", "holds containerd's root"), names={name: place})
    return (ClaimedTree(docker, path, root_place(docker, path, "", {first: place})),)


def _inside(found: ContainerdRoot, halves: Halves) -> str | None:
    """Where containerd's root lies below docker's, None if it doesn't."""
    assert halves.docker_path is not None
    try:
        return str(found.path.resolve().relative_to(halves.docker_path.resolve()))
    except ValueError:
        return None


def containerd_place(root: Directory, path: str, engine: Claim | None, halves: Halves | None = None) -> Place:
    """A containerd root at ``path``. With ``engine`` it holds no image that is shown: all of it is that claim's."""
    prefix = f"{path}/" if path else ""
    metadata = read_metadata(root)
    own = engine or Claim(path or ".", Category.RECORD, "containerd", "containerd's root")
    known = {digest for name in metadata.namespaces for digest in metadata.namespace(name).blobs}
    blob_claim = partial(_blob, f"{prefix}{CONTENT}", known, metadata.sound, engine)
    store = engine or Claim(f"{prefix}{CONTENT}", Category.RECORD, "containerd", "containerd's content store")
    content = content_place(store)
    half = Claim(
        f"{prefix}tmpmounts", Category.TEMPORARY, "containerd", "where a layer was mounted while it was unpacked"
    )
    blobs = {name: Place(store, rule=partial(blob_claim, name)) for name in _DIGITS}
    names = {
        CONTENT: replace(content, names={**content.names, "blobs": Place(store, names=blobs)}),
        METADATA: Place(own, names={FILE: Place(own)}),
        "io.containerd.grpc.v1.introspection": Place(own, names={"uuid": Place(own)}),
        CRI: _kubernetes(prefix, own),
        "opt": Place(own, names={"bin": Place(own), "lib": Place(own)}),
        "tmpmounts": Place(own, rule=by_pattern((_MOUNT.fullmatch, Place(half, whole=True)))),
    }
    for name, kind in _entries(root):
        if kind == "d" and name.startswith(SNAPSHOTTER):
            names[name] = _snapshotter(root, name.removeprefix(SNAPSHOTTER), prefix, own, engine, halves)

    def other(name: str) -> Place | None:
        if _STATE.fullmatch(name):
            return _tasks(own, f"{prefix}{name}")
        return Place(own) if _PLUGIN.fullmatch(name) else None

    return Place(own, names=names, rule=other)


def _entries(directory: Directory) -> list[tuple[str, str]]:
    entries = list_directory(directory)
    return [] if isinstance(entries, Fault) else [(name, kind) for name, kind in entries]


def _blob(path: str, known: set[str], sound: bool, engine: Claim | None, algorithm: str, name: str) -> Place | None:
    if len(name) != _DIGITS[algorithm] or not _HEX.fullmatch(name):
        return None
    place, digest = f"{path}/blobs/{algorithm}/{name}", f"{algorithm}:{name}"
    if digest in known:
        told = f"{METADATA}/{FILE}: blob {digest}"
        return Place(engine or Claim(place, Category.CONTENT_BLOB, name[:12], told))
    if not sound:
        return Place(Claim(place, Category.UNKNOWN, "", f"{METADATA}/{FILE} can't be read"))
    return Place(Claim(place, Category.ORPHAN, "", "no namespace has a record of this blob"))


def _tasks(own: Claim, path: str) -> Place:
    """``<namespace>/<id>/``: what belongs to a process that runs now."""

    def task(namespace: str) -> Place | None:
        if not _NAMESPACE.fullmatch(namespace):
            return None

        def one(name: str) -> Place | None:
            if not _NAMESPACE.fullmatch(name) or (namespace == "moby" and not is_hex64(name)):
                return None
            claim = Claim(f"{path}/{namespace}/{name}", Category.ENGINE, name[:12], "a task of containerd")
            return Place(claim, whole=True, folder=True)

        return Place(own, rule=one, folder=True)

    return Place(own, rule=task)


def _kubernetes(prefix: str, own: Claim) -> Place:
    def rule(folder: str, name: str) -> Place | None:
        if not is_hex64(name):
            return None
        path = f"{prefix}{CRI}/{folder}/{name}"
        claim = Claim(path, Category.CONTAINER_RECORD, name[:12], "Kubernetes' record of a container")
        files = ("status", "hostname", "hosts", "resolv.conf", "io", "shm", "volumes")
        return Place(claim, names={file: Place(claim) for file in files})

    return Place(own, names={name: Place(own, rule=partial(rule, name)) for name in ("containers", "sandboxes")})


# ---------------------------------------------------------------------- snapshots
def _snapshotter(
    root: Directory, name: str, prefix: str, own: Claim, engine: Claim | None, halves: Halves | None
) -> Place:
    path = f"{prefix}{snapshotter_folder(name)}"
    record = engine or Claim(path, Category.RECORD, "containerd", f"the snapshotter {name}")
    folder = root.enter(snapshotter_folder(name)).enter("snapshots")
    claims = _snapshot_claims(root, name, f"{path}/snapshots", halves)
    sound = claims is not None

    def snapshot(number: str) -> Place | None:
        place = f"{path}/snapshots/{number}"
        if _UNFINISHED.fullmatch(number):
            return Place(Claim(place, Category.TEMPORARY, "containerd", "a snapshot being made or removed"), whole=True)
        if not number.isdigit():
            return None
        claim = (claims or {}).get(number)
        if claim is None and not sound:
            claim = Claim(place, Category.UNKNOWN, "", f"{path}/{RECORDS} can't be read")
        elif claim is None and _is_young(folder.enter(number)):
            claim = Claim(place, Category.TEMPORARY, "containerd", "young and without a record: it may be being made")
        elif claim is None:
            claim = Claim(place, Category.ORPHAN, "", f"{path}/{RECORDS} has no record of it")
            return Place(claim, whole=True, folder=True)
        claim = engine or claim
        if name == "overlayfs":
            return overlay_layer(claim, "fs")
        return Place(claim, whole=True, folder=name != "blockfile")  # which has a disk image in a file for each

    names = {RECORDS: Place(record), "snapshots": Place(record, rule=snapshot)}
    if name == "blockfile":
        names["scratch"] = Place(record)
    if name == "btrfs":
        names.update({part: Place(record, rule=snapshot, crosses=True) for part in ("active", "view", "snapshots")})
    return Place(record, names=names)


def _is_young(directory: Directory) -> bool:
    try:
        stat = directory.stat_self()
    except OSError:
        return True
    return time.time() - stat.st_mtime < YOUNG_SECONDS


def _snapshot_claims(root: Directory, driver: str, path: str, halves: Halves | None) -> dict[str, Claim] | None:
    """The claim on each folder of a snapshotter by all namespaces; None if its records can't be read."""
    metadata = read_metadata(root)
    found = ContainerdRoot(root, halves.docker_path if halves and halves.docker_path else _NOWHERE, metadata)
    claims: dict[str, Claim] = {}
    sound = metadata.sound
    for namespace in metadata.namespaces:
        mine = halves is not None and namespace == halves.namespace
        if halves is not None and mine:
            shown = replace(
                halves, containerd=replace(found, path=halves.containerd.path if halves.containerd else _NOWHERE)
            )
        else:
            shown = Halves(None, None, found, namespace, (), ())
        store = ContainerdStore(shown, driver)
        sound = sound and store.snapshots.sound
        claims.update(_of_namespace(store, path))
    return claims if sound else None


def _of_namespace(store: ContainerdStore, path: str) -> dict[str, Claim]:
    namespace = store.halves.namespace
    users: dict[str, list[str]] = {}
    depths: dict[str, int] = {}
    for image in store.images():
        name = ", ".join(image.repo_tags) or image.id.removeprefix("sha256:")[:12]
        for depth, level in enumerate(store.levels(image)):
            if level.cache_id is not None:
                users.setdefault(level.cache_id, []).append(name)
                depths.setdefault(level.cache_id, depth)
    built = store.build_cache()
    containers = {store.snapshot_key(one): one for one in store.containers()}
    for key, container in containers.items():
        for depth, one in enumerate(store.snapshots.chain(key)[:-1]):
            if one.cache_id is not None and one.key != f"{key}-init":
                users.setdefault(one.cache_id, [container.name or container.id[:12]])
                depths.setdefault(one.cache_id, depth)
    found: dict[str, Claim] = {}
    for key, snapshot in store.snapshots.by_key.items():
        number = snapshot.cache_id
        if number is None:
            continue
        told = f"{store.snapshots.path}: {snapshot.stored_key}"
        init_of = key.removesuffix("-key").removesuffix("-init")
        rank = depths.get(number, 0)
        if key in containers:
            category, owner = Category.CONTAINER_RW, containers[key].name or containers[key].id[:12]
            rank = _CONTAINER_RANK
        elif init_of != key and init_of in containers:
            category, owner = Category.CONTAINER_INIT, containers[init_of].name or init_of[:12]
        elif number in users:
            category, owner = Category.IMAGE_LAYER, ", ".join(dict.fromkeys(users[number]))
        elif number in built or _BUILT.fullmatch(key):
            category, owner = Category.BUILD_CACHE, "BuildKit"
        elif key.startswith("extract-"):
            category, owner = Category.TEMPORARY, "containerd"
        elif is_digest(key) or init_of != key:
            category, owner = Category.UNUSED_LAYER, ""
        else:
            category, owner = Category.CONTAINER_RW, f"{namespace}/{key[:64]}"
        committed = snapshot.kind == COMMITTED
        found[number] = Claim(f"{path}/{number}", category, owner, told, rank, None, False, committed)
    for lost in store.snapshots.unclaimed:
        if lost.id is not None:
            told = f"{store.snapshots.path}: {lost.key}, which no name leads to"
            found.setdefault(str(lost.id), Claim(f"{path}/{lost.id}", Category.UNUSED_LAYER, "", told))
    return found
