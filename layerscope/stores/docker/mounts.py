"""Where a container's writable layer lies: ``image/<driver>/layerdb/mounts/<container ID>/``.

| file | content |
| --- | --- |
| `mount-id` | the driver's name for the writable layer: 64 hexadecimal digits, maybe with ``-init`` |
| `init-id` | the same for the init layer below it; absent if there is none (a build's own layers) |
| `parent` | chain ID of the image's top layer; absent for a container from scratch |

The three are written one after the other, so a young record may be incomplete.
Source: moby layer/filestore.go ``GetMountID``; layer/layer_store.go ``loadMount``; seen with 20.10.24.
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, ChainID, is_digest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault, is_gone, list_directory, read_line, shown

_ID = re.compile(r"[a-f0-9]{64}(-init)?")
_LOST = "docker ignores the writable layer: its contents can't be found"


class MountRecord(Struct, frozen=True):
    """The record of one writable layer; ``name`` is the container's ID, or a build's own. ``path`` is its place."""

    name: str
    mount_id: CacheID | None
    init_id: CacheID | None
    parent: ChainID | None
    path: str
    problems: tuple[Problem, ...] = ()


def read_mounts(layerdb: Directory, path: str) -> tuple[dict[str, MountRecord], tuple[Problem, ...]]:
    """All records below ``layerdb`` (its path below the root is ``path``) by name, and what else lies there."""
    folder = layerdb.enter("mounts")
    entries = list_directory(folder)
    if isinstance(entries, Fault):
        problem = entries.problem(f"{path}/mounts", "no container's writable layer can be found")
        return {}, () if entries.absent else (problem,)
    records: dict[str, MountRecord] = {}
    problems: list[Problem] = []
    for name, kind in entries:
        place = f"{path}/mounts/{name}"
        if kind == "d":
            directory = folder.enter(name)
            record = read_mount(directory, name, place)
            directory.close()
            if not (record.problems and is_gone(folder, name)):
                records[name] = record
        else:
            problems.append(Problem(place, "is not a directory, docker ignores it", severity=Severity.NOTE))
    return records, tuple(problems)


def read_mount(directory: Directory, name: str, path: str) -> MountRecord:
    """The record in ``directory``, whose path below the root is ``path``."""
    problems: list[Problem] = []
    mount = _read_id(directory, "mount-id", path, problems)
    init = _read_id(directory, "init-id", path, problems)
    parent: ChainID | None = None
    text = read_line(directory, "parent")
    if isinstance(text, Fault):
        if not text.absent:
            problems.append(text.problem(f"{path}/parent", _LOST))
    elif is_digest(text.strip()):
        parent = ChainID(text.strip())
    else:
        problems.append(Problem(f"{path}/parent", f"holds {shown(text)}, expected sha256:<64 digits>", _LOST))
    return MountRecord(name, mount, init, parent, path, tuple(problems))


def _read_id(directory: Directory, name: str, path: str, problems: list[Problem]) -> CacheID | None:
    text = read_line(directory, name)
    if isinstance(text, Fault):
        if not (text.absent and name == "init-id"):
            problems.append(text.problem(f"{path}/{name}", _LOST))
        return None
    if not _ID.fullmatch(text.strip()):
        what = f"holds {shown(text)}, expected 64 hexadecimal digits"
        problems.append(Problem(f"{path}/{name}", what, _LOST))
        return None
    return CacheID(text.strip())
