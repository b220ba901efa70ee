"""Sizes that are found by walking trees, many trees at once, by several processes where there is much to walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec import Struct, field

from layerscope.analysis.measuring.pool import Cancelled, Pool
from layerscope.hostfs import Directory
from layerscope.hostfs.measure import Sums, Task
from layerscope.hostfs.walk import inodes_below
from layerscope.model.tree import LayerDirectory

if TYPE_CHECKING:
    from layerscope.analysis.measuring.ahead import Ahead


class _Tally(Struct):
    """The bytes of one tree, ``None`` once a directory of it could not be read; ``linked``: inodes with more names."""

    size: int | None = 0
    linked: set[int] = field(default_factory=set)

    def add(self, sums: Sums) -> None:
        """One part of the tree: an inode with names in several parts counts once."""
        _unit, _disk, _apparent, _names, file_bytes, _symlink_bytes, _vanished, unreadable, links, _marks = sums
        if unreadable:
            self.size = None
        if self.size is None:
            return
        self.size += file_bytes
        for key, _seen, _nlink, _link_disk, size in links:
            if key in self.linked:
                self.size -= size
            self.linked.add(key)


def walked_sizes(
    tops: Sequence[LayerDirectory | None],
    cancelled: Callable[[], bool] = lambda: False,
    ahead: Ahead | None = None,
) -> list[int | None]:
    """For each tree the apparent bytes of every non-directory in it, each inode once; what vanishes is left out.

    None for a tree of which a directory can't be read, and where there is none. When ``cancelled`` says so the walk
    ends, and its result means nothing. ``ahead``: where some of these trees are being measured already.
    """
    tallies = [_Tally() for _ in tops]
    with ExitStack() as stack:
        roots: dict[Directory, int] = {}
        tasks: dict[int, Task] = {}
        units: dict[tuple[int, int], int] = {}
        for unit, top in enumerate(tops):
            try:
                if not isinstance(top, Directory):
                    tallies[unit].size = _in_archive(top, cancelled)
                    continue
                root, path = top.from_root()
                if root not in roots:
                    roots[root] = stack.enter_context(root.held())
                stat = top.stat_self()
                units[stat.st_dev, stat.st_ino] = unit
                tasks[unit] = (unit, roots[root], path, ["."], stat.st_dev, False, [], False)
            except OSError:
                tallies[unit].size = None
        begun = {} if ahead is None else ahead.asked(units)
        already = frozenset(begun.values())
        waiting = [task for unit, task in tasks.items() if unit not in already]
        crew = None
        if ahead is not None and begun:
            waiting += ahead.not_begun()
            crew = ahead.crew

        def take(sums: Sums) -> None:
            tallies[begun.get(sums[0], sums[0])].add(sums)

        with Pool(tuple(roots.values()), take, lambda verdict: None, cancelled=cancelled, crew=crew) as pool:
            for task in waiting:
                pool.add(task)
            try:
                pool.finish()
            except Cancelled:
                pass
    return [tally.size for tally in tallies]


def _in_archive(top: LayerDirectory | None, cancelled: Callable[[], bool]) -> int | None:
    return None if top is None else sum(stat.st_size for _, _, stat in inodes_below(top, cancelled))
