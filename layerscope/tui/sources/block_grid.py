"""The blocks of a thin device as rows of a grid. Pure: knows nothing of screens.

A device of 10 GB has 160,000 blocks, and most are mapped by nothing: rows without a mapped block become one gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from layerscope.model.block_map import BlockRun


class GridRow(Struct, frozen=True):
    """``count`` virtual blocks from ``first`` on; a gap if none of them is mapped."""

    first: int
    count: int
    gap: bool = False


class BlockGridRows:
    """The rows of a device's blocks, ``width`` in a row, from its runs (by virtual block, none overlapping)."""

    def __init__(self, runs: Sequence[BlockRun], width: int) -> None:
        self.runs = runs
        self.width = width
        self._starts = [run.virtual for run in runs]
        self.rows = self._rows()

    def _rows(self) -> list[GridRow]:
        rows: list[GridRow] = []
        following = 0
        for run in self.runs:
            first = max(following, run.virtual // self.width * self.width)
            if first > following:
                rows.append(GridRow(following, first - following, gap=True))
            for start in range(first, run.virtual + run.length, self.width):
                rows.append(GridRow(start, self.width))
                following = start + self.width
        return rows

    def at(self, virtual: int) -> BlockRun | None:
        """The run that a block belongs to, None if nothing maps it."""
        place = bisect_right(self._starts, virtual) - 1
        if place < 0:
            return None
        run = self.runs[place]
        return run if virtual < run.virtual + run.length else None

    def cells(self, row: GridRow) -> list[BlockRun | None]:
        """What maps each block of a row."""
        return [self.at(virtual) for virtual in range(row.first, row.first + row.count)]

    def index_of(self, virtual: int) -> int:
        """The row that shows a block, or the nearest above it."""
        return max(0, bisect_right([row.first for row in self.rows], virtual) - 1)
