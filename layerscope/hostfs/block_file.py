"""A file or block device that is read anywhere, as often as wanted, through one descriptor.

Files below a root come from :class:`~layerscope.hostfs.directory.Directory`, which never follows a link and opens
regular files only. A path that the user hands over is the user's own: it may be a link or a block device.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import weakref
from pathlib import Path
from typing import BinaryIO

from layerscope.errors import CorruptError

_NOATIME = getattr(os, "O_NOATIME", 0)


class BlockFile:
    """Bytes of a file at any offset; safe to use from several threads. Closed when nobody refers to it any more."""

    __slots__ = ("__weakref__", "_fd", "_size")

    def __init__(self, fd: int) -> None:
        """Read through the descriptor ``fd``, which is closed with this object."""
        self._fd = fd
        weakref.finalize(self, os.close, fd)
        self._size = os.lseek(fd, 0, os.SEEK_END)

    @classmethod
    def of(cls, file: BinaryIO) -> BlockFile:
        """The bytes of an open file, which is closed: this has a descriptor of its own."""
        with file:
            return cls(os.dup(file.fileno()))

    @classmethod
    def open_path(cls, path: Path | str) -> BlockFile:
        """The file or block device at a path of the user's.

        Raises:
            OSError: it can't be opened; EINVAL if it is neither.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        kind = os.stat(path).st_mode
        if modes.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        if not (modes.S_ISREG(kind) or modes.S_ISBLK(kind)):
            raise OSError(errno.EINVAL, "it is neither a file nor a block device", str(path))
        try:
            fd = os.open(path, flags | _NOATIME)
        except PermissionError:
            fd = os.open(path, flags)
        return cls(fd)

    @property
    def size(self) -> int:
        """How many bytes there were when it was opened."""
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``.

        Raises:
            CorruptError: they lie (in part) past the end.
            OSError: they can't be read.
        """
        if offset < 0 or size < 0 or offset + size > self._size:
            raise CorruptError(f"bytes {offset} to {offset + size} are asked for, but the file has {self._size}")
        data = os.pread(self._fd, size, offset)
        while len(data) < size:
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                raise CorruptError(f"the file ends at byte {offset + len(data)} now; it had {self._size}")
            data += more
        return data
