"""Containers: ``<driver>-containers/containers.json``, joined with the records of whoever made them.

| field | content |
| --- | --- |
| `id`, `names` | of podman and CRI-O the same as their own; of Buildah ``<image>-working-container`` |
| `image` | ID of the image, without ``sha256:``; it may be gone |
| `layer` | ID of the writable layer, not that of the container |
| `metadata` | JSON in text: ``image-name``, ``name``, ``created-at``; of CRI-O also ``pod-name``, ``metadata-name`` … |
| `uidmap`, `gidmap` | of a container in a user namespace: how its owners are shifted when it is mounted |

Beside it lies ``<driver>-containers/<id>/userdata/``: ``config.json`` (the runtime's specification of the last start),
``ctr.log``; of CRI-O ``state.json``; ``buildah.json``, which ``podman commit`` leaves too. There is no init layer: the
mount points that a start makes lie in the writable layer. Source: containers/storage containers.go, CRI-O
internal/oci/container.go, podman libpod/container_inspect.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.container import UNKNOWN, Container, Mount
from layerscope.model.digest import CacheID, ChainID, ContainerID, ImageID, is_hex64
from layerscope.model.image import Image
from layerscope.model.problem import Problem, Severity
from layerscope.stores.moment import nanoseconds, sound_time
from layerscope.stores.podman.layers import IDMap, Layers
from layerscope.stores.podman.libpod import ContainerFields, LibpodRecords, Spec, StateFields
from layerscope.stores.podman.record_list import HasID, Listed, RecordList, read_list
from layerscope.stores.records.files import Fault, read_bytes, shown, unique
from layerscope.stores.records.json_record import LIMIT, parse

_WORDS = {
    1: "created",
    2: "created",
    3: "running",
    4: "exited",
    5: "paused",
    6: "exited",
    7: "removing",
    8: "running",
}
"""docker's word for each of libpod's states."""
_CRI_WORDS = {"creating": "created", "created": "created", "running": "running", "paused": "paused"}
_LABELS = "io.kubernetes.cri-o.Labels"


class ContainerRecord(HasID, rename="kebab"):
    """The fields that are read."""

    names: list[str | None] | None = None
    image: str | None = None
    layer: str | None = None
    metadata: str | None = None
    created: str | None = None
    uidmap: list[IDMap | None] | None = None
    gidmap: list[IDMap | None] | None = None


class Metadata(msgspec.Struct, rename="kebab"):
    """``metadata``."""

    image_name: str | None = None
    name: str | None = None
    pod_name: str | None = None
    metadata_name: str | None = None


class CriState(msgspec.Struct, rename="camel"):
    """CRI-O's ``state.json``."""

    status: str | None = None
    created: str | None = None
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None


class Around(Struct, frozen=True):
    """What containers are joined with. ``folder`` is ``<driver>-containers``; ``held`` whether an engine runs here."""

    driver: str
    folder: Directory
    images: Mapping[ImageID, Image]
    layers: Layers
    libpod: LibpodRecords
    held: bool | None


class _Life(Struct, frozen=True):
    """A container's state in docker's word, and its times as recorded."""

    state: str = UNKNOWN
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None


def read_container_list(folder: Directory) -> RecordList[ContainerRecord]:
    """The records of all containers; ``folder`` is ``<driver>-containers``."""
    return read_list(folder, "containers", ContainerRecord, "containers are missing")


def join_containers(records: Mapping[str, Listed[ContainerRecord]], around: Around) -> tuple[Container, ...]:
    """All containers, newest first, then by ID."""
    found = [_join(record, around) for record in records.values()]
    return tuple(sorted(found, key=lambda one: (-(nanoseconds(one.created) or 0), one.id)))


def _join(record: Listed[ContainerRecord], around: Around) -> Container:
    fields = record.fields
    problems = record.problems("container", "parts of what is shown may be missing")
    metadata = _metadata(record, problems)
    recorded = around.libpod.containers.get(record.id)
    config = recorded.typed if recorded else ContainerFields()
    userdata = around.folder.enter(record.id).enter("userdata")
    spec, raw = (config.spec or Spec(), recorded.raw) if recorded else _last_specification(userdata, problems)
    layer, chain = _layers(record, around, problems)
    image_id = _image_id(record, config, around, problems)
    image = around.images.get(image_id) if image_id else None
    life = _life(record, userdata, around, problems)
    names = [name for name in fields.names or () if name]
    log_path, log_size = _log(userdata, config, problems)
    return Container(
        id=ContainerID(record.id),
        name=config.name or metadata.name or (names[0] if names else ""),
        image=config.rootfs_image_name or metadata.image_name or _name_of(image, image_id),
        image_id=image_id,
        command=_command((config.command if recorded else spec.process.args if spec.process else None) or ()),
        created=sound_time(config.created_time) or sound_time(fields.created),
        started_at=life.started_at,
        finished_at=life.finished_at,
        state=life.state,
        unclean=life.state in ("running", "paused") and around.held is False,
        exit_code=life.exit_code,
        driver=around.driver,
        log_path=log_path,
        log_size=log_size,
        mounts=tuple(_mounts(config, userdata, around.libpod)) if recorded else tuple(_binds(spec, None)),
        labels=config.labels or _kubernetes_labels(spec),
        mount_id=layer,
        init_id=None,
        chain_id=chain,
        config=raw,
        problems=unique(problems),
    )


def _metadata(record: Listed[ContainerRecord], problems: list[Problem]) -> Metadata:
    text = record.fields.metadata
    if not text:
        return Metadata()
    parsed = parse(text.encode("utf-8", "replace"), Metadata)
    if parsed.faults:
        what = f"container {record.id[:12]}: its metadata {parsed.what}"
        problems.append(Problem(record.path, what, severity=Severity.WARNING))
    return parsed.typed


def _last_specification(userdata: Directory, problems: list[Problem]) -> tuple[Spec, dict[str, Any]]:
    """The runtime's specification of the last start, for containers that podman has no record of."""
    data = read_bytes(userdata, "config.json", LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problems.append(data.problem(f"{userdata.path}/config.json", "its command and mounts are unknown"))
        return Spec(), {}
    parsed = parse(data, Spec)
    if parsed.faults:
        problems.append(Problem(f"{userdata.path}/config.json", parsed.what, severity=Severity.WARNING))
    return parsed.typed, parsed.raw


def _layers(
    record: Listed[ContainerRecord], around: Around, problems: list[Problem]
) -> tuple[CacheID | None, ChainID | None]:
    """The writable layer's ID, and the chain ID of the layer below it."""
    text = record.fields.layer
    if not text or not is_hex64(text):
        what = f"container {record.id[:12]} has the layer {shown(text or '')}, expected 64 hexadecimal digits"
        problems.append(Problem(record.path, what, "its files are not shown"))
        return None, None
    layer = CacheID(text)
    missing = around.layers.missing_below(layer)
    if missing is not None:
        what = f"container {record.id[:12]} stands on the layer {missing}, which has no record"
        effect = "podman can't use it; what can be found of its layers is shown"
        problems.append(Problem(record.path, what, effect))
    chain = around.layers.chain(layer)
    problems.extend(problem for one in chain for problem in one.problems if problem.severity == Severity.ERROR)
    return layer, chain[-2].chain_id if len(chain) > 1 else None


def _image_id(
    record: Listed[ContainerRecord], config: ContainerFields, around: Around, problems: list[Problem]
) -> ImageID | None:
    text = record.fields.image or config.rootfs_image_id
    if not text:
        return None
    if not is_hex64(text):
        what = f"container {record.id[:12]} has the image {shown(text)}, expected 64 hexadecimal digits"
        problems.append(Problem(record.path, what, severity=Severity.WARNING))
        return None
    image = ImageID(f"sha256:{text}")
    if image not in around.images:
        what = f"container {record.id[:12]} was made from the image {image}, which is gone"
        problems.append(Problem(record.path, what, "its layers are still known", severity=Severity.NOTE))
    return image


def _name_of(image: Image | None, image_id: ImageID | None) -> str:
    if image is not None and image.repo_tags:
        return image.repo_tags[0]
    return image_id or ""


def _command(words: Iterable[str | None]) -> str:
    """What is run, as docker joins words: one with a blank gets quotes, nothing else is escaped.

    Of podman's containers without the entrypoint, as ``podman ps`` has it.
    """
    return " ".join(f"'{word}'" if " " in word and number else word for number, word in enumerate(map(_text, words)))


def _text(word: str | None) -> str:
    return word or ""


# ---------------------------------------------------------------------- life
def _life(record: Listed[ContainerRecord], userdata: Directory, around: Around, problems: list[Problem]) -> _Life:
    state = around.libpod.states.get(record.id)
    if state is not None:
        return _of_podman(state.typed)
    data = read_bytes(userdata, "state.json", LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problems.append(data.problem(f"{userdata.path}/state.json", "its state is unknown"))
        # Buildah's containers are never started by themselves, and nobody else has records of that.
        return _Life("created") if _is_working_container(record, userdata, around) else _Life()
    parsed = parse(data, CriState)
    if parsed.faults:
        path = f"{userdata.path}/state.json"
        problems.append(Problem(path, parsed.what, "its state may be unknown", severity=Severity.WARNING))
    told = parsed.typed
    ended = told.status == "stopped"
    word = "exited" if ended else _CRI_WORDS.get(told.status or "", UNKNOWN)
    began = sound_time(told.started)
    return _Life(word, began, sound_time(told.finished) if ended else None, told.exit_code if ended else None)


def _of_podman(state: StateFields) -> _Life:
    word = _WORDS.get(state.state or 0, UNKNOWN)
    code = 0 if state.exit_code is None and state.state is not None else state.exit_code
    return _Life(word, sound_time(state.started_time), sound_time(state.finished_time), code)


def _is_working_container(record: Listed[ContainerRecord], userdata: Directory, around: Around) -> bool:
    """Whether it is one of Buildah's. podman's own may have its file, too: commit makes them Buildah's for a moment."""
    if around.libpod.is_damaged or record.id in around.libpod.containers:
        return False
    try:
        return userdata.stat_or_none("buildah.json") is not None
    except OSError:
        return False


def _log(userdata: Directory, config: ContainerFields, problems: list[Problem]) -> tuple[str | None, int | None]:
    """The log's path below the root and its bytes: always in the container's own folder if podman writes it."""
    path = f"{userdata.path}/ctr.log"
    recorded = config.log_path
    if recorded and not recorded.endswith("/userdata/ctr.log"):
        what = f"logs to {shown(recorded)}, which is not in the container's folder"
        problems.append(Problem(userdata.path, what, "that log is not read", severity=Severity.NOTE))
        return None, None
    try:
        stat = userdata.stat_or_none("ctr.log")
    except FileNotFoundError:
        stat = None
    except OSError:
        return path, None
    return (path, stat.st_size) if stat is not None and modes.S_ISREG(stat.st_mode) else (None, 0)


# ---------------------------------------------------------------------- mounts
def _mounts(config: ContainerFields, userdata: Directory, libpod: LibpodRecords) -> Iterator[Mount]:
    """Named volumes, then images, then what the user asked to be bound, each by destination.

    What all containers have is left out. Overlays over a folder or an image are known from the last start only.
    """
    volumes = [one for one in config.named_volumes or () if one is not None and one.destination]
    for volume in sorted(volumes, key=lambda one: one.destination or ""):
        source = libpod.volume_place(volume.name or "")
        options = volume.options or []
        yield Mount("volume", volume.name or "", source, volume.destination or "", "ro" not in options)
    images = [one for one in config.image_volumes or () if one is not None and one.destination]
    for image in sorted(images, key=lambda one: one.destination or ""):
        yield Mount("image", "", image.source or "", image.destination or "", bool(image.writable))
    named = {one.destination for one in volumes}
    wanted = {path for path in config.user_volumes or () if path} - named
    spec = config.spec or Spec()
    if wanted - {mount.destination for mount in spec.mounts or () if mount is not None}:
        last, _raw = _last_specification(userdata, [])
        spec = last if last.mounts else spec
    yield from _binds(spec, wanted)


def _binds(spec: Spec, wanted: set[str] | None) -> Iterator[Mount]:
    """The bind mounts; where destinations are ``wanted``, all of these but memory, as podman tells them."""
    mounts = [mount for mount in spec.mounts or () if mount is not None and mount.destination]
    for mount in sorted(mounts, key=lambda mount: mount.destination or ""):
        options = mount.options or []
        bound = mount.type == "bind" or "bind" in options or "rbind" in options
        if bound if wanted is None else mount.destination in wanted and mount.type != "tmpfs":
            yield Mount("bind", "", mount.source or "", mount.destination or "", "ro" not in options)


def _kubernetes_labels(spec: Spec) -> Mapping[str, str]:
    """The labels that CRI-O keeps as JSON in an annotation."""
    text = (spec.annotations or {}).get(_LABELS)
    if not text:
        return {}
    raw = parse(text.encode("utf-8", "replace"), HasID).raw
    return {name: value for name, value in raw.items() if isinstance(value, str)}
