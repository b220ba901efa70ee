"""Where the blocks of one thin device lie in its pool, kept as runs; and how many devices use each data block."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from layerscope.errors import CorruptError
from layerscope.formats.thinpool.btree import Damage


class Run(NamedTuple):
    """``length`` virtual blocks from ``virtual`` on lie at ``data`` and the blocks behind it, all written at ``time``.

    ``time`` counts snapshots of the pool, not seconds.
    """

    virtual: int
    data: int
    length: int
    time: int


class Piece(NamedTuple):
    """``length`` virtual blocks from ``virtual`` on, with where they lie; ``data`` None: not mapped, they read as 0."""

    virtual: int
    length: int
    data: int | None
    time: int | None


class BlockMap:
    """Every mapping of one device, in the order of its virtual blocks. 28 bytes a run."""

    __slots__ = ("_data", "_lengths", "_times", "_virtual", "damages", "mapped")

    def __init__(self, runs: Iterable[Run] = (), damages: Iterable[Damage] = ()) -> None:
        """Take in ``runs`` with rising virtual blocks that don't overlap; adjoining ones become one.

        Raises:
            CorruptError: they overlap or don't rise.
        """
        self._virtual, self._data, self._lengths, self._times = array("Q"), array("Q"), array("Q"), array("I")
        self.mapped = 0
        """How many virtual blocks are mapped."""
        next_virtual, next_data, last_time = 0, -1, -1
        for virtual, data, length, time in runs:
            if virtual < next_virtual:
                raise CorruptError(f"virtual block {virtual} is mapped twice")
            if virtual == next_virtual and data == next_data and time == last_time:
                self._lengths[-1] += length
            else:
                self._virtual.append(virtual)
                self._data.append(data)
                self._lengths.append(length)
                self._times.append(time)
            next_virtual, next_data, last_time = virtual + length, data + length, time
            self.mapped += length
        # Only now: who yields the runs may find the damage on the way.
        self.damages = tuple(damages)
        """Parts of the map that can't be known, in order."""

    def __len__(self) -> int:
        return len(self._virtual)

    def __iter__(self) -> Iterator[Run]:
        return map(Run, self._virtual, self._data, self._lengths, self._times)

    def lookup(self, virtual: int) -> tuple[int, int] | None:
        """The data block and time of a virtual block, None if it isn't mapped.

        Raises:
            CorruptError: it lies in a damaged part of the map.
        """
        index = bisect_right(self._virtual, virtual) - 1
        if index >= 0 and (offset := virtual - self._virtual[index]) < self._lengths[index]:
            return self._data[index] + offset, self._times[index]
        for damage in self.damages:
            if damage.first <= virtual < damage.end:
                raise CorruptError(f"where virtual block {virtual:#x} lies is not known: {damage.reason}")
        return None

    def pieces(self, first: int, count: int) -> Iterator[Piece]:
        """The virtual blocks from ``first`` on, ``count`` of them, mapped and unmapped, in order and without a gap.

        Raises:
            CorruptError: the next piece lies in a damaged part of the map.
        """
        at, end = first, first + count
        index = max(0, bisect_right(self._virtual, first) - 1)
        while at < end:
            while index < len(self._virtual) and self._virtual[index] + self._lengths[index] <= at:
                index += 1
            start = self._virtual[index] if index < len(self._virtual) else end
            if at < start:
                hole_end = min(start, end)
                for damage in self.damages:
                    if damage.first < hole_end and at < damage.end:
                        raise CorruptError(f"where virtual block {max(at, damage.first):#x} lies is not known:"
                                           f" {damage.reason}")  # fmt: skip
                yield Piece(at, hole_end - at, None, None)
                at = hole_end
            else:
                offset = at - start
                length = min(self._lengths[index] - offset, end - at)
                yield Piece(at, length, self._data[index] + offset, self._times[index])
                at += length


class UseCounts:
    """How many devices map each data block of a pool, kept as steps.

    ``complete``: whether the maps of all devices could be read; if not, the counts may be too low.
    """

    __slots__ = ("_counts", "_starts", "complete")

    def __init__(self, spans: Iterable[tuple[int, int, int]], complete: bool = True) -> None:
        """Add up ``spans`` of (first data block, length, how many devices map it), in any order."""
        self.complete = complete
        changes: dict[int, int] = {}
        for start, length, count in spans:
            changes[start] = changes.get(start, 0) + count
            changes[start + length] = changes.get(start + length, 0) - count
        self._starts = array("Q")
        self._counts: list[int] = []
        total = 0
        for start in sorted(changes):
            if changes[start]:
                total += changes[start]
                self._starts.append(start)
                self._counts.append(total)

    def of(self, block: int) -> int:
        """How many devices map a data block."""
        index = bisect_right(self._starts, block) - 1
        return self._counts[index] if index >= 0 else 0

    def spans(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        """The data blocks from ``start`` on as (how many, by how many devices they are mapped), in order."""
        at, end = start, start + length
        index = bisect_right(self._starts, start) - 1
        while at < end:
            stop = self._starts[index + 1] if index + 1 < len(self._starts) else end
            step = min(stop, end) - at
            yield step, self._counts[index] if index >= 0 else 0
            at += step
            index += 1

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Every data block that is mapped, with by how many devices, in order."""
        for (start, stop), count in zip(pairwise(self._starts), self._counts, strict=False):
            if count:
                for block in range(start, stop):
                    yield block, count

    @property
    def allocated(self) -> int:
        """How many data blocks at least one device maps."""
        steps = zip(pairwise(self._starts), self._counts, strict=False)
        return sum(stop - start for (start, stop), count in steps if count)
