"""vfs of containers/storage (podman, Buildah, CRI-O): every layer is a whole tree, ``vfs/dir/<id>/``.

It is a copy of the one below with its changes made in it; unlike docker's, these copies keep ``user.*`` attributes.
Source: containers/storage drivers/vfs/driver.go, drivers/copy/copy_linux.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

from layerscope.drivers.base import LayerFolders
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory


class StorageVfs(LayerFolders):
    """The vfs driver of containers/storage on one root."""

    name = "vfs"
    home = "vfs/dir"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, UNMARKED)
        self._more: list[StorageVfs] = []

    def add_root(self, root: Directory) -> None:
        """Look for layers in an additional image store, too."""
        self._more.append(StorageVfs(root, self.dialect))

    def _holder(self, cache_id: CacheID) -> StorageVfs:
        """Who has a layer's directory; this one if nobody has it."""
        if self._more and not self._has(cache_id):
            return next((other for other in self._more if other._has(cache_id)), self)
        return self

    def _has(self, cache_id: CacheID) -> bool:
        try:
            return self._home.stat_or_none(cache_id) is not None
        except OSError:
            return False

    def layer_ids(self) -> list[CacheID]:
        """The directories in ``vfs/dir``, sorted; those of additional stores among them."""
        return sorted({*super().layer_ids()}.union(*(other.layer_ids() for other in self._more)))

    def layer_path(self, cache_id: CacheID) -> str:
        """``vfs/dir/<id>``; an absolute path in an additional store."""
        return f"{self._holder(cache_id)._home.path}/{cache_id}"

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree. Raises as ``Driver.open_layer``."""
        holder = self._holder(cache_id)
        return super().open_layer(cache_id) if holder is self else holder.open_layer(cache_id)
