"""What a storage driver can do, as small interfaces: one that all have, and optional abilities beside it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem
from layerscope.model.tree import LayerDirectory


class Driver(Protocol):
    """From a cache ID to the files of one layer.

    ``kind`` says whether a layer's tree holds only changes (then ``dialect`` says which marks count) or everything.
    ``sizes_by_walk``: docker measures a writable layer by walking it, not by its list of changes.
    """

    name: str
    kind: LayerKind
    dialect: Dialect
    sizes_by_walk: bool

    def layer_ids(self) -> list[CacheID]:
        """The cache IDs that lie in the driver's folder, claimed or not, sorted."""

    def layer_path(self, cache_id: CacheID) -> str:
        """Where the files of a layer lie, relative to the root."""

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The top of a layer's tree.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES … if it isn't there or can't be read.
        """


@runtime_checkable
class RecordsLower(Protocol):
    """A driver that keeps, beside each layer, what is mounted below it."""

    def lower_ids(self, cache_id: CacheID) -> list[CacheID] | None:
        """The cache IDs below a layer, **nearest first**; None if the record is missing or can't be resolved."""

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """What is damaged in the driver's own record of a layer."""


@runtime_checkable
class ShortNames(Protocol):
    """A driver that gives layers second, short names."""

    def short_names(self) -> dict[str, CacheID]:
        """Short name to cache ID."""


class DriverFactory(Protocol):
    """How a driver is made: from the root's directory and the dialect chosen for that root."""

    def __call__(self, root: Directory, dialect: Dialect) -> Driver:
        """A driver on the root whose directory is given."""
