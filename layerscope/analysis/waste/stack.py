"""What a stack stores for nothing: every hidden copy with what hides it, and content that is seen but stored twice.

One walk over the directories of all levels, each listed once. Sizes are ``st_size`` of regular files and symlinks, as
docker sums the layers of overlay2; each inode of a level counts once, and only if none of its names is seen is it
hidden: to remove one name of several frees nothing. A metadata-only copy (overlayfs' metacopy) stores no data: that of
the copy below is in view.

Memory is that of one directory and of the files with several names; the rest is sorted on disk.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from layerscope.analysis.scan.spill import SortedSpill
from layerscope.analysis.waste.copies import Copy, Folder, Hides, Strand, folder_of, stats_in, walk_folders
from layerscope.analysis.waste.dive_score import DiveTally
from layerscope.analysis.waste.elsewhere import OtherLayers
from layerscope.analysis.waste.same_content import content_digest, find_same
from layerscope.model.problem import Problem
from layerscope.model.waste import Cause, CauseTotal, LevelWaste, Waste, WasteItem
from layerscope.overlay.entry_state import same_bytes
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.view import MergedView

_NAMES_AT_ONCE = 2048
_BLOCK = 512
_CAUSES = tuple(Cause)
_BY_MARK = {Hides.WHITEOUT: Cause.DELETED, Hides.OPAQUE: Cause.OPAQUE, Hides.REPLACED: Cause.OVERWRITTEN}
_FILE = (modes.S_IFREG, modes.S_IFLNK)

_Key = tuple[int, int, int]
_NO_KEY = (0, 0, 0)
Stats = dict[tuple[int, str], os.stat_result]
"""``lstat`` by the identity of a directory and a name in it."""


class _Linked(Struct):
    """An inode with several names in its level: its bytes, whether one is seen, and else what hides the first."""

    size: int
    seen: bool
    item: tuple[int, bytes, int, int, int]


class WasteReport:
    """The waste of one stack: :attr:`waste` has the totals, :meth:`items` each wasted copy; a context manager.

    The level of a ``same_as`` that is below zero is a key of :attr:`holders`: the number of another stack, and its
    level.
    """

    def __init__(self, items: SortedSpill) -> None:
        self.problems: list[Problem] = []
        self.holders: dict[int, tuple[int, int]] = {}
        self.waste = Waste(0, 0, 0, (), (), DiveTally().score({}))
        self._items = items
        self._freed: set[_Key] = set()

    def __enter__(self) -> WasteReport:
        return self

    def __exit__(self, *_: object) -> None:
        self._items.close()

    def items(self) -> Iterator[WasteItem]:
        """Most bytes first, then by the path's bytes, then the higher level; commands and remedies are not known."""
        for size, path, level, cause, hidden_by, same_path, same_level, *key in self._items:
            if tuple(key) in self._freed:
                continue
            same_as = (os.fsdecode(same_path), same_level) if same_level else None
            yield WasteItem(os.fsdecode(path), _CAUSES[cause], -size, -level, hidden_by or None, same_as=same_as)


def measure_waste(
    view: MergedView,
    same_content: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
    others: Sequence[MergedView] = (),
) -> WasteReport:
    """Find what the levels of ``view`` store for nothing.

    Args:
        view: The merged view; its problems gain what can't be read.
        same_content: Also hash files of equal size that are in view, to find those that are stored twice.
        cancelled: Asked for every directory; when it says so the walk ends, and the report means nothing.
        others: Stacks in whose layers the same content is looked for, too; their copy is then the one that is kept.
    """
    measuring = _Measuring(view)
    try:
        for folder in walk_folders(folder_of([view])):
            if cancelled():
                break
            measuring.look(folder)
        return measuring.finished(same_content, cancelled, others)
    except BaseException:
        measuring.items.close()
        raise
    finally:
        measuring.seen.close()


class _Measuring:
    def __init__(self, view: MergedView) -> None:
        self.view = view
        self.items = SortedSpill()
        self.seen = SortedSpill()
        self.report = WasteReport(self.items)
        self.dive = DiveTally()
        numbers = [level.number for level in view.levels]
        self._paid = dict.fromkeys(numbers, 0)
        self._wasted = dict.fromkeys(numbers, 0)
        self._causes = {cause: [0, 0] for cause in Cause}
        self._linked: dict[_Key, _Linked] = {}
        self._needed: set[_Key] = set()

    # ------------------------------------------------------------------ the walk
    def look(self, folder: Folder) -> None:
        """Count what lies in one directory of all levels."""
        names = sorted(folder.names(), key=os.fsencode)
        for strand in folder.strands:
            for start in range(0, len(names), _NAMES_AT_ONCE):
                some = names[start : start + _NAMES_AT_ONCE]
                stats = self._stats(folder, strand, some)
                for name in some:
                    self._look_at(folder, strand, name, stats)

    @staticmethod
    def _stats(folder: Folder, strand: Strand, names: Sequence[str]) -> Stats:
        found: Stats = {}
        for held in strand.held:
            listing = folder.listing(held.part)
            files = [name for name in names if listing.get(name, "d") not in ("d", "w")]
            for name, stat in zip(files, stats_in(strand.view, held.part, files), strict=True):
                if stat is not None:
                    found[id(held.part), name] = stat
        return found

    def _look_at(self, folder: Folder, strand: Strand, name: str, stats: Stats) -> None:
        copies = folder.copies(strand, name)
        path = folder.path_of(name)
        sizes: list[int] = []
        for position, copy in enumerate(copies):
            stat = stats.get((id(copy.part), name))
            size = 0
            if stat is not None and modes.S_IFMT(stat.st_mode) in _FILE:
                size = self._count(folder, strand, copies, position, stat, stats)
                size = size if modes.S_ISREG(stat.st_mode) else 0
            sizes.append(size)
        self.dive.path(path, copies, sizes)

    def _count(
        self, folder: Folder, strand: Strand, copies: list[Copy], position: int, stat: os.stat_result, stats: Stats
    ) -> int:
        """Count one copy; the bytes that its level stores for it, 0 for a later name of an inode."""
        copy = copies[position]
        part = copy.part
        name = copy.name
        level = part.level
        key = self.view.file_key(level, stat)
        if self._is_metacopy(part, name, stat):
            if copy.hider is None:
                self._need_data(strand, folder, part, name)
            return 0
        if copy.held.moved:  # it is counted where its own level has it, and seen all the same
            if copy.hider is None:
                self._needed.add(key)
            return 0
        known = self._linked.get(key) if stat.st_nlink > 1 else None
        if known is not None:
            if copy.hider is None and not known.seen:
                known.seen = True
                self._show(part, name, stat)
            return 0
        self._paid[level] += stat.st_size
        item = (-stat.st_size, os.fsencode(folder.path_of(name)), -level, 0, 0)
        if copy.hider is not None and stat.st_size:
            cause = self._cause(folder, strand, copies, position, stat, stats)
            item = (*item[:3], _CAUSES.index(cause), copy.hider.level)
        if stat.st_nlink > 1:
            self._linked[key] = _Linked(stat.st_size, copy.hider is None, item)
        elif copy.hider is not None and stat.st_size:
            self._waste(item, key)
        if copy.hider is None:
            self._show(part, name, stat)
        return stat.st_size

    def _cause(
        self, folder: Folder, strand: Strand, copies: list[Copy], position: int, stat: os.stat_result, stats: Stats
    ) -> Cause:
        copy = copies[position]
        assert copy.hider is not None
        cause = _BY_MARK[copy.hider.how]
        above = copies[position - 1] if position else None
        if cause is not Cause.OVERWRITTEN or above is None or above.part.level != copy.hider.level:
            return cause
        over = stats.get((id(above.part), copy.name))
        if over is None or above.kind != copy.kind or over.st_size != stat.st_size:
            return cause
        if modes.S_ISLNK(stat.st_mode):
            same: bool | None = _target(above.part, copy.name) == _target(copy.part, copy.name)
        elif _is_sparse(stat) and _is_sparse(over) and not self._is_metacopy(above.part, copy.name, over):
            same = _same_data(above.part, copy.part, copy.name)
        else:
            parts = tuple(held.part for held in strand.held if held.part.level <= above.part.level)
            directory = MergedDirectory(strand.view, folder.path, parts)
            same = same_bytes(directory, above.part, copy.name, copy.part, copy.name)
        return Cause.METADATA if same else cause

    def _is_metacopy(self, part: Part, name: str, stat: os.stat_result) -> bool:
        """Whether a file has only metadata here: then its length is a hole."""
        dialect = part.dialect
        if not dialect.prefix or not _is_sparse(stat) or not modes.S_ISREG(stat.st_mode):
            return False
        try:
            return part.directory.xattr(dialect.metacopy_key, name) is not None
        except OSError:  # it vanished
            return False

    def _need_data(self, strand: Strand, folder: Folder, part: Part, name: str) -> None:
        parts = tuple(held.part for held in strand.held if held.barrier is None)
        try:
            lower, source = MergedDirectory(strand.view, folder.path, parts).data_of(part, name)
            stat = lower.directory.stat(source)
        except OSError:
            return
        self._needed.add(self.view.file_key(lower.level, stat))

    def _show(self, part: Part, name: str, stat: os.stat_result) -> None:
        if modes.S_ISREG(stat.st_mode) and stat.st_size:
            path = f"{part.path}/{name}" if part.path else name
            self.seen.add((stat.st_size, part.level, os.fsencode(path)))

    def _waste(
        self,
        item: tuple[int, bytes, int, int, int],
        key: _Key = _NO_KEY,
        same_as: tuple[bytes, int] = (b"", 0),
    ) -> None:
        size, _, level, cause, _ = item
        self.items.add((*item, *same_as, *key))
        self._add(_CAUSES[cause], -level, -size, 1)

    def _add(self, cause: Cause, level: int, size: int, count: int) -> None:
        self._wasted[level] += size
        self._causes[cause][0] += size
        self._causes[cause][1] += count

    # ------------------------------------------------------------------ the end
    def finished(self, same_content: bool, cancelled: Callable[[], bool], others: Sequence[MergedView]) -> WasteReport:
        """Count what only the whole walk can tell."""
        for key, linked in self._linked.items():
            if not linked.seen and linked.size:
                self._waste(linked.item, key)
        freed: set[_Key] = set()
        if self._needed:
            for size, _, level, cause, _, _, _, *rest in self.items:
                key = (rest[0], rest[1], rest[2])
                if key in self._needed:
                    freed.add(key)
                    self._add(_CAUSES[cause], -level, size, -1)
        hidden = sum(self._wasted.values())
        if same_content:
            tops = {part.level: part.directory for part in self.view.root_parts}
            if others:
                elsewhere = OtherLayers(others, self.view)
                for file in elsewhere.files(cancelled):
                    self.seen.add(tuple(file))
                tops.update(elsewhere.tops)
                self.report.holders = elsewhere.holders
            for same in find_same(self.seen, tops, self.report.problems, cancelled, lambda level: level > 0):
                item = (-same.size, same.path, -same.level, _CAUSES.index(Cause.SAME_CONTENT), 0)
                self._waste(item, same_as=(same.first_path, same.first_level))
        self.report._freed = freed
        self.report.waste = self._totals(hidden)
        self.report.problems.extend(self.view.problems)
        return self.report

    def _totals(self, hidden: int) -> Waste:
        paid = sum(self._paid.values())
        causes = tuple(CauseTotal(cause, size, count) for cause, (size, count) in self._causes.items())
        levels = tuple(LevelWaste(number, self._paid[number], self._wasted[number]) for number in self._paid)
        score = self.dive.score(self._paid)
        return Waste(paid, paid - hidden, sum(self._wasted.values()), causes, levels, score)


def _is_sparse(stat: os.stat_result) -> bool:
    return stat.st_blocks * _BLOCK < stat.st_size


def _same_data(one: Part, other: Part, name: str) -> bool:
    """Whether two sparse files of one size hold the same bytes; holes aren't read."""
    try:
        return content_digest(one.directory, name) == content_digest(other.directory, name)
    except OSError:
        return False


def _target(part: Part, name: str) -> str | None:
    try:
        return part.directory.readlink(name)
    except OSError:
        return None
