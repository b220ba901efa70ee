"""zfs: every layer is a dataset of a pool, mounted at ``zfs/graph/<id>/`` only while it is in use.

So a copied disk, or the root of an engine that runs no container, has the records of the layers and none of their
files. Where a dataset is mounted, or its files were copied into the place of the mount point, they are whole trees.
Source: moby daemon/graphdriver/zfs/zfs.go; seen with 20.10.24 on OpenZFS 2.1.11.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from layerscope.drivers.folders import LayerDirs, LayerFolders
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
Ask = Callable[[], tuple[Mapping[str, Dataset], str]]
"""Who asks zfs: gives the datasets by name, none if there is no answer, and what to tell of that."""


class Zfs(LayerFolders):
    """The zfs driver on one root."""

    name = "zfs"
    home = "zfs/graph"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(
        self, root: Directory, dialect: Dialect, zfs_list: Path | None = None, layer_dirs: LayerDirs = ()
    ) -> None:
        """The driver of ``root``.

        Args:
            root: the root's directory.
            dialect: the root's; no mark has a meaning in whole trees.
            zfs_list: a file with what ``formats.zfs_list.COMMAND`` printed.
            layer_dirs: where datasets are mounted that aren't mounted in their places.

        Raises:
            RootError: something of that can't be read, or says something else; PermissionDenied: this user may not.
        """
        super().__init__(root, UNMARKED, layer_dirs)
        self._known = _datasets(zfs_list) if zfs_list is not None else None
        self._told = f"figures of datasets are those in {escape(str(zfs_list))}" if zfs_list is not None else ""
        self._ask: Ask | None = None
        self._turn = threading.Lock()

    def ask(self, ask: Ask) -> None:
        """Ask zfs itself, once and when the first figure is wanted, unless its answer was handed over."""
        if self._known is None:
            self._ask = ask

    @property
    def _datasets(self) -> Mapping[str, Dataset]:
        with self._turn:
            if self._known is None and self._ask is not None:
                self._known, self._told = self._ask()
        return self._known or {}

    def sources(self) -> list[str]:
        """Where the figures come from."""
        return [told] if (told := self._told_of_datasets()) else []

    def _told_of_datasets(self) -> str:
        _ = self._datasets  # asks, if nobody did yet
        return self._told

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
        top = self._top(cache_id)
        if cache_id not in self.handed and top.stat_self().st_dev == self._home.stat_self().st_dev and not top.scan():
            raise FileNotFoundError(errno.ENOENT, "the dataset is not mounted", self.layer_path(cache_id))
        return top

    def absence(self) -> Problem:
        """That the files are in the pool, and what can be shown without."""
        return Problem(
            self.home,
            "the files of layers are in a ZFS pool, in datasets that aren't mounted here",
            "names, owners and sizes are those of the layers' tars; files, and what containers changed, can't be read",
            "import the pool, mount a layer's dataset and hand that directory over (--layer-dir ID=DIR)",
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
