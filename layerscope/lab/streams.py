"""Pieces of bytes as a file to be read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast


def reader_of(chunks: Iterator[bytes]) -> BinaryIO:
    """A file whose bytes come from an iterator; the iterator's own errors come through."""
    return cast(BinaryIO, ChunkReader(chunks))


class ChunkReader(io.RawIOBase):
    """See :func:`reader_of`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill as much of ``buffer`` as one piece has."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
