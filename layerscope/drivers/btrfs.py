"""btrfs: every layer is a whole tree, the subvolume ``btrfs/subvolumes/<id>/``, a writable snapshot of the one below.

In a copied root the subvolumes are plain directories, which read the same. On a mounted btrfs a file keeps its inode
number and all its times from snapshot to snapshot until it is touched. Source: moby daemon/graphdriver/btrfs/btrfs.go;
seen with 20.10.24.
"""

from __future__ import annotations

import errno
import stat as modes
from collections.abc import Callable

from layerscope.drivers.folders import LayerDirs, LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.hostfs.extents import extents
from layerscope.hostfs.walk import inodes_below
from layerscope.model.digest import CacheID
from layerscope.model.disk_share import DiskShare
from layerscope.model.level import LayerKind

_SUBVOLUME = 256
"""The inode number of every subvolume's top, and of nothing else's."""
_CANNOT_TELL = (errno.EOPNOTSUPP, errno.ENOTTY)


class Btrfs(LayerFolders):
    """The btrfs driver on one root."""

    name = "btrfs"
    home = "btrfs/subvolumes"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect, layer_dirs: LayerDirs = ()) -> None:
        super().__init__(root, UNMARKED, layer_dirs)

    def disk_share(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> DiskShare | None:
        """The bytes of a subvolume's extents, as ``btrfs filesystem du`` counts them; None on another file system.

        Metadata doesn't count, nor do files so small that they lie in it.
        """
        top = self.open_layer(cache_id)
        if top.stat_self().st_ino != _SUBVOLUME:
            return None
        total = exclusive = 0
        device = top.stat_self().st_dev
        for directory, name, stat in inodes_below(top, cancelled):
            if not modes.S_ISREG(stat.st_mode) or not stat.st_size or stat.st_dev != device:
                continue
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
        return DiskShare(referenced=total, exclusive=exclusive)
