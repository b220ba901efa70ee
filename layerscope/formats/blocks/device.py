"""Bytes at an offset: what the readers of pools and file systems read from, wherever these bytes come from."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Protocol

from layerscope.errors import CorruptError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BlockDevice(Protocol):
    """Something of a fixed size that can be read anywhere; safe to use from several threads."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``.

        Raises:
            CorruptError: they lie (in part) past the end, or what tells where they are is damaged.
            OSError: they can't be read.
        """


def past_the_end(offset: int, size: int, end: int) -> CorruptError:
    """The error of a read that leaves a device of ``end`` bytes."""
    return CorruptError(f"bytes {offset} to {offset + size} are asked for, but there are only {end}")


class DeviceStream(io.RawIOBase):
    """A device as a seekable file, for readers that want one; what is damaged is an OSError (EIO) there."""

    def __init__(self, device: BlockDevice) -> None:
        super().__init__()
        self._device = device
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The offset of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the offset of the next read; it may lie past the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._device.size}[whence]
        if base + offset < 0:
            raise ValueError(f"offset {base + offset} lies before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read as much as fits and is there."""
        view = memoryview(buffer).cast("B")
        size = max(0, min(len(view), self._device.size - self._position))
        if not size:
            return 0
        try:
            view[:size] = self._device.read_at(self._position, size)
        except CorruptError as error:
            raise OSError(errno.EIO, str(error)) from None
        self._position += size
        return size
