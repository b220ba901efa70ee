"""zfs: every layer is a dataset of a pool, mounted at ``zfs/graph/<id>/`` only while it is in use.

So a copied disk, or the root of an engine that runs no container, has the records of the layers and none of their
files. Where a dataset is mounted, or its files were copied into the place of the mount point, they are whole trees.
Source: moby daemon/graphdriver/zfs/zfs.go; seen with 20.10.24 on OpenZFS 2.1.11.
"""

from __future__ import annotations

import errno

from layerscope.drivers.base import LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity


class Zfs(LayerFolders):
    """The zfs driver on one root."""

    name = "zfs"
    home = "zfs/graph"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)

    def open_layer(self, cache_id: CacheID) -> Directory:
        """The layer's dataset, where it is mounted.

        Raises:
            OSError: ENOENT if it isn't: there is no mount point, or it is an empty directory of the root's own.
        """
        top = self._home.enter(cache_id)
        if top.stat_self().st_dev == self._home.stat_self().st_dev and not top.scan():
            raise FileNotFoundError(errno.ENOENT, "the dataset is not mounted", self.layer_path(cache_id))
        return top

    def absence(self) -> Problem:
        """That the files are in the pool, and what can be shown without."""
        return Problem(
            self.home,
            "the files of layers are in a ZFS pool, in datasets that aren't mounted here",
            "names, owners and sizes are those of the layers' tars; files, and what containers changed, can't be read",
            "import the pool and mount a layer's dataset at zfs/graph/<its name>",
            Severity.WARNING,
        )
