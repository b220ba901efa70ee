"""Storage drivers: from a cache ID to the files of one layer. A new driver is one file here and one line below."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from msgspec import Struct

from layerscope.drivers.base import (
    CopiesLayers,
    CopiesTrees,
    DataOnly,
    Driver,
    DriverFactory,
    Elsewhere,
    FindsDamage,
    HandedLayers,
    MeasuresDisk,
    MixedKinds,
    RecordsLower,
    ShortNames,
    ShowsOwners,
    SizesUnrecorded,
    TakesMoreRoots,
    TellsDamage,
    TellsDiskShare,
    TellsSources,
)
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory
from layerscope.model.handed_over import NOTHING_HANDED_OVER, HandedOver


class _Lazy(Struct, frozen=True):
    """A driver that is imported when it is needed: a root has one, and some bring readers of whole file systems."""

    module: str
    name: str
    takes: frozenset[str]

    def __call__(self, root: Directory, dialect: Dialect, handed: HandedOver = NOTHING_HANDED_OVER) -> Driver:
        make: Callable[..., Driver] = getattr(import_module(f"layerscope.drivers.{self.module}"), self.name)
        given = {name: value for name, value in handed.given().items() if name in self.takes}
        return make(root, dialect, **given)


def _driver(module: str, name: str, *takes: str) -> DriverFactory:
    return _Lazy(module, name, frozenset(takes))


DRIVERS: dict[str, DriverFactory] = {
    "overlay2": _driver("overlay2", "Overlay2"),
    "overlay": _driver("overlay", "Overlay"),
    "fuse-overlayfs": _driver("fuse_overlayfs", "FuseOverlayfs"),
    "vfs": _driver("vfs", "Vfs"),
    "devicemapper": _driver("devicemapper", "DeviceMapper", "thin_metadata", "thin_data", "layer_dirs"),
    "btrfs": _driver("btrfs", "Btrfs", "layer_dirs"),
    "zfs": _driver("zfs", "Zfs", "zfs_list", "layer_dirs"),
    "aufs": _driver("aufs", "Aufs"),
    "overlayfs": _driver("overlayfs_snapshot", "OverlayfsSnapshot"),
    "native": _driver("native_snapshot", "NativeSnapshot"),
}
SHARED_DRIVERS: dict[str, DriverFactory] = {
    "overlay": _driver("storage_overlay", "StorageOverlay"),
    "vfs": _driver("storage_vfs", "StorageVfs"),
    "btrfs": DRIVERS["btrfs"],
    "zfs": DRIVERS["zfs"],
    "aufs": DRIVERS["aufs"],
}
"""Those of containers/storage, which have docker's names and not always docker's layout."""
SNAPSHOTTERS = frozenset({"overlayfs", "native"})
"""Those that read a containerd root; other snapshotters have the name of a graph driver, not its layout."""

__all__ = [
    "DRIVERS",
    "NOTHING_HANDED_OVER",
    "SHARED_DRIVERS",
    "SNAPSHOTTERS",
    "CopiesLayers",
    "CopiesTrees",
    "DataOnly",
    "Driver",
    "DriverFactory",
    "Elsewhere",
    "FindsDamage",
    "HandedLayers",
    "HandedOver",
    "MeasuresDisk",
    "MixedKinds",
    "RecordsLower",
    "ShortNames",
    "ShowsOwners",
    "SizesUnrecorded",
    "TakesMoreRoots",
    "TellsDamage",
    "TellsDiskShare",
    "TellsSources",
]
