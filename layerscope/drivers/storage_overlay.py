"""overlay of containers/storage (podman, Buildah, CRI-O): overlay2's way of keeping layers, in a folder ``overlay``.

| below ``overlay/`` | what |
| --- | --- |
| ``<id>/diff/``, ``link``, ``lower``, ``work/``, ``merged/`` | as in overlay2; the last two in every layer |
| ``<id>/lower-layers`` | newer engines: the same chain as ``lower``, as layer IDs, one a line |
| ``<id>/diff1/`` | of a layer copied for a user namespace: its files that got other owners; ``diff`` is empty |
| ``<id>/empty/`` | of a base layer: a second lower directory, since a mount needs two |
| ``l/<26 characters>`` | ``../<id>/diff`` |
| ``.has-mount-program`` | ``true``: fuse-overlayfs mounts, and its marks may be in any layer; else ``false`` |
| ``tempdirs/``, ``staging/`` | half-made or half-removed layers |

Source: containers/storage drivers/overlay/overlay.go; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import stat as modes
from typing import ClassVar

from msgspec.structs import replace

from layerscope.drivers.folders import LinkedLayers, SpreadFolders
from layerscope.errors import CorruptError
from layerscope.formats.whiteout import Dialect, fuse_overlayfs
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID, is_hex64
from layerscope.model.problem import Problem

_SHIFTED = "diff1"


class StorageOverlay(SpreadFolders, LinkedLayers):
    """The overlay driver of containers/storage on one root."""

    name = "overlay"
    home = "overlay"
    sizes_by_walk = True
    most_lower: ClassVar[int] = 500
    """Source: containers/storage ``maxDepth``."""

    def __init__(self, root: Directory, dialect: Dialect) -> None:
        super().__init__(root, fuse_overlayfs(dialect) if _has_mount_program(root.enter(self.home)) else dialect)

    def layer_ids(self) -> list[CacheID]:
        """The directories that are called by a layer's ID, sorted; those of additional stores among them."""
        return [cache_id for cache_id in super().layer_ids() if is_hex64(cache_id)]

    def layer_path(self, cache_id: CacheID) -> str:
        """``overlay/<id>/diff``, or ``diff1``; an absolute path in a root that was added."""
        path = super().layer_path(cache_id)
        return f"{path}1" if self._holder(cache_id)._is_shifted(cache_id) else path

    def _top(self, cache_id: CacheID) -> Directory:
        top = super()._top(cache_id)
        return self._home.enter(cache_id).enter(_SHIFTED) if self._is_shifted(cache_id) else top

    def _is_shifted(self, cache_id: CacheID) -> bool:
        """Whether the layer is the copy of another with shifted owners; the engine mounts it over that other one."""
        try:
            folder = self._home.enter(cache_id)
            copy = folder.stat_or_none(_SHIFTED)
            return copy is not None and modes.S_ISDIR(copy.st_mode) and not folder.enter(self.inside).scan()
        except OSError:
            return False

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

    def is_copy_of(self, cache_id: CacheID, below: CacheID) -> bool:
        """Whether a layer is a copy with shifted owners: then the first of its lower layers is its original."""
        holder = self._holder(cache_id)
        return holder._is_shifted(cache_id) and (holder.lower_ids(cache_id) or [])[:1] == [below]

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
