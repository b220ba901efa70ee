"""What changes below a root while it is looked at: records, and the writable layer of one container.

Only directories are watched, each by itself; which there are is found out through the safe layer, so that watching
changes no access time and leads nowhere else. Kernel: inotify(7), one watch per directory.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from layerscope.model.level import Level, Role
from layerscope.services.session import Session

_MOST_FOLDERS = 8_000
_MOST_CONTAINERS = 500
_SETTLE_MS = 250
_STEP_MS = 50
_WAKE_MS = 500
_RETRY_SECONDS = 1.0
_RECORD_FILES = frozenset({"config.v2.json", "hostconfig.json", "repositories.json"})


class Moved(Struct, frozen=True):
    """What has changed: whether records did; paths in the container's view (no leading slash); their directories."""

    records: bool
    paths: frozenset[str]
    folders: frozenset[str]


class _Folders(Struct, frozen=True):
    """Host paths of watched directories: of records, of their parents' kind, and of the layer by their path in it."""

    records: frozenset[str]
    containers: frozenset[str]
    layer: dict[str, str]

    @property
    def all(self) -> list[str]:
        return [*self.records, *self.containers, *self.layer]


def watch(session: Session, levels: tuple[Level, ...], stop: threading.Event) -> Iterator[Moved]:
    """Each group of changes, a quarter of a second after they end, until ``stop`` is set. Blocks; for a thread.

    Args:
        session: Whose root is watched.
        levels: Of the container whose writable layer is watched (of an image, or none: only records are).
        stop: Ends it within half a second.
    """
    import watchfiles

    known: frozenset[str] | None = None
    while not stop.is_set():
        folders = _find_folders(session, levels)
        inside = frozenset(folders.layer.values())
        if known is not None and not known >= inside:
            # What came into a new directory before it was watched was told by nobody.
            yield Moved(False, inside - known, inside - known)
        known = inside
        try:
            changes = watchfiles.watch(
                *folders.all,
                watch_filter=None,
                debounce=_SETTLE_MS * 2,
                step=_STEP_MS,
                rust_timeout=_WAKE_MS,
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            )
            listed_again = False
            for group in changes:
                moved = _sort_out(folders, [path for _, path in group])
                if moved.records or moved.paths:
                    yield moved
                if any(change is not watchfiles.Change.modified and os.path.isdir(path) for change, path in group):
                    break  # there are directories that nobody watches yet
                if not listed_again and _find_folders(session, levels) != folders:
                    break  # and these were made after the listing, before the kernel watched
                listed_again = True
        except (OSError, RuntimeError):  # one went away while it was to be watched, or the kernel has no watch left
            stop.wait(_RETRY_SECONDS)


def _find_folders(session: Session, levels: tuple[Level, ...]) -> _Folders:
    root = session.path
    driver = session.driver
    image = f"image/{driver}"
    names = ("containers", image, f"{image}/imagedb/content/sha256", f"{image}/layerdb/mounts")
    records = frozenset(os.fspath(root / name) for name in names if _listed(session, name) is not None)
    known = (_listed(session, "containers") or [])[:_MOST_CONTAINERS]
    containers = frozenset(os.fspath(root / "containers" / name) for name in known)
    return _Folders(records, containers, _layer_folders(session, levels))


def _layer_folders(session: Session, levels: tuple[Level, ...]) -> dict[str, str]:
    top = levels[-1] if levels else None
    if top is None or top.role is not Role.RW or top.path is None:
        return {}
    host = os.fspath(session.path / top.path)
    found: dict[str, str] = {}
    pending = deque([""])
    while pending and len(found) < _MOST_FOLDERS:
        path = pending.popleft()
        below = _listed(session, f"{top.path}/{path}" if path else top.path)
        if below is not None:
            found[f"{host}/{path}" if path else host] = path
            pending.extend(f"{path}/{name}" if path else name for name in below)
    return found


def _listed(session: Session, path: str) -> list[str] | None:
    """The directories in one below the root; None if it can't be read."""
    try:
        return [name for name, kind in session.directory(path).scan() if kind == "d"]
    except OSError:
        return None


def _sort_out(folders: _Folders, changed: list[str]) -> Moved:
    paths: set[str] = set()
    inside: set[str] = set()
    records = False
    for path in changed:
        folder, _, name = path.rpartition("/")
        place = folders.layer.get(folder)
        if place is not None:
            inside.add(place)
            paths.add(f"{place}/{name}" if place else name)
        elif folder in folders.containers:  # its log grows there too
            records = records or name in _RECORD_FILES
        elif folder in folders.records:
            records = True
    return Moved(records, frozenset(paths), frozenset(inside))
