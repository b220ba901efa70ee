"""A layer's tree without its files: names, types, owners, times and sizes, from the record that is kept of its tar.

For layers whose contents aren't there: datasets of a pool that isn't mounted, directories that were lost.

Source of the record: :mod:`layerscope.formats.tar.split`.
"""

from __future__ import annotations

import errno
import posixpath
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn

from layerscope.errors import CorruptError
from layerscope.formats.tar.split import FileEntry, headers, read_entries
from layerscope.formats.tar.tree import LONGEST_PATH, MOST_ENTRIES, TarDirectory, TarNode, add, top_node
from layerscope.model.tree import ContentsAbsent


class TarSplitTree:
    """The tree of one layer; its record is read when a directory is first looked at.

    Args:
        open_record: opens the record, compressed as it is kept; None if it is gone.
        why: in one sentence why there are no contents, for those who try to read some.
        device: a number for ``st_dev``, another one for each tree of a view.

    ``tell`` is called, once, with what is wrong with the record if only a part of it can be read.
    """

    def __init__(self, open_record: Callable[[], BinaryIO | None], why: str, device: int) -> None:
        self.why = why
        self.device = device
        self.tell: Callable[[str], None] = lambda what: None
        self._open_record = open_record
        self._root: TarNode | None = None
        self._checksums: dict[str, int] | None = None
        self._lock = threading.Lock()

    def top(self) -> TarSplitDirectory:
        """The top directory; nothing is read yet."""
        return TarSplitDirectory(self)

    def root(self) -> TarNode:
        """The top node.

        Raises:
            OSError: EIO if nothing of the record can be read.
        """
        with self._lock:
            if self._root is None:
                self._root = self._read()
            return self._root

    def open_node(self, node: TarNode, name: str) -> NoReturn:
        """Raises ContentsAbsent."""
        raise ContentsAbsent(self.why, name)

    def checksum(self, path: str) -> int | None:
        """CRC-64 of the file that the tar has at ``path``; None if it has none there, or none is kept."""
        with self._lock:
            if self._checksums is None:
                self._checksums = dict(self._read_checksums())
            return self._checksums.get(path)

    def _read_checksums(self) -> Iterator[tuple[str, int]]:
        record = self._open_record()
        if record is None:
            return
        with record:
            try:
                for entry in read_entries(record):
                    if isinstance(entry, FileEntry) and entry.crc64 is not None:
                        yield posixpath.normpath("/" + entry.name.lstrip("/"))[1:], entry.crc64
            except CorruptError:
                return

    def _read(self) -> TarNode:
        record = self._open_record()
        if record is None:
            raise OSError(errno.EIO, "the record of the layer's tar is gone")
        root = top_node()
        inode = 1
        with record:
            try:
                for header in headers(record):
                    inode += 1
                    if inode > MOST_ENTRIES:
                        raise CorruptError(f"more than {MOST_ENTRIES} entries")
                    if len(header.path) <= LONGEST_PATH:
                        add(root, header, inode)
            except CorruptError as error:
                if inode == 1:
                    raise OSError(errno.EIO, f"the record of the layer's tar: {error}") from None
                self.tell(str(error))
        return root


class TarSplitDirectory(TarDirectory):
    """One directory of the tree.

    ``open`` raises :class:`~layerscope.model.tree.ContentsAbsent`: there are no contents.
    """

    __slots__ = ()

    _tree: TarSplitTree

    def content_key(self, name: str) -> tuple[int, int] | None:
        """Size and CRC-64 of the regular file ``name``, as recorded."""
        size = self.entry(name).size
        if not size:
            return 0, 0
        checksum = self._tree.checksum("/".join([*self.names(), name]))
        return None if checksum is None else (size, checksum)
