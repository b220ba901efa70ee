"""Volumes: the directories of ``volumes/`` and the records of ``volumes/metadata.db``.

| place | content |
| --- | --- |
| `<name>/_data/` | the files; the mount point while in use if the volume has a device among its options |
| `<name>/opts.json` | ``{"MountType", "MountOpts", "MountDevice", "Quota": {"Size"}}``, only with options |
| `metadata.db` | bolt, bucket `volumes`: name -> ``{"Name", "Driver", "Labels", "Options"}`` |

A directory without a record is a volume all the same (docker adopts it); a record of the driver ``local`` without a
directory is stale. Source: moby volume/local/local.go, volume/service/db.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.model.volume import Volume
from layerscope.stores.records.files import MISSING, Fault, list_directory, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

if TYPE_CHECKING:
    from pathlib import Path

DATABASE_LIMIT = 64 << 20
_IGNORED = {"metadata.db", "backingFsBlockDev"}


class VolumeRecord(msgspec.Struct, rename="pascal"):
    """One value of the database."""

    driver: str | None = None
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class Quota(msgspec.Struct, rename="pascal"):
    """``Quota`` of the options."""

    size: int | None = None


class LocalOptions(msgspec.Struct, rename="pascal"):
    """``opts.json``."""

    mount_type: str | None = None
    mount_opts: str | None = None
    mount_device: str | None = None
    quota: Quota | None = None

    def as_given(self) -> dict[str, str]:
        """The options by the names they are given with."""
        size = str(self.quota.size) if self.quota and self.quota.size else ""
        given = {"type": self.mount_type, "o": self.mount_opts, "device": self.mount_device, "size": size}
        return {name: value for name, value in given.items() if value}


class VolumeRecords(Struct, frozen=True):
    """The volumes by name, and what is wrong with any of them."""

    volumes: tuple[Volume, ...]
    problems: tuple[Problem, ...]


def read_volumes(root: Directory, path: Path | str) -> VolumeRecords:
    """All volumes of the root that lies at ``path`` on the host."""
    folder = root.enter("volumes")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        return VolumeRecords((), () if entries.absent else (entries.problem("volumes", "no volume can be read"),))
    problems: list[Problem] = []
    records = _read_database(folder, problems)
    volumes: list[Volume] = []
    for name, kind in entries:
        if name in _IGNORED:
            continue
        if kind == "d":
            volumes.append(_local_volume(folder, name, records.pop(name, None), path))
        else:
            problems.append(Problem(f"volumes/{name}", "is not a directory, docker skips it", severity=Severity.NOTE))
    for name, record in records.items():
        driver = record.driver or "local"
        if driver == "local":
            what = f"has a record of the volume {shown(name)}, which has no directory"
            effect = "docker drops the record at its next start"
            problems.append(Problem("volumes/metadata.db", what, effect, severity=Severity.NOTE))
        else:
            volumes.append(Volume(name, driver, record.labels or {}, record.options or {}, None, "", None))
    problems.extend(problem for volume in volumes for problem in volume.problems)
    return VolumeRecords(tuple(sorted(volumes, key=lambda volume: volume.name)), tuple(problems))


def _read_database(folder: Directory, problems: list[Problem]) -> dict[str, VolumeRecord]:
    """The records by volume name; a damaged database gives those that can be reached."""
    path = "volumes/metadata.db"
    effect = "labels, and volumes of other drivers, are unknown"
    data = read_bytes(folder, "metadata.db", DATABASE_LIMIT)
    records: dict[str, VolumeRecord] = {}
    if isinstance(data, Fault):
        if data != MISSING:
            problems.append(data.problem(path, effect, severity=Severity.WARNING))
        return records
    from layerscope.formats.boltdb import Database

    try:
        bucket = Database.checked(data).root.bucket(b"volumes")
        for key, value in bucket.items() if bucket else ():
            name = key.decode("utf-8", "surrogateescape")
            if not isinstance(value, bytes):
                continue
            record = parse(value, VolumeRecord)
            records[name] = record.typed
            if record.faults:
                what = f"has a damaged record of the volume {shown(name)}: it {record.what}"
                problems.append(Problem(path, what, "its labels are unknown", severity=Severity.WARNING))
    except CorruptError as error:
        problems.append(Problem(path, f"is damaged: {error}", effect))
    return records


def _local_volume(folder: Directory, name: str, record: VolumeRecord | None, path: Path | str) -> Volume:
    place = f"volumes/{name}"
    problems: list[Problem] = []
    directory = folder.enter(name)
    created = None
    try:
        stat = directory.stat_or_none("_data")
    except OSError as error:
        problems.append(Problem(place, f"can't be read: {error.strerror}"))
    else:
        if stat is None:
            what = "holds no _data directory, so no files"
            problems.append(Problem(place, what, "docker may skip it", severity=Severity.WARNING))
        else:
            created = _whole_seconds(stat.st_ctime_ns)
    return Volume(
        name=name,
        driver=(record.driver if record else None) or "local",
        labels=(record.labels if record else None) or {},
        options=_options(directory, place, record, problems),
        path=f"{place}/_data",
        mountpoint=f"{path}/{place}/_data",
        created=created,
        problems=tuple(problems),
    )


def _options(
    directory: Directory, place: str, record: VolumeRecord | None, problems: list[Problem]
) -> Mapping[str, str]:
    """From the record, else from the volume's own file."""
    data = read_bytes(directory, "opts.json", LIMIT)
    own: Mapping[str, str] = {}
    if isinstance(data, bytes):
        parsed = parse(data, LocalOptions)
        own = parsed.typed.as_given()
        if parsed.faults:
            problems.append(Problem(f"{place}/opts.json", parsed.what, "docker refuses to start"))
    elif data != MISSING:
        problems.append(data.problem(f"{place}/opts.json", "its options are unknown"))
    return (record.options if record else None) or own


def _whole_seconds(nanoseconds: int) -> str | None:
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
