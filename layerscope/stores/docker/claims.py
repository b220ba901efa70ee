"""Who claims what in a docker root: every directory that docker is known to make, and what it puts there.

A name that docker doesn't use is claimed by nobody, wherever it lies; only below a layer's, a volume's or a plugin's
own files any name belongs to it.
Source: moby daemon/daemon.go ``NewDaemon``, container/container.go, volume/local/local.go, plugin/manager.go; seen with
20.10.24 and 26.1.5.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.model.container import Container
from layerscope.model.digest import is_hex64
from layerscope.stores.claims import ClaimedTree
from layerscope.stores.detect import GRAPH_DRIVERS, detect
from layerscope.stores.docker.cache_claims import CacheClaims, layer_ids
from layerscope.stores.docker.homes import home
from layerscope.stores.docker.interrupted import interrupted_creations, interrupted_folder
from layerscope.stores.docker.liveness import find_liveness
from layerscope.stores.docker.record_places import records_of
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import Fault, list_directory

_TEMPORARY = re.compile(
    r"(docker-[a-z]+-?|GetImageBlob|GetV2Blob|GetV1Blob|docker-|tmp-|qemu-check|buildkit-[a-z]+"
    r"|containerd-mount|rootfs-mount|moby-detect-rro)"
    r"[0-9A-Za-z.-]*[0-9]"
)
_OF_STEPS = re.compile(r"(hosts|resolv\.conf)(\.[0-9a-z]+)?(\.tmp)?|runc-log\.json|\.[a-z-]+")
_PARTLY_RESOLVED = re.compile(r"(hash|resolv)\d+").fullmatch
_AFTER_ID = re.compile(r"-json\.log(\.\d+)?(\.gz)?(\.tmp)?").fullmatch
_CACHED_LOG = re.compile(r"container-cached\.log(\.\d+)?(\.gz)?").fullmatch
_LOCAL_LOG = re.compile(r"container\.log(\.\d+)?(\.gz)?").fullmatch
_TEMPORARY_RECORD = re.compile(r"\.tmp-(config\.v2|hostconfig|config)\.json\d+").fullmatch
_LOST_FOUND = "lost+found"
_ROOT_INODE = 2
_LAB_FILES = ("layerscope-lab.json",)


def docker_tree(root: Directory, path: Path) -> ClaimedTree:
    """Everything that is claimed in the docker root ``root``, which lies at ``path`` on the host."""
    return ClaimedTree(root, path, root_place(root, path, ""))


def root_place(root: Directory, path: Path, prefix: str, extra: dict[str, Place] | None = None) -> Place:
    """The place of a docker root; ``prefix`` stands before all its paths, ``extra`` are places that others know."""
    found = detect(root, path)
    drivers = [world.driver for world in found.worlds]
    # Directories first, then records: what is made in between is young, what is removed is no longer there.
    listed = {driver: layer_ids(root, driver) for driver in (*GRAPH_DRIVERS, *drivers)}
    stores = {driver: DockerStore(root, path, driver) for driver in drivers}
    is_held = cache(lambda: find_liveness(root, path).held is True)
    top = Claim(prefix.rstrip("/") or ".", Category.RECORD, "docker", "the root directory")
    record = _Records(prefix)
    names: dict[str, Place] = {
        "image": record.folder("image", {driver: records_of(store, prefix) for driver, store in stores.items()}),
        "containers": _containers(prefix, stores),
        "volumes": _volumes(root, prefix, is_held),
        "buildkit": _buildkit(prefix),
        "network": _network(prefix),
        "plugins": _plugins(prefix),
        "swarm": _swarm(prefix),
        "runtimes": record.folder("runtimes"),
        "trust": record.folder("trust"),
        "tmp": _temporary(prefix),
        "tmp-old": Place(_old_temporary(prefix), whole=True, folder=True),
        "rootfs": record.mount_points("rootfs"),
        "engine-id": record.file("engine-id", "docker's own id"),
        **{name: record.file(name, "says that this is a lab root") for name in _LAB_FILES},
    }
    image = names["image"].names
    assert isinstance(image, dict)
    image["identity-cache.db"] = record.file("image/identity-cache.db", "docker 29's own cache")
    for driver, directories in listed.items():
        claims = CacheClaims(root, stores.get(driver), driver, directories, prefix)
        names[driver] = home(driver, root, prefix, claims)
    if _is_file_systems_top(root):
        names[_LOST_FOUND] = record.folder(_LOST_FOUND)
    for name in found.remapped:
        names[name] = root_place(root.enter(name), path / name, f"{prefix}{name}/")
    containerd = root.enter("containerd").enter("daemon")
    if "containerd" not in (extra or {}) and not isinstance(list_directory(containerd), Fault):
        names["containerd"] = _own_containerd(containerd, prefix)
    names.update(extra or {})
    return Place(top, names=names)


def _is_file_systems_top(root: Directory) -> bool:
    try:
        return root.stat_self().st_ino == _ROOT_INODE
    except OSError:
        return False


def _own_containerd(daemon: Directory, prefix: str) -> Place:
    """The containerd that a daemon started, which holds no image of a graph driver's world."""
    from layerscope.stores.containerd.claims import containerd_place

    claim = Claim(f"{prefix}containerd", Category.ENGINE, "containerd", "the containerd that the daemon started")
    return Place(claim, names={"daemon": containerd_place(daemon, f"{prefix}containerd/daemon", claim)})


class _Records:
    """Places of single records."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def file(self, path: str, reason: str) -> Place:
        return Place(Claim(f"{self._prefix}{path}", Category.RECORD, "docker", reason))

    def folder(self, path: str, names: dict[str, Place] | None = None) -> Place:
        return Place(self.file(path, "a directory that docker makes at every start").claim, names=names or {})

    def mount_points(self, path: str) -> Place:
        """``rootfs/<snapshotter>/<container ID>``: mounted while the container runs, else empty."""
        claim = self.file(path, "mount points of running containers").claim
        return Place(claim, rule=lambda _: Place(claim, rule=by_pattern((is_hex64, Place(claim)))))


# ---------------------------------------------------------------------- containers
def _containers(prefix: str, stores: dict[str, DockerStore]) -> Place:
    claim = Claim(f"{prefix}containers", Category.RECORD, "docker", "holds a directory for each container")
    known: dict[str, Container] = {one.id: one for store in stores.values() for one in store.containers()}
    cut_off = {name: store for store in stores.values() for name in interrupted_creations(store)}

    def container(name: str) -> Place | None:
        if name in cut_off:
            return Place(interrupted_folder(cut_off[name], name, prefix), whole=True, folder=True)
        return container_place(name, known.get(name), prefix) if is_hex64(name) else None

    return Place(claim, rule=container)


def container_place(id_: str, container: Container | None, prefix: str) -> Place:
    """The directory of one container."""
    folder = f"{prefix}containers/{id_}"
    owner = container.name if container is not None and container.name else id_[:12]
    reason = f"{folder}/config.v2.json"
    record = Claim(folder, Category.CONTAINER_RECORD, owner, reason)
    path = f"{folder}/{id_}-json.log"
    if container is not None and container.log_path:
        path = f"{prefix}{container.log_path}"
    log = Claim(path, Category.LOG, owner, f"log of {owner}, {reason}")
    temporary = Claim(f"{folder}/.tmp-", Category.TEMPORARY, owner, "a record that was being written")
    resolver = Claim(f"{folder}/resolv", Category.TEMPORARY, owner, "resolv.conf that was being written (libnetwork)")
    return Place(
        record,
        names={
            **{name: Place(record) for name in _CONTAINER_FILES},
            "checkpoints": Place(record, whole=True),
            "shm": Place(record),
            "mounts": Place(record, names={"shm": Place(record), "secrets": Place(record, whole=True)}),
            "local-logs": Place(log, rule=by_pattern((_LOCAL_LOG, Place(log)))),
        },
        rule=by_pattern(
            (lambda name: name.startswith(id_) and _AFTER_ID(name, len(id_)), Place(log)),
            (_CACHED_LOG, Place(log)),
            (_TEMPORARY_RECORD, Place(temporary)),
            (_PARTLY_RESOLVED, Place(resolver)),
        ),
        folder=True,
    )


_CONTAINER_FILES = (
    "config.v2.json",
    "config.json",
    "hostconfig.json",
    "hostname",
    "hosts",
    "resolv.conf",
    "resolv.conf.hash",
)


# ---------------------------------------------------------------------- volumes
def _volumes(root: Directory, prefix: str, is_held: Callable[[], bool]) -> Place:
    """docker takes any directory for a volume that has ``_data``; while a daemon works one may be half made."""
    record = Claim(f"{prefix}volumes", Category.RECORD, "docker", "docker's list of volumes")

    def volume(name: str) -> Place | None:
        path = f"{prefix}volumes/{name}"
        if not _has_data(root.enter("volumes").enter(name)):
            making = Claim(path, Category.TEMPORARY, "docker", "a volume that is being made or removed")
            return Place(making, folder=True) if is_held() else None
        claim = Claim(path, Category.VOLUME, name, f"volume {name}, {prefix}volumes/metadata.db")
        return Place(claim, names={"_data": Place(claim, whole=True), "opts.json": Place(claim)}, folder=True)

    return Place(record, names={"metadata.db": Place(record), "backingFsBlockDev": Place(record)}, rule=volume)


def _has_data(directory: Directory) -> bool:
    try:
        return directory.stat_or_none("_data") is not None
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)


# ---------------------------------------------------------------------- other directories
_DATABASES = ("cache.db", "metadata_v2.db", "snapshots.db", "containerdmeta.db", "history.db", "history_c8d.db")


def _buildkit(prefix: str) -> Place:
    claim = Claim(f"{prefix}buildkit", Category.BUILD_CACHE, "BuildKit", "BuildKit's records")
    mounts = Place(claim, rule=by_pattern((re.compile(r"buildkit\d+").fullmatch, Place(claim, whole=True))))
    worker = {"metadata_v2.db": Place(claim), "workerid": Place(claim), "cachemounts": mounts}
    executor = Claim(f"{prefix}buildkit/executor", Category.BUILD_CACHE, "BuildKit", "what build steps run in")
    steps = by_pattern(
        (re.compile(r"[0-9a-z]{25}").fullmatch, Place(executor, whole=True)),
        (_OF_STEPS.fullmatch, Place(executor)),
    )
    return Place(
        claim,
        names={
            **{name: Place(claim) for name in _DATABASES},
            "content": content_place(claim),
            "executor": Place(executor, rule=steps),
            "net": Place(claim, whole=True),
        },
        rule=by_pattern((re.compile(r"containerd-[a-z]+").fullmatch, Place(claim, names=worker))),
    )


def content_place(claim: Claim) -> Place:
    """A content store: ``blobs/<algorithm>/<hex>`` and ``ingest/<hash>/``, where downloads lie."""
    ingest = Claim(
        f"{claim.path}/ingest", Category.TEMPORARY, claim.owner, "downloads that are going on, or were cut off"
    )
    names = ("ref", "data", "startedat", "updatedat", "total")
    parts = {name: Place(ingest) for name in (*names, *(f"{name}.tmp" for name in names))}
    blobs = Place(claim, rule=by_pattern((is_hex64, Place(claim))))
    return Place(
        claim,
        names={
            "blobs": Place(claim, names={"sha256": blobs, "sha512": Place(claim)}),
            "ingest": Place(
                claim, rule=by_pattern((re.compile(r"[0-9a-f]{64}").fullmatch, Place(ingest, names=parts)))
            ),
        },
    )


def _network(prefix: str) -> Place:
    claim = Claim(f"{prefix}network", Category.NETWORK, "docker", "libnetwork's records")
    names = {name: Place(claim) for name in ("hosts", "resolv.conf", "resolv.conf.hash")}
    temporary = Claim(f"{prefix}network/files", Category.TEMPORARY, "docker", "resolv.conf that was being written")
    partly = (_PARTLY_RESOLVED, Place(temporary))
    # A swarm's sandboxes have such files as a container has: that of the ingress network here, the others in folders.
    sandbox = (re.compile(r"lb_[0-9a-z]{25}").fullmatch, Place(claim, names=names, rule=by_pattern(partly)))
    files = Place(claim, names={"local-kv.db": Place(claim), **names}, rule=by_pattern(sandbox, partly))
    return Place(claim, names={"files": files})


def _plugins(prefix: str) -> Place:
    claim = Claim(f"{prefix}plugins", Category.PLUGIN, "docker", "docker's list of plugins")

    def plugin(name: str) -> Place | None:
        if not is_hex64(name):
            return None
        own = Claim(f"{prefix}plugins/{name}", Category.PLUGIN, name[:12], f"plugins/{name}/config.json")
        trees = {part: Place(own, whole=True) for part in ("rootfs", "propagated-mount")}
        return Place(own, names={"config.json": Place(own), **trees})

    temporary = Claim(f"{prefix}plugins/tmp", Category.TEMPORARY, "docker", "plugins that were being made")
    made = Place(claim, rule=by_pattern((re.compile(r"[.a-z-]*\d+").fullmatch, Place(temporary, whole=True))))
    return Place(claim, names={"storage": content_place(claim), "tmp": made}, rule=plugin)


def _swarm(prefix: str) -> Place:
    claim = Claim(f"{prefix}swarm", Category.SWARM, "docker", "the swarm's records")

    def files(pattern: str) -> Place:
        return Place(claim, rule=by_pattern((re.compile(pattern).fullmatch, Place(claim))))

    return Place(
        claim,
        names={
            **{name: Place(claim) for name in ("docker-state.json", "state.json")},
            "certificates": files(r"swarm-(root-ca|node)\.(crt|key)"),
            "worker": files(r"tasks\.db"),
            "raft": Place(
                claim,
                names={
                    f"{part}-v3{end}": files(rf"(\d+\.tmp|[0-9a-f]+-[0-9a-f]+\.{part})(\.broken)?")
                    for part in ("snap", "wal")
                    for end in ("", "-encrypted")
                },
            ),
        },
    )


def _temporary(prefix: str) -> Place:
    claim = Claim(f"{prefix}tmp", Category.TEMPORARY, "docker", "docker removes everything here at its next start")
    record = Claim(f"{prefix}tmp", Category.RECORD, "docker", "where docker keeps what it is working on")
    return Place(record, rule=by_pattern((_TEMPORARY.fullmatch, Place(claim, whole=True))))


def _old_temporary(prefix: str) -> Claim:
    return Claim(f"{prefix}tmp-old", Category.TEMPORARY, "docker", "tmp of an earlier start: docker is removing it")
