"""bare overlays: the directories of one mount, wherever on this host they lie.

Source: overlayfs.rst, "Multiple lower layers", "Data-only lower layers".
"""

from __future__ import annotations

from collections.abc import Mapping

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind


class BareOverlay:
    """The directories of one overlay; a cache ID is the number of a level."""

    name = "bare-overlay"
    kind = LayerKind.DIFF
    sizes_by_walk = True
    sizes_unrecorded = True

    def __init__(
        self, host: Directory, dialect: Dialect, folders: Mapping[CacheID, str], data_only: frozenset[CacheID]
    ) -> None:
        """``host`` is the top of the host's files, ``folders`` have absolute paths without links."""
        self.dialect = dialect
        self.data_only = data_only
        self._host = host
        self._folders = folders

    def layer_ids(self) -> list[CacheID]:
        """The levels whose directories are there, base first."""
        return [cache_id for cache_id in self._folders if self._is_there(cache_id)]

    def _is_there(self, cache_id: CacheID) -> bool:
        try:
            self.open_layer(cache_id)
        except OSError:
            return False
        return True

    def layer_path(self, cache_id: CacheID) -> str:
        """The directory, absolute."""
        return self._folders[cache_id]

    def open_layer(self, cache_id: CacheID) -> Directory:
        """The directory of a level. Raises as ``Driver.open_layer``."""
        top = self._host.descend(self._folders[cache_id].strip("/"))
        top.stat_self()
        return top
