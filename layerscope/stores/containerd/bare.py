"""Containers that containerd itself keeps: those of Kubernetes (CRI), of nerdctl, of ctr.

Their records are in meta.db, running or not, and name the snapshot of the writable layer; there is no init layer.

| who | name | state |
| --- | --- | --- |
| CRI | extension ``io.cri-containerd.container.metadata`` or ``.sandbox.metadata`` (JSON) | ``io.containerd.grpc.v1.cri/containers/<id>/status`` (JSON; times in ns) |
| nerdctl | label ``nerdctl/name`` | – |
| ctr | the ID | – |

A running one has a folder ``io.containerd.runtime.v2.task/<namespace>/<id>``. Logs lie outside of the root.
Source: containerd core/metadata/containers.go, internal/cri/store/{container,sandbox}; OCI runtime spec, config.md; seen
with containerd 2.1; nerdctl's label is from its source.
"""  # noqa: E501 - a table's row

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from layerscope.formats.gotime import format_rfc3339
from layerscope.hostfs import Directory
from layerscope.model.container import UNKNOWN, Container, Mount
from layerscope.model.digest import ContainerID, ImageID, is_digest, is_file_name
from layerscope.model.problem import Problem, Severity
from layerscope.stores.containerd.folders import CRI, TASKS
from layerscope.stores.containerd.metadata import ContainerRecord, ImageRecord
from layerscope.stores.containerd.snapshots import Snapshots
from layerscope.stores.containerd.stack import Member, top_chain_id
from layerscope.stores.moment import nanoseconds
from layerscope.stores.records.files import Fault, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

_EXTENSIONS = ("io.cri-containerd.container.metadata", "io.cri-containerd.sandbox.metadata")
_NERDCTL_NAME = "nerdctl/name"


class SpecMount(msgspec.Struct):
    """One of the runtime specification's ``mounts``."""

    destination: str | None = None
    type: str | None = None
    source: str | None = None
    options: list[str | None] | None = None


class Process(msgspec.Struct):
    """``process`` of the runtime specification."""

    args: list[str | None] | None = None


class Spec(msgspec.Struct):
    """The fields of the runtime specification that are read; the whole is kept beside them."""

    process: Process | None = None
    mounts: list[SpecMount | None] | None = None


class CriName(msgspec.Struct):
    """``Config.metadata``: the short name, which is not unique."""

    name: str | None = None


class CriConfig(msgspec.Struct):
    """``Config``."""

    metadata: CriName | None = None


class CriMetadata(msgspec.Struct, rename="pascal"):
    """``Metadata``; ``name`` is unique in the node. ``sandbox`` is the ID of the pod's own container."""

    name: str | None = None
    config: CriConfig | None = None
    sandbox: str | None = msgspec.field(name="SandboxID", default=None)


class CriExtension(msgspec.Struct, rename="pascal"):
    """What CRI keeps beside a container."""

    metadata: CriMetadata | None = None


class CriStatus(msgspec.Struct, rename="pascal"):
    """``status``: times in nanoseconds since 1970, 0 for never."""

    created_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    exit_code: int | None = None


class BareAround(Struct, frozen=True):
    """What bare containers are joined with. ``path`` is that of meta.db, ``root`` containerd's."""

    root: Directory
    path: str
    namespace: str
    driver: str
    snapshots: Snapshots
    images: Mapping[str, ImageRecord]
    is_held: Callable[[], bool | None]


def sandbox_of(record: ContainerRecord) -> str:
    """The ID of the sandbox that a container of Kubernetes runs in, "" for others."""
    extension = next((record.extensions[key] for key in _EXTENSIONS if record.extensions.get(key)), None)
    metadata = parse(extension, CriExtension).typed.metadata if extension is not None else None
    return metadata.sandbox or "" if metadata is not None else ""


def read_bare_containers(records: Iterable[ContainerRecord], around: BareAround) -> tuple[Container, ...]:
    """The containers of ``records`` that use this snapshotter, newest first, then by ID."""
    found = []
    unique_names = {}
    for record in records:
        if record.snapshotter in ("", around.driver):
            short, unique_names[record.id], problems = _names(record, around)
            found.append(_read(record, short, problems, around))
    times = Counter(container.name for container in found)
    found = [
        replace(container, name=unique_names[container.id]) if times[container.name] > 1 else container
        for container in found
    ]
    return tuple(sorted(found, key=lambda container: (-(nanoseconds(container.created) or 0), container.id)))


def _names(record: ContainerRecord, around: BareAround) -> tuple[str, str, list[Problem]]:
    """The short name, one that no other container has, and what is wrong with the record of both."""
    problems: list[Problem] = []
    extension = next((record.extensions[key] for key in _EXTENSIONS if record.extensions.get(key)), None)
    if extension is not None:
        told = parse(extension, CriExtension)
        if told.faults:
            problems.append(_damage(record, f"CRI's record of it {told.what}", around))
        metadata = told.typed.metadata or CriMetadata()
        short = metadata.config.metadata.name if metadata.config and metadata.config.metadata else None
        return short or metadata.name or record.id, metadata.name or record.id, problems
    name = record.labels.get(_NERDCTL_NAME) or record.id
    return name, record.id, problems


def _damage(record: ContainerRecord, what: str, around: BareAround) -> Problem:
    return Problem(around.path, f"container {shown(record.id)}: {what}", severity=Severity.WARNING)


def _read(record: ContainerRecord, name: str, problems: list[Problem], around: BareAround) -> Container:
    spec = parse(record.spec, Spec) if record.spec else None
    if spec is not None and spec.faults:
        problems.append(_damage(record, f"its specification {spec.what}", around))
    stack = around.snapshots.chain(record.snapshot_key)
    problems.extend(problem for snapshot in stack for problem in snapshot.problems)
    if not stack and not record.snapshot_key:
        what = f"container {shown(record.id)} has no snapshot: its files lie in a directory of its host"
        problems.append(Problem(around.path, what, "they are not shown", severity=Severity.NOTE))
    elif not stack:
        key = shown(record.snapshot_key)
        what = f"has no snapshot {key} of {around.driver}: the writable layer of container {shown(record.id)}"
        problems.append(Problem(around.path, what, "its changes are not shown"))
    image = around.images.get(record.image)
    state, status = _state(record, around, problems)
    typed = spec.typed if spec is not None else Spec()
    words = (typed.process.args if typed.process else None) or ()
    return Container(
        id=ContainerID(record.id),
        name=name,
        image=record.image,
        image_id=ImageID(image.digest) if image is not None and is_digest(image.digest) else None,
        command=" ".join(f"'{word}'" if " " in word else word for word in (word or "" for word in words)),
        created=_time(status.created_at) or record.created,
        started_at=_time(status.started_at),
        finished_at=_time(status.finished_at),
        state=state,
        unclean=state == "running" and around.is_held() is False,
        exit_code=status.exit_code,
        driver=around.driver,
        log_path=None,
        log_size=None,
        mounts=tuple(_mounts(typed)),
        labels=record.labels,
        mount_id=stack[-1].cache_id if stack else None,
        init_id=None,
        chain_id=top_chain_id([Member(one.key, one) for one in stack]),
        config=spec.raw if spec is not None else {},
        problems=tuple(dict.fromkeys(problems)),
    )


def _state(record: ContainerRecord, around: BareAround, problems: list[Problem]) -> tuple[str, CriStatus]:
    """docker's word for the state, and what CRI recorded of it."""
    status = _cri_status(record.id, around, problems) if is_file_name(record.id) else None
    if status is not None and status.finished_at:
        return "exited", status
    runs = has_task(around.root, around.namespace, record.id)
    if status is None:
        return "running" if runs else UNKNOWN, CriStatus()
    # It has not ended: the exit code that stands there means nothing.
    told = CriStatus(status.created_at, status.started_at)
    return "running" if runs or status.started_at else "created", told


def _cri_status(id_: str, around: BareAround, problems: list[Problem]) -> CriStatus | None:
    folder = around.root.enter(CRI).enter("containers").enter(id_)
    path = f"{folder.path}/status"
    data = read_bytes(folder, "status", LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problems.append(data.problem(path, "its state is unknown", severity=Severity.WARNING))
        return None
    told = parse(data, CriStatus)
    if told.faults:
        problems.append(Problem(path, told.what, "its state may be unknown", severity=Severity.WARNING))
    return told.typed


def has_task(root: Directory, namespace: str, id_: str) -> bool:
    """Whether the containerd root ``root`` has a running task's folder for a container."""
    if not (is_file_name(namespace) and is_file_name(id_)):
        return False
    try:
        return root.descend(TASKS).enter(namespace).stat_or_none(id_) is not None
    except OSError:
        return False


def _mounts(spec: Spec) -> Iterator[Mount]:
    """The bind mounts, by destination; what every container has (``proc``, ``sysfs`` …) is left out."""
    mounts = [mount for mount in spec.mounts or () if mount is not None and mount.destination]
    for mount in sorted(mounts, key=lambda mount: mount.destination or ""):
        options = mount.options or []
        if mount.type == "bind" or "bind" in options or "rbind" in options:
            yield Mount("bind", "", mount.source or "", mount.destination or "", "ro" not in options)


def _time(moment: int | None) -> str | None:
    return format_rfc3339(moment) if moment else None
