"""Bytes at an offset of something whose length may not be known before it was read: a tar inside of another, perhaps
compressed.
"""

from __future__ import annotations

from typing import Protocol

from layerscope.errors import CorruptError

_PIECE = 1 << 20


class ByteSource(Protocol):
    """Bytes that can be read anywhere, from several threads."""

    @property
    def size(self) -> int | None:
        """How many bytes there are; None as long as nobody knows."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``, at least one; none only at the end and past it.

        Raises:
            CorruptError: what tells them is damaged.
            OSError: they can't be read.
        """


class Slice:
    """A part of a source, no longer than what is there of it; a source itself."""

    __slots__ = ("_size", "_source", "_start")

    def __init__(self, source: ByteSource, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self._size = size

    @property
    def size(self) -> int:
        """How many bytes are there; as many as there should be, as long as the source doesn't know its end."""
        whole = self._source.size
        return self._size if whole is None else max(0, min(self._size, whole - self._start))

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; see :class:`ByteSource`."""
        size = min(size, self.size - offset)
        return self._source.read_at(self._start + offset, size) if size > 0 else b""


class Extent:
    """A part of a source that has all its bytes; a :class:`~layerscope.formats.blocks.device.BlockDevice`."""

    __slots__ = ("_source", "_start", "size")

    def __init__(self, source: ByteSource, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``.

        Raises:
            CorruptError: they aren't all there.
        """
        data = read_fully(self._source, self._start + offset, size)
        if len(data) < size:
            raise CorruptError(f"it ends after {offset + len(data)} of {self.size} bytes")
        return data


def read_fully(source: ByteSource, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``, fewer only at the end. Raises as :meth:`ByteSource.read_at`."""
    data = source.read_at(offset, size)
    while len(data) < size and (more := source.read_at(offset + len(data), size - len(data))):
        data += more
    return data


def read_all(source: ByteSource, limit: int) -> bytes:
    """All bytes of a source.

    Raises:
        CorruptError: there are more than ``limit``.
    """
    pieces = []
    length = 0
    while length <= limit and (piece := source.read_at(length, min(_PIECE, limit + 1 - length))):
        pieces.append(piece)
        length += len(piece)
    if length > limit:
        raise CorruptError(f"it is longer than {limit} bytes")
    return b"".join(pieces)
