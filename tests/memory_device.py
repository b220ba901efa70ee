"""A block device whose bytes are all in memory: what the readers of pools and file systems are given to read."""

from __future__ import annotations

from layerscope.formats.blocks.device import past_the_end


class MemoryDevice:
    """A device whose bytes are all in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``. Raises CorruptError past the end."""
        if offset < 0 or size < 0 or offset + size > len(self._data):
            raise past_the_end(offset, size, len(self._data))
        return bytes(self._data[offset : offset + size])
