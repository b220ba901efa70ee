"""What directories of a merged view hold in all: apparent bytes and entries, as ``du --apparent-size`` would add them.

Every inode counts once, where the walk meets it first; directories count nothing themselves.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec import Struct, field

from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.view import stat_all

_Inode = tuple[int, int, int]


class DirectoryTotal(NamedTuple):
    """A directory of the view (path without leading slash), the bytes below it and the number of entries."""

    path: str
    size: int
    entries: int


class _Frame(Struct):
    directory: MergedDirectory
    pending: list[str] = field(default_factory=list)
    size: int = 0
    entries: int = 0


def directory_totals(top: MergedDirectory, cancelled: Callable[[], bool] = lambda: False) -> Iterator[DirectoryTotal]:
    """The total of every directory below and including ``top``, each as soon as it is complete: children first.

    Reads each directory once. Stops early when ``cancelled`` says so; what vanishes meanwhile is left out.
    """
    seen: set[_Inode] = set()
    frames = [_open(top, seen)]
    while frames and not cancelled():
        frame = frames[-1]
        if frame.pending:
            try:
                frames.append(_open(frame.directory.child(frame.pending.pop()), seen))
            except OSError:
                continue
            continue
        frames.pop()
        if frames:
            frames[-1].size += frame.size
            frames[-1].entries += frame.entries
        yield DirectoryTotal(frame.directory.path, frame.size, frame.entries)


def _open(directory: MergedDirectory, seen: set[_Inode]) -> _Frame:
    frame = _Frame(directory)
    for name, part, kind, stat in stat_all(directory):
        frame.entries += 1
        if kind == "d":
            frame.pending.append(name)
        elif stat.st_nlink < 2 or _first_time((part.level, stat.st_dev, stat.st_ino), seen):
            frame.size += stat.st_size
    return frame


def _first_time(inode: _Inode, seen: set[_Inode]) -> bool:
    if inode in seen:
        return False
    seen.add(inode)
    return True


def covered_bytes(directory: MergedDirectory) -> int:
    """The apparent bytes of everything that marks hide below a directory: stored, in no view."""
    total = 0
    pending: list[Part] = [covered.part for covered in directory.covered]
    while pending:
        part = pending.pop()
        try:
            listing = part.listing()
        except OSError:
            continue
        names = [name for name, kind in listing.items() if kind not in ("d", "w")]
        total += sum(
            stat.st_size for stat in part.directory.stats(names) if stat is not None and not modes.S_ISDIR(stat.st_mode)
        )
        pending.extend(part.enter(name) for name, kind in listing.items() if kind == "d")
    return total
