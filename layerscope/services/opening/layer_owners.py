"""Owners of layers' files as containers see them, where an engine keeps them under others on disk.

Three things shift them, in this order: the namespace that a whole engine works in (of the root, see
:mod:`layerscope.stores.owners`), that of one container (recorded with its layers), and owners and modes that the
engine couldn't set and fuse-overlayfs keeps in an attribute. The latter counts as fuse-overlayfs lets it: only where it
mounts the layers, and in those whose top directory carries it; which of its two names is taken is told there, too.
Sources: containers/storage drivers/overlay/overlay.go; fuse-overlayfs direct.c ``direct_load_data_source``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from layerscope.drivers import Driver, ShowsOwners
from layerscope.formats.override_stat import OVERRIDE_STAT
from layerscope.hostfs import Directory
from layerscope.hostfs.owner_map import OwnerMap
from layerscope.model.digest import CacheID
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.owners import OwnedDirectory, Owners
from layerscope.stores.base import ShiftsOwners, Store

_OWN_STAT = "user.fuseoverlayfs.override_stat"
_ATTRIBUTES = (_OWN_STAT, OVERRIDE_STAT)
"""The first that a layer's top directory carries counts in it."""


def show_owners(store: Store, driver: Driver | None, owners: OwnerMap | None) -> None:
    """Let ``driver`` show owners as containers see them; ``owners``: how the whole root's are mapped."""
    if not isinstance(driver, ShowsOwners) or not isinstance(store, ShiftsOwners):
        return
    keeps_attributes = bool(driver.dialect.more_prefixes)
    driver.show_owners(_Seen(store.owner_maps, owners, keeps_attributes))


class _Seen:
    """How the top of a layer is shown; the records are read when the first is asked for."""

    def __init__(
        self, recorded: Callable[[], Mapping[CacheID, OwnerMap]], outer: OwnerMap | None, keeps_attributes: bool
    ) -> None:
        self._recorded = recorded
        self._maps: Mapping[CacheID, OwnerMap] | None = None
        self._outer = outer
        self._keeps_attributes = keeps_attributes

    def __call__(self, cache_id: CacheID, top: Directory) -> LayerDirectory:
        if self._maps is None:
            self._maps = self._recorded()
        inner = self._maps.get(cache_id)
        if inner is not None:
            top.owner_map = inner if self._outer is None else self._outer.then(inner)
        if self._keeps_attributes:
            for attribute in _ATTRIBUTES:
                if top.xattr(attribute) is not None:
                    return OwnedDirectory(top, Owners(attribute=attribute))
        return top
