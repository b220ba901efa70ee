"""Where a container's log lies and how many bytes it has.

| file below `containers/<ID>/` | log driver |
| --- | --- |
| `<ID>-json.log`, `.1`, `.2.gz` … | json-file; its path is recorded as `LogPath` |
| `local-logs/container.log`, `.1`, `.1.gz` … | local; `LogPath` is empty |
| `container-cached.log` and rotated | the copy kept for drivers that can't read back |

`LogPath` is absolute on the host that wrote it: only what follows `/containers/` is used, and only if it stays inside
the container's own directory. Source: moby container/container.go ``StartLogger``; seen with 20.10.24.
"""

from __future__ import annotations

import re
import stat as modes

from layerscope.hostfs import Directory
from layerscope.model.digest import is_file_name
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import Kind
from layerscope.stores.records.files import Fault, list_directory, shown

_Listed = list[tuple[str, Kind]] | Fault
_ROTATED = re.compile(r"(\.[0-9]+(\.gz)?)?")
"""What the names of a log's files have behind the name of the newest."""


def find_log(
    directory: Directory, container: str, recorded: str | None, problems: list[Problem]
) -> tuple[str | None, int | None]:
    """Path below the root and size of a container's log: apparent bytes of the file and its rotated copies.

    ``directory`` is the container's own. No log at all is (None, 0), one that can't be looked at has size None.
    """
    home = f"containers/{container}"
    inside = _rebased(recorded, container)
    if recorded and inside is None:
        what = f"records its log at {shown(recorded)}, which is not in the container's directory"
        problems.append(Problem(f"{home}/config.v2.json", what, "that log is not read", severity=Severity.WARNING))
    candidates = [inside] if inside else [f"{container}-json.log", "local-logs/container.log", "container-cached.log"]
    listed: dict[str, _Listed] = {}
    for candidate in candidates:
        folder, _, name = candidate.rpartition("/")
        place = directory.descend(folder)
        if folder not in listed:
            listed[folder] = list_directory(place)
        size = _size(place, listed[folder], name)
        if isinstance(size, Fault):
            problems.append(size.problem(f"{home}/{folder}".rstrip("/"), "the size of its log is unknown"))
            return f"{home}/{candidate}", None
        if size is not None or candidate == inside:
            return f"{home}/{candidate}", size or 0
    return None, 0


def _rebased(recorded: str | None, container: str) -> str | None:
    """The part of ``LogPath`` below the container's directory, None if it leads elsewhere."""
    _, found, tail = (recorded or "").rpartition(f"/containers/{container}/")
    parts = tail.split("/")
    return tail if found and len(parts) <= 2 and all(map(is_file_name, parts)) else None


def _size(directory: Directory, entries: _Listed, name: str) -> int | Fault | None:
    """Apparent bytes of the file ``name`` and its rotated copies, None if there are none."""
    if isinstance(entries, Fault):
        return None if entries.absent else entries
    names = [
        entry
        for entry, kind in entries
        if kind == "f" and entry.startswith(name) and _ROTATED.fullmatch(entry, len(name))
    ]
    if not names:
        return None
    try:
        stats = directory.stats(names)
    except OSError as error:
        return Fault(f"can't be read: {error.strerror}")
    sizes = [stat.st_size for stat in stats if stat is not None and modes.S_ISREG(stat.st_mode)]
    return sum(sizes) if sizes else None
