"""Storage drivers: from a cache ID to the files of one layer. A new driver is one file here and one line below."""

from __future__ import annotations

from importlib import import_module

from layerscope.drivers.base import (
    CopiesTrees,
    Driver,
    DriverFactory,
    Elsewhere,
    MeasuresDisk,
    MixedKinds,
    RecordsLower,
    ShortNames,
    TellsDamage,
)
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory


def _driver(module: str, name: str) -> DriverFactory:
    """A driver that is imported when it is needed: a root has one, and some bring readers of whole file systems."""

    def make(root: Directory, dialect: Dialect) -> Driver:
        factory: DriverFactory = getattr(import_module(f"layerscope.drivers.{module}"), name)
        return factory(root, dialect)

    return make


DRIVERS: dict[str, DriverFactory] = {
    "overlay2": _driver("overlay2", "Overlay2"),
    "overlay": _driver("overlay", "Overlay"),
    "fuse-overlayfs": _driver("fuse_overlayfs", "FuseOverlayfs"),
    "vfs": _driver("vfs", "Vfs"),
    "devicemapper": _driver("devicemapper", "DeviceMapper"),
    "btrfs": _driver("btrfs", "Btrfs"),
    "zfs": _driver("zfs", "Zfs"),
    "aufs": _driver("aufs", "Aufs"),
    "overlayfs": _driver("overlayfs_snapshot", "OverlayfsSnapshot"),
    "native": _driver("native_snapshot", "NativeSnapshot"),
}
SNAPSHOTTERS = frozenset({"overlayfs", "native"})
"""Those that read a containerd root; other snapshotters have the name of a graph driver, not its layout."""

__all__ = [
    "DRIVERS",
    "SNAPSHOTTERS",
    "CopiesTrees",
    "Driver",
    "DriverFactory",
    "Elsewhere",
    "MeasuresDisk",
    "MixedKinds",
    "RecordsLower",
    "ShortNames",
    "TellsDamage",
]
