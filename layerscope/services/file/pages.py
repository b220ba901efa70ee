"""A file of any size, read in pieces as they are looked at. Nothing here keeps more than some megabytes.

The file may grow or shrink meanwhile (a log of a running container): what is no longer there reads as nothing, and
:meth:`FilePages.measure` tells its size anew. Holes of sparse files aren't read: they are known to be zeros.
"""

from __future__ import annotations

import errno
import io
import os
from collections import OrderedDict
from threading import Lock
from typing import BinaryIO

from layerscope.services.faults import told
from layerscope.services.file.reading import size_of

PAGE_BYTES = 1 << 16
_KEPT_PAGES = 64
_ZEROS = bytes(1 << 20)
_SEEK_DATA = getattr(os, "SEEK_DATA", None)


class FilePages:
    """An open file as pages of ``PAGE_BYTES``; the last ones that were read are kept. Safe to use from several threads.

    ``size`` is in bytes, as last measured. Reading raises RootError where the disk says no.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Take ``file`` over; ``name`` is for messages."""
        self._file = file
        self._name = name
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()
        self.size = 0
        self.measure()

    def close(self) -> None:
        """Give the descriptor back; what is read after that is empty."""
        with self._lock:
            self._file.close()
            self._pages.clear()

    def measure(self) -> int:
        """The size in bytes now."""
        with self._lock:
            if not self._file.closed:
                self.size = size_of(self._file)
        return self.size

    def kept(self, offset: int, length: int) -> bytes | None:
        """Bytes from ``offset`` if all their pages are kept, without touching the disk; else None."""
        pieces = []
        with self._lock:
            for number in _pages_of(offset, min(length, self.size - offset)):
                page = self._pages.get(number)
                if page is None:
                    return None
                pieces.append(page)
        return _cut(pieces, offset, length)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer at the end of the file."""
        pieces = [self._page(number) for number in _pages_of(offset, min(length, self.size - offset))]
        return _cut(pieces, offset, length)

    def stream(self, offset: int, length: int) -> bytes:
        """As :meth:`read`, for whoever goes through the whole file: keeps nothing."""
        with self._lock, told(f"cannot read {self._name}"):
            if self._file.closed:
                return b""
            length = max(0, min(length, self.size - offset))
            try:
                descriptor = self._file.fileno()
            except io.UnsupportedOperation:  # it lies inside of another file
                self._file.seek(offset)
                return self._file.read(length)
            if length and _is_hole(descriptor, offset, length):
                return _ZEROS[:length] if length <= len(_ZEROS) else bytes(length)
            return os.pread(descriptor, length, offset)

    def _page(self, number: int) -> bytes:
        with self._lock:
            page = self._pages.get(number)
            if page is not None:
                self._pages.move_to_end(number)
                return page
        page = self.stream(number * PAGE_BYTES, PAGE_BYTES)
        with self._lock:
            self._pages[number] = page
            while len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)
        return page


def _is_hole(descriptor: int, offset: int, length: int) -> bool:
    """Whether the file system keeps nothing for a piece of a file; False where it doesn't tell."""
    if _SEEK_DATA is None:
        return False
    try:
        return os.lseek(descriptor, offset, _SEEK_DATA) >= offset + length
    except OSError as error:  # ENXIO: nothing but a hole up to the end
        return error.errno == errno.ENXIO


def _pages_of(offset: int, length: int) -> range:
    if length <= 0:
        return range(0)
    return range(offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES + 1)


def _cut(pieces: list[bytes], offset: int, length: int) -> bytes:
    start = offset % PAGE_BYTES
    return b"".join(pieces)[start : start + length]
