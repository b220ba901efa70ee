"""Which directories to unfold at first: those that lead to what the shown level changed."""

from __future__ import annotations

from collections import deque

from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.sources.files import FileSource, Tick

_MOST_SCANS = 44
"""How many directories of single levels a first look may list, the top ones included."""
_LEADING = (Mark.WITHIN, Mark.COPIED, Mark.OPAQUE)
_TELLING = (Mark.ADDED, Mark.MODIFIED, Mark.COPIED, Mark.WHITEOUT, Mark.HIDDEN, Mark.OPAQUE)


def changed_folders(source: FileSource, room: int, tick: Tick) -> set[str]:
    """Directories to unfold, read: those in which the top level of the view changed most, as many as fit into
    ``room`` rows together with what leads to them. Few are looked into in any case: a first look must be cheap."""
    changes = _look(source, tick)
    opened: set[str] = set()
    left = room - len(source.rows("") or ())
    for folder in sorted(changes, key=lambda path: (-changes[path], path.count("/"), path)):
        way = [path for path in _way_to(folder) if path not in opened]
        needed = sum(len(source.rows(path) or ()) for path in way)
        if needed <= left:
            opened.update(way)
            left -= needed
    return opened


def _look(source: FileSource, tick: Tick) -> dict[str, float]:
    """The directories that the top level touched, breadth first, with the share of rows that tell of a change."""
    changes: dict[str, float] = {}
    pending = deque([""])
    while pending:
        folder = pending.popleft()
        for row in sorted(source.rows(folder) or (), key=lambda row: row.name):
            if not row.is_dir or row.level != source.number or row.mark not in _LEADING:
                continue
            path = f"{folder}/{row.name}" if folder else row.name
            if source.scans >= _MOST_SCANS:
                return changes
            try:
                rows = source.read(path, tick)
            except OSError:
                continue
            telling = sum(_tells(row, source.number) for row in rows)
            if telling:
                changes[path] = telling / len(rows)
            pending.append(path)
    return changes


def _tells(row: FileRow, level: int) -> bool:
    return row.level == level and row.mark in _TELLING


def _way_to(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[: count + 1]) for count in range(len(names))]
