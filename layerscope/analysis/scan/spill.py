"""Sorting more rows than fit into memory: sorted runs in one temporary file of the user's own, merged when read."""

from __future__ import annotations

import heapq
import marshal
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Self

Row = tuple[Any, ...]
_ROWS_A_RUN = 50_000
_ROWS_A_BLOCK = 500


class SortedSpill:
    """Rows (tuples of numbers, bytes and None) that come out sorted, any number of times; a context manager.

    Up to ``rows_a_run`` rows stay in memory; more of them are written to a temporary file that has no name, below
    ``TMPDIR``, which must not lie below the root that is read. A row must differ from all others, or compare with them.
    """

    def __init__(self, rows_a_run: int = _ROWS_A_RUN) -> None:
        self._limit = rows_a_run
        self._rows: list[Row] = []
        self._sorted = True
        self._file: IO[bytes] | None = None
        self._runs: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget all rows."""
        self._rows, self._runs = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, row: Row) -> None:
        """One more row.

        Raises:
            OSError: the temporary file can't be written.
        """
        self._rows.append(row)
        self._sorted = False
        if len(self._rows) >= self._limit:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="layerscope-")  # noqa: SIM115 - lives as long as this object
        self._rows.sort()
        start = self._file.seek(0, 2)
        for first in range(0, len(self._rows), _ROWS_A_BLOCK):
            block = marshal.dumps(self._rows[first : first + _ROWS_A_BLOCK])
            self._file.write(len(block).to_bytes(8, "little") + block)
        self._runs.append((start, self._file.tell()))
        self._rows = []

    def __iter__(self) -> Iterator[Row]:
        """All rows, sorted."""
        if not self._sorted:
            self._rows.sort()
            self._sorted = True
        if not self._runs:
            return iter(self._rows)
        return heapq.merge(self._rows, *(self._run(start, end) for start, end in self._runs))

    def _run(self, start: int, end: int) -> Iterator[Row]:
        while start < end and self._file is not None:
            self._file.seek(start)
            length = int.from_bytes(self._file.read(8), "little")
            # Written by this object itself into a file without a name: marshal's weakness for foreign bytes is no
            # matter here.
            rows: list[Row] = marshal.loads(self._file.read(length))
            start += 8 + length
            yield from rows
