"""fuse-overlayfs: the layout of overlay2, but with every kind of mark, often several for one thing.

Image layers keep the names of their tars (``.wh.NAME``); what the program itself writes are devices 0:0, and for an
opaque directory an xattr, a file ``.wh..wh..opq`` and a device ``.wh..opq`` all at once. Without privilege the xattrs
are ``user.overlay.*`` and ``user.fuseoverlayfs.*``. Source: moby daemon/graphdriver/fuse-overlayfs/fuseoverlayfs.go,
fuse-overlayfs main.c; seen with 20.10.24.
"""

from __future__ import annotations

from layerscope.drivers.folders import LinkedLayers
from layerscope.formats.whiteout import Dialect, fuse_overlayfs
from layerscope.hostfs import Directory


class FuseOverlayfs(LinkedLayers):
    """The fuse-overlayfs driver on one root."""

    name = "fuse-overlayfs"
    home = "fuse-overlayfs"
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, fuse_overlayfs(dialect))
