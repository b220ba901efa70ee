"""What podman itself records beside containers/storage: how containers were made, how they ended, pods and volumes.

One JSON record for a container's configuration, one for its state, the same in both databases (``sqlite_state``,
``bolt_state``). Buildah and CRI-O have neither.

| `state` | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| podman | created | initialized | running | stopped | paused | exited | removing | stopping |

Source: podman libpod/container_config.go, container.go ``ContainerState``, volume.go, define/containerstate.go; seen
with 4.3.1 and 5.8.6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from layerscope.errors import CorruptError
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.podman.layers import IDMap
from layerscope.stores.records.files import NOT_A_DIRECTORY, Fault, read_bytes
from layerscope.stores.records.json_record import Parsed, parse

_LOG_LIMIT = 64 << 20
_DATABASE_LIMIT = 96 << 20
"""Bytes; a container takes some ten thousand of them, and SQLite needs them in memory twice."""
_PLACES = ("db.sql", "libpod/db.sql", "libpod/bolt_state.db")
_EFFECT = "what podman knows beyond its layers is missing: states, commands, mounts, volumes"


class SpecMount(msgspec.Struct):
    """One of ``spec.mounts``."""

    destination: str | None = None
    type: str | None = None
    source: str | None = None
    options: list[str | None] | None = None


class SpecProcess(msgspec.Struct):
    """``spec.process``."""

    args: list[str | None] | None = None


class Spec(msgspec.Struct):
    """The OCI runtime specification, as far as it is read."""

    process: SpecProcess | None = None
    mounts: list[SpecMount | None] | None = None
    annotations: dict[str, str] | None = None


class NamedVolume(msgspec.Struct):
    """One of ``namedVolumes``."""

    name: str | None = msgspec.field(name="volumeName", default=None)
    destination: str | None = msgspec.field(name="dest", default=None)
    options: list[str | None] | None = None


class ImageVolume(msgspec.Struct):
    """One of ``ctrImageVolumes``: an image, by the name that was typed, that is mounted into a container."""

    source: str | None = None
    destination: str | None = msgspec.field(name="dest", default=None)
    writable: bool | None = msgspec.field(name="rw", default=None)


class IDMappings(msgspec.Struct):
    """``idMappingsOptions``."""

    uid_map: list[IDMap | None] | None = msgspec.field(name="UIDMap", default=None)
    gid_map: list[IDMap | None] | None = msgspec.field(name="GIDMap", default=None)


class ContainerFields(msgspec.Struct, rename="camel"):
    """A container's configuration."""

    id: str | None = None
    name: str | None = None
    pod: str | None = None
    spec: Spec | None = None
    rootfs: str | None = None
    rootfs_image_id: str | None = msgspec.field(name="rootfsImageID", default=None)
    rootfs_image_name: str | None = None
    raw_image_name: str | None = msgspec.field(name="RawImageName", default=None)
    named_volumes: list[NamedVolume | None] | None = None
    image_volumes: list[ImageVolume | None] | None = msgspec.field(name="ctrImageVolumes", default=None)
    user_volumes: list[str | None] | None = None
    command: list[str | None] | None = None
    labels: dict[str, str] | None = None
    created_time: str | None = None
    log_path: str | None = None
    log_driver: str | None = None
    is_infra: bool | None = msgspec.field(name="pause", default=None)
    id_mappings: IDMappings | None = msgspec.field(name="idMappingsOptions", default=None)


class StateFields(msgspec.Struct, rename="camel"):
    """A container's state."""

    state: int | None = None
    started_time: str | None = None
    finished_time: str | None = None
    exit_code: int | None = None


class PodFields(msgspec.Struct):
    """A pod's configuration."""

    name: str | None = None


class VolumeFields(msgspec.Struct, rename="camel"):
    """A volume's configuration."""

    name: str | None = None
    labels: dict[str, str] | None = None
    volume_driver: str | None = None
    mount_point: str | None = None
    created_at: str | None = None
    options: dict[str, str] | None = msgspec.field(name="volumeOptions", default=None)


class VolumeStateFields(msgspec.Struct, rename="camel"):
    """A volume's state: where it is mounted now, if that is up to its driver."""

    mount_point: str | None = None


_Fields = TypeVar("_Fields", bound=msgspec.Struct)


class LibpodRecords(Struct, frozen=True):
    """All of it by ID or name; ``path`` is the database's ("" if there is none), ``problems`` its damage."""

    path: str = ""
    containers: Mapping[str, Parsed[ContainerFields]] = field(default_factory=dict)
    states: Mapping[str, Parsed[StateFields]] = field(default_factory=dict)
    pods: Mapping[str, Parsed[PodFields]] = field(default_factory=dict)
    volumes: Mapping[str, Parsed[VolumeFields]] = field(default_factory=dict)
    volume_states: Mapping[str, Parsed[VolumeStateFields]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def is_damaged(self) -> bool:
        """Whether records may be there that could not be read."""
        return any(problem.severity is not Severity.NOTE for problem in self.problems)

    def volume_place(self, name: str) -> str:
        """Where a volume's files are mounted from, as podman tells it; "" if it isn't mounted, or unknown."""
        recorded, state = self.volumes.get(name), self.volume_states.get(name)
        if recorded is None:
            return ""
        if (recorded.typed.volume_driver or "local") == "local":
            return recorded.typed.mount_point or ""
        return (state.typed.mount_point if state else None) or ""

    def raw(self, container: str) -> dict[str, Any] | None:
        """Both records of a container, whole; None if there are none."""
        config, state = self.containers.get(container), self.states.get(container)
        if config is None and state is None:
            return None
        return {"config": config.raw if config else None, "state": state.raw if state else None}


def read_libpod(root: Directory, known: Collection[str]) -> LibpodRecords:
    """The records of the database in ``root``; of several, the one that has most of the ``known`` containers."""
    found: list[LibpodRecords] = []
    problems: list[Problem] = []
    for path in _PLACES:
        records = _read(root, path, problems)
        if records is not None:
            found.append(records)
    if not found:
        return LibpodRecords(problems=tuple(problems))
    best = max(found, key=lambda one: len(set(known) & one.containers.keys()))
    for one in found:
        if one is not best:
            what = f"is another database of podman's; {best.path} is read, which has more of the containers here"
            problems.append(Problem(one.path, what, severity=Severity.NOTE))
    return replace(best, problems=(*best.problems, *problems))


def _read(root: Directory, path: str, problems: list[Problem]) -> LibpodRecords | None:
    place, _, name = path.rpartition("/")
    folder = root.descend(place)
    is_bolt = name.endswith(".db")
    data = read_bytes(folder, name, _DATABASE_LIMIT)
    if isinstance(data, Fault):
        if not data.absent:
            problem = data.problem(place if data == NOT_A_DIRECTORY else path, _EFFECT)
            if problem not in problems:  # both databases of a folder that is none
                problems.append(problem)
        return None
    wrong: list[str] = []
    try:
        if is_bolt:
            from layerscope.stores.podman.bolt_state import read_bolt

            records, settings, wrong = read_bolt(data)
        else:
            from layerscope.stores.podman.sqlite_state import read_sqlite

            log = read_bytes(folder, f"{name}-wal", _LOG_LIMIT)
            records, settings, wrong = read_sqlite(data, None if isinstance(log, Fault) else log)
            wrong += _cut_transaction(folder, name)
    except CorruptError as error:
        problems.append(Problem(path, f"is damaged: {error}", _EFFECT))
        return None
    told = [Problem(path, what, "records of podman may be missing", severity=Severity.WARNING) for what in wrong]
    return LibpodRecords(
        path,
        _parsed(records["container"], ContainerFields, "container", path, told),
        _parsed(records["state"], StateFields, "the state of container", path, told),
        _parsed(records["pod"], PodFields, "pod", path, told),
        _parsed(records["volume"], VolumeFields, "volume", path, told),
        _parsed(records["volume state"], VolumeStateFields, "the state of volume", path, told),
        settings,
        tuple(told),
    )


def _cut_transaction(folder: Directory, name: str) -> list[str]:
    """A journal that isn't empty: what it would take back is shown as it stands."""
    journal = read_bytes(folder, f"{name}-journal", _DATABASE_LIMIT)
    if isinstance(journal, Fault) or not any(journal[:8]):
        return []
    return [f"has a transaction that was cut ({name}-journal): what was being written may be shown in part"]


def _parsed(
    records: Mapping[str, bytes], kind: type[_Fields], what: str, path: str, told: list[Problem]
) -> dict[str, Parsed[_Fields]]:
    found = {}
    for name, data in records.items():
        found[name] = record = parse(data, kind)
        if record.faults:
            said = f"{what} {name[:12]}: its record {record.what}"
            told.append(Problem(path, said, "parts of it are unknown", severity=Severity.WARNING))
    return found
