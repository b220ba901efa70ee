"""A thin device as bytes: its block map laid over the pool's data."""

from __future__ import annotations

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice, past_the_end
from layerscope.formats.thinpool.block_map import BlockMap


class ThinBlocks:
    """The bytes of one thin device; what isn't mapped reads as zeros. Satisfies ``BlockDevice``."""

    __slots__ = ("_block_bytes", "_data", "_map", "_size")

    def __init__(self, block_map: BlockMap, block_bytes: int, data: BlockDevice, size: int) -> None:
        """A device of ``size`` bytes whose blocks, mapped by ``block_map``, lie in ``data``."""
        self._map = block_map
        self._block_bytes = block_bytes
        self._data = data
        self._size = size

    @property
    def size(self) -> int:
        """The device's size in bytes, mapped or not."""
        return self._size

    @property
    def block_map(self) -> BlockMap:
        """Where its blocks lie."""
        return self._map

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``.

        Raises:
            CorruptError: past the end; where the bytes lie isn't known; the data is cut short.
            OSError: the data can't be read.
        """
        if offset < 0 or size < 0 or offset + size > self._size:
            raise past_the_end(offset, size, self._size)
        if not size:
            return b""
        block = self._block_bytes
        first = offset // block
        parts = []
        end = offset + size
        for piece in self._map.pieces(first, (end - 1) // block + 1 - first):
            start = max(offset, piece.virtual * block)
            length = min(end, (piece.virtual + piece.length) * block) - start
            if piece.data is None:
                parts.append(bytes(length))
                continue
            place = piece.data * block + start - piece.virtual * block
            try:
                parts.append(self._data.read_at(place, length))
            except CorruptError as error:
                raise CorruptError(f"the pool's data, block {place // block:#x}: {error}") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)
