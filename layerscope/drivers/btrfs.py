"""btrfs: every layer is a whole tree, the subvolume ``btrfs/subvolumes/<id>/``, a writable snapshot of the one below.

In a copied root the subvolumes are plain directories, which read the same. On a mounted btrfs a file keeps its inode
number and all its times from snapshot to snapshot until it is touched. Source: moby daemon/graphdriver/btrfs/btrfs.go;
seen with 20.10.24.
"""

from __future__ import annotations

from layerscope.drivers.base import LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.level import LayerKind


class Btrfs(LayerFolders):
    """The btrfs driver on one root."""

    name = "btrfs"
    home = "btrfs/subvolumes"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)
