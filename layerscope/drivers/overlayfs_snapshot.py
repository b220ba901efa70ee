"""containerd's overlayfs snapshotter: one folder a snapshot, holding what it changed, in the kernel's own marks.

| below ``io.containerd.snapshotter.v1.overlayfs/`` | what |
| --- | --- |
| ``snapshots/<number>/fs/`` | the snapshot's files: an upper directory, later a lower one |
| ``snapshots/<number>/work/`` | overlay's scratch; kept after the commit, absent for views |
| ``snapshots/new-<random>/`` | half-made |
| ``metadata.db`` | which number is which snapshot: read with the store's records |

Order is known from those records only. A snapshot without parent is bind-mounted. Source: containerd
plugins/snapshots/overlay/overlay.go; seen with 1.6 and 2.1.
"""

from __future__ import annotations

from layerscope.drivers.folders import SnapshotFolders
from layerscope.model.level import LayerKind


class OverlayfsSnapshot(SnapshotFolders):
    """The overlayfs snapshotter on one containerd root."""

    name = "overlayfs"
    home = "io.containerd.snapshotter.v1.overlayfs/snapshots"
    inside = "fs"
    kind = LayerKind.DIFF
    sizes_by_walk = True
