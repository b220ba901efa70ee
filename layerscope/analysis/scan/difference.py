"""What grew between two scans: both files are read through once, side by side, since both are in the same order.

What is kept is one sum for each class, the largest of everything else, and (if all paths are wanted) a file of the
user's own for those. A layer that only one scan has is told as one, and its paths only if a container writes there:
those of an image that was pulled are the image's, they didn't grow.
"""

from __future__ import annotations

import heapq
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from layerscope.analysis.scan.spill import SortedSpill
from layerscope.formats.scan.reader import ScanReader
from layerscope.model.scan import LAYER, ScanEntry, ScanRow, ScanSubject, ScanTree, decoded, encoded, entry_key, row_key
from layerscope.model.scan_difference import (
    Growth,
    GrowthCount,
    LayerGrowth,
    PathGrowth,
    ScanDifference,
    SumGrowth,
)

_Item = TypeVar("_Item")
_MOST_CLASSES = 1000
_OTHERS = "other classes"
_FACTS = 3
"""Behind the path and whose it is: that another name was given to an image changes none of its files."""


def differences(old: ScanReader, new: ScanReader, limit: int | None, stack: ExitStack) -> ScanDifference:
    """Everything that differs, the largest first.

    Args:
        old: the earlier scan, at its beginning.
        new: the later one.
        limit: how many owners, layers and paths are kept of each; None: all of them.
        stack: what holds the paths is closed with it.

    Raises:
        CorruptError: a file is damaged.
        OSError: it can't be read; a temporary file can't be written.
    """
    sums = _Sums(limit)
    if old.header.total_disk is not None and new.header.total_disk is not None:
        for pair in merged(old.entries(), new.entries(), entry_key):
            sums.add(*pair)
        sums.finish()
    trees = _Trees(limit, stack)
    for before, after in merged(old.trees(), new.trees(), lambda item: item[0].key):
        trees.add(before, after)
    return ScanDifference(
        old=old.header,
        new=new.header,
        notes=tuple(_notes(old, new)),
        classes=tuple(sorted(sums.classes(), key=_rank)),
        owners=tuple(sums.owners.best()),
        layers=tuple(trees.layers.best()),
        counts=tuple(GrowthCount(growth, *trees.counts[growth]) for growth in Growth if growth in trees.counts),
        paths=trees.paths(),
    )


def merged(
    old: Iterator[_Item], new: Iterator[_Item], key: Callable[[_Item], Any]
) -> Iterator[tuple[_Item | None, _Item | None]]:
    """Pairs of what has the same key, None where only one has it. Both are in the order of the key."""
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if after is None or (before is not None and key(before) < key(after)):
            yield before, None
            before = next(old, None)
        elif before is None or key(after) < key(before):
            yield None, after
            after = next(new, None)
        else:
            yield before, after
            before, after = next(old, None), next(new, None)


class _Largest(Generic[_Item]):
    """The largest of many, or all of them."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._heap: list[tuple[int, int, _Item]] = []
        self._number = 0

    def add(self, size: int, item: _Item) -> None:
        self._number += 1
        entry = (abs(size), -self._number, item)
        if self._limit is None or len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def best(self) -> list[_Item]:
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


# ---------------------------------------------------------------------- ledgers
def _rank(growth: SumGrowth) -> tuple[int, str]:
    return -abs(growth.grown_disk), growth.category


class _Sums:
    """Both ledgers by class and by owner."""

    def __init__(self, limit: int | None) -> None:
        self.owners: _Largest[SumGrowth] = _Largest(limit)
        self._classes: dict[str, list[int]] = {}
        self._subject: ScanSubject | None = None
        self._disk = [0, 0]

    def add(self, before: ScanEntry | None, after: ScanEntry | None) -> None:
        """One entry; those of one owner come together."""
        one = before or after
        assert one is not None
        subject = one.subject
        if self._subject is None or (subject.kind, subject.owner) != (self._subject.kind, self._subject.owner):
            self.finish()
            self._subject = subject
        known = subject.category in self._classes or len(self._classes) < _MOST_CLASSES
        sums = self._classes.setdefault(subject.category if known else _OTHERS, [0, 0])
        for side, entry in enumerate((before, after)):
            if entry is not None:
                sums[side] += entry.disk
                self._disk[side] += entry.disk

    def finish(self) -> None:
        """The owner that was added last has no more entries."""
        if self._subject is not None and self._disk[0] != self._disk[1]:
            found = SumGrowth(self._subject.kind, self._subject.owner, "", *self._disk)
            self.owners.add(found.grown_disk, found)
        self._subject, self._disk = None, [0, 0]

    def classes(self) -> Iterator[SumGrowth]:
        for category, (old, new) in self._classes.items():
            if old != new:
                yield SumGrowth("", "", category, old, new)


# ---------------------------------------------------------------------- trees
_Tree = tuple[ScanTree, Iterator[ScanRow]]


class _Sum(Struct):
    """Rows of a layer that only one scan has."""

    entries: int = 0
    disk: int = 0
    subject: ScanSubject = field(default_factory=lambda: ScanSubject("", ""))

    def add(self, row: ScanRow) -> None:
        if not self.entries:
            self.subject = row.subject
        self.entries += 1
        self.disk += row.disk


class _Trees:
    """Rows side by side."""

    def __init__(self, limit: int | None, stack: ExitStack) -> None:
        self.layers: _Largest[LayerGrowth] = _Largest(limit)
        self.counts: dict[Growth, list[int]] = {}
        self._largest: _Largest[tuple[Any, ...]] | None = None if limit is None else _Largest(limit)
        self._spill = stack.enter_context(SortedSpill()) if limit is None else None
        self._number = 0

    def add(self, before: _Tree | None, after: _Tree | None) -> None:
        """One tree."""
        if before is not None and after is not None:
            tree = after[0]
            for pair in merged(before[1], after[1], row_key):
                self._compare(tree, *pair)
            return
        only = before or after
        assert only is not None
        tree, rows = only
        total = _Sum()
        for row in rows:
            total.add(row)
            if tree.is_written:
                self._compare(tree, row if before else None, row if after else None)
        if tree.kind == LAYER:
            growth = Growth.REMOVED if before else Growth.ADDED
            self.layers.add(total.disk, LayerGrowth(growth, tree, total.subject, total.entries, total.disk))

    def _compare(self, tree: ScanTree, before: ScanRow | None, after: ScanRow | None) -> None:
        growth, old, new = Growth.CHANGED, 0, 0
        if before is not None:
            old = before.disk if tree.has_disk else _length(before)
        if after is not None:
            new = after.disk if tree.has_disk else _length(after)
        if before is None:
            growth = Growth.ADDED
        elif after is None:
            growth = Growth.REMOVED
        elif old != new:
            growth = Growth.GROWN if new > old else Growth.SHRUNK
        elif before[_FACTS:] == after[_FACTS:]:
            return
        count = self.counts.setdefault(growth, [0, 0])
        count[0] += 1
        count[1] += new - old
        if old == new:
            return
        row = after or before
        assert row is not None
        self._keep(new - old, _kept(tree, growth, row, before, after, old, new))

    def _keep(self, grown: int, fields: tuple[Any, ...]) -> None:
        if self._largest is not None:
            self._largest.add(grown, fields)
        elif self._spill is not None:
            self._number += 1
            self._spill.add((-abs(grown), self._number, *fields))

    def paths(self) -> Iterator[PathGrowth]:
        """Those whose bytes differ, the largest first."""
        if self._largest is not None:
            return map(_path, self._largest.best())
        return (_path(fields[2:]) for fields in self._spill or ())


def _length(row: ScanRow) -> int:
    return row.size if modes.S_ISREG(row.mode) else 0


def _kept(
    tree: ScanTree,
    growth: Growth,
    row: ScanRow,
    before: ScanRow | None,
    after: ScanRow | None,
    old: int,
    new: int,
) -> tuple[Any, ...]:
    """A path as plain values, which can be written aside."""
    is_layer = tree.kind == LAYER
    return (
        growth.value,
        encoded(tree.path),
        encoded(tree.id) if is_layer else None,
        row.path,
        encoded(row.subject.category),
        encoded(row.subject.owner),
        row.mode,
        None if before is None else old,
        None if after is None else new,
        None if before is None else before.size,
        None if after is None else after.size,
    )


def _path(fields: tuple[Any, ...]) -> PathGrowth:
    growth, place, layer, path, category, owner, mode, *numbers = fields
    return PathGrowth(
        Growth(growth),
        decoded(b"/".join(part for part in (place, path) if part)) or ".",
        None if layer is None else "/" + decoded(path),
        None if layer is None else decoded(layer),
        ScanSubject(decoded(category), decoded(owner)),
        mode,
        *numbers,
    )


def _notes(old: ScanReader, new: ScanReader) -> Iterator[str]:
    one, other = old.header, new.header
    if one.host != other.host:
        yield f"the scans are of two hosts, {one.host} and {other.host}: layers are compared by what their records name"
    if one.root != other.root:
        yield f"the scans are of two roots, {one.root} and {other.root}"
    if (one.store, one.driver) != (other.store, other.driver):
        yield f"one scan is of {one.store} with {one.driver}, the other of {other.store} with {other.driver}"
    if one.scanned_at_ns > other.scanned_at_ns:
        yield "the scan that was named first is the newer one"
    for reader in (old, new):
        end = reader.end
        if reader.header.total_disk is None:
            yield f"{reader.name} is of no data root and has no ledger: there is nothing to compare by class and owner"
        if end is not None and end.unreadable:
            yield f"{reader.name} lacks what is below {end.unreadable} directories that could not be listed"
        if end is not None and end.vanished:
            yield f"{end.vanished} entries vanished while {reader.name} was made"
