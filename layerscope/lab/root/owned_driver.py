"""overlay2's layers in a lab that was made without privilege, owners and modes as they are meant."""

from __future__ import annotations

from layerscope.drivers.overlay2 import Overlay2
from layerscope.errors import CorruptError
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.owners import OwnedDirectory, Owners, read_owners


class OwnedOverlay2(Overlay2):
    """As :class:`~layerscope.drivers.overlay2.Overlay2`; what is kept beside a layer is read when it is opened."""

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, dialect)
        self._root = root

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree."""
        owner = self._root.stat_self()
        try:
            owners = read_owners(self._root.enter(self.name).enter(cache_id), "diff", owner)
        except CorruptError:
            owners = Owners(owner.st_uid, owner.st_gid)
        return OwnedDirectory(super().open_layer(cache_id), owners)
