"""overlay (the first one): image layers are whole trees, writable layers hold changes over an image's topmost tree.

| below ``overlay/`` | what |
| --- | --- |
| ``<id>/root/`` | an image layer: all files up to this layer; files that the layer below has too are hard links |
| ``<id>/upper/`` | a writable or init layer: changes, in the kernel's own marks |
| ``<id>/lower-id`` | of a writable or init layer: the cache ID whose ``root`` is mounted below, no newline |
| ``<id>/work/``, ``merged/`` | overlay's scratch, the mount point |

A container is not mounted over its init layer, but like that one over the image: its ``upper`` begins as a copy of the
init layer's. Source: moby daemon/graphdriver/overlay/overlay.go; seen with 20.10.24.
"""

from __future__ import annotations

import os
import stat as modes

from layerscope.drivers.folders import LayerFolders
from layerscope.model.digest import CacheID, is_file_name
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory


class Overlay(LayerFolders):
    """The overlay driver on one root."""

    name = "overlay"
    home = "overlay"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def kind_of(self, cache_id: CacheID) -> LayerKind:
        """DIFF for what has an ``upper`` and no ``root``."""
        try:
            root, upper = self._home.enter(cache_id).stats(("root", "upper"))
        except OSError:
            return self.kind
        return LayerKind.DIFF if root is None and upper is not None else LayerKind.SNAPSHOT

    def laid_over(self, cache_id: CacheID) -> CacheID | None:
        """The cache ID in ``lower-id``."""
        text = self._record(cache_id, "lower-id")
        return CacheID(text) if text and is_file_name(text) else None

    def layer_path(self, cache_id: CacheID) -> str:
        """``overlay/<id>/root`` or ``upper``."""
        return f"{self.home}/{cache_id}/{'root' if self.kind_of(cache_id) is LayerKind.SNAPSHOT else 'upper'}"

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The layer's ``root`` or ``upper``."""
        folder = "root" if self.kind_of(cache_id) is LayerKind.SNAPSHOT else "upper"
        top = self._home.enter(cache_id).enter(folder)
        top.stat_self()
        return top

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """Missing contents; a ``lower-id`` that is missing or names a layer that isn't there."""
        folder = f"{self.home}/{cache_id}"
        try:
            places = self._home.enter(cache_id).stats(("root", "upper"))
        except OSError as error:
            what = f"contents missing: {os.strerror(error.errno or 0)}"
            return [Problem(folder, what, "its files can't be shown", "restore the directory, or pull the image again")]
        if not any(stat is not None and modes.S_ISDIR(stat.st_mode) for stat in places):
            return [Problem(folder, "contents missing: neither root nor upper", "its files can't be shown")]
        if self.kind_of(cache_id) is LayerKind.SNAPSHOT:
            return []
        lower = self.laid_over(cache_id)
        if lower is None:
            what = "is missing or empty, expected the cache ID of the image's topmost layer"
        elif not self._has_root(lower):
            what = f"names {lower[:80]}, which has no root"
        else:
            return []
        effect = "the engine can't mount it; shown over the image that the layer records name"
        return [Problem(f"{folder}/lower-id", what, effect, severity=Severity.WARNING)]

    def _has_root(self, cache_id: CacheID) -> bool:
        try:
            return modes.S_ISDIR(self._home.enter(cache_id).stat("root").st_mode)
        except OSError:
            return False
