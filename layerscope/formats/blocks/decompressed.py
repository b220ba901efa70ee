"""Compressed bytes that can be read anywhere, with little memory.

A read goes on from the nearest place before it: where an earlier read stopped, or a seek point (the state of the
inflater, left behind every few megabytes; only gzip's can be copied), else from the beginning. What one archive keeps
of both is bounded by one :class:`Memory` that all its compressed parts share.
"""

from __future__ import annotations

import threading
from bisect import bisect_right

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.blocks.compression import Decompression
from layerscope.formats.blocks.source import ByteSource

_SPACING = 4 << 20
_MOST_POINTS = 400
"""Of about 42 kB each."""
_MOST_RUNNING = 4
_NOTHING = memoryview(b"")


class Memory:
    """What is kept of the compressed parts of one archive."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._running: list[_Run] = []
        self._parts: list[DecompressedSource] = []

    def take(self, part: DecompressedSource, offset: int, least: int) -> _Run | None:
        """The run of a part that stopped nearest before ``offset``, at ``least`` or behind it; it is the caller's."""
        with self.lock:
            fitting = [run for run in self._running if run.part is part and least <= run.position <= offset]
            if not fitting:
                return None
            nearest = max(fitting, key=lambda run: run.position)
            self._running.remove(nearest)
            return nearest

    def give(self, run: _Run) -> None:
        """Keep a run for who goes on from there; the one that was used longest ago is forgotten."""
        with self.lock:
            self._running.append(run)
            del self._running[:-_MOST_RUNNING]

    def make_room(self, part: DecompressedSource) -> None:
        """Before a point is added; the lock is held. The part with most points loses every second one."""
        if part not in self._parts:
            self._parts.append(part)
        if sum(len(each.points) for each in self._parts) >= _MOST_POINTS:
            max(self._parts, key=lambda each: len(each.points)).thin_out()


class _Run(Struct):
    """A decompression under way: ``position`` is the offset of ``rest``, the output that nobody has asked for yet."""

    part: DecompressedSource
    decompression: Decompression
    position: int = 0
    rest: memoryview = _NOTHING


class _Point(Struct, frozen=True):
    """The state before the byte at ``position``."""

    position: int
    decompression: Decompression


class DecompressedSource:
    """A compressed source, decompressed; a :class:`~layerscope.formats.blocks.source.ByteSource`.

    ``size`` is known once the end was reached, or damage, behind which nothing can be had.
    """

    def __init__(self, source: ByteSource, form: str, memory: Memory) -> None:
        self.size: int | None = None
        self.points: list[_Point] = []
        self._fault: str | None = None
        self._source = source
        self._form = form
        self._memory = memory
        self._spacing = _SPACING

    def thin_out(self) -> None:
        """Forget every second point."""
        self._spacing *= 2
        del self.points[::2]

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer before damage, too.

        Raises:
            CorruptError: the compressed data is damaged there or before.
        """
        if size <= 0:
            return b""
        if self.size is not None and offset >= self.size:
            if self._fault is not None:
                raise CorruptError(self._fault)
            return b""
        run = self._run_to(offset)
        pieces: list[bytes] = []
        missing = size
        try:
            while missing:
                if not run.rest:
                    run.rest = memoryview(self._next(run))
                if not run.rest:
                    self.size = run.position
                    break
                skipped = min(len(run.rest), max(0, offset - run.position))
                piece = bytes(run.rest[skipped : skipped + missing])
                run.rest = run.rest[skipped + len(piece) :]
                run.position += skipped + len(piece)
                if piece:
                    pieces.append(piece)
                    missing -= len(piece)
        except CorruptError as error:
            self.size, self._fault = run.position, str(error)
            if not pieces:
                raise
            return b"".join(pieces)  # who reads on comes to the damage
        self._memory.give(run)
        return b"".join(pieces)

    def _run_to(self, offset: int) -> _Run:
        """The decompression that has least to pass over before ``offset``."""
        with self._memory.lock:
            index = bisect_right(self.points, offset, key=lambda point: point.position)
            point = self.points[index - 1] if index else None
        run = self._memory.take(self, offset, point.position if point else 0)
        if run is not None:
            return run
        if point is not None:
            decompression = point.decompression.copy()
            if decompression is not None:
                return _Run(self, decompression, point.position)
        return _Run(self, Decompression(self._form, self._source.read_at))

    def _next(self, run: _Run) -> bytes:
        """A run's next piece; a point is left behind where the last one is far away."""
        known = self.points[-1].position if self.points else 0
        if run.position >= known + self._spacing and (state := run.decompression.copy()) is not None:
            with self._memory.lock:
                if not self.points or run.position > self.points[-1].position:
                    self._memory.make_room(self)
                    self.points.append(_Point(run.position, state))
        return run.decompression.piece()
