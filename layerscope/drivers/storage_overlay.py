"""overlay of containers/storage (podman, Buildah, CRI-O): overlay2's way of keeping layers, in a folder ``overlay``.

| below ``overlay/`` | what |
| --- | --- |
| ``<id>/diff/``, ``link``, ``lower``, ``work/``, ``merged/`` | as in overlay2; the last two in every layer |
| ``<id>/lower-layers`` | newer engines: the same chain as ``lower``, as layer IDs, one a line |
| ``<id>/empty/`` | of a base layer: a second lower directory, since a mount needs two |
| ``l/<26 characters>`` | ``../<id>/diff`` |
| ``.has-mount-program`` | ``true``: fuse-overlayfs mounts, and its marks may be in any layer; else ``false`` |
| ``tempdirs/``, ``staging/`` | half-made or half-removed layers |

Source: containers/storage drivers/overlay/overlay.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from layerscope.drivers.base import LinkedLayers
from layerscope.errors import CorruptError
from layerscope.formats.whiteout import Dialect, fuse_overlayfs
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, is_hex64
from layerscope.model.problem import Problem
from layerscope.model.tree import LayerDirectory


class StorageOverlay(LinkedLayers):
    """The overlay driver of containers/storage on one root."""

    name = "overlay"
    home = "overlay"
    sizes_by_walk = True
    most_lower: ClassVar[int] = 500
    """Source: containers/storage ``maxDepth``."""

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, fuse_overlayfs(dialect) if _has_mount_program(root.enter(self.home)) else dialect)

        self._more: list[StorageOverlay] = []

    def add_root(self, root: Directory) -> None:
        """Look for layers in an additional image store, too."""
        self._more.append(StorageOverlay(root, self.dialect))

    def _holder(self, cache_id: CacheID) -> StorageOverlay:
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
        """The directories that are called by a layer's ID, sorted; those of additional stores among them."""
        found = {cache_id for cache_id in super().layer_ids() if is_hex64(cache_id)}
        return sorted(found.union(*(other.layer_ids() for other in self._more)))

    def layer_path(self, cache_id: CacheID) -> str:
        """``overlay/<id>/diff``; an absolute path in an additional store."""
        return f"{self._holder(cache_id)._home.path}/{cache_id}/{self.inside}"

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree. Raises as ``Driver.open_layer``."""
        holder = self._holder(cache_id)
        return super().open_layer(cache_id) if holder is self else holder.open_layer(cache_id)

    def short_names(self) -> dict[str, CacheID]:
        """Short name to cache ID, this root's before those of additional stores."""
        found: dict[str, CacheID] = {}
        for other in reversed(self._more):
            found.update(other.short_names())
        return {**found, **super().short_names()}

    def lower_ids(self, cache_id: CacheID) -> list[CacheID] | None:
        """The cache IDs below a layer, nearest first; a layer here may stand on those of additional stores."""
        holder = self._holder(cache_id)
        return super().lower_ids(cache_id) if holder is self else holder.lower_ids(cache_id)

    def _resolve(self, short: str) -> CacheID | None:
        found = super()._resolve(short)
        return found or next((name for other in self._more if (name := other._resolve(short))), None)

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """What is damaged in the driver's own record of a layer, wherever that is."""
        holder = self._holder(cache_id)
        if holder is self:
            return super().layer_problems(cache_id)
        place = holder._home.path.removesuffix(self.home)
        return [replace(problem, path=f"{place}{problem.path}") for problem in holder.layer_problems(cache_id)]


def _has_mount_program(home: Directory) -> bool:
    try:
        return home.read(".has-mount-program", 64).strip() == b"true"
    except (OSError, CorruptError):
        return False
