"""containerd's native snapshotter: one folder a snapshot, holding a whole tree that was copied from the one below.

| below ``io.containerd.snapshotter.v1.native/`` | what |
| --- | --- |
| ``snapshots/<number>/`` | the whole tree as of this snapshot |
| ``snapshots/new-<random>/`` | half-made |
| ``metadata.db`` | which number is which snapshot: read with the store's records |

Source: containerd plugins/snapshots/native/native.go; seen with 1.6.
"""

from __future__ import annotations

from layerscope.drivers.folders import SnapshotFolders
from layerscope.model.level import LayerKind


class NativeSnapshot(SnapshotFolders):
    """The native snapshotter on one containerd root."""

    name = "native"
    home = "io.containerd.snapshotter.v1.native/snapshots"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = True
