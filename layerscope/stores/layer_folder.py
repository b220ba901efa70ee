"""Where a storage driver keeps its layers below a root; docker's drivers and containers/storage's have the same places.

Source: moby daemon/graphdriver; containers/storage drivers.
"""

from __future__ import annotations

_BELOW = {
    "vfs": "vfs/dir",
    "btrfs": "btrfs/subvolumes",
    "zfs": "zfs/graph",
    "aufs": "aufs/diff",
    "devicemapper": "devicemapper/metadata",
}
"""Of the drivers that don't keep them in the folder with their own name."""


def layer_folder(driver: str) -> str:
    """The directory with one entry for each layer, relative to the root: directories, of ``devicemapper`` files."""
    return _BELOW.get(driver, driver)
