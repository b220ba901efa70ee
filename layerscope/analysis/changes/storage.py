"""``podman diff``: the changes of a container as containers/storage tells them.

Where the writable layer is kernel overlay's, its directory alone is looked at; else (vfs, fuse-overlayfs …) two trees
are compared. Every entry of an overlay's upper directory is a line, unless it is a directory that the nearest layer
below has with equal size, mode and time:

| the entry | line |
| --- | --- |
| a whiteout | ``D`` |
| an opaque directory over something that was there | ``D``; what is new in it is ``A`` |
| a path that a layer below has, and none above that one removed, nor any directory on the way to it | ``C`` |
| else | ``A`` |

Every directory on the way to an ``A`` or ``D`` is a ``C``, if it isn't listed itself. "Is in a layer below" follows
symlinks, and the engine does so on its host: absolute links are looked up here in the container's own files.

An engine whose kernel redirects directories or copies metadata up alone compares trees for overlay, too: that can't be
told from the disk. Source: containers/storage pkg/archive/changes.go, changes_linux.go ``OverlayChanges``; equal to
podman's answers on the samples, seen with 4.3 and 5.8.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Collection

from layerscope.analysis.changes.upper import UpperWalk, upper_changes
from layerscope.analysis.changes.views import tree_changes
from layerscope.formats.whiteout import is_whiteout_device
from layerscope.model.change import Change, ChangeKind, Reason
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory
from layerscope.overlay import MergedView


def storage_changes(view: MergedView, left_out: Collection[str], detail: bool = True) -> list[Change]:
    """The lines of ``podman diff`` for the container (or image) whose view this is, sorted by the bytes of the path.

    Args:
        view: All levels, the one whose changes are wanted on top.
        left_out: Paths that are never listed, without leading slash.
        detail: Also sizes, levels and the exact reason of each change; without it only kind and path are sure.
    """
    top = view.levels[-1]
    if top.kind is LayerKind.SNAPSHOT or top.dialect.names:
        below = view.cut(top.number - 1)
        below.report_to(view)
        found = tree_changes(below, view, detail)
    else:
        found = upper_changes(view, detail, _StorageWalk)
    return [change for change in found if change.path not in left_out]


class _StorageWalk(UpperWalk):
    """The walk of containers/storage, which looks more closely at the layers below than docker's did."""

    def _removed(self, directory: LayerDirectory, name: str, path: str, stat: os.stat_result) -> str | None:
        if is_whiteout_device(stat):
            return name
        is_opaque = modes.S_ISDIR(stat.st_mode) and directory.enter(name).xattr(self._upper.dialect.opaque_key) == b"y"
        return name if is_opaque and self._before(path) is not None else None

    def _before(self, path: str) -> os.stat_result | None:
        """What the nearest layer below that has the path holds there; None as soon as one removes it."""
        above = [path[:place] for place, char in enumerate(path) if char == "/"]
        for lower in self._lowers:
            if any(self._is_whiteout(lower.top, one) for one in (path, *above)):
                return None
            stat = self._stat_in(lower.top, path)
            if stat is not None:
                return stat
        return None

    def _is_whiteout(self, top: LayerDirectory, path: str) -> bool:
        stat = self._stat_in(top, path)
        return stat is not None and is_whiteout_device(stat)

    def _ancestor(self, folder: str) -> None:
        while folder:
            if folder not in self._listed:
                self._listed.add(folder)
                self.found.setdefault(folder, (ChangeKind.CHANGED, Reason.ANCESTOR))
            folder = folder.rpartition("/")[0]
