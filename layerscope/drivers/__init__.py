"""Storage drivers: from a cache ID to the files of one layer. A new driver is one file here and one line below."""

from __future__ import annotations

from layerscope.drivers.aufs import Aufs
from layerscope.drivers.base import (
    Driver,
    DriverFactory,
    Elsewhere,
    MeasuresDisk,
    MixedKinds,
    RecordsLower,
    ShortNames,
    TellsDamage,
)
from layerscope.drivers.btrfs import Btrfs
from layerscope.drivers.devicemapper import DeviceMapper
from layerscope.drivers.fuse_overlayfs import FuseOverlayfs
from layerscope.drivers.native_snapshot import NativeSnapshot
from layerscope.drivers.overlay import Overlay
from layerscope.drivers.overlay2 import Overlay2
from layerscope.drivers.overlayfs_snapshot import OverlayfsSnapshot
from layerscope.drivers.vfs import Vfs
from layerscope.drivers.zfs import Zfs

DRIVERS: dict[str, DriverFactory] = {
    "overlay2": Overlay2,
    "overlay": Overlay,
    "fuse-overlayfs": FuseOverlayfs,
    "vfs": Vfs,
    "devicemapper": DeviceMapper,
    "btrfs": Btrfs,
    "zfs": Zfs,
    "aufs": Aufs,
    "overlayfs": OverlayfsSnapshot,
    "native": NativeSnapshot,
}
SNAPSHOTTERS = frozenset({"overlayfs", "native"})
"""Those that read a containerd root; other snapshotters have the name of a graph driver, not its layout."""

__all__ = [
    "DRIVERS",
    "SNAPSHOTTERS",
    "Driver",
    "DriverFactory",
    "Elsewhere",
    "MeasuresDisk",
    "MixedKinds",
    "RecordsLower",
    "ShortNames",
    "TellsDamage",
]
