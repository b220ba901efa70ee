"""Which engine wrote a root: it keeps no version, only traces of what it could do.

| trace | engine |
| --- | --- |
| `graph/` | before 1.10 |
| `builder/` | 17.x, 18.x |
| `trust/` | before 26 |
| `buildkit/` | 18.06 or newer |
| `buildkit/history.db` | 24.0 or newer |
| `engine-id` | 23.0 or newer |
| `docker_version` in image configs | the engine that made that image, here or elsewhere |

The version matters for one answer: overlay2 up to 18.05 made the list of `docker diff` from the upper directory alone,
later ones compare whole trees. aufs always went by its upper directory. Source: moby daemon/graphdriver; the
directories were seen with 20.10.24 and 26.1.5.
"""

from __future__ import annotations

import re
import stat as modes
from collections.abc import Callable, Iterable

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.stores.records.files import shown
from layerscope.stores.records.image_config import ConfigRecord

SINCE_23 = "engine-id (23.0 or newer)"
SINCE_24 = "buildkit/history.db (24.0 or newer)"
"""The traces of such engines."""
_TRACES = (
    ("graph", modes.S_ISDIR, "graph/ (before 1.10)"),
    ("builder", modes.S_ISDIR, "builder/ (17.x or 18.x)"),
    ("trust", modes.S_ISDIR, "trust/ (before 26)"),
    ("buildkit", modes.S_ISDIR, "buildkit/ (18.06 or newer)"),
    ("buildkit/history.db", modes.S_ISREG, SINCE_24),
    ("engine-id", modes.S_ISREG, SINCE_23),
    ("containerd", modes.S_ISDIR, "containerd/ (the daemon started its own containerd)"),
)
_SINCE_NAIVE = {"buildkit", "buildkit/history.db", "engine-id"}
_LAST_NATIVE = (18, 5)
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\b")


class EngineTraces(Struct, frozen=True):
    """``traces`` of the table above, as found; ``version`` the newest ``docker_version`` among the images, "" if none.

    ``native_diff``: the engine that wrote this root made the list of `docker diff` from the upper directory alone.
    """

    traces: tuple[str, ...]
    version: str
    native_diff: bool


def find_engine(root: Directory, driver: str, configs: Iterable[ConfigRecord]) -> EngineTraces:
    """What the root's own entries and its images' configs tell."""
    found = {path: text for path, is_kind, text in _TRACES if _exists(root, path, is_kind)}
    newest, version = _newest(configs)
    old = bool(version) and newest <= _LAST_NATIVE and not _SINCE_NAIVE & set(found)
    native = driver == "aufs" or (driver == "overlay2" and old)
    return EngineTraces(tuple(found.values()), version, native)


def _newest(configs: Iterable[ConfigRecord]) -> tuple[tuple[int, int], str]:
    """The highest version: among images that were made here, which have a parent, else among all."""
    here: list[tuple[tuple[int, int], str]] = []
    anywhere: list[tuple[tuple[int, int], str]] = []
    for record in configs:
        text = record.config.docker_version or ""
        match = _VERSION.match(text)
        if match:
            (here if record.parent else anywhere).append(((int(match[1]), int(match[2])), text))
    return max(here or anywhere, default=((0, 0), ""))


def describe(traces: EngineTraces) -> str:
    """One line for people."""
    version = f"images made by up to {shown(traces.version)}" if traces.version else "no image tells a version"
    return "; ".join((version, *traces.traces))


def _exists(root: Directory, path: str, is_kind: Callable[[int], bool]) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        return is_kind(root.descend(folder).stat(name).st_mode)
    except OSError:
        return False
