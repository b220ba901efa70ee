"""One line of the merged tree, small enough to be held by the hundred thousand, and how it is made of an entry."""

from __future__ import annotations

import stat as modes
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct, field

from layerscope.model.entry import Entry, EntryState
from layerscope.model.level import Level, Role
from layerscope.model.subject import Subject
from layerscope.overlay import MergedDirectory
from layerscope.tui.glyphs import Mark, mark_of

_MOUNT_FOLDERS = frozenset({"proc", "sys", "dev/pts", "dev/shm"})
_MARKER = ".dockerenv"
_TIMES_SHARED = 1024
"""Many files of a directory have the same time: then one number is held for all."""


class Ownership(NamedTuple):
    """Type and permissions, owner and group; few different ones are held for all rows together."""

    mode: int
    uid: int
    gid: int


class FileRow:
    """A name of one directory.

    ``level`` is the one that serves it, or that removed it; ``mark`` what that level did (None: not known yet);
    ``size`` in bytes (of a removed or hidden name: what is still stored below; None: not known, or a directory's);
    ``mtime`` in seconds. ``note`` and ``target`` (of a symlink) are raw, not escaped.
    """

    __slots__ = ("level", "mark", "mtime", "name", "note", "ownership", "size", "target")

    def __init__(
        self,
        name: str,
        mark: Mark | None,
        level: int,
        ownership: Ownership,
        size: int | None,
        mtime: int,
        note: str = "",
        target: str | None = None,
    ) -> None:
        self.name = name
        self.mark = mark
        self.level = level
        self.ownership = ownership
        self.size = size
        self.mtime = mtime
        self.note = note
        self.target = target

    def __repr__(self) -> str:
        return f"FileRow({self.name!r}, {self.mark}, L{self.level}, {self.note!r})"

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory, seen or removed."""
        return modes.S_ISDIR(self.ownership.mode)

    @property
    def gone(self) -> bool:
        """Whether it isn't in the view."""
        return self.mark is Mark.WHITEOUT or self.mark is Mark.HIDDEN


class Surroundings(Struct, frozen=True):
    """What is known of a subject beside its files: the role of each level, and what is mounted where at run time."""

    roles: Mapping[int, Role] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)


def surroundings(subject: Subject, levels: tuple[Level, ...]) -> Surroundings:
    """The roles of the subject's levels, and a note for each path (without leading slash) that a mount covers."""
    mounts = {}
    for mount in subject.container.mounts if subject.container else ():
        source = mount.name or mount.source
        mounts[mount.destination.strip("/")] = f"{mount.type} {source} is mounted here".replace("  ", " ")
    return Surroundings({level.number: level.role for level in levels}, mounts)


class RowMaker:
    """Makes the rows of one directory. Names that aren't in the view become one row each, however many copies lie
    below: ``visible`` and ``gone`` rows are in the order of their entries."""

    def __init__(self, directory: MergedDirectory, around: Surroundings) -> None:
        self.visible: list[FileRow] = []
        self.gone: dict[str, FileRow] = {}
        self._directory = directory
        self._around = around
        self._ownerships: dict[Ownership, Ownership] = {}
        self._without_copy: set[str] = set()
        self._times: dict[int, int] = {}

    def add(self, entry: Entry) -> None:
        """Take one more entry; what hides others comes before them."""
        if entry.hidden:
            self._add_gone(entry)
        else:
            self.visible.append(self._visible(entry))

    def _row(self, entry: Entry, mark: Mark | None, size: int | None, note: str) -> FileRow:
        stat = entry.stat
        ownership = Ownership(stat.st_mode, stat.st_uid, stat.st_gid)
        ownership = self._ownerships.setdefault(ownership, ownership)
        mtime = int(stat.st_mtime)
        if len(self._times) < _TIMES_SHARED:
            mtime = self._times.setdefault(mtime, mtime)
        else:
            mtime = self._times.get(mtime, mtime)
        return FileRow(entry.name, mark, entry.level, ownership, size, mtime, note, entry.target)

    def _visible(self, entry: Entry) -> FileRow:
        if entry.state is None:
            mark = None
        else:
            mark = mark_of(entry.state, changes_within=entry.is_dir and entry.state is EntryState.UNCHANGED)
        return self._row(entry, mark, _own_size(entry), self._note(entry))

    def _note(self, entry: Entry) -> str:
        mounted = self._around.mounts.get(entry.path)
        if mounted is not None:
            return mounted
        if entry.state is EntryState.OPAQUE:
            return self._opaque_note(entry.name)
        role = self._around.roles.get(entry.level)
        if role is Role.INIT and entry.state is EntryState.ADDED:
            return _init_note(entry)
        if entry.level_below is None:
            return ""
        if entry.is_dir:
            return "metadata changed" if entry.state is EntryState.METADATA else ""
        return _copy_note(entry.state, entry.level_below, role is Role.RW)

    def _opaque_note(self, name: str) -> str:
        try:
            covered = self._directory.child(name).covered
        except OSError:
            covered = ()
        levels = sorted({hidden.part.level for hidden in covered})
        return f"opaque, hides {_levels_text(levels)}" if levels else "opaque, nothing below it"

    def _add_gone(self, entry: Entry) -> None:
        row = self.gone.get(entry.name)
        whiteout = entry.state is EntryState.WHITEOUT
        if row is None:
            if whiteout:
                row = self._row(entry, Mark.WHITEOUT, None, f"deleted in L{entry.level}, nothing below")
                self._without_copy.add(entry.name)
            else:
                row = self._row(entry, Mark.HIDDEN, _own_size(entry), f"hidden by opaque L{entry.hidden_by}")
            self.gone[entry.name] = row
        elif not whiteout:
            self._add_copy(row, entry)

    def _add_copy(self, row: FileRow, entry: Entry) -> None:
        """Add one more stored copy to the row of a removed name; the first one tells type, owner and time."""
        size = _own_size(entry)
        if entry.name in self._without_copy:
            self._without_copy.discard(entry.name)
            copy = self._row(entry, row.mark, size, "")
            row.ownership, row.mtime, row.target, row.size = copy.ownership, copy.mtime, copy.target, size
            row.note = f"deleted in L{row.level}, was in L{entry.level}"
        elif size is not None and row.size is not None:
            row.size += size

    def found_below(self, row: FileRow, level: int, size: int | None) -> None:
        """Tell what the lower levels had under a name that the only level shown removes."""
        row.size = size
        row.note = f"deletes the copy of L{level}"


def _own_size(entry: Entry) -> int | None:
    mode = entry.stat.st_mode
    return entry.stat.st_size if modes.S_ISREG(mode) or modes.S_ISLNK(mode) else None


def _init_note(entry: Entry) -> str:
    if entry.is_dir:
        return "mount point" if entry.path in _MOUNT_FOLDERS else ""
    if entry.path == _MARKER:
        return "tells that this is a container"
    return "bind-mount target" if entry.type == "file" and not entry.stat.st_size else ""


@lru_cache(maxsize=2048)
def _copy_note(state: EntryState | None, below: int, writable: bool) -> str:
    if state is EntryState.MODIFIED:
        return f"copied up from L{below}" if writable else f"over the copy of L{below}"
    if state is EntryState.METADATA:
        return f"metadata changed, content of L{below}"
    if state is EntryState.UNCHANGED:
        return f"same as in L{below}"
    return f"copied up from L{below}" if writable else ""


def _levels_text(levels: list[int]) -> str:
    if len(levels) > 2 and levels[-1] - levels[0] == len(levels) - 1:
        return f"L{levels[0]}–{levels[-1]}"
    return ", ".join(f"L{level}" for level in levels)
