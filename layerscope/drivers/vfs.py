"""vfs: every layer is a whole tree, ``vfs/dir/<id>/``, a copy of the one below with its changes made in it.

Times are copied, of the extended attributes only ``security.capability``. Source: moby daemon/graphdriver/vfs/driver.go
and copy/copy.go; seen with 20.10.24.
"""

from __future__ import annotations

from layerscope.drivers.folders import LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.level import LayerKind


class Vfs(LayerFolders):
    """The vfs driver on one root."""

    name = "vfs"
    home = "vfs/dir"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False
    drops_attributes = True

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)
