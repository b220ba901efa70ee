"""vfs of containers/storage (podman, Buildah, CRI-O): every layer is a whole tree, ``vfs/dir/<id>/``.

It is a copy of the one below with its changes made in it; unlike docker's, these copies keep ``user.*`` attributes.
Source: containers/storage drivers/vfs/driver.go, drivers/copy/copy_linux.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

from layerscope.drivers.folders import SpreadFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.level import LayerKind


class StorageVfs(SpreadFolders):
    """The vfs driver of containers/storage on one root."""

    name = "vfs"
    home = "vfs/dir"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)
