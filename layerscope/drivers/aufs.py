"""aufs: one directory a layer, holding what that layer changed, marked by names.

| below ``aufs/`` | what |
| --- | --- |
| ``diff/<id>/`` | the layer's own files; ``.wh.NAME``: NAME is gone; ``.wh..wh..opq`` in it: a directory is opaque |
| ``layers/<id>`` | the IDs below it, one a line, nearest first; empty for a base layer |
| ``mnt/<id>/`` | the mount point |

Whiteouts that aufs makes are hard links of the branch's ``.wh..wh.aufs``. Source: moby daemon/graphdriver/aufs/aufs.go;
branches that a real aufs wrote under 20.10.24.
"""

from __future__ import annotations

import os

from layerscope.drivers.folders import LayerFolders
from layerscope.errors import CorruptError
from layerscope.formats.whiteout import NAMES, Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, is_file_name
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem

_RECORD_LIMIT = 1 << 20


class Aufs(LayerFolders):
    """The aufs driver on one root."""

    name = "aufs"
    home = "aufs/diff"
    kind = LayerKind.DIFF
    sizes_by_walk = True

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, NAMES)
        self._layers = root.descend("aufs/layers")

    def lower_ids(self, cache_id: CacheID) -> list[CacheID] | None:
        """The lines of ``layers/<id>``; None if it is missing, or a line is no name."""
        try:
            data = self._layers.read(cache_id, _RECORD_LIMIT)
        except (OSError, CorruptError):
            return None
        names = os.fsdecode(data).split("\n")
        found = [CacheID(name) for name in names if name]
        return found if all(map(is_file_name, found)) else None

    def lower_record(self, cache_id: CacheID) -> str:
        """``aufs/layers/<id>``."""
        return f"aufs/layers/{cache_id}"

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """Missing contents; a record of the layers below that is missing, or names such as aren't there."""
        found = []
        try:
            self.open_layer(cache_id)
        except OSError as error:
            what = f"contents missing: {os.strerror(error.errno or 0)}"
            hint = "restore the directory, or pull the image again"
            found.append(Problem(self.layer_path(cache_id), what, "its files can't be shown", hint))
        lower = self.lower_ids(cache_id)
        effect = "the engine can't mount it; order is taken from the layer records"
        if lower is None:
            found.append(Problem(self.lower_record(cache_id), "is missing or damaged", effect))
        elif None in self._home.stats(lower):
            found.append(Problem(self.lower_record(cache_id), "names layers that are not there", effect))
        return found
