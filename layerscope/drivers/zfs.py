"""zfs: every layer is a dataset of a pool, mounted at ``zfs/graph/<id>/`` only while it is in use.

So a copied disk, or the root of an engine that runs no container, has the records of the layers and none of their
files. Where a dataset is mounted, or its files were copied into the place of the mount point, they are whole trees.
Source: moby daemon/graphdriver/zfs/zfs.go; seen with 20.10.24 on OpenZFS 2.1.11.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from layerscope.drivers.base import LayerFolders
from layerscope.errors import CorruptError, PermissionDenied, RootError
from layerscope.formats.escape import escape
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.formats.zfs_list import Dataset, parse_zfs_list
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.disk_share import DiskShare
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity

_MOST_LISTED = 1 << 26
_MOST_LOWER = 1 << 10


class Zfs(LayerFolders):
    """The zfs driver on one root."""

    name = "zfs"
    home = "zfs/graph"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(self, root: Directory, dialect: Dialect, zfs_list: Path | None = None) -> None:
        """The driver of ``root``; ``zfs_list``: a file with what ``formats.zfs_list.COMMAND`` printed.

        Raises:
            RootError: that file can't be read, or says something else; PermissionDenied: this user may not read it.
        """
        super().__init__(root, UNMARKED)
        self._datasets = _datasets(zfs_list) if zfs_list is not None else {}

    def disk_share(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> DiskShare | None:
        """What zfs said of the layer's dataset, None if it wasn't asked."""
        dataset = self._datasets.get(cache_id)
        if dataset is None:
            return None
        return DiskShare(dataset.referenced, dataset.usedbydataset, dataset.written)

    def lower_ids(self, cache_id: CacheID) -> list[CacheID] | None:
        """The layers that this one's dataset is a clone of, nearest first; None if zfs wasn't asked."""
        dataset = self._datasets.get(cache_id)
        if dataset is None:
            return None
        found: list[CacheID] = []
        while dataset.origin and len(found) < _MOST_LOWER:
            found.append(CacheID(dataset.origin))
            dataset = self._datasets.get(dataset.origin)
            if dataset is None:
                return None
        return found

    def lower_record(self, cache_id: CacheID) -> str:
        """The list of datasets lies outside of the root: the dataset's name stands for it."""
        return f"{self.home}/{cache_id} (origin)"

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


def _datasets(path: Path) -> Mapping[str, Dataset]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_LISTED + 1)
    except PermissionError:
        raise PermissionDenied(f"cannot read {escape(str(path))}: permission denied") from None
    except OSError as error:
        raise RootError(f"cannot read {escape(str(path))}: {error.strerror}") from None
    if len(data) > _MOST_LISTED:
        raise RootError(f"{escape(str(path))} is too large for a list of datasets")
    try:
        return parse_zfs_list(os.fsdecode(data))
    except CorruptError as error:
        raise RootError(f"{escape(str(path))}: {error}") from None
