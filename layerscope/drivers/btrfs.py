"""btrfs: every layer is a whole tree, the subvolume ``btrfs/subvolumes/<id>/``, a writable snapshot of the one below.

In a copied root the subvolumes are plain directories, which read the same. On a mounted btrfs a file keeps its inode
number and all its times from snapshot to snapshot until it is touched. Source: moby daemon/graphdriver/btrfs/btrfs.go;
seen with 20.10.24.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from layerscope.drivers.base import LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.hostfs.extents import extents
from layerscope.model.digest import CacheID
from layerscope.model.disk_use import DiskUse
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory

_SUBVOLUME = 256
"""The inode number of every subvolume's top, and of nothing else's."""
_CANNOT_TELL = (errno.EOPNOTSUPP, errno.ENOTTY)


class Btrfs(LayerFolders):
    """The btrfs driver on one root."""

    name = "btrfs"
    home = "btrfs/subvolumes"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)

    def disk_use(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> DiskUse | None:
        """The bytes of a subvolume's extents, as ``btrfs filesystem du`` counts them; None on another file system.

        Metadata doesn't count, nor do files so small that they lie in it.
        """
        top = self.open_layer(cache_id)
        if top.stat_self().st_ino != _SUBVOLUME:
            return None
        total = exclusive = 0
        seen: set[int] = set()
        for directory, name, stat in _regular_files(top):
            if cancelled():
                return None
            if stat.st_nlink > 1:
                if stat.st_ino in seen:
                    continue
                seen.add(stat.st_ino)
            try:
                with directory.open(name) as file:
                    for extent in extents(file.fileno()):
                        total += extent.length
                        exclusive += 0 if extent.shared else extent.length
            except OSError as error:
                if error.errno in _CANNOT_TELL:
                    return None
                if not isinstance(error, FileNotFoundError):
                    raise
        return DiskUse(referenced=total, exclusive=exclusive)


def _regular_files(top: LayerDirectory) -> Iterator[tuple[LayerDirectory, str, os.stat_result]]:
    """The regular files with a size below a directory, on its own device."""
    device = top.stat_self().st_dev
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            names = directory.scan()
        except FileNotFoundError:
            continue
        files = [name for name, kind in names if kind == "f"]
        for name, stat in zip(files, directory.stats(files), strict=True):
            if stat is not None and stat.st_size and stat.st_dev == device:
                yield directory, name, stat
        pending.extend(directory.enter(name) for name, kind in names if kind == "d")
