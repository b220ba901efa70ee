"""Where a file's bytes lie on its disk, and which of them other files share. Linux's FIEMAP; nothing is written.

Source: Documentation/filesystems/fiemap.rst; which extents ``btrfs filesystem du`` counts: btrfs-progs
cmds/filesystem-du.c.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterator
from typing import NamedTuple

_FIEMAP = 0xC020660B
_HEAD = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQQQIIII")
_AT_ONCE = 72
_TO_THE_END = (1 << 64) - 1
_LAST, _UNKNOWN, _DELAYED, _INLINE, _SHARED = 0x1, 0x2, 0x4, 0x200, 0x2000


class Extent(NamedTuple):
    """``length`` bytes at ``physical``; ``shared``: another file, or another place of this one, has them too."""

    physical: int
    length: int
    shared: bool


def extents(descriptor: int) -> Iterator[Extent]:
    """The extents of an open regular file, in the order of its bytes.

    Without those that have no place of their own: not yet written, or small enough to lie in the metadata.

    Raises:
        OSError: EOPNOTSUPP where the file system can't tell.
    """
    start = 0
    while True:
        request = bytearray(_HEAD.size + _AT_ONCE * _EXTENT.size)
        _HEAD.pack_into(request, 0, start, _TO_THE_END - start, 0, 0, _AT_ONCE, 0)
        fcntl.ioctl(descriptor, _FIEMAP, request)
        count = _HEAD.unpack_from(request)[3]
        if not count:
            return
        for number in range(min(count, _AT_ONCE)):
            found = _EXTENT.unpack_from(request, _HEAD.size + number * _EXTENT.size)
            logical, physical, length, flags = found[0], found[1], found[2], found[5]
            if not flags & (_UNKNOWN | _DELAYED | _INLINE):
                yield Extent(physical, length, bool(flags & _SHARED))
            if flags & _LAST or logical + length <= start:
                return
            start = logical + length
