"""Who claims what in the four folders of a driver: its layers, and the lists of layers, images and containers.

| below the root | holds |
| --- | --- |
| `overlay/<layer>/{diff,link,lower,lower-layers,merged,work,empty}` | a layer |
| `overlay/l/<short name>` | -> ``../<layer>/diff`` |
| `overlay/{staging,tempdirs}` | layers that are being unpacked, or removed |
| `vfs/dir/<layer>` | a layer |
| `<driver>-layers/<layer>.tar-split.gz`, `<layer>/<item>` | how to make its tar again; what a partial pull needs |
| `<driver>-images/<image>/<item>` | configuration, manifests, signatures |
| `<driver>-containers/<container>/<item>`, `userdata/` | what its maker keeps of it |
| `<driver>-containers/<container>/rootfs/` | what it changes of a root directory elsewhere (``--rootfs PATH:O``) |

What a folder without a record holds is nobody's, unless its list's lock is held now.
Source: containers/storage store.go, layers.go, images.go, containers.go, drivers/overlay/overlay.go; podman libpod
container_internal.go, oci_conmon_common.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.model.container import Container
from layerscope.model.digest import is_file_name, is_hex64
from layerscope.stores.overlay_places import scratch, short_names
from layerscope.stores.podman.big_data import file_name
from layerscope.stores.podman.containers import ContainerRecord, read_container_list
from layerscope.stores.podman.images import ImageFields, read_image_list
from layerscope.stores.podman.layer_claims import ELSEWHERE, OWNER, LayerClaims, is_locked
from layerscope.stores.podman.record_list import HasID, Listed, RecordList, state_of
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.records.files import is_gone, shown

_PROBE = re.compile(
    r"(opaque-bug-check|metacopy-check|volatile-check|check-overlayfs-support|compat|idmap-check|dtype)\w*\d+"
)
_TAR_SPLIT = re.compile(r"([0-9a-f]{64})\.tar-split\.gz")
_WRITTEN = re.compile(r"\.tmp-.*\d", re.DOTALL)
_ITEM = re.compile(r"=[0-9A-Za-z+]+=*|manifest")
"""An item that the record doesn't list: it is written first, and recorded then. It goes with what it is of."""
_STAGED = re.compile(r"\d+")
_REMOVED = re.compile(r"(temp-dir|lock)-[0-9A-Za-z-]+")
_MORE_DIFF = re.compile(r"diff\d+")


def driver_places(store: PodmanStore, layers: LayerClaims) -> dict[str, Place]:
    """The four folders of the driver of ``store``, whose records are all read here; ``layers`` has its layers."""
    driver = store.driver
    return {
        driver: _home(store, layers),
        f"{driver}-layers": _layer_records(store, layers),
        f"{driver}-images": _image_records(store),
        f"{driver}-containers": _container_records(store, layers),
    }


# ---------------------------------------------------------------------- layers
def _home(store: PodmanStore, layers: LayerClaims) -> Place:
    driver = store.driver
    own = Claim(driver, Category.RECORD, OWNER, f"the storage driver {driver}")
    names = {"backingFsBlockDev": Place(own), "tempdirs": removed_place(f"{driver}/tempdirs", own)}
    if driver == "overlay":
        return _overlay(store, layers, own, names)
    folder = {"vfs": "dir", "btrfs": "subvolumes", "zfs": "graph", "aufs": "diff"}[driver]
    crosses = driver in ("btrfs", "zfs")

    def layer(name: str) -> Place | None:
        claim = layers.claim(name)
        return None if claim is None else Place(claim, whole=True, crosses=crosses, folder=True)

    def beside(name: str) -> Place | None:
        return None if layers.claim(name) is None else Place(own)

    names[folder] = Place(own, rule=layer, crosses=crosses)
    for name in {"btrfs": ("quotas",), "aufs": ("layers", "mnt")}.get(driver, ()):
        names[name] = Place(own, rule=beside)
    return Place(own, names=names)


def _overlay(store: PodmanStore, layers: LayerClaims, own: Claim, names: dict[str, Place]) -> Place:
    directory = store.root.enter(store.driver)
    probe = Claim("overlay/check", Category.TEMPORARY, OWNER, "a test of the file system")
    staged = Claim("overlay/staging", Category.TEMPORARY, OWNER, "layers that are being pulled, or were cut off")
    strict = not store.has_mount_program

    def layer(name: str) -> Place | None:
        if _PROBE.fullmatch(name):
            return Place(probe, whole=True)
        claim = layers.claim(name)
        return None if claim is None else _overlay_layer(claim, strict)

    names["l"] = short_names(own, directory, layers)
    names[".has-mount-program"] = Place(own)
    names["staging"] = Place(own, rule=by_pattern((_STAGED.fullmatch, Place(staged, whole=True))))
    return Place(own, names=names, rule=layer)


def _overlay_layer(claim: Claim, strict: bool) -> Place:
    if claim.category in (Category.ORPHAN, Category.UNKNOWN):
        return Place(claim, whole=True, folder=True)
    whole = Place(claim, whole=True)
    files = ("link", "lower", "lower-layers", "merged", "empty", "mapped", "additionallayer")
    names = {
        **{name: Place(claim) for name in files},
        "diff": whole,
        "composefs-data": whole,
        "work": scratch(claim) if strict else whole,
    }
    return Place(claim, names=names, rule=by_pattern((_MORE_DIFF.fullmatch, whole)), folder=True)


def removed_place(path: str, own: Claim) -> Place:
    """A directory in which things are removed: they are renamed into it first."""
    claim = Claim(path, Category.TEMPORARY, OWNER, "what is being removed, or a removal that didn't end")
    return Place(own, rule=by_pattern((_REMOVED.fullmatch, Place(claim, whole=True))))


# ---------------------------------------------------------------------- lists
def _list(store: PodmanStore, kind: str) -> tuple[Claim, dict[str, Place]]:
    """The claim on the folder of a list, and the list's own files."""
    folder = f"{store.driver}-{kind}"
    own = Claim(folder, Category.RECORD, OWNER, f"the list of {kind} of the driver {store.driver}")
    names = {name: Place(own) for name in (f"{kind}.json", f"volatile-{kind}.json", f"{kind}.lock")}
    return own, names


def _written(path: str) -> Place:
    return Place(Claim(f"{path}/.tmp-", Category.TEMPORARY, OWNER, "a record that was being written"))


def _layer_records(store: PodmanStore, layers: LayerClaims) -> Place:
    own, names = _list(store, "layers")
    names["tmp"] = removed_place(f"{own.path}/tmp", own)
    written = _written(own.path)

    def record(name: str) -> Place | None:
        if _WRITTEN.fullmatch(name):
            return written
        match = _TAR_SPLIT.fullmatch(name)
        if match is not None:
            return Place(layers.record_claim(match[1], f"{own.path}/{name}"))
        if not is_hex64(name):
            return None
        claim = layers.record_claim(name, f"{own.path}/{name}")
        whole = claim.category is not Category.RECORD
        rule = by_pattern((_WRITTEN.fullmatch, written), (_ITEM.fullmatch, Place(claim)))
        return Place(claim, whole, _items(claim, layers.items(name)), rule, folder=True)

    return Place(own, names=names, rule=record)


def _items(claim: Claim, keys: Iterable[str]) -> dict[str, Place]:
    """Items that are files of their own, by the names of their files."""
    names = (file_name(key) for key in keys)
    return {name: Place(claim) for name in names if is_file_name(name)}


_Record = TypeVar("_Record", bound=HasID)


class _Folders(Generic[_Record]):
    """The folders of images or containers, each with its record."""

    def __init__(
        self, folder: Directory, records: RecordList[_Record], read: Callable[[Directory], RecordList[_Record]]
    ) -> None:
        self._folder = folder
        self.written = _written(folder.path)
        self._kind = folder.path.rpartition("-")[2]
        self._records = records
        self._read = read
        self._state: tuple[object, ...] = ()
        self.layers: LayerClaims | None = None
        """Those of the driver, for folders of containers, which may be recorded in the run root."""

    def rule(self, place: Callable[[str, Listed[_Record]], Place]) -> Callable[[str], Place | None]:
        """The rule for names beside the lists: of a folder with a record ``place`` tells whose it is."""

        def rule(name: str) -> Place | None:
            if _WRITTEN.fullmatch(name):
                return self.written
            if not is_hex64(name):
                return None
            record = self._records.records.get(name) or self._suspected(name)
            return record if isinstance(record, Place) else place(name, record)

        return rule

    def _suspected(self, name: str) -> Listed[_Record] | Place:
        """A folder without a record when the list was read. Locked or not is asked first: see ``layer_claims``."""
        locked = is_locked(self._folder, f"{self._kind}.lock")
        state = state_of(self._folder, self._kind)
        if self._state != state:
            self._state, self._records = state, self._read(self._folder)
        found = self._records.records.get(name)
        if found is not None:
            return found
        told, owner = f"{self._folder.path}/{self._kind}.json", ""
        if not self._records.complete:
            category, reason = Category.UNKNOWN, f"{told} can't be read in full, so whether it claims this isn't known"
        elif locked or is_gone(self._folder, name):
            category, reason = Category.TEMPORARY, f"no record claims it, but {self._kind} are written or removed now"
        elif self.layers is not None and (elsewhere := _recorded_elsewhere(self.layers, name, told)) is not None:
            category, owner, reason = elsewhere
        else:
            category, reason = Category.ORPHAN, f"{told} has no record of it"
        return Place(Claim(f"{self._folder.path}/{name}", category, owner, reason), whole=True, folder=True)


def _recorded_elsewhere(layers: LayerClaims, name: str, told: str) -> tuple[Category, str, str] | None:
    """Whose a container's folder is that no list of the root has: of one in the run root, or it can't be told."""
    transient = layers.transient
    transient.read()
    owner = transient.name(name)
    if owner is not None:
        return Category.CONTAINER_RECORD, owner, f"the list of containers in the run root {shown(transient.place, 200)}"
    if layers.mounted:
        reason = f"{told} has no record of it, but one is mounted now whose records are elsewhere"
        return Category.CONTAINER_RECORD, ELSEWHERE, reason
    why = transient.why_unknown(layers.unrecorded())
    return (Category.UNKNOWN, "", why) if why else None


def _image_records(store: PodmanStore) -> Place:
    own, names = _list(store, "images")
    tags = {one.image.id.removeprefix("sha256:"): ", ".join(one.image.repo_tags) for one in store.stored_images}
    folders = _Folders(store.folder("images"), store.image_list, read_image_list)

    def image(name: str, record: Listed[ImageFields]) -> Place:
        claim = Claim(f"{own.path}/{name}", Category.RECORD, tags.get(name) or name[:12], f"image, {record.path}")
        return _folder(claim, record, folders.written)

    return Place(own, names=names, rule=folders.rule(image))


def _container_records(store: PodmanStore, layers: LayerClaims) -> Place:
    own, names = _list(store, "containers")
    known = {str(one.id): one for one in store.containers()}
    folders = _Folders(store.folder("containers"), store.container_list, read_container_list)
    folders.layers = layers

    def container(name: str, record: Listed[ContainerRecord]) -> Place:
        claim = Claim(f"{own.path}/{name}", Category.CONTAINER_RECORD, _name(known.get(name), name), record.path)
        inside = {"userdata": _userdata(claim), "rootfs": Place(claim, whole=True)}
        return _folder(claim, record, folders.written, inside)

    return Place(own, names=names, rule=folders.rule(container))


def _folder(claim: Claim, record: Listed[_Record], written: Place, more: Mapping[str, Place] | None = None) -> Place:
    """The folder of an image or container: the items that its record lists, and ``more``."""
    raw = record.raw.get("big-data-names")
    keys = [key for key in raw if isinstance(key, str)] if isinstance(raw, list) else []
    names = {**_items(claim, keys), **(more or {})}
    rule = by_pattern((_WRITTEN.fullmatch, written), (_ITEM.fullmatch, Place(claim)))
    return Place(claim, names=names, rule=rule, folder=True)


def _name(container: Container | None, id_: str) -> str:
    return container.name if container is not None and container.name else id_[:12]


_USER_FILES = (
    *("config.json", "state.json", "buildah.json", "attach", "ctl", "winsz", "hosts", "resolv.conf", "hostname"),
    *(".containerenv", "pidfile", "conmon.pid", "oci-log", "exit", "passwd", "group", "seccomp.json", "shm"),
    *("dump.log", "restore.log", "config.dump", "spec.dump", "network.status", "stats-dump", "deleted.files"),
    *("devshm-checkpoint.tar", "rootfs-diff.tar"),
)
"""Files of podman, conmon, Buildah and CRI-O, and the mount point of a container's shared memory."""
_USER_FOLDERS = (
    *("secrets", "artifacts", "checkpoint", "pre-checkpoint", "overlay", "buildah-volumes", "run", "notify", "volumes"),
    *("commit-excludes", "commit-pulled-up"),
)
"""What podman and Buildah fill with names of the container's own."""


def _userdata(record: Claim) -> Place:
    """``userdata/``: what the container's maker keeps of it; sessions of ``podman exec`` have folders there."""
    path = f"{record.path}/userdata/ctr.log"
    log = Claim(path, Category.LOG, record.owner, f"log of {record.owner}, {record.reason}")
    return Place(
        record,
        names={
            **{name: Place(record) for name in _USER_FILES},
            **{name: Place(record, whole=True) for name in _USER_FOLDERS},
        },
        rule=by_pattern(
            (re.compile(r"ctr\.log(\.\d+)?(\.gz)?(\.tmp)?").fullmatch, Place(log)),
            (is_hex64, Place(record, whole=True, folder=True)),
        ),
    )
