"""What a storage driver can do, as small interfaces: one that all have, and optional abilities beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.disk_share import DiskShare
from layerscope.model.handed_over import NOTHING_HANDED_OVER, HandedOver
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

    def lower_record(self, cache_id: CacheID) -> str:
        """Where that record lies, relative to the root."""


@runtime_checkable
class CopiesLayers(Protocol):
    """A driver that records below some layers the originals that those are copies of."""

    def is_copy_of(self, cache_id: CacheID, below: CacheID) -> bool:
        """Whether a layer is a copy of ``below``, which only for that stands next below it."""


@runtime_checkable
class TellsDamage(Protocol):
    """A driver that can tell what is wrong with a layer without reading its files."""

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """Missing contents, and what is damaged in the driver's own record of a layer."""


@runtime_checkable
class ShortNames(Protocol):
    """A driver that gives layers second, short names."""

    def short_names(self) -> dict[str, CacheID]:
        """Short name to cache ID."""


@runtime_checkable
class MixedKinds(Protocol):
    """A driver whose layers aren't all of its ``kind``."""

    def kind_of(self, cache_id: CacheID) -> LayerKind:
        """What the tree of one layer is."""

    def laid_over(self, cache_id: CacheID) -> CacheID | None:
        """The layer that a layer of changes is mounted over; None if that isn't recorded."""


@runtime_checkable
class CopiesTrees(Protocol):
    """A driver whose layers begin as copies of the one below, made by itself.

    ``drops_attributes``: the copies lose all extended attributes but file capabilities.
    """

    drops_attributes: bool


@runtime_checkable
class TakesMoreRoots(Protocol):
    """A driver that also finds layers in other roots of the same layout."""

    def add_root(self, root: Directory) -> None:
        """Look for layers in ``root``, too, after those that were added before."""


@runtime_checkable
class ShowsOwners(Protocol):
    """A driver of layers whose owners aren't shown as they are on disk."""

    def show_owners(self, seen: Callable[[CacheID, Directory], LayerDirectory]) -> None:
        """From now on the top of a layer is given as ``seen`` makes it of the directory on disk."""


@runtime_checkable
class Elsewhere(Protocol):
    """A driver that may keep files outside of the root."""

    def absence(self) -> Problem:
        """What to tell, once, of layers whose files aren't reached through the root."""


@runtime_checkable
class MeasuresDisk(Protocol):
    """A driver whose engine counts a layer's blocks on disk, not the lengths of its files."""

    def disk_usage(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> int:
        """The bytes that a layer takes on the disk it lies on. Raises as ``Driver.open_layer``.

        When ``cancelled`` says so the walk ends, and its result means nothing.
        """


@runtime_checkable
class TellsDiskShare(Protocol):
    """A driver over a file system that knows which bytes levels share."""

    def disk_share(self, cache_id: CacheID, cancelled: Callable[[], bool] = lambda: False) -> DiskShare | None:
        """What a layer takes on disk, None if nothing tells it here. Raises as ``Driver.open_layer``."""


@runtime_checkable
class TellsSources(Protocol):
    """A driver that may have facts from elsewhere than the root."""

    def sources(self) -> list[str]:
        """What comes from where, in a few words each."""


@runtime_checkable
class HandedLayers(Protocol):
    """A driver to which directories may have been handed over, as roots of their own, that hold the files of layers."""

    handed: dict[CacheID, Directory]


@runtime_checkable
class SizesUnrecorded(Protocol):
    """A driver of layers whose sizes no engine has recorded: they are measured when they are asked for."""

    sizes_unrecorded: bool


@runtime_checkable
class FindsDamage(Protocol):
    """A driver that comes to know what is wrong with a layer while its files are read."""

    def found_damage(self) -> list[Problem]:
        """What was found until now."""


@runtime_checkable
class DataOnly(Protocol):
    """A driver of a stack some of whose levels only hold data for metadata-only copies above."""

    data_only: frozenset[CacheID]


class DriverFactory(Protocol):
    """How a driver is made: from the root's directory and the dialect chosen for that root."""

    @property
    def takes(self) -> frozenset[str]:
        """The names of what may be handed over to it (:class:`HandedOver`)."""

    def __call__(self, root: Directory, dialect: Dialect, handed: HandedOver = NOTHING_HANDED_OVER) -> Driver:
        """A driver on the root whose directory is given; RootError for what was handed over and can't be read."""
