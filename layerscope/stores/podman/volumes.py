"""Volumes: the folders ``volumes/<name>/_data`` and podman's records of them.

podman knows a volume by its record alone; a folder without one is left over, and so shown with what it has. Where the
records name another folder for all volumes than ``volumes`` in the root, their files are not below it.
Source: podman libpod/volume.go, runtime_volume_common.go; seen with 4.3 and 5.8.
"""

from __future__ import annotations

from pathlib import Path

from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.model.volume import Volume
from layerscope.stores.moment import sound_time
from layerscope.stores.podman.libpod import LibpodRecords, VolumeFields
from layerscope.stores.records.files import Fault, list_directory

_FOLDER = "volumes"


def read_volumes(root: Directory, path: Path, libpod: LibpodRecords) -> tuple[tuple[Volume, ...], tuple[Problem, ...]]:
    """All volumes of the root that lies at ``path`` on the host, by name, and what is wrong."""
    entries = list_directory(root.enter(_FOLDER))
    problems: list[Problem] = []
    names: set[str] = set()
    if not isinstance(entries, Fault):
        names = {name for name, kind in entries if kind == "d"}
    elif not entries.absent:
        problems.append(entries.problem(_FOLDER, "the files of volumes can't be read"))
    found = []
    for name in sorted(names | libpod.volumes.keys()):
        recorded = libpod.volumes.get(name)
        fields = recorded.typed if recorded else VolumeFields()
        inside = f"{_FOLDER}/{name}/_data" if name in names else None
        if recorded is None and libpod.path:
            what = "is a volume's folder that podman has no record of"
            problems.append(Problem(f"{_FOLDER}/{name}", what, "podman doesn't list it", severity=Severity.NOTE))
        found.append(
            Volume(
                name=name,
                driver=fields.volume_driver or "local",
                labels=fields.labels or {},
                options=fields.options or {},
                path=inside,
                mountpoint=f"{path}/{inside}" if inside else fields.mount_point or "",
                created=sound_time(fields.created_at),
            )
        )
    return tuple(found), tuple(problems)
