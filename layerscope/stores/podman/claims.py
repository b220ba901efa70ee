"""Who claims what in a root of containers/storage, and what podman keeps beside it.

| below the root | claimed by |
| --- | --- |
| `<driver>`, `<driver>-{layers,images,containers}` | the driver's lists (``driver_claims``) |
| `volumes/<name>` | podman's record of a volume |
| `libpod/`, `db.sql`, `secrets/`, `defaultNetworkBackend`, `networks/` | podman |
| `artifacts/` | podman; its blobs the artifacts that have them |
| `storage.lock`, `userns.lock`, `mounts/`, `tmp/`, `l/` | containers/storage |

A name that neither uses is claimed by nobody, wherever it lies. Additional image stores are roots of their own.
Source: containers/storage store.go; podman libpod/runtime.go, options.go, volume.go; containers/common pkg/secrets,
libnetwork; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import errno
import re
import time
from functools import cache
from pathlib import Path

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.model.digest import is_hex64
from layerscope.stores.claims import ClaimedTree
from layerscope.stores.podman.artifacts import BLOBS, read_artifacts
from layerscope.stores.podman.artifacts import FOLDER as ARTIFACTS
from layerscope.stores.podman.driver_claims import driver_places
from layerscope.stores.podman.layer_claims import OWNER, LayerClaims, is_locked, layer_ids
from layerscope.stores.podman.libpod import LibpodRecords, read_libpod
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.podman.worlds import driver_counts

_PODMAN = "podman"
_OVERLAYS = "overlay-containers"
"""Named so whatever the driver is. Source: containers/common pkg/overlay; seen with podman 5.8."""
_DATABASES = ("bolt_state.db", "db.sql", "db.sql-journal", "db.sql-wal", "db.sql-shm")
_LOCKS = ("storage.lock", "userns.lock")
_TEMPORARY = re.compile(r"(container_images_|storage|buildah|podman|libpod|oci|tar|docker-tar)[0-9A-Za-z._-]*\d+")
_WRITTEN = re.compile(r"\.tmp-.*\d", re.DOTALL)
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(json|conflist)")
_LOST_FOUND = "lost+found"
_MOST_NAMES = 4
_ROOT_INODE = 2
_YOUNG_SECONDS = 5.0
"""podman makes a volume's directory a moment before its record."""


def podman_tree(root: Directory, path: Path, rootless: bool) -> ClaimedTree:
    """Everything that is claimed in the root of containers/storage ``root``, which lies at ``path`` on the host."""
    drivers = tuple(driver_counts(root))
    # Directories first, then records: what is made in between is looked at again.
    listed = {driver: layer_ids(root, driver) for driver in drivers}
    names: dict[str, Place] = {}
    known: set[str] = set()
    for driver in drivers:
        store = PodmanStore(root, path, driver, rootless)
        try:
            names.update(driver_places(store, LayerClaims(store, listed[driver])))
            known.update(store.container_list.records)
        finally:
            store.close()
    if _OVERLAYS not in names:
        names[_OVERLAYS] = _overlays(known)
    names.update(_beside(root, known))
    return ClaimedTree(root, path, Place(Claim(".", Category.RECORD, OWNER, "the root directory"), names=names))


def _beside(root: Directory, known: set[str]) -> dict[str, Place]:
    """What belongs to no driver; ``known`` are the containers of all."""
    record = Claim("libpod", Category.RECORD, _PODMAN, "podman's records")
    shared = Claim("storage.lock", Category.RECORD, OWNER, "locks, and where things are mounted")
    databases = {name: Place(record) for name in _DATABASES}
    names = {
        **databases,
        **{name: Place(shared) for name in (*_LOCKS, "mounts")},
        "libpod": Place(record, names={**databases, "defaultCNINetExists": Place(record), "tmp": Place(record)}),
        "defaultNetworkBackend": Place(record),
        "secrets": _secrets(),
        "networks": _networks(),
        ARTIFACTS: _artifacts(root),
        "l": Place(Claim("l", Category.RECORD, OWNER, "an empty folder of stores that have images alone")),
        "tmp": _temporary(),
        "volumes": _volumes(root, known),
    }
    if _is_file_systems_top(root):
        names[_LOST_FOUND] = Place(Claim(_LOST_FOUND, Category.RECORD, "", "made with the file system"))
    return names


def _overlays(known: set[str]) -> Place:
    """Where podman keeps what containers change of a root directory elsewhere, if overlay isn't the driver anyway.

    It doesn't remove that with the container.
    """
    record = Claim(_OVERLAYS, Category.RECORD, _PODMAN, "what containers change of a root directory elsewhere")

    def changed(name: str) -> Place | None:
        if not is_hex64(name):
            return None
        path = f"{_OVERLAYS}/{name}"
        if name in known:
            claim = Claim(path, Category.CONTAINER_RECORD, name[:12], "a container whose files are elsewhere")
        else:
            claim = Claim(path, Category.ORPHAN, "", "its container is gone")
        return Place(claim, whole=True, folder=True)

    return Place(record, rule=changed)


def _is_file_systems_top(root: Directory) -> bool:
    try:
        return root.stat_self().st_ino == _ROOT_INODE
    except OSError:
        return False


def _secrets() -> Place:
    claim = Claim("secrets", Category.RECORD, _PODMAN, "podman's secrets")
    files = {name: Place(claim) for name in ("secrets.json", "secrets.lock", "secretsdata.json", "secretsdata.lock")}
    written = Claim("secrets/.tmp-", Category.TEMPORARY, _PODMAN, "a record that was being written")
    rule = by_pattern((_WRITTEN.fullmatch, Place(written)))
    return Place(claim, names={**files, "filedriver": Place(claim, names=files, rule=rule)}, rule=rule)


def _networks() -> Place:
    claim = Claim("networks", Category.NETWORK, _PODMAN, "podman's networks, a file for each")
    files = by_pattern((_NETWORK.fullmatch, Place(claim)))
    return Place(claim, names={"netavark.lock": Place(claim), "cni.lock": Place(claim)}, rule=files)


def _artifacts(root: Directory) -> Place:
    """What no artifact has is nobody's, unless one is being added or removed now."""
    folder = root.enter(ARTIFACTS)
    locked = is_locked(folder, "index.lock")
    artifacts = read_artifacts(root)
    owners = artifacts.owners()
    record = Claim(ARTIFACTS, Category.RECORD, _PODMAN, "podman's artifacts")
    unfinished = Claim(f"{ARTIFACTS}/oci-put-blob", Category.TEMPORARY, _PODMAN, "an artifact that was being added")

    def blob(name: str) -> Place | None:
        if not is_hex64(name):
            return None
        path, told = f"{BLOBS}/{name}", f"{ARTIFACTS}/index.json"
        if name in owners:
            return Place(Claim(path, Category.CONTENT_BLOB, f"artifact {_some(owners[name])}", told))
        if locked or not artifacts.complete or is_locked(folder, "index.lock"):
            return Place(Claim(path, Category.CONTENT_BLOB, _PODMAN, f"content of artifacts, {told}"))
        return Place(Claim(path, Category.ORPHAN, "", f"{told} leads to nothing that has it"))

    return Place(
        record,
        names={
            **{name: Place(record) for name in ("index.json", "index.lock", "oci-layout")},
            "blobs": Place(record, names={"sha256": Place(record, rule=blob)}),
        },
        rule=by_pattern((re.compile(r"oci-put-blob\d+").fullmatch, Place(unfinished))),
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _temporary() -> Place:
    claim = Claim("tmp", Category.TEMPORARY, OWNER, "images that are being pulled or built, or were cut off")
    record = Claim("tmp", Category.RECORD, OWNER, "where images are kept while they are pulled")
    return Place(record, rule=by_pattern((_TEMPORARY.fullmatch, Place(claim, whole=True))))


# ---------------------------------------------------------------------- volumes
def _volumes(root: Directory, known: set[str]) -> Place:
    """podman knows a volume by its record alone; a folder that it doesn't know is nobody's.

    Without podman's records every folder with ``_data`` is taken for a volume.
    """
    record = Claim("volumes", Category.RECORD, _PODMAN, "holds a directory for each volume")
    folder = root.enter("volumes")
    libpod = read_libpod(root, known)

    @cache
    def anew() -> LibpodRecords:
        return read_libpod(root, known)

    def volume(name: str) -> Place | None:
        path = f"volumes/{name}"
        recorded = name in libpod.volumes or (bool(libpod.path) and name in anew().volumes)
        if recorded or (not libpod.path and not libpod.problems and _has_data(folder.enter(name))):
            told = f"{libpod.path}: volume {name}" if recorded else "a directory with _data"
            claim = Claim(path, Category.VOLUME, name, told)
            return Place(claim, names={"_data": Place(claim, whole=True)}, folder=True)
        if libpod.is_damaged:
            reason = f"{libpod.problems[0].path} can't be read in full, so whether it is a volume isn't known"
            return Place(Claim(path, Category.UNKNOWN, "", reason), whole=True, folder=True)
        if not libpod.path:
            return None
        if _is_young(folder.enter(name)):
            reason = "made a moment ago and without a record: it may be being made"
            return Place(Claim(path, Category.TEMPORARY, _PODMAN, reason), whole=True, folder=True)
        return Place(Claim(path, Category.ORPHAN, "", f"{libpod.path} has no such volume"), whole=True, folder=True)

    return Place(record, names={"backingFsBlockDev": Place(record)}, rule=volume)


def _has_data(directory: Directory) -> bool:
    try:
        return directory.stat_or_none("_data") is not None
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)


def _is_young(directory: Directory) -> bool:
    try:
        return time.time() - directory.stat_self().st_mtime < _YOUNG_SECONDS
    except OSError:
        return False
