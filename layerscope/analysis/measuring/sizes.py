"""Sizes that are found by walking trees, many trees at once, by several processes where there is much to walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec import Struct, field

from layerscope.analysis.measuring.pool import Cancelled, Pool
from layerscope.hostfs import Directory
from layerscope.hostfs.measure import Sums, Task
from layerscope.hostfs.walk import inodes_below
from layerscope.model.tree import LayerDirectory


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
    tops: Sequence[LayerDirectory | None], cancelled: Callable[[], bool] = lambda: False
) -> list[int | None]:
    """For each tree the apparent bytes of every non-directory in it, each inode once; what vanishes is left out.

    None for a tree of which a directory can't be read, and where there is none. When ``cancelled`` says so the walk
    ends, and its result means nothing.
    """
    tallies = [_Tally() for _ in tops]
    with ExitStack() as stack:
        roots: dict[Directory, int] = {}
        tasks: list[Task] = []
        for unit, top in enumerate(tops):
            try:
                if not isinstance(top, Directory):
                    tallies[unit].size = _in_archive(top, cancelled)
                    continue
                root, path = top.from_root()
                if root not in roots:
                    roots[root] = stack.enter_context(root.held())
                tasks.append((unit, roots[root], path, ["."], top.stat_self().st_dev, False, [], False))
            except OSError:
                tallies[unit].size = None

        def take(sums: Sums) -> None:
            tallies[sums[0]].add(sums)

        with Pool(tuple(roots.values()), take, lambda verdict: None, cancelled=cancelled) as pool:
            for task in tasks:
                pool.add(task)
            try:
                pool.finish()
            except Cancelled:
                pass
    return [tally.size for tally in tallies]


def _in_archive(top: LayerDirectory | None, cancelled: Callable[[], bool]) -> int | None:
    return None if top is None else sum(stat.st_size for _, _, stat in inodes_below(top, cancelled))
