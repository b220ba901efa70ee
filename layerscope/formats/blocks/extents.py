"""Extents: where the blocks of a file lie on its file system's device, and the file's bytes through them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice, past_the_end


class Extent(NamedTuple):
    """``length`` blocks of a file from ``logical`` on lie at ``physical``; None: reserved, they read as zeros."""

    logical: int
    physical: int | None
    length: int

    @property
    def end(self) -> int:
        """The logical block behind it."""
        return self.logical + self.length


FindExtents = Callable[[], tuple[list[Extent], str]]
"""Gives a file's extents in order, and what is damaged behind the last of them ("" for nothing)."""


class ExtentBytes:
    """A file's bytes, holes as zeros; satisfies ``BlockDevice``. Where they lie is looked up at the first read."""

    __slots__ = ("_block_bytes", "_damage", "_device", "_extents", "_find", "_size", "_starts")

    def __init__(self, device: BlockDevice, block_bytes: int, size: int, find: FindExtents) -> None:
        """A file of ``size`` bytes whose blocks, of ``block_bytes`` each, lie in ``device`` where ``find`` tells."""
        self._device = device
        self._block_bytes = block_bytes
        self._size = size
        self._find = find
        self._extents: list[Extent] | None = None
        self._starts: list[int] = []
        self._damage = ""

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises CorruptError past the end or where they are damaged, OSError."""
        if offset < 0 or size < 0 or offset + size > self._size:
            raise past_the_end(offset, size, self._size)
        extents = self._extents
        if extents is None:
            extents, self._damage = self._find()
            self._starts = [extent.logical for extent in extents]
            self._extents = extents
        block = self._block_bytes
        parts: list[bytes] = []
        at, end = offset, offset + size
        index = max(0, bisect_right(self._starts, at // block) - 1)
        while at < end:
            while index < len(extents) and extents[index].end * block <= at:
                index += 1
            if index == len(extents):
                if self._damage:
                    raise CorruptError(self._damage)
                start = end
            else:
                start = extents[index].logical * block
            if at < start:
                parts.append(bytes(min(start, end) - at))
            else:
                extent = extents[index]
                length = min(extent.end * block, end) - at
                where = None if extent.physical is None else extent.physical * block + at - start
                parts.append(bytes(length) if where is None else self._device.read_at(where, length))
            at += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)
